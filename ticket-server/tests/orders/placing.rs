//! Placing orders: the key, the body, whose it is, and what is answered.

use http::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    provider::{order, order_with, paid_server, read, steps},
    support::{Ask as _, Kind, eventually},
};

on_both! {
    an_order_books_and_is_answered_again;
    a_key_stands_for_one_request;
    of_many_at_once_one_books;
    what_is_wrong_is_refused;
    orders_are_their_buyers_alone;
    tickets_without_seats_are_ordered;
    a_session_closes_after_its_order;
    the_history_tells_what_happened;
}

async fn an_order_books_and_is_answered_again(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1", "A-1-2"]).await;
    server.act(&ann, &id, "confirm").await.is(402, "PAYMENT_REQUIRED");
    let first = order(&server, &ann, "k1", &id, "simulated").await;
    let location = first.headers["location"].to_str().unwrap().to_owned();
    let first = first.ok(201);
    assert_eq!((&first["state"], &first["reservationId"]), (&json!("CONFIRMED"), &json!(id)));
    assert_eq!((&first["totalMinor"], &first["currency"]), (&json!(10_000), &json!("EUR")));
    assert_eq!(first["seatIds"], json!(["A-1-1", "A-1-2"]));
    assert_eq!(location, format!("/api/v1/orders/{}", first["orderId"].as_str().unwrap()));
    let done = ["PIN", "AUTHORIZE", "CONFIRM", "CAPTURE"].map(|step| (step.to_owned(), "DONE".to_owned()));
    assert_eq!(steps(&first), done);
    assert_eq!(order(&server, &ann, "k1", &id, "simulated").await.ok(201), first);
    let shown = server.get_as(&ann, &location).await.ok(200);
    assert_eq!((&shown["state"], &shown["steps"]), (&first["state"], &first["steps"]));
    let reservation = server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200);
    assert_eq!(reservation["state"], "CONFIRMED");
    assert_eq!(server.act(&ann, &id, "confirm").await.ok(200), reservation);
    assert_eq!(server.state_of("A-1-2").await, "SOLD");
    order(&server, &ann, "k2", &id, "simulated").await.is(409, "RESERVATION_NOT_HELD");
    // Another server, after a restart.
    let server = server.restart().await;
    assert_eq!(order(&server, &ann, "k1", &id, "simulated").await.ok(201), first);
    let metrics = server.ops_get("/metrics").await;
    assert!(metrics.contains("usher_ticket_orders_total{outcome=\"confirmed\"}"), "{metrics}");
}

async fn a_key_stands_for_one_request(kind: Kind) {
    let server = paid_server(kind, &["--simulated-payments=decline=1"]).await;
    let ann = server.visitor(1);
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    let first = order(&server, &ann, "k", &one, "simulated").await.is(402, "PAYMENT_DECLINED");
    let again = order(&server, &ann, "k", &one, "simulated").await.is(402, "PAYMENT_DECLINED");
    assert_eq!(again.json, first.json, "its trace included");
    order(&server, &ann, "k", &two, "simulated").await.is(422, "IDEMPOTENCY_KEY_REUSED");
    let other = json!({"reservationId": one, "payment": {"method": "simulated", "token": "t"}});
    order_with(&server, &ann, "k", other).await.is(422, "IDEMPOTENCY_KEY_REUSED");
    // The same key of somebody else is another key.
    let bob = server.visitor(2);
    let three = server.hold(&bob, &["A-2-1"]).await;
    let refused = order(&server, &bob, "k", &three, "simulated").await.is(402, "PAYMENT_DECLINED");
    assert_ne!(refused.json["details"]["orderId"], first.json["details"]["orderId"]);
    // The hold is there for another try, and can be given up.
    let failed = read(&server, &ann, &first.json["details"]).await;
    assert_eq!((&failed["state"], &failed["failure"]), (&json!("FAILED"), &json!("PAYMENT_DECLINED")));
    assert_eq!(steps(&failed)[1], ("AUTHORIZE".to_owned(), "FAILED".to_owned()));
    order(&server, &ann, "k3", &one, "simulated").await.is(402, "PAYMENT_DECLINED");
    assert_eq!(server.act(&ann, &one, "extend").await.ok(200)["state"], "HELD");
    assert_eq!(server.act(&ann, &one, "cancel").await.ok(200)["state"], "CANCELLED");
    order(&server, &ann, "k4", &one, "simulated").await.is(410, "HOLD_EXPIRED");
}

