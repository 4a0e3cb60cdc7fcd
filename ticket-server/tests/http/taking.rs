//! Taking seats and tickets.

use std::sync::Arc;

use queue_core::service::http::Method;
use serde_json::json;

use crate::{
    on_both,
    support::{Ask as _, Kind, TestServer, now},
};

on_both! {
    seats_are_held_all_or_none;
    bodies_are_checked;
    the_limit_holds;
    tickets_without_seats;
    the_best_seats;
    a_refusal_says_which_seat_and_why;
    a_rush_sells_no_seat_twice;
}

async fn seats_are_held_all_or_none(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let answer = server.reserve(&ann, &["A-1-1", "A-1-2"]).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let held = answer.ok(201);
    let id = held["reservationId"].as_str().unwrap();
    assert_eq!(location, format!("/api/v1/reservations/{id}"));
    assert_eq!(held["seatIds"], json!(["A-1-1", "A-1-2"]));
    assert_eq!((&held["eventId"], &held["visitorId"], &held["state"]), (&json!("hall"), &json!("a_1"), &json!("HELD")));
    assert_eq!((&held["totalMinor"], &held["currency"]), (&json!(10000), &json!("EUR")));
    let expires: queue_core::ids::Millis = held["holdExpiresAt"].as_str().unwrap().parse().unwrap();
    assert!((290_000..=310_000).contains(&expires.since(now())), "{expires}");

    let refused = server.reserve(&bob, &["A-1-3", "A-1-2"]).await.is(409, "SEAT_TAKEN");
    assert_eq!(refused.json["details"], json!({"seatIds": ["A-1-2"]}));
    assert_eq!(server.state_of("A-1-3").await, "FREE");
    assert_eq!(server.state_of("A-1-2").await, "HELD");
    let missing = server.reserve(&bob, &["A-1-3", "Z-9-9"]).await.is(404, "SEAT_NOT_FOUND");
    assert_eq!(missing.json["details"]["seatIds"], json!(["Z-9-9"]));
}

