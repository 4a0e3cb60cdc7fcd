//! What operators do.

use reqwest::{Method, header::HOST};
use serde_json::{Value, json};

use super::support::{Ask, TestServer, capacity, eventually, text};

/// Every operator route: method, path, body.
fn routes() -> Vec<(Method, &'static str, Option<Value>)> {
    vec![
        (Method::GET, "admin", None),
        (Method::PUT, "admin/faults", Some(capacity(1))),
        (Method::GET, "admin/faults", None),
        (Method::POST, "admin/pause/faults", None),
        (Method::POST, "admin/resume/faults", None),
        (Method::POST, "admin/drain/faults", None),
        (Method::POST, "admin/clear/faults", None),
        (Method::GET, "admin/faults/visitors/a_x", None),
        (Method::POST, "admin/faults/visitors/a_x/revoke", None),
        (Method::GET, "admin/audit", None),
        (Method::DELETE, "admin/faults", None),
    ]
}

#[tokio::test]
async fn nothing_goes_without_the_token() {
    let mut server = TestServer::with_event("faults", capacity(1)).await;
    for (n, (method, path, body)) in routes().into_iter().enumerate() {
        if n % ROUTES_EACH == 0 {
            assert_eq!(server.operate(Method::GET, "admin/faults", None).await.status, 200, "it is still there");
            server = TestServer::with_event("faults", capacity(1)).await;
        }
        let request = || {
            let request = server.ops_request(method.clone(), &format!("/api/v1/queue/{path}"));
            match &body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        assert_eq!(request().answer().await.refusal(), (401, "OPERATOR_TOKEN_REQUIRED"), "{method} {path}");
        for token in ["wrong", server.peer.as_str()] {
            let answer = request().bearer_auth(token).answer().await;
            assert_eq!(answer.refusal(), (403, "OPERATOR_TOKEN_INVALID"), "{method} {path}");
        }
        let answer = request().bearer_auth(&server.operator).header(HOST, "evil.example").answer().await;
        assert_eq!(answer.refusal(), (421, "MISDIRECTED_REQUEST"), "{method} {path}");
        let public = server.request(method.clone(), &format!("/api/v1/queue/{path}")).bearer_auth(&server.operator);
        assert_eq!(public.answer().await.refusal(), (404, "NOT_FOUND"), "{method} {path} on the public listener");
    }
    assert_eq!(server.operate(Method::GET, "admin/faults", None).await.status, 200, "it is still there");
}

/// Ten wrong tokens lock an address out: so many routes are tried with two of them on each server.
const ROUTES_EACH: usize = 4;

#[tokio::test]
async fn an_event_is_created_and_replaced() {
    let server = TestServer::start().await;
    let created = server.operate(Method::PUT, "admin/faults", Some(capacity(2))).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), "/api/v1/queue/admin/faults");
    let fields: Vec<&str> = created.json.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [
        "eventId",
        "policy",
        "phase",
        "waiting",
        "active",
        "admittedTotal",
        "abandonedTotal",
        "releasedTotal",
        "expiredTotal",
        "admissionsPerMinute",
        "oldestWaitSeconds",
    ];
    wanted.sort_unstable();
    let mut sorted = fields.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted);
    let defaults = json!({
        "capacity": 2, "admitPerMinute": null, "activeTtlSeconds": 300, "claimSeconds": 60, "graceSeconds": 120,
        "maxWaiting": null, "order": "fifo", "preQueueAt": null, "opensAt": null, "closesAt": null,
        "onStoreFailure": "hold",
    });
    assert_eq!((&created.json["policy"], &created.json["phase"]), (&defaults, &json!("OPEN")));
    server.join("faults").await;
    let policy = json!({
        "capacity": 1_000_000, "admitPerMinute": 6_000_000, "activeTtlSeconds": 86_400, "claimSeconds": 86_400,
        "graceSeconds": 3600, "maxWaiting": 100_000_000, "order": "fifo", "preQueueAt": null, "opensAt": null,
        "closesAt": null, "onStoreFailure": "hold",
    });
    let replaced = server.operate(Method::PUT, "admin/faults", Some(policy.clone())).await;
    assert_eq!((replaced.status, &replaced.json["policy"]), (200, &policy));
    assert_eq!(replaced.json["active"], 1, "the state stays");
    let got = server.operate(Method::GET, "admin/faults", None).await;
    assert_eq!(got.json["policy"], policy);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_policy_is_named() {
    let server = TestServer::start().await;
    let put = |body: Value| server.operate(Method::PUT, "admin/faults", Some(body));
    let bad = json!({"capacity": 0, "admitPerMinute": 0, "activeTtlSeconds": 9, "claimSeconds": 4, "graceSeconds": 59,
        "maxWaiting": -1, "order": "random", "opensAt": "soon", "onStoreFailure": "panic", "speed": 9});
    let answer = put(bad.clone()).await;
    assert_eq!(answer.refusal(), (422, "INVALID_REQUEST"));
    let named: Vec<&str> =
        answer.json["details"]["problems"].as_array().unwrap().iter().map(|p| text(&p["field"])).collect();
    for field in bad.as_object().unwrap().keys() {
        assert!(named.contains(&field.as_str()), "{field} in {named:?}");
    }
    assert!(named.contains(&text(&answer.json["details"]["field"])));
    for body in
        [json!({}), json!([]), json!(5), json!({"capacity": "1"}), json!({"capacity": 1.5}), json!({"capacity": null})]
    {
        assert_eq!(put(body.clone()).await.refusal(), (422, "INVALID_REQUEST"), "{body}");
    }
    for (field, value) in [
        ("order", json!("lottery")),
        ("onStoreFailure", json!("admit")),
        ("onStoreFailure", json!("refuse")),
        ("preQueueAt", json!("2026-11-20T10:00:00.000Z")),
        ("opensAt", json!("2026-11-20T10:00:00.000Z")),
        ("closesAt", json!("2026-11-20T10:00:00.000Z")),
    ] {
        let answer = put(json!({"capacity": 1, field: value})).await;
        assert_eq!(answer.refusal(), (422, "NOT_SUPPORTED"), "{field}");
        assert_eq!(answer.json["details"]["field"], field);
    }
    assert_eq!(server.operate(Method::GET, "admin/faults", None).await.refusal(), (404, "EVENT_NOT_FOUND"));
}