async fn of_many_at_once_one_books(kind: Kind) {
    let server = paid_server(kind, &["--simulated-payments=delay=200"]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let same = (0..4).map(|_| order(&server, &ann, "same", &id, "simulated"));
    let keys: Vec<_> = (0..4).map(|n| format!("k{n}")).collect();
    let others = keys.iter().map(|key| order(&server, &ann, key, &id, "simulated"));
    let (same, others) = tokio::join!(futures_util::future::join_all(same), futures_util::future::join_all(others));
    let all: Vec<_> = same.into_iter().chain(others).collect();
    let booked = all.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(booked, 1, "{all:?}");
    assert!(all.iter().all(|answer| answer.status == 201 || answer.code() == "ORDER_IN_PROGRESS"), "{all:?}");
    let metrics = server.ops_get("/metrics").await;
    assert!(metrics.contains("usher_ticket_bookings_total 1"), "{metrics}");
}

async fn what_is_wrong_is_refused(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let body = json!({"reservationId": id, "payment": {"method": "simulated"}});
    server.request(Method::POST, "/api/v1/orders").json(&body).answer().await.is(401, "ACTIVE_TOKEN_REQUIRED");
    server.post_as(&ann, "/api/v1/orders", body.clone()).await.is(400, "IDEMPOTENCY_KEY_REQUIRED");
    for bad in ["", &"k".repeat(256), "tab\tin it"] {
        order_with(&server, &ann, bad, body.clone()).await.is(400, "IDEMPOTENCY_KEY_REQUIRED");
    }
    let twice = server.request(Method::POST, "/api/v1/orders").bearer_auth(&ann.token).json(&body);
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "b");
    twice.answer().await.is(400, "IDEMPOTENCY_KEY_REQUIRED");
    for (bad, field) in [
        (json!({}), "reservationId"),
        (json!({"reservationId": id}), "payment"),
        (json!({"reservationId": id, "payment": "simulated"}), "payment"),
        (json!({"reservationId": id, "payment": {}}), "payment.method"),
        (json!({"reservationId": id, "payment": {"method": "gold"}}), "payment.method"),
        (json!({"reservationId": id, "payment": {"method": "simulated", "pin": 1}}), "payment.pin"),
        (json!({"reservationId": id, "payment": {"method": "card", "token": "t".repeat(600)}}), "payment.token"),
        (json!({"reservationId": id, "payment": {"method": "balance", "token": "t"}}), "payment.token"),
        (json!({"reservationId": "../x", "payment": {"method": "simulated"}}), "reservationId"),
        (json!({"reservationId": id, "payment": {"method": "simulated"}, "price": 1}), "price"),
    ] {
        let answer = order_with(&server, &ann, "k", bad.clone()).await.is(422, "INVALID_REQUEST");
        assert_eq!(answer.json["details"]["field"], field, "{bad}");
    }
    order(&server, &ann, "k", "r_nothing", "simulated").await.is(404, "RESERVATION_NOT_FOUND");
    // Nothing of that has used the key up.
    order(&server, &ann, "k", &id, "simulated").await.ok(201);
    server.get_as(&ann, "/api/v1/orders/o_nothing").await.is(404, "ORDER_NOT_FOUND");
    server.get_as(&ann, "/api/v1/orders/..%2F").await.is(404, "ORDER_NOT_FOUND");
}

async fn orders_are_their_buyers_alone(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    order(&server, &bob, "k", &id, "simulated").await.is(404, "RESERVATION_NOT_FOUND");
    let booked = order(&server, &ann, "k", &id, "simulated").await.ok(201);
    let path = format!("/api/v1/orders/{}", booked["orderId"].as_str().unwrap());
    server.get_as(&bob, &path).await.is(404, "ORDER_NOT_FOUND");
    server.get(&path).await.is(401, "ACTIVE_TOKEN_REQUIRED");
    server.get_as(&bob, &format!("/api/v1/reservations/{id}/history")).await.is(404, "RESERVATION_NOT_FOUND");
    // Whose session is over may finish and read.
    let late = server.visitor_of("hall", 1, -60_000);
    server.get_as(&late, &path).await.ok(200);
    assert_eq!(order(&server, &late, "k", &id, "simulated").await.ok(201), booked);
}

