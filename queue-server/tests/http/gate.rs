//! The gate for reverse proxies.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    token::{
        active::{ActiveGrant, ActiveSigner},
        keys::SigningKey,
    },
};
use queue_server::clock;
use reqwest::{
    Method,
    header::{ACCEPT, COOKIE},
};
use serde_json::{Value, json};

use super::support::{Answer, Ask, TestServer, capacity, eventually, text};

const GATE: &str = "/api/v1/queue/verify?event=faults";

async fn with_bearer(server: &TestServer, token: &str) -> Answer {
    server.get(GATE).bearer_auth(token).answer().await
}

/// The claims of a token, unchecked.
fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn who_has_a_live_session_passes() {
    let server = TestServer::with_event("faults", capacity(2)).await;
    let status = server.join("faults").await;
    let token = text(&status["activeToken"]);
    let answers = [
        with_bearer(&server, token).await,
        server.get(GATE).header(COOKIE, format!("a=b; usher_active.faults={token}")).answer().await,
        // The site behind the gate has its own bearer tokens.
        server.get(GATE).bearer_auth("theirs").header(COOKIE, format!("usher_active.faults={token}")).answer().await,
        with_bearer(&server, token).await,
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        assert_eq!(answer.header("x-usher-visitor"), text(&claims(token)["sub"]));
        assert_eq!(answer.header("x-usher-event"), "faults");
    }
    let head = server.request(Method::HEAD, GATE).bearer_auth(token).answer().await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn whoever_else_does_not() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.configure("other", capacity(1)).await;
    let other = server.join("other").await;
    let active = server.join("faults").await;
    let waiting = server.join("faults").await;
    assert_eq!(server.get(GATE).answer().await.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"));
    for bad in ["junk", text(&other["activeToken"]), text(&active["placeToken"]), text(&waiting["placeToken"])] {
        let answer = with_bearer(&server, bad).await;
        assert_eq!(answer.refusal(), (401, "ACTIVE_TOKEN_INVALID"), "{bad}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert_eq!(answer.header("x-usher-visitor"), "");
        let answer = server.get(GATE).header(COOKIE, format!("usher_active.faults={bad}")).answer().await;
        assert_eq!(answer.refusal(), (401, "ACTIVE_TOKEN_INVALID"), "{bad}");
    }
    let elsewhere = server.get(GATE).header(COOKIE, format!("usher_active.other={}", text(&active["activeToken"])));
    assert_eq!(elsewhere.answer().await.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"), "another event's cookie");
}

#[tokio::test]
async fn the_end_of_a_session_is_known_soon() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let status = server.join("faults").await;
    let token = text(&status["activeToken"]);
    assert_eq!(with_bearer(&server, token).await.status, 200);
    assert_eq!(server.post("release", "faults").bearer_auth(token).answer().await.status, 204);
    let refused = eventually("401 after the release", async || {
        Some(with_bearer(&server, token).await).filter(|answer| answer.status != 200)
    });
    assert_eq!(refused.await.refusal(), (401, "ACTIVE_TOKEN_INVALID"));
}

#[tokio::test]
async fn only_tokens_of_our_making_count() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let status = server.join("faults").await;
    let token = text(&status["activeToken"]);
    let said = claims(token);
    let grant = ActiveGrant {
        visitor: VisitorId::new(text(&said["sub"])).unwrap(),
        event: EventId::new("faults").unwrap(),
        jti: text(&said["jti"]).parse().unwrap(),
        issued_at: Millis(said["iat"].as_u64().unwrap() * 1000),
        expires_at: Millis(said["exp"].as_u64().unwrap() * 1000),
    };
    let key = server.signing_keys().signer;
    let ours = ActiveSigner::new("usher", "tickets", key.clone());
    assert_eq!(ours.sign(&grant), token, "we can make what the server makes");
    let now = clock::now();
    let stranger = SigningKey::from_seed(&[9; 32]).unwrap();
    let unknown = Jti { generation: Generation(1), seq: Seq(1) };
    let somebody = VisitorId::anonymous([7; 16]);
    let parts: Vec<&str> = token.split('.').collect();
    let header = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = header(json!({"alg": "none", "typ": "active+jwt", "kid": key.public().kid()}));
    let hmac = header(json!({"alg": "HS256", "typ": "active+jwt", "kid": key.public().kid()}));
    for (what, token) in [
        ("another key", ActiveSigner::new("usher", "tickets", stranger).sign(&grant)),
        ("another issuer", ActiveSigner::new("else", "tickets", key.clone()).sign(&grant)),
        ("another audience", ActiveSigner::new("usher", "else", key.clone()).sign(&grant)),
        ("expired", ours.sign(&ActiveGrant { expires_at: Millis(now.0 - 7_000), ..grant.clone() })),
        ("not valid yet", ours.sign(&ActiveGrant { issued_at: now.plus(60_000), ..grant.clone() })),
        ("no such session", ours.sign(&ActiveGrant { jti: unknown, ..grant.clone() })),
        ("somebody else's session", ours.sign(&ActiveGrant { visitor: somebody, ..grant.clone() })),
        ("unsigned", format!("{none}.{}.", parts[1])),
        ("another algorithm", format!("{hmac}.{}.{}", parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("too long", "x".repeat(5_000)),
    ] {
        assert_eq!(with_bearer(&server, &token).await.refusal(), (401, "ACTIVE_TOKEN_INVALID"), "{what}");
    }
    assert_eq!(with_bearer(&server, token).await.status, 200, "the true one still passes");
}

#[tokio::test]
async fn the_event_must_be_named() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    for query in ["", "?", "?event", "?event=", "?evnt=faults"] {
        let answer = server.get(&format!("/api/v1/queue/verify{query}")).answer().await;
        assert_eq!(answer.refusal(), (400, "EVENT_REQUIRED"), "{query}");
    }
    for query in ["?event=-x", "?event=a%2Fb", "?event=a+b"] {
        let answer = server.get(&format!("/api/v1/queue/verify{query}")).answer().await;
        assert_eq!(answer.refusal(), (422, "INVALID_REQUEST"), "{query}");
        assert_eq!(answer.json["details"]["field"], "event");
    }
    let answer = server.get("/api/v1/queue/verify?event=nobody-made-it").answer().await;
    assert_eq!(answer.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"));
}

#[tokio::test]
async fn who_asks_for_it_is_sent_to_the_waiting_page() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let token = text(&server.join("faults").await["activeToken"]).to_owned();
    for request in [server.get(GATE), server.get(GATE).bearer_auth("junk")] {
        let url = request.build().unwrap().url().to_string();
        let path = url.strip_prefix(&server.url).unwrap();
        let answer = server.get(&format!("{path}&redirect=1")).answer().await;
        assert_eq!((answer.status, answer.header("location")), (302, "/wait/faults"));
    }
    let redirecting = format!("{GATE}&redirect=1");
    assert_eq!(server.get(&redirecting).bearer_auth(&token).answer().await.status, 200);
    assert_eq!(server.get(&format!("{GATE}&redirect=0")).answer().await.status, 401);
    let odd = server.get(&format!("{GATE}&redirect=yes")).answer().await;
    assert_eq!(odd.refusal(), (422, "INVALID_REQUEST"));
    let no_event = server.get("/api/v1/queue/verify?redirect=1").answer().await;
    assert_eq!(no_event.refusal(), (400, "EVENT_REQUIRED"));
}

#[tokio::test]
async fn redirects_from_other_sites_need_the_public_address() {
    let server = TestServer::start_with(&["--queue-url=https://queue.example/"]).await;
    let answer = server.get(&format!("{GATE}&redirect=1")).answer().await;
    assert_eq!(answer.header("location"), "https://queue.example/wait/faults");
}

#[tokio::test]
async fn whatever_is_guarded_may_have_any_method() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let status = server.join("faults").await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let pass = server.request(method.clone(), GATE).bearer_auth(text(&status["activeToken"])).answer().await;
        assert_eq!((pass.status, pass.header("x-usher-event")), (200, "faults"), "{method}");
        assert_eq!(server.request(method, GATE).answer().await.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"));
    }
}

#[tokio::test]
async fn only_pages_are_redirected_where_that_is_asked_for() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let asked = |accept: &'static str| server.get(&format!("{GATE}&redirect=html")).header(ACCEPT, accept);
    for page in ["text/html,application/xhtml+xml,*/*;q=0.8", "application/json, TEXT/HTML ;q=0.1"] {
        let answer = asked(page).answer().await;
        assert_eq!((answer.status, answer.header("location")), (302, "/wait/faults"), "{page}");
    }
    for other in ["*/*", "application/json", "image/avif,text/htmlish"] {
        assert_eq!(asked(other).answer().await.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"), "{other}");
    }
}