#[tokio::test]
async fn policies_come_as_json_under_an_identifier() {
    let server = TestServer::start().await;
    let put =
        |path: &str| server.ops_request(Method::PUT, &format!("/api/v1/queue/{path}")).bearer_auth(&server.operator);
    assert_eq!(put("admin/faults").answer().await.refusal(), (400, "MALFORMED_BODY"), "a body is needed");
    let typed = put("admin/faults").header("content-type", "text/plain").body("{}");
    assert_eq!(typed.answer().await.refusal(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let broken = put("admin/faults").header("content-type", "application/json").body("{\"capacity\":");
    assert_eq!(broken.answer().await.refusal(), (400, "MALFORMED_BODY"));
    let large = put("admin/faults").json(&json!({"capacity": 1, "x": "x".repeat(20_000)}));
    assert_eq!(large.answer().await.refusal(), (413, "BODY_TOO_LARGE"));
    for id in ["-x", "a%20b", "a%2Fb", "%7Bx%7D"] {
        assert_eq!(put(&format!("admin/{id}")).json(&capacity(1)).answer().await.status, 404, "{id}");
    }
    let list = server.operate(Method::GET, "admin", None).await;
    assert_eq!(list.json, json!({"items": []}), "nothing of that was stored");
}

#[tokio::test]
async fn events_are_listed() {
    let server = TestServer::start().await;
    for event in ["b", "a", "c"] {
        server.configure(event, capacity(1)).await;
    }
    let list = server.operate(Method::GET, "admin", None).await;
    let names: Vec<&str> = list.json["items"].as_array().unwrap().iter().map(|item| text(&item["eventId"])).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(list.json["items"][0], server.operate(Method::GET, "admin/a", None).await.json);
}

#[tokio::test]
async fn pause_and_resume() {
    let server = TestServer::with_event("faults", capacity(2)).await;
    let first = server.join("faults").await;
    let paused = server.operate(Method::POST, "admin/pause/faults", None).await;
    assert_eq!((paused.status, &paused.json["phase"]), (200, &json!("PAUSED")));
    let second = server.join("faults").await;
    assert_eq!((&second["status"], &second["paused"]), (&json!("WAITING"), &json!(true)));
    assert_eq!(second["eta"], Value::Null);
    assert_eq!(server.status_of("faults", text(&first["placeToken"])).await["status"], "ACTIVE", "sessions go on");
    let resumed = server.operate(Method::POST, "admin/resume/faults", None).await;
    assert_eq!((resumed.status, &resumed.json["phase"]), (200, &json!("OPEN")));
    server.await_status("faults", text(&second["placeToken"]), "ACTIVE").await;
}

#[tokio::test]
async fn drain_serves_those_who_wait_and_nobody_new() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let first = server.join("faults").await;
    let second = server.join("faults").await;
    let draining = server.operate(Method::POST, "admin/drain/faults", None).await;
    assert_eq!((draining.status, &draining.json["phase"]), (200, &json!("DRAINING")));
    assert_eq!(server.post("check", "faults").answer().await.refusal(), (409, "QUEUE_CLOSED"));
    server.post("release", "faults").bearer_auth(text(&first["activeToken"])).answer().await;
    server.await_status("faults", text(&second["placeToken"]), "ACTIVE").await;
    server.operate(Method::POST, "admin/resume/faults", None).await;
    assert_eq!(server.post("check", "faults").answer().await.status, 200, "resume ends the drain too");
}

#[tokio::test]
async fn clear_ends_the_waiters_and_on_demand_the_sessions() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let active = text(&server.join("faults").await["placeToken"]).to_owned();
    let waiting = text(&server.join("faults").await["placeToken"]).to_owned();
    let cleared = server.operate(Method::POST, "admin/clear/faults", None).await;
    assert_eq!((cleared.status, &cleared.json["waiting"], &cleared.json["active"]), (200, &json!(0), &json!(1)));
    let status = server.status_of("faults", &waiting).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("ENDED"), &json!("CLEARED")));
    assert_eq!(server.status_of("faults", &active).await["status"], "ACTIVE");
    let kept = server.operate(Method::POST, "admin/clear/faults", Some(json!({"active": false}))).await;
    assert_eq!(kept.json["active"], 1);
    let cleared = server.operate(Method::POST, "admin/clear/faults", Some(json!({"active": true}))).await;
    assert_eq!(cleared.json["active"], 0);
    assert_eq!(server.status_of("faults", &active).await["reason"], "CLEARED");
    for body in [json!({"active": "yes"}), json!({"actives": true}), json!(null)] {
        let answer = server.operate(Method::POST, "admin/clear/faults", Some(body.clone())).await;
        assert_eq!(answer.refusal(), (422, "INVALID_REQUEST"), "{body}");
    }
}