async fn tickets_without_seats_are_ordered(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let ann = server.visitor(1);
    let wish = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 3});
    let held = server.post_as(&ann, "/api/v1/reservations", wish).await.ok(201);
    let booked = order(&server, &ann, "k", held["reservationId"].as_str().unwrap(), "card").await.ok(201);
    assert_eq!((&booked["ticketTypeId"], &booked["quantity"]), (&json!("standing"), &json!(3)));
    let left = server.get("/api/v1/tickets/availability/standing?eventId=hall").await.ok(200);
    assert_eq!((&left["sold"], &left["held"]), (&json!(3), &json!(0)));
}

/// A running order is something open; a settled one is a booking.
async fn a_session_closes_after_its_order(kind: Kind) {
    let server = paid_server(kind, &["--simulated-payments=delay=1500"]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let told = async || -> Vec<Value> {
        match &server.queue_store {
            None => server.queue.done(),
            Some(redis) => {
                let text = redis.cli(&["XRANGE", "usher:booking-done:log", "-", "+"]);
                let lines = text.lines().filter(|line| line.starts_with('{'));
                lines.map(|line| serde_json::from_str(line).unwrap()).collect()
            }
        }
    };
    let running = async {
        // The booking is written, the money not taken yet.
        eventually("the confirmation", async || {
            let history = server.get_as(&ann, &format!("/api/v1/reservations/{id}/history")).await.ok(200);
            let items = history["items"].as_array().unwrap().clone();
            items.iter().any(|item| item["type"] == "CONFIRMED").then_some(())
        })
        .await;
        assert!(told().await.is_empty(), "the session is open while its order runs");
    };
    let (answer, ()) = tokio::join!(order(&server, &ann, "k", &id, "simulated"), running);
    answer.ok(201);
    let told = eventually("BOOKING_DONE", async || told().await.into_iter().next()).await;
    assert_eq!((&told["reservationId"], &told["jti"]), (&json!(id), &json!(ann.jti.to_string())));
    server.reserve(&ann, &["A-1-2"]).await.is(403, "SESSION_ENDED");
}

async fn the_history_tells_what_happened(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let kinds = async || -> Vec<String> {
        let history = server.get_as(&ann, &format!("/api/v1/reservations/{id}/history")).await.ok(200);
        let items = history["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds().await, ["HELD"]);
    server.act(&ann, &id, "extend").await.ok(200);
    eventually("the extension", async || (kinds().await == ["HELD", "EXTENDED"]).then_some(())).await;
    order(&server, &ann, "k", &id, "simulated").await.ok(201);
    let told = kinds().await;
    assert_eq!(told, ["HELD", "EXTENDED", "PAYMENT_AUTHORIZED", "CONFIRMED", "CAPTURED"]);
    // Without an order.
    server.put("hall", crate::support::hall()).await.ok(200);
    let bob = server.visitor(2);
    let id = server.hold(&bob, &["A-2-1"]).await;
    server.act(&bob, &id, "confirm").await.ok(200);
    let history = server.get_as(&bob, &format!("/api/v1/reservations/{id}/history")).await.ok(200);
    let kinds: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
    assert_eq!(kinds, ["HELD", "CONFIRMED"]);
}

/// The visitor leaves while the payment runs, and it is declined.
#[tokio::test]
async fn who_gave_up_meanwhile_holds_nothing() {
    let server = paid_server(Kind::Memory, &["--simulated-payments=delay=1500,decline=1"]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let leaving = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        server.queue.end(&ann, "LEFT");
    };
    let (answer, ()) = tokio::join!(order(&server, &ann, "k", &id, "simulated"), leaving);
    answer.is(402, "PAYMENT_DECLINED");
    server.await_state("A-1-1", "FREE").await;
}
