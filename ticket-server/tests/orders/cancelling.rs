//! Cancelling bookings by the event's rule.

use serde_json::json;

use crate::{
    on_both,
    provider::{order, paid_hall, paid_server, read, served_by_provider, steps},
    support::{Kind, TestServer, eventually, hall},
};

on_both! {
    a_booking_is_taken_back_and_its_money_returned;
    without_a_rule_a_booking_stays;
    a_booking_without_an_order_is_taken_back;
}

async fn a_booking_is_taken_back_and_its_money_returned(kind: Kind) {
    let (server, provider) = served_by_provider(kind, &[]).await;
    let mut body = paid_hall();
    body["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
    assert_eq!(server.put("hall", body.clone()).await.ok(200)["cancellation"], body["cancellation"]);
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    let booked = order(&server, &ann, "k", &id, "card").await.ok(201);
    let payment = booked["orderId"].as_str().unwrap();
    assert_eq!(provider.status_of(payment), "CAPTURED");
    server.act(&bob, &id, "cancel").await.is(404, "RESERVATION_NOT_FOUND");
    let cancelled = server.act(&ann, &id, "cancel").await.ok(200);
    assert_eq!(cancelled["state"], "CANCELLED");
    assert_eq!(server.act(&ann, &id, "cancel").await.ok(200), cancelled);
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200), cancelled);
    server.await_state("A-1-1", "FREE").await;
    let refunded = eventually("the refund", async || {
        Some(read(&server, &ann, &booked).await).filter(|order| order["state"] == "REFUNDED")
    })
    .await;
    assert_eq!(steps(&refunded).last().unwrap().0, "REFUND");
    assert_eq!(provider.status_of(payment), "REFUNDED");
    // It can be sold again, and the first answer stays what it was.
    let again = server.hold(&bob, &["A-1-1"]).await;
    order(&server, &bob, "k", &again, "card").await.ok(201);
    assert_eq!(server.act(&ann, &id, "cancel").await.ok(200)["state"], "CANCELLED");
    assert_eq!(server.state_of("A-1-1").await, "SOLD");
    assert_eq!(order(&server, &ann, "k", &id, "card").await.ok(201), booked);
    let history = server.get_as(&ann, &format!("/api/v1/reservations/{id}/history")).await.ok(200);
    let kinds: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
    assert!(kinds.contains(&json!("CANCELLED")) && kinds.contains(&json!("REFUNDED")), "{kinds:?}");
    // What was taken back stays so when the store is rebuilt.
    if let Some(store) = &server.store {
        store.cli(&["FLUSHALL"]);
        eventually("the rebuilt store", async || {
            let seats = server.get("/api/v1/seats/events/hall").await;
            (seats.status == 200).then_some(())
        })
        .await;
        assert_eq!(server.state_of("A-1-1").await, "SOLD");
    }
}

async fn without_a_rule_a_booking_stays(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let rules =
        [json!(null), json!({}), json!({"allowedUntil": null}), json!({"allowedUntil": "2020-01-01T00:00:00.000Z"})];
    for (n, rule) in (1_u64..).zip(rules) {
        let mut body = paid_hall();
        body["cancellation"] = rule;
        server.put("hall", body).await.ok(200);
        let (ann, seat) = (server.visitor(n), format!("A-1-{n}"));
        let id = server.hold(&ann, &[&seat]).await;
        order(&server, &ann, "k", &id, "card").await.ok(201);
        server.act(&ann, &id, "cancel").await.is(409, "RESERVATION_NOT_HELD");
        assert_eq!(server.state_of(&seat).await, "SOLD");
    }
    let mut body = paid_hall();
    body["cancellation"] = json!({"allowedUntil": "tomorrow", "fee": 1});
    server.put("hall", body).await.is(422, "INVALID_REQUEST");
}

async fn a_booking_without_an_order_is_taken_back(kind: Kind) {
    let server = TestServer::start(kind).await;
    let mut body = hall();
    body["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
    server.put("hall", body).await.ok(201);
    let ann = server.visitor(1);
    let wish = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 4});
    let held = server.post_as(&ann, "/api/v1/reservations", wish).await.ok(201);
    let id = held["reservationId"].as_str().unwrap();
    server.act(&ann, id, "confirm").await.ok(200);
    let answer = server.request(http::Method::DELETE, &format!("/api/v1/reservations/{id}")).bearer_auth(&ann.token);
    assert_eq!(crate::support::Ask::answer(answer).await.status, 204);
    let left = server.get("/api/v1/tickets/availability/standing?eventId=hall").await.ok(200);
    assert_eq!((&left["sold"], &left["available"]), (&json!(0), &json!(10)));
    server.act(&ann, id, "confirm").await.is(410, "HOLD_EXPIRED");
}
