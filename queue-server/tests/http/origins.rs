//! What pages of other origins may do: CORS, and cookies that only act for allowed origins.

use reqwest::{
    Method,
    header::{COOKIE, ORIGIN},
};

use super::support::{Ask, TestServer, capacity, text};

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";

async fn server() -> TestServer {
    let server = TestServer::start_with(&[&format!("--allowed-origins={SHOP}")]).await;
    server.configure("faults", capacity(9)).await;
    server
}

#[tokio::test]
async fn a_cookie_acts_only_for_allowed_origins() {
    let server = server().await;
    let own = server.url.clone();
    for verb in ["check", "leave", "release"] {
        let status = server.join("faults").await;
        let (place, active) = (text(&status["placeToken"]), text(&status["activeToken"]));
        let cookie = format!("usher_place.faults={place}; usher_active.faults={active}");
        let request = || server.post(verb, "faults").header(COOKIE, &cookie);
        let refused = (403, "ORIGIN_NOT_ALLOWED");
        assert_eq!(request().answer().await.refusal(), refused, "{verb} without an origin");
        for origin in [EVIL, "null", "http://shop.example", "https://shop.example.evil.example"] {
            assert_eq!(request().header(ORIGIN, origin).answer().await.refusal(), refused, "{verb} from {origin}");
        }
        for origin in [SHOP, own.as_str()] {
            let answer = request().header(ORIGIN, origin).answer().await;
            assert!(matches!(answer.status, 200 | 204), "{verb} from {origin}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_given_needs_no_origin() {
    let server = server().await;
    for verb in ["check", "leave"] {
        let place = text(&server.join("faults").await["placeToken"]).to_owned();
        for origin in [None, Some(EVIL)] {
            let mut request = server.post(verb, "faults").header("x-usher-place", &place);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            assert!(matches!(request.answer().await.status, 200 | 204), "{verb} {origin:?}");
        }
    }
    let both = server.join("faults").await;
    let cookie = format!("usher_place.faults={}", text(&both["placeToken"]));
    let given =
        server.post("check", "faults").header("x-usher-place", text(&both["placeToken"])).header(COOKIE, cookie);
    assert_eq!(given.answer().await.status, 200, "the header goes before the cookie");
}

#[tokio::test]
async fn reading_by_cookie_needs_no_origin() {
    let server = server().await;
    let place = text(&server.join("faults").await["placeToken"]).to_owned();
    let answer = server.status("faults").header(COOKIE, format!("usher_place.faults={place}")).answer().await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn allowed_origins_may_read_and_others_may_not() {
    let server = server().await;
    let answer = server.post("check", "faults").header(ORIGIN, SHOP).answer().await;
    assert_eq!(answer.header("access-control-allow-origin"), SHOP);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
    for name in ["location", "retry-after", "etag", "x-trace-id"] {
        assert!(exposed.contains(name), "{name} in {exposed}");
    }
    let refused = server.status("faults").header(ORIGIN, SHOP).answer().await;
    assert_eq!(refused.header("access-control-allow-origin"), SHOP, "errors can be read too");
    let answer = server.post("check", "faults").header(ORIGIN, EVIL).answer().await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn preflights_are_answered() {
    let server = server().await;
    let preflight = |origin: &'static str, path: &str| {
        let request = server.request(Method::OPTIONS, path).header(ORIGIN, origin);
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-usher-place, content-type")
            .answer()
    };
    let answer = preflight(SHOP, "/api/v1/queue/check/faults").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), SHOP);
    let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
    for name in ["authorization", "content-type", "idempotency-key", "x-usher-place", "traceparent"] {
        assert!(allowed.contains(name), "{name} in {allowed}");
    }
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    let answer = preflight(EVIL, "/api/v1/queue/check/faults").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn sockets_are_for_allowed_origins_and_for_websocket() {
    let server = server().await;
    let foreign = server.get("/ws").header(ORIGIN, EVIL).answer().await;
    assert_eq!(foreign.refusal(), (403, "ORIGIN_NOT_ALLOWED"));
    for request in [server.get("/ws"), server.get("/ws").header(ORIGIN, SHOP)] {
        let plain = request.answer().await;
        assert_eq!(plain.refusal(), (426, "UPGRADE_REQUIRED"));
    }
}
