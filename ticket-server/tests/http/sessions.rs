//! What ends on the queue's side, asked over HTTP or read from its Redis.

use std::time::{Duration, Instant};

use queue_core::service::redis::{Event, Store};
use serde_json::{Value, json};

use crate::support::{Kind, TestServer, Visitor, eventually};

const STREAM: &str = "usher:{hall}:session-ended";

fn ended(visitor: &Visitor, reason: &str) -> String {
    json!({"type": "SESSION_ENDED", "eventId": visitor.event, "visitorId": visitor.id, "jti": visitor.jti,
        "reason": reason, "at": "2026-11-20T10:00:00.000Z"})
    .to_string()
}

async fn tell(store: &Store, visitor: &Visitor, reason: &str) {
    let body = ended(visitor, reason);
    store.append_and_publish(STREAM, 1000, "body", "usher:session-ended", body).await.unwrap();
}

#[tokio::test]
async fn an_ended_session_is_known_within_two_seconds() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let (ann, bob, eve) = (server.visitor(1), server.visitor(2), server.visitor(3));
    server.hold(&ann, &["A-1-1"]).await;
    server.hold(&bob, &["A-1-2"]).await;
    server.hold(&eve, &["A-1-3"]).await;
    server.queue.end(&ann, "LEFT");
    server.queue.end(&bob, "EXPIRED");
    let since = Instant::now();
    server.await_state("A-1-1", "FREE").await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    server.reserve(&ann, &["A-1-4"]).await.is(403, "SESSION_ENDED");
    server.reserve(&bob, &["A-1-4"]).await.is(403, "SESSION_ENDED");
    assert_eq!(server.state_of("A-1-2").await, "HELD", "an end by time lets nothing go");
    assert_eq!(server.state_of("A-1-3").await, "HELD");
    server.reserve(&eve, &["A-1-4"]).await.ok(201);
}

#[tokio::test]
async fn looking_around_tells_the_queue_that_the_visitor_came() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let ann = server.visitor(1);
    server.get_as(&ann, "/api/v1/reservations/my").await.ok(200);
    eventually("a question", async || server.queue.was_asked_about(&ann).then_some(())).await;
}

#[tokio::test]
async fn without_a_queue_tokens_decide() {
    // The Redis of the queue is not there, and neither is anybody who could be asked.
    let mut server = TestServer::with_hall(Kind::Redis).await;
    server.queue_store.as_mut().unwrap().kill();
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &id, "confirm").await.ok(200);
    let metrics = server.ops_get("/metrics").await;
    assert!(metrics.contains("usher_ticket_"));
}

#[tokio::test]
async fn ended_sessions_are_told() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let queue = server.queue_client().await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    server.hold(&ann, &["A-1-1"]).await;
    server.hold(&bob, &["A-1-2"]).await;
    queue.publish("usher:session-ended", "nonsense").await.unwrap();
    let since = Instant::now();
    tell(&queue, &ann, "RELEASED").await;
    tell(&queue, &bob, "EXPIRED").await;
    server.await_state("A-1-1", "FREE").await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    server.reserve(&ann, &["A-1-3"]).await.is(403, "SESSION_ENDED");
    eventually("the end", async || (server.reserve(&bob, &["A-1-4"]).await.code() == "SESSION_ENDED").then_some(()))
        .await;
    assert_eq!(server.state_of("A-1-2").await, "HELD");
}

/// The store is there all the while, but has no room for a moment.
#[tokio::test]
async fn an_end_that_the_store_refused_is_marked_later() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let queue = server.queue_client().await;
    let ann = server.visitor(1);
    server.hold(&ann, &["A-1-1"]).await;
    let store = server.store.as_ref().unwrap();
    store.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    tell(&queue, &ann, "REVOKED").await;
    queue.publish("usher:session-ended", "nonsense").await.unwrap();
    eventually("both messages", async || {
        let metrics = server.ops_get("/metrics").await;
        metrics.contains("usher_ticket_messages_malformed_total{place=\"channel\"} 1").then_some(())
    })
    .await;
    store.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    server.await_state("A-1-1", "FREE").await;
    server.reserve(&ann, &["A-1-1"]).await.is(403, "SESSION_ENDED");
}

#[tokio::test]
async fn ended_sessions_are_read_from_the_log_after_an_absence() {
    let mut server = TestServer::with_hall(Kind::Redis).await;
    let queue = server.queue_client().await;
    let ann = server.visitor(1);
    server.hold(&ann, &["A-1-1"]).await;
    server.stop().await;
    tell(&queue, &ann, "LEFT").await;
    server.start_again().await;
    assert_eq!(server.state_of("A-1-1").await, "FREE");
    server.reserve(&ann, &["A-1-1"]).await.is(403, "SESSION_ENDED");
}

#[tokio::test]
async fn the_queue_hears_of_a_session_once() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let queue = server.queue_client().await;
    let mut seen = queue.subscribe(["usher:session-seen"]);
    assert_eq!(seen.recv().await, Event::Resync);
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    for visitor in [&ann, &ann, &bob] {
        server.get_as(visitor, "/api/v1/reservations/my").await.ok(200);
    }
    let mut jtis = Vec::new();
    while jtis.len() < 2 {
        let Event::Message(message) = seen.recv().await else { continue };
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!((&body["type"], &body["eventId"]), (&json!("SESSION_SEEN"), &json!("hall")));
        jtis.push(body["jti"].as_str().unwrap().to_owned());
    }
    jtis.sort();
    assert_eq!(jtis, [ann.jti.to_string(), bob.jti.to_string()]);
}
