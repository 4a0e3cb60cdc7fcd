//! Who may do what.

use queue_core::service::http::Method;
use serde_json::json;

use crate::support::{Ask as _, Kind, TestServer, eventually};

#[tokio::test]
async fn tokens_come_before_all_else() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let reserve = || server.request(Method::POST, "/api/v1/seats/reserve");
    reserve().answer().await.is(401, "ACTIVE_TOKEN_REQUIRED");
    reserve().json(&json!({})).answer().await.is(401, "ACTIVE_TOKEN_REQUIRED");
    for bad in ["x", "a.b.c", &"x".repeat(5_000)] {
        reserve().bearer_auth(bad).json(&json!({})).answer().await.is(401, "ACTIVE_TOKEN_INVALID");
    }
    let mut forged = server.visitor(1).token;
    forged.replace_range(forged.len() - 4.., "AAAA");
    reserve().bearer_auth(&forged).json(&json!({})).answer().await.is(401, "ACTIVE_TOKEN_INVALID");
    let over = server.visitor_of("hall", 2, -60_000);
    // The session comes after body and event.
    reserve().bearer_auth(&over.token).json(&json!({})).answer().await.is(422, "INVALID_REQUEST");
    let body = json!({"eventId": "elsewhere", "seatIds": ["A-1-1"]});
    server.post_as(&over, "/api/v1/seats/reserve", body).await.is(403, "WRONG_EVENT");
    server.reserve(&over, &["A-1-1", "A-1-1"]).await.is(422, "INVALID_REQUEST");
    server.reserve(&over, &["A-1-1"]).await.is(403, "SESSION_ENDED");
    let other = server.visitor_of("elsewhere", 3, 60_000);
    reserve().bearer_auth(&other.token).json(&json!({"x": 1})).answer().await.is(422, "INVALID_REQUEST");
    server.reserve(&other, &["A-1-1"]).await.is(403, "WRONG_EVENT");
    let body = json!({"eventId": "elsewhere", "seatIds": ["A-1-1"]});
    server.post_as(&other, "/api/v1/seats/reserve", body).await.is(404, "EVENT_NOT_FOUND");
    // The skew that is allowed.
    let just_over = server.visitor_of("hall", 4, -2_000);
    server.reserve(&just_over, &["A-1-1"]).await.ok(201);
}

#[tokio::test]
async fn cookies_need_an_allowed_origin() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let ann = server.visitor(1);
    let cookie = format!("other=1; usher_active.hall={}", ann.token);
    let reserve = |seat: &str| {
        let request = server.request(Method::POST, "/api/v1/seats/reserve").header("cookie", &cookie);
        request.json(&json!({"eventId": "hall", "seatIds": [seat]}))
    };
    reserve("A-1-1").answer().await.is(403, "ORIGIN_NOT_ALLOWED");
    reserve("A-1-1").header("origin", "https://evil.example").answer().await.is(403, "ORIGIN_NOT_ALLOWED");
    let held = reserve("A-1-1").header("origin", "https://shop.example").answer().await.ok(201);
    reserve("A-1-2").header("origin", &server.url).answer().await.ok(201);
    let id = held["reservationId"].as_str().unwrap();
    let read = server.request(Method::GET, &format!("/api/v1/reservations/{id}")).header("cookie", &cookie);
    assert_eq!(read.answer().await.ok(200)["state"], "HELD");
    let cancel = server.request(Method::POST, &format!("/api/v1/reservations/{id}/cancel")).header("cookie", &cookie);
    cancel.answer().await.is(403, "ORIGIN_NOT_ALLOWED");
    let elsewhere = format!("usher_active.elsewhere={}", server.visitor_of("elsewhere", 2, 60_000).token);
    let request = server.request(Method::POST, "/api/v1/seats/reserve").header("cookie", elsewhere);
    let request = request.header("origin", &server.url).json(&json!({"eventId": "hall", "seatIds": ["A-1-5"]}));
    request.answer().await.is(401, "ACTIVE_TOKEN_REQUIRED");
}

#[tokio::test]
async fn cookies_of_two_events_find_the_right_one() {
    let server = TestServer::with_hall(Kind::Memory).await;
    server.put("second", crate::support::hall()).await.ok(201);
    let (here, there) = (server.visitor(1), server.visitor_of("second", 2, 60_000));
    let id = server.hold(&here, &["A-1-1"]).await;
    let cookies = format!("usher_active.second={}; usher_active.hall={}", there.token, here.token);
    let read = |path: String| server.request(Method::GET, &path).header("cookie", &cookies);
    assert_eq!(read(format!("/api/v1/reservations/{id}")).answer().await.ok(200)["state"], "HELD");
    let mine = read("/api/v1/reservations/my".into()).answer().await.ok(200);
    assert_eq!(mine["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn finishing_and_reading_outlive_the_session() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let over = server.visitor_of("hall", 1, -60_000);
    assert_eq!(server.get_as(&over, &format!("/api/v1/reservations/{id}")).await.ok(200)["state"], "HELD");
    server.reserve(&over, &["A-1-2"]).await.is(403, "SESSION_ENDED");
    server.act(&over, &id, "extend").await.ok(200);
    assert_eq!(server.act(&over, &id, "confirm").await.ok(200)["state"], "CONFIRMED");
    let long_over = server.visitor_of("hall", 1, -25 * 3_600_000);
    server.get_as(&long_over, &format!("/api/v1/reservations/{id}")).await.is(403, "SESSION_ENDED");
}

#[tokio::test]
async fn keys_may_come_later_than_tokens() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let keys = server.folder.path().join("jwks.json");
    let hidden = server.folder.path().join("hidden.json");
    std::fs::rename(&keys, &hidden).unwrap();
    let ann = server.visitor(1);
    let path = "/api/v1/reservations/my";
    let refused = server.get_as(&ann, path).await.is(503, "KEYS_UNAVAILABLE");
    assert!(refused.headers.contains_key("retry-after"));
    std::fs::rename(&hidden, &keys).unwrap();
    eventually("keys", async || (server.get_as(&ann, path).await.status == 200).then_some(())).await;
}
