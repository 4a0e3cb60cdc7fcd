//! What another server sold on the same ledger, and what a store forgot.

use queue_core::service::testing::TestRedis;
use serde_json::json;

use crate::support::*;

fn refundable() -> serde_json::Value {
    let mut body = hall();
    body["cancellation"] = json!({"allowedUntil": "2029-01-01T00:00:00.000Z"});
    body
}

async fn book(server: &TestServer, visitor: &Visitor, seat: &str) -> String {
    let id = server.hold(visitor, &[seat]).await;
    server.act(visitor, &id, "confirm").await.ok(200);
    id
}

/// Servers that share no store tell each other nothing: whoever is asked looks into the ledger.
#[tokio::test]
async fn a_booking_of_another_server_is_read_and_taken_back() {
    let mut server = TestServer::start(Kind::Memory).await;
    let first = (server.url.clone(), server.ops.clone());
    let first_life = server.move_to_second().await;
    let second = (std::mem::replace(&mut server.url, first.0), std::mem::replace(&mut server.ops, first.1));
    server.put("hall", refundable()).await.ok(201);
    let ann = server.visitor(1);
    let id = book(&server, &ann, "A-1-1").await;
    (server.url, server.ops) = second;

    let stranger = server.visitor_of("nowhere", 2, 300_000);
    server.act(&stranger, &id, "confirm").await.is(404, "RESERVATION_NOT_FOUND");
    assert_eq!(server.act(&ann, &id, "confirm").await.ok(200)["state"], "CONFIRMED");
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200)["state"], "CONFIRMED");
    let cancelled = eventually("the cancellation", async || {
        let answer = server.act(&ann, &id, "cancel").await;
        // Until the store of this server knows the event.
        if answer.status == 503 { None } else { Some(answer.ok(200)) }
    })
    .await;
    assert_eq!(cancelled["state"], "CANCELLED");
    server.await_state("A-1-1", "FREE").await;
    first_life.shut_down();
}

/// As after a failover that lost what was written last: the store believes in a booking that was taken back, and knows
/// nothing of the one that came after it.
#[tokio::test]
async fn a_seat_that_was_sold_again_stays_with_its_new_owner() {
    let mut server = TestServer::start(Kind::Redis).await;
    server.put("hall", refundable()).await.ok(201);
    let (ann, bob, cay) = (server.visitor(1), server.visitor(2), server.visitor(3));
    let given_back = book(&server, &ann, "A-1-1").await;
    server.act(&ann, &given_back, "cancel").await.ok(200);
    server.await_state("A-1-1", "FREE").await;
    book(&server, &bob, "A-1-1").await;
    server.stop().await;
    let forget = |redis: &TestRedis| {
        redis.cli(&["HSET", "ticket:{hall}:visitors", ann.id.as_str(), &format!("s,{given_back},1,{}", ann.jti)]);
        redis.cli(&["HDEL", "ticket:{hall}:visitors", bob.id.as_str()]);
    };
    server.store.iter().for_each(forget);
    server.start_again().await;
    assert_eq!(server.state_of("A-1-1").await, "SOLD");
    server.reserve(&cay, &["A-1-1"]).await.is(409, "SEAT_TAKEN");
    let redis = server.store.as_ref().unwrap();
    assert_eq!(redis.cli(&["HGET", "ticket:{hall}:visitors", ann.id.as_str()]), "");
}