async fn bodies_are_checked(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let post = |body: &str| {
        let request = server.request(Method::POST, "/api/v1/seats/reserve").bearer_auth(&ann.token);
        request.header("content-type", "application/json").body(body.to_owned())
    };
    for (body, field) in [
        (r#"{"seatIds":["A-1-1"]}"#, "eventId"),
        (r#"{"eventId":"hall"}"#, "seatIds"),
        (r#"{"eventId":"hall","seatIds":[]}"#, "seatIds"),
        (r#"{"eventId":"hall","seatIds":"A-1-1"}"#, "seatIds"),
        (r#"{"eventId":"hall","seatIds":["A-1-1","A-1-1"]}"#, "seatIds"),
        (r#"{"eventId":"hall","seatIds":["1","2","3","4","5","6","7","8","9"]}"#, "seatIds"),
        (r#"{"eventId":"hall","seatIds":["A 1"]}"#, "seatIds"),
        (r#"{"eventId":"a/b","seatIds":["A-1-1"]}"#, "eventId"),
        (r#"{"eventId":"hall","seatIds":["A-1-1"],"holdSeconds":9}"#, "holdSeconds"),
        (r#"{"eventId":"hall","seatIds":["A-1-1"],"holdSeconds":901}"#, "holdSeconds"),
        (r#"{"eventId":"hall","seatIds":["A-1-1"],"other":1}"#, "other"),
        (r#"[]"#, ""),
    ] {
        let answer = post(body).answer().await.is(422, "INVALID_REQUEST");
        assert_eq!(answer.json["details"]["field"], field, "{body}");
    }
    post("{").answer().await.is(400, "MALFORMED_BODY");
    let untyped = server.request(Method::POST, "/api/v1/seats/reserve").bearer_auth(&ann.token).body("{}");
    untyped.answer().await.is(415, "UNSUPPORTED_MEDIA_TYPE");
    post(&format!("{{\"eventId\":\"{}\"}}", "x".repeat(20_000))).answer().await.is(413, "BODY_TOO_LARGE");
    let held = post(r#"{"eventId":"hall","seatIds":["A-1-1"],"holdSeconds":20}"#).answer().await.ok(201);
    let expires: queue_core::ids::Millis = held["holdExpiresAt"].as_str().unwrap().parse().unwrap();
    assert!(expires.since(now()) <= 21_000);
}

async fn the_limit_holds(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    server.hold(&ann, &["A-1-1", "A-1-2", "A-1-3"]).await;
    let refused = server.reserve(&ann, &["A-1-4", "A-1-5"]).await.is(409, "LIMIT_EXCEEDED");
    assert_eq!(refused.json["details"]["maxSeatsPerVisitor"], 4);
    server.hold(&ann, &["A-1-4"]).await;
    let body = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 1});
    server.post_as(&ann, "/api/v1/reservations", body).await.is(409, "LIMIT_EXCEEDED");
}

async fn tickets_without_seats(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let wish = |quantity| json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": quantity});
    let held = server.post_as(&server.visitor(1), "/api/v1/reservations", wish(4)).await.ok(201);
    assert_eq!(
        (&held["ticketTypeId"], &held["quantity"], &held["totalMinor"]),
        (&json!("standing"), &json!(4), &json!(8000))
    );
    assert!(held.get("seatIds").is_none());
    server.post_as(&server.visitor(2), "/api/v1/reservations", wish(4)).await.ok(201);
    let refused = server.post_as(&server.visitor(3), "/api/v1/reservations", wish(3)).await.is(409, "SOLD_OUT");
    assert_eq!(refused.json["details"], json!({"available": 2, "quantity": 3}));
    let left = server.get("/api/v1/tickets/availability/standing?eventId=hall").await.ok(200);
    let expected =
        json!({"eventId": "hall", "ticketTypeId": "standing", "total": 10, "held": 8, "sold": 0, "available": 2});
    assert_eq!(left, expected);
    let unknown = json!({"eventId": "hall", "ticketTypeId": "vip", "quantity": 1});
    server.post_as(&server.visitor(3), "/api/v1/reservations", unknown).await.is(404, "TICKET_TYPE_NOT_FOUND");
    server.post_as(&server.visitor(3), "/api/v1/reservations", wish(0)).await.is(422, "INVALID_REQUEST");
}

/// Sixty visitors rush ten seats, each for two of them: whoever is told 200 has what nobody else has.
async fn a_rush_sells_no_seat_twice(kind: Kind) {
    let server = Arc::new(TestServer::with_hall(kind).await);
    let tasks: Vec<_> = (0..60)
        .map(|n: u64| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let visitor = server.visitor(n);
                let seat = |k: u64| format!("A-{}-{}", 1 + k % 10 / 5, 1 + k % 5);
                let (one, two) = (seat(n), seat(n + 1 + n % 3));
                let held = server.reserve(&visitor, &[&one, &two]).await;
                if held.status != 201 {
                    return Vec::new();
                }
                let id = held.json["reservationId"].as_str().unwrap().to_owned();
                let confirmed = server.act(&visitor, &id, "confirm").await;
                assert_eq!(confirmed.status, 200, "{confirmed:?}");
                vec![one, two]
            })
        })
        .collect();
    let mut sold = Vec::new();
    for task in tasks {
        sold.extend(task.await.unwrap());
    }
    let count = sold.len();
    assert!(count >= 2, "somebody gets something");
    sold.sort();
    sold.dedup();
    assert_eq!(sold.len(), count, "no seat was sold twice");
    let map = server.get("/api/v1/seats/events/hall").await.ok(200);
    let shown = map["seats"].as_array().unwrap().iter().filter(|seat| seat["state"] == "SOLD").count();
    assert_eq!(shown, count);
}

async fn the_best_seats(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let wish = |quantity, together| json!({"eventId": "hall", "ticketTypeId": "std", "quantity": quantity, "together": together});
    let hold = async |n, quantity, together| {
        server.post_as(&server.visitor(n), "/api/v1/reservations", wish(quantity, together)).await
    };
    let held = hold(1, 3, true).await.ok(201);
    assert_eq!(held["seatIds"], json!(["A-1-1", "A-1-2", "A-1-3"]));
    assert_eq!((&held["totalMinor"], &held["state"]), (&json!(15_000), &json!("HELD")));
    assert!(held.get("ticketTypeId").is_none(), "it is a reservation of seats");
    let held = hold(2, 1, true).await.ok(201);
    assert_eq!(held["seatIds"], json!(["A-2-1"]), "the first row would be left with a single seat");
    // 1-4 1-5 | 2-2 … 2-5
    assert_eq!(hold(3, 3, true).await.ok(201)["seatIds"], json!(["A-2-2", "A-2-3", "A-2-4"]));
    // 1-4 1-5 | 2-5
    let refused = hold(4, 3, true).await.is(409, "NOT_TOGETHER");
    assert_eq!(refused.json["details"], json!({"available": 3, "together": 2, "quantity": 3}));
    let refused = hold(4, 4, false).await.is(409, "SOLD_OUT");
    assert_eq!(refused.json["details"], json!({"available": 3, "quantity": 4}));
    assert_eq!(hold(4, 3, false).await.ok(201)["seatIds"], json!(["A-1-4", "A-1-5", "A-2-5"]));
    hold(5, 1, true).await.is(409, "SOLD_OUT");
    let many = hold(6, 9, true).await.is(422, "INVALID_REQUEST");
    assert_eq!(many.json["details"]["field"], "quantity");
    let odd = json!({"eventId": "hall", "ticketTypeId": "std", "quantity": 1, "together": "yes"});
    let odd = server.post_as(&server.visitor(7), "/api/v1/reservations", odd).await.is(422, "INVALID_REQUEST");
    assert_eq!(odd.json["details"]["field"], "together");
}

async fn a_refusal_says_which_seat_and_why(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let sold = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &sold, "confirm").await.ok(200);
    let held = server.hold(&server.visitor(3), &["A-1-3"]).await;
    let refused = server.reserve(&bob, &["A-1-3", "A-1-2", "A-1-1"]).await.is(409, "SEAT_TAKEN");
    assert_eq!(refused.json["details"], json!({"seatIds": ["A-1-3", "A-1-1"]}));
    assert_eq!(refused.json["message"], "Taken: A-1-3 is held, A-1-1 is sold.");
    server.hold(&bob, &["A-2-1", "A-2-2", "A-2-3"]).await;
    let refused = server.reserve(&bob, &["A-2-4", "A-2-5"]).await.is(409, "LIMIT_EXCEEDED");
    assert_eq!(refused.json["details"], json!({"limit": 4, "held": 3, "wanted": 2, "maxSeatsPerVisitor": 4}));
    let path = format!("/api/v1/reservations/{held}/extend");
    let refused = server.post_as(&server.visitor(3), &path, json!({"seconds": 900})).await.is(409, "EXTENSION_LIMIT");
    let details = json!({"extensions": 0, "extensionsMax": 2, "secondsLeft": 600, "holdSecondsMax": 900});
    assert_eq!(refused.json["details"], details);
}