#[tokio::test]
async fn an_event_is_removed_when_it_is_empty() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let status = server.join("faults").await;
    let answer = server.operate(Method::DELETE, "admin/faults", None).await;
    assert_eq!(answer.refusal(), (409, "QUEUE_NOT_EMPTY"));
    server.post("release", "faults").bearer_auth(text(&status["activeToken"])).answer().await;
    let answer = server.operate(Method::DELETE, "admin/faults", None).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(server.operate(Method::DELETE, "admin/faults", None).await.refusal(), (404, "EVENT_NOT_FOUND"));
    assert_eq!(server.post("check", "faults").answer().await.refusal(), (404, "EVENT_NOT_FOUND"));
}

#[tokio::test]
async fn people_are_looked_up_and_sent_away() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    let place = text(&server.join("faults").await["placeToken"]).to_owned();
    let visitor = server.place_keys().verify(&place).unwrap().visitor;
    let path = format!("admin/faults/visitors/{visitor}");
    let found = server.operate(Method::GET, &path, None).await;
    assert_eq!((found.status, &found.json["status"], &found.json["position"]), (200, &json!("WAITING"), &json!(1)));
    assert_eq!(found.json["visitorId"], visitor.as_str());
    assert!(!found.text.contains(&place) && found.json.get("activeToken").is_none(), "no token is shown");
    let revoked = server.operate(Method::POST, &format!("{path}/revoke"), None).await;
    assert!(matches!(revoked.status, 200 | 204));
    let status = server.status_of("faults", &place).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("ENDED"), &json!("REVOKED")));
    assert_eq!(server.operate(Method::GET, &path, None).await.json["reason"], "REVOKED");
    for unknown in ["a_nobody", "-x", "a%20b"] {
        let path = format!("admin/faults/visitors/{unknown}");
        assert_eq!(server.operate(Method::GET, &path, None).await.refusal(), (404, "VISITOR_NOT_FOUND"), "{unknown}");
        let answer = server.operate(Method::POST, &format!("{path}/revoke"), None).await;
        assert_eq!(answer.refusal(), (404, "VISITOR_NOT_FOUND"), "{unknown}");
    }
    let elsewhere = server.operate(Method::GET, &format!("admin/nowhere/visitors/{visitor}"), None).await;
    assert_eq!(elsewhere.refusal(), (404, "EVENT_NOT_FOUND"));
}

#[tokio::test]
async fn events_that_are_not_there_are_not_found() {
    let server = TestServer::start().await;
    for (method, path, body) in routes() {
        if path.contains("faults") && method != Method::PUT {
            let answer = server.operate(method.clone(), path, body).await;
            assert_eq!(answer.refusal(), (404, "EVENT_NOT_FOUND"), "{method} {path}");
        }
    }
    let answer = server.operate(Method::GET, "admin/audit", None).await;
    assert_eq!(answer.json["items"], json!([]), "what failed changed nothing");
}

#[tokio::test]
async fn probes_and_metrics_answer_always() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = server.ops_request(Method::GET, path).header(HOST, "anything.example").answer().await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let metrics = eventually("the join's request in the metrics", async || {
        let answer = server.ops_request(Method::GET, "/metrics").answer().await;
        answer.text.contains("route=\"/api/v1/queue/check/{eventId}\"").then_some(answer.text)
    });
    let metrics = metrics.await;
    for name in
        ["usher_queue_http_requests_total", "usher_queue_http_request_duration_seconds", "usher_queue_joins_total"]
    {
        assert!(metrics.contains(name), "{name}");
    }
    for secret in [&server.operator, &server.peer] {
        assert!(!metrics.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_not_ready() {
    let server = TestServer::start().await;
    // An open request keeps the public listener draining, so the operations listener stays too.
    server.life.readiness.fail(queue_core::service::ops::DRAINING);
    let answer = server.ops_request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("draining"));
}
