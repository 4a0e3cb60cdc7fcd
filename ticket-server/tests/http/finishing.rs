//! Extending, cancelling, reading.

use queue_core::{ids::Millis, service::http::Method};
use serde_json::json;

use crate::{
    on_both,
    support::{Ask as _, Kind, TestServer},
};

on_both! {
    holds_are_extended_within_bounds;
    holds_are_cancelled;
    what_is_somebody_elses_is_not_found;
    holds_end_by_themselves;
    my_reservations;
}

fn end(answer: &serde_json::Value) -> Millis {
    answer["holdExpiresAt"].as_str().unwrap().parse().unwrap()
}

async fn holds_are_extended_within_bounds(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let held = server.reserve(&ann, &["A-1-1"]).await.ok(201);
    let path = format!("/api/v1/reservations/{}/extend", held["reservationId"].as_str().unwrap());
    server.post_as(&ann, &path, json!({"seconds": 0})).await.is(422, "INVALID_REQUEST");
    server.post_as(&ann, &path, json!({"minutes": 1})).await.is(422, "INVALID_REQUEST");
    server.post_as(&ann, &path, json!({"seconds": 601})).await.is(409, "EXTENSION_LIMIT");
    let once = server.post_as(&ann, &path, json!({"seconds": 60})).await.ok(200);
    assert_eq!(end(&once).0, end(&held).0 + 60_000);
    // Without a body: what is usual.
    let twice = server.request(Method::POST, &path).bearer_auth(&ann.token).answer().await.ok(200);
    assert_eq!(end(&twice).0, end(&held).0 + 360_000);
    server.post_as(&ann, &path, json!({"seconds": 1})).await.is(409, "EXTENSION_LIMIT");
}

async fn holds_are_cancelled(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    assert_eq!(server.act(&ann, &one, "cancel").await.ok(200)["state"], "CANCELLED");
    assert_eq!(server.act(&ann, &one, "cancel").await.ok(200)["state"], "CANCELLED");
    let delete = || server.request(Method::DELETE, &format!("/api/v1/reservations/{two}")).bearer_auth(&ann.token);
    assert_eq!(delete().answer().await.status, 204);
    assert_eq!(delete().answer().await.status, 204);
    assert_eq!((server.state_of("A-1-1").await, server.state_of("A-1-2").await), ("FREE".into(), "FREE".into()));
    server.act(&ann, &one, "confirm").await.is(410, "HOLD_EXPIRED");
    server.act(&ann, &one, "extend").await.is(410, "HOLD_EXPIRED");
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{one}")).await.ok(200)["state"], "CANCELLED");
    // The session goes on, and a booking is not given up like a hold.
    let three = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &three, "confirm").await.ok(200);
    server.act(&ann, &three, "cancel").await.is(409, "RESERVATION_NOT_HELD");
    server.act(&ann, &three, "extend").await.is(409, "RESERVATION_NOT_HELD");
}

async fn what_is_somebody_elses_is_not_found(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    for stage in ["held", "confirmed"] {
        for verb in ["extend", "confirm", "cancel"] {
            let answer = server.act(&bob, &id, verb).await;
            assert_eq!((answer.status, answer.code()), (404, "RESERVATION_NOT_FOUND"), "{verb} of what is {stage}");
        }
        for path in ["reservations", "seats/reservation"] {
            server.get_as(&bob, &format!("/api/v1/{path}/{id}")).await.is(404, "RESERVATION_NOT_FOUND");
        }
        server.act(&ann, &id, "confirm").await.ok(200);
    }
    for id in ["r_never", "a%20b", "x"] {
        server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.is(404, "RESERVATION_NOT_FOUND");
        server.act(&ann, id, "confirm").await.is(404, "RESERVATION_NOT_FOUND");
    }
    server.get(&format!("/api/v1/reservations/{id}")).await.is(401, "ACTIVE_TOKEN_REQUIRED");
}

/// The shortest hold there is, and half a second more than it may take to be free.
async fn holds_end_by_themselves(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    let body = json!({"eventId": "hall", "seatIds": ["A-1-1"], "holdSeconds": 10});
    let held = server.post_as(&ann, "/api/v1/seats/reserve", body).await.ok(201);
    let id = held["reservationId"].as_str().unwrap().to_owned();
    server.await_state("A-1-1", "FREE").await;
    let late = crate::support::now().0.saturating_sub(end(&held).0);
    assert!(crate::support::now() >= end(&held), "not before its end");
    assert!(late <= 1_500, "free {late} ms after its end");
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200)["state"], "EXPIRED");
    for verb in ["confirm", "extend", "cancel"] {
        server.act(&ann, &id, verb).await.is(410, "HOLD_EXPIRED");
    }
    server.hold(&server.visitor(2), &["A-1-1"]).await;
}

async fn my_reservations(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    assert_eq!(server.get_as(&ann, "/api/v1/reservations/my").await.ok(200), json!({"items": []}));
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    let gone = server.hold(&ann, &["A-1-3"]).await;
    server.hold(&server.visitor(2), &["A-1-4"]).await;
    server.act(&ann, &gone, "cancel").await.ok(200);
    server.act(&ann, &one, "confirm").await.ok(200);
    let mine = server.get_as(&ann, "/api/v1/reservations/my").await.ok(200);
    let items = mine["items"].as_array().unwrap();
    let states: std::collections::BTreeMap<_, _> =
        items.iter().map(|item| (item["reservationId"].as_str().unwrap(), item["state"].as_str().unwrap())).collect();
    assert_eq!(states, [(one.as_str(), "CONFIRMED"), (two.as_str(), "HELD")].into());
}
