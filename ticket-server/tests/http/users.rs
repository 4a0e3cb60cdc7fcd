//! User tokens beside active ones: reading, cancelling and repeating, and nothing more.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq},
    service::http::Method,
    token::{active::ActiveGrant, user},
};
use serde_json::{Value, json};

use crate::support::{Ask as _, Kind, TestServer, Visitor, hall, now};

const ISSUER: &str = "https://id.example/";
const SECRET: &str = "a-secret-of-user-tokens-for-tests-only";

async fn start(kind: Kind) -> TestServer {
    let server = start_empty(kind).await;
    server.put("hall", hall()).await.ok(201);
    server.put("second", hall()).await.ok(201);
    server
}

async fn start_empty(kind: Kind) -> TestServer {
    TestServer::start_with(kind, |flags, folder| {
        let file = folder.join("user-secret");
        std::fs::write(&file, SECRET).unwrap();
        flags.push(format!("--user-hs256-file={}", file.display()));
        flags.extend([format!("--user-issuer={ISSUER}"), "--user-audience=tickets".to_owned()]);
    })
    .await
}

fn user_token(subject: &str) -> String {
    signed(&json!({"iss": ISSUER, "aud": "tickets", "sub": subject, "exp": now().0 / 1_000 + 300}))
}

fn signed(claims: &Value) -> String {
    let message = format!("{}.{}", B64.encode(r#"{"alg":"HS256","typ":"JWT"}"#), B64.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", B64.encode(tag.as_ref()))
}

/// The session of a user in the queue, as the queue would sign it.
fn session(server: &TestServer, subject: &str, event: &str) -> Visitor {
    let (id, event) = (user::visitor(ISSUER, subject), EventId::new(event).unwrap());
    let jti = Jti { generation: Generation(1), seq: Seq(7) };
    let (issued_at, expires_at) = (Millis(now().0 - 1_000), Millis(now().0 + 60_000));
    let grant = ActiveGrant { visitor: id.clone(), event: event.clone(), jti, issued_at, expires_at };
    Visitor { id, event, jti, token: server.sign(&grant) }
}

async fn read_and_cancel(kind: Kind) {
    let server = start(kind).await;
    let ann = session(&server, "ann", "hall");
    let (kept, given_up) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    let as_user = |method: Method, path: String, subject: &str| {
        server.request(method, &path).bearer_auth(user_token(subject)).answer()
    };
    let at = |id: &str| format!("/api/v1/reservations/{id}");

    assert_eq!(as_user(Method::GET, at(&kept), "ann").await.ok(200)["state"], "HELD");
    as_user(Method::GET, at(&kept), "bob").await.is(404, "RESERVATION_NOT_FOUND");
    for path in ["/api/v1/reservations/my", "/api/v1/reservations/my?eventId=hall"] {
        let mine = as_user(Method::GET, path.to_owned(), "ann").await.ok(200);
        assert_eq!(mine["items"].as_array().unwrap().len(), 2, "{path}");
    }
    for (path, who) in [("/api/v1/reservations/my?eventId=second", "ann"), ("/api/v1/reservations/my", "bob")] {
        assert_eq!(as_user(Method::GET, path.to_owned(), who).await.ok(200)["items"], json!([]), "{path}");
    }

    // Finishing needs the session's token; repeating what is finished does not.
    as_user(Method::POST, at(&kept) + "/confirm", "ann").await.is(401, "ACTIVE_TOKEN_REQUIRED");
    let confirmed = server.act(&ann, &kept, "confirm").await.ok(200);
    assert_eq!(as_user(Method::POST, at(&kept) + "/confirm", "ann").await.ok(200), confirmed);
    as_user(Method::POST, at(&kept) + "/confirm", "bob").await.is(404, "RESERVATION_NOT_FOUND");

    as_user(Method::POST, at(&given_up) + "/cancel", "bob").await.is(404, "RESERVATION_NOT_FOUND");
    assert_eq!(as_user(Method::POST, at(&given_up) + "/cancel", "ann").await.ok(200)["state"], "CANCELLED");
    server.await_state("A-1-2", "FREE").await;
}

/// The event was made by a server that shares nothing but the ledger.
#[tokio::test]
async fn a_booking_of_another_server_is_found() {
    let mut server = start_empty(Kind::Memory).await;
    let first = (server.url.clone(), server.ops.clone());
    let first_life = server.move_to_second().await;
    let second = (std::mem::replace(&mut server.url, first.0), std::mem::replace(&mut server.ops, first.1));
    server.put("hall", hall()).await.ok(201);
    let ann = session(&server, "ann", "hall");
    let id = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &id, "confirm").await.ok(200);
    (server.url, server.ops) = second;
    let read = |subject: &str| {
        let request = server.request(Method::GET, &format!("/api/v1/reservations/{id}"));
        request.bearer_auth(user_token(subject)).answer()
    };
    assert_eq!(read("ann").await.ok(200)["state"], "CONFIRMED");
    read("bob").await.is(404, "RESERVATION_NOT_FOUND");
    first_life.shut_down();
}

#[tokio::test]
async fn a_user_token_takes_and_extends_nothing() {
    let server = start(Kind::Memory).await;
    let ann = session(&server, "ann", "hall");
    let id = server.hold(&ann, &["A-1-1"]).await;
    let token = user_token("ann");
    let post = |path: &str, body: Value| server.request(Method::POST, path).bearer_auth(&token).json(&body).answer();
    let seats = json!({"eventId": "hall", "seatIds": ["A-1-2"]});
    post("/api/v1/seats/reserve", seats).await.is(401, "ACTIVE_TOKEN_INVALID");
    post(&format!("/api/v1/reservations/{id}/extend"), json!({})).await.is(401, "ACTIVE_TOKEN_INVALID");
}

#[tokio::test]
async fn bad_user_tokens_read_nothing() {
    let server = start(Kind::Memory).await;
    let expired = json!({"iss": ISSUER, "aud": "tickets", "sub": "ann", "exp": now().0 / 1_000 - 60});
    let other = json!({"iss": ISSUER, "aud": "queue", "sub": "ann", "exp": now().0 / 1_000 + 60});
    for claims in [expired, other] {
        let request = server.request(Method::GET, "/api/v1/reservations/my").bearer_auth(signed(&claims));
        request.answer().await.is(401, "USER_TOKEN_INVALID");
    }
    // Without the settings there are none.
    let plain = TestServer::with_hall(Kind::Memory).await;
    let request = plain.request(Method::GET, "/api/v1/reservations/my").bearer_auth(user_token("ann"));
    request.answer().await.is(401, "ACTIVE_TOKEN_INVALID");
}

crate::on_both! {
    read_and_cancel;
}
