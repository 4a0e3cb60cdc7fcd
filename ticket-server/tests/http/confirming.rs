//! Confirming, and what the queue hears of it.

use std::time::Instant;

use queue_core::service::http::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{Ask as _, Kind, TestServer, Visitor, eventually, hall},
};

on_both! {
    a_hold_becomes_a_booking;
    the_queue_hears_of_the_booking;
    a_second_hold_keeps_the_session_open;
    paid_events_want_an_order;
    bookings_outlive_the_server;
    what_was_not_told_is_told_later;
}

/// What the queue was told, however it is reached.
async fn told(server: &TestServer) -> Vec<Value> {
    match &server.queue_store {
        None => server.queue.done(),
        Some(redis) => {
            let text = redis.cli(&["XRANGE", "usher:booking-done:log", "-", "+"]);
            text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }
}

async fn await_told(server: &TestServer, visitor: &Visitor) -> Value {
    eventually("BOOKING_DONE", async || {
        told(server).await.into_iter().find(|body| body["jti"] == visitor.jti.to_string())
    })
    .await
}

async fn a_hold_becomes_a_booking(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let held = server.reserve(&ann, &["A-1-1", "A-1-2"]).await.ok(201);
    let id = held["reservationId"].as_str().unwrap();
    let first = server.act(&ann, id, "confirm").await.ok(200);
    let mut expected = held.clone();
    expected["state"] = json!("CONFIRMED");
    assert_eq!(first, expected);
    assert_eq!(server.act(&ann, id, "confirm").await.ok(200), first);
    let empty = server.request(Method::POST, &format!("/api/v1/reservations/{id}/confirm")).bearer_auth(&ann.token);
    assert_eq!(empty.answer().await.ok(200), first);
    server
        .post_as(&ann, &format!("/api/v1/reservations/{id}/confirm"), json!({"x": 1}))
        .await
        .is(422, "INVALID_REQUEST");
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200), first);
    assert_eq!(server.get_as(&ann, &format!("/api/v1/seats/reservation/{id}")).await.ok(200), first);
    assert_eq!(server.state_of("A-1-2").await, "SOLD");
    server.reserve(&server.visitor(2), &["A-1-1"]).await.is(409, "SEAT_TAKEN");
    let metrics = server.ops_get("/metrics").await;
    for name in
        ["usher_ticket_bookings_total", "usher_ticket_holds_total{outcome=\"held\"}", "usher_ticket_ledger_batch_size"]
    {
        assert!(metrics.contains(name), "{name}");
    }
}

async fn the_queue_hears_of_the_booking(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    assert!(told(&server).await.is_empty());
    server.act(&ann, &id, "confirm").await.ok(200);
    let since = Instant::now();
    let body = await_told(&server, &ann).await;
    assert!(since.elapsed().as_millis() < 1_000, "{:?}", since.elapsed());
    for (field, value) in [
        ("type", json!("BOOKING_DONE")),
        ("eventId", json!("hall")),
        ("visitorId", json!("a_1")),
        ("jti", json!(ann.jti)),
        ("outcome", json!("BOOKED")),
        ("reservationId", json!(id)),
    ] {
        assert_eq!(body[field], value, "{field}");
    }
    assert!(body["at"].as_str().unwrap().ends_with('Z'));
    // The session is closed before the queue hears of it.
    server.reserve(&ann, &["A-1-2"]).await.is(403, "SESSION_ENDED");
    let later = Visitor { jti: queue_core::ids::Jti { seq: queue_core::ids::Seq(99), ..ann.jti }, ..ann.clone() };
    assert_ne!(later.jti, ann.jti);
}

async fn a_second_hold_keeps_the_session_open(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    server.act(&ann, &one, "confirm").await.ok(200);
    // Somebody else's message shows that the relay has passed.
    let bob = server.visitor(2);
    let other = server.hold(&bob, &["A-2-1"]).await;
    server.act(&bob, &other, "confirm").await.ok(200);
    await_told(&server, &bob).await;
    assert_eq!(told(&server).await.len(), 1, "ann still holds something");
    let three = server.hold(&ann, &["A-1-3"]).await;
    server.act(&ann, &two, "cancel").await.ok(200);
    server.act(&ann, &three, "cancel").await.ok(200);
    await_told(&server, &ann).await;
    server.reserve(&ann, &["A-1-2"]).await.is(403, "SESSION_ENDED");
}

async fn paid_events_want_an_order(kind: Kind) {
    let server = TestServer::start(kind).await;
    let mut body = hall();
    body.as_object_mut().unwrap().remove("payment");
    assert_eq!(server.put("hall", body).await.ok(201)["payment"], "required");
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &id, "confirm").await.is(402, "PAYMENT_REQUIRED");
    server.act(&server.visitor(2), &id, "confirm").await.is(404, "RESERVATION_NOT_FOUND");
    assert_eq!(server.state_of("A-1-1").await, "HELD");
    server.act(&ann, &id, "cancel").await.ok(200);
    server.act(&ann, &id, "confirm").await.is(410, "HOLD_EXPIRED");
    server.post_as(&ann, "/api/v1/orders", json!({"reservationId": id})).await.is(400, "IDEMPOTENCY_KEY_REQUIRED");
}

async fn bookings_outlive_the_server(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    let first = server.act(&ann, &id, "confirm").await.ok(200);
    await_told(&server, &ann).await;
    let held = server.hold(&bob, &["A-1-2"]).await;
    let server = server.restart().await;
    assert_eq!(server.act(&ann, &id, "confirm").await.ok(200), first);
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200), first);
    assert_eq!(server.state_of("A-1-1").await, "SOLD");
    server.reserve(&ann, &["A-1-3"]).await.is(403, "SESSION_ENDED");
    // A hold lives with its store.
    let confirmed = server.act(&bob, &held, "confirm").await;
    match kind {
        Kind::Memory => drop(confirmed.is(410, "HOLD_EXPIRED")),
        Kind::Redis => drop(confirmed.ok(200)),
    }
}

async fn what_was_not_told_is_told_later(kind: Kind) {
    let mut server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    server.act(&ann, &one, "confirm").await.ok(200);
    server.stop().await;
    assert!(told(&server).await.is_empty());
    server.start_again().await;
    if kind == Kind::Redis {
        // The second hold is still there: the row waits for it.
        server.act(&ann, &two, "cancel").await.ok(200);
    }
    await_told(&server, &ann).await;
}

/// The queue is away until just before the server is told to end: what was booked is told on the way out.
#[tokio::test]
async fn a_server_that_ends_tells_what_it_has_to_tell() {
    let mut server = TestServer::with_hall(Kind::Memory).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let peer = server.queue.change_peer("another");
    let before = server.queue.refused();
    server.act(&ann, &id, "confirm").await.ok(200);
    eventually("a refusal", async || (server.queue.refused() > before).then_some(())).await;
    server.queue.change_peer(&peer);
    server.stop().await;
    assert_eq!(server.queue.done().len(), 1);
}
