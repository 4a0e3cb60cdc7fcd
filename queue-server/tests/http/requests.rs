//! What holds for every request: bodies, identifiers, methods, traces.

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::json;

use super::support::{Ask, TestServer, capacity, text};

#[tokio::test]
async fn routes_without_a_body_take_none_or_an_empty_object() {
    let server = TestServer::with_event("faults", capacity(9)).await;
    let with = |content_type: &str, body: &str| {
        let request = server.post("check", "faults").header(CONTENT_TYPE, content_type);
        request.body(body.to_owned()).answer()
    };
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(with(content_type, "{}").await.status, 200, "{content_type}");
    }
    assert_eq!(with("text/plain", "").await.status, 200, "no body has no type");
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        assert_eq!(with(content_type, "{}").await.refusal(), (415, "UNSUPPORTED_MEDIA_TYPE"), "{content_type}");
    }
    for body in ["{", "nonsense", "{}{}", "{\"a\":}"] {
        assert_eq!(with("application/json", body).await.refusal(), (400, "MALFORMED_BODY"), "{body}");
    }
    for body in ["{\"place\":1}", "null", "5", "\"x\""] {
        assert_eq!(with("application/json", body).await.refusal(), (422, "INVALID_REQUEST"), "{body}");
    }
    let large = format!("{{{}}}", " ".repeat(20_000));
    assert_eq!(with("application/json", &large).await.refusal(), (413, "BODY_TOO_LARGE"));
}

#[tokio::test]
async fn bad_requests_join_nobody() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    for (content_type, body) in [("text/plain", "{}"), ("application/json", "{"), ("application/json", "{\"a\":1}")] {
        let request = server.post("check", "faults").header(CONTENT_TYPE, content_type).body(body);
        assert!(request.answer().await.status >= 400);
    }
    let overview = server.operate(Method::GET, "admin/faults", None).await;
    assert_eq!((&overview.json["active"], &overview.json["waiting"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn events_that_are_not_there_are_not_found() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let place = text(&server.join("faults").await["placeToken"]).to_owned();
    let long = "x".repeat(65);
    for event in ["nobody-made-it", "Faults", "-x", ".x", "a%20b", "a%2Fb", "%7Bx%7D", "%ff", &long] {
        let answer = server.post("check", event).answer().await;
        assert_eq!(answer.refusal(), (404, "EVENT_NOT_FOUND"), "{event}");
    }
    for event in ["-x", "a%2Fb"] {
        for verb in ["leave", "release"] {
            let answer = server.post(verb, event).header("x-usher-place", &place).answer().await;
            assert_eq!(answer.refusal(), (404, "EVENT_NOT_FOUND"), "{verb} {event}");
        }
        assert_eq!(server.status(event).answer().await.refusal(), (404, "EVENT_NOT_FOUND"), "{event}");
    }
    assert_eq!(server.post("check", "f%61ults").answer().await.status, 200, "the same name, spelled otherwise");
}

#[tokio::test]
async fn addresses_and_methods_that_are_not_there_say_so() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    for path in
        ["/", "/api/v1/queue", "/api/v1/queue/check", "/api/v1/queue/check/faults/", "/api/v1/queue/admin", "/metrics"]
    {
        let answer = server.get(path).answer().await;
        assert_eq!(answer.refusal(), (404, "NOT_FOUND"), "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, "/api/v1/queue/check/faults", "POST"),
        (Method::POST, "/api/v1/queue/status/faults", "GET"),
        (Method::DELETE, "/api/v1/queue/leave/faults", "POST"),
        (Method::POST, "/health", "GET"),
    ] {
        let answer = server.request(method, path).answer().await;
        assert_eq!(answer.refusal(), (405, "METHOD_NOT_ALLOWED"), "{path}");
        assert!(answer.header("allow").split(", ").any(|method| method == allow), "{path}");
    }
}

#[tokio::test]
async fn traces_are_continued_and_correlation_ids_echoed() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for request in [server.post("check", "faults"), server.post("check", "nobody-made-it"), server.get("/nowhere")] {
        let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
        let answer = request.header("x-correlation-id", "order 66").answer().await;
        assert_eq!(answer.header("x-trace-id"), trace);
        assert_eq!(answer.header("x-correlation-id"), "order 66");
    }
    let answer = server.get("/health").header("traceparent", "junk").header("x-correlation-id", "x".repeat(129));
    let answer = answer.answer().await;
    assert_ne!(answer.header("x-trace-id"), trace);
    assert_eq!(answer.header("x-correlation-id"), "");
}
