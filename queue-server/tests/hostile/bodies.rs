//! Bodies and identifiers on every route that takes them: the contract's refusal, and nothing has happened.

use super::{
    PROGRAM,
    hostile::{Raw, Victim, ask, send},
    store,
};

const VISITORS: [&str; 3] = ["/api/v1/queue/check/e", "/api/v1/queue/leave/e", "/api/v1/queue/release/e"];
const OPERATORS: [(&str, &str); 6] = [
    ("PUT", "/api/v1/queue/admin/e"),
    ("POST", "/api/v1/queue/admin/pause/e"),
    ("POST", "/api/v1/queue/admin/drain/e"),
    ("POST", "/api/v1/queue/admin/clear/e"),
    ("POST", "/api/v1/queue/admin/e/visitors/v/revoke"),
    ("POST", "/api/v1/queue/booking-done"),
];

/// A route with whom it wants.
struct Route {
    to: std::net::SocketAddr,
    method: &'static str,
    path: &'static str,
    authorization: String,
}

fn routes(victim: &Victim) -> Vec<Route> {
    let visitors = VISITORS.map(|path| Route { to: victim.public, method: "POST", path, authorization: String::new() });
    let operators = OPERATORS.map(|(method, path)| {
        let token = if path.ends_with("booking-done") { &victim.peer } else { &victim.operator };
        Route { to: victim.ops, method, path, authorization: format!("authorization: Bearer {token}\r\n") }
    });
    visitors.into_iter().chain(operators).collect()
}

impl Route {
    /// The refusal of one body.
    async fn refuses(&self, content_type: &str, body: &[u8]) -> (u16, String) {
        let Self { to, method, path, authorization } = self;
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{authorization}{content_type}\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        text.extend_from_slice(body);
        let (replies, _) = send(*to, &text, 1).await;
        replies.first().unwrap_or_else(|| panic!("no answer from {path}")).refusal()
    }
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn bodies_are_refused_everywhere() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "e", 1).await;
    let deep = format!("{{\"a\":{}", "[".repeat(10_000));
    let malformed: &[&[u8]] = &[
        b"{",
        b"nope",
        b"{\"a\":}",
        b"{\"a\":1}x",
        b"{} {}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":\"\x01\"}",
        b"\0",
        b" ",
        b"{\"a\":NaN}",
        b"{\"a\":0x1}",
        b"{\"a\":1e999999}",
        b"<a/>",
        deep.as_bytes(),
    ];
    let other: &[&[u8]] = &[
        b"[]",
        b"5",
        b"\"x\"",
        b"null",
        b"true",
        b"[{}]",
        b"{\"unknown\":1}",
        b"{\"\":null}",
        b"{\"__proto__\":{\"active\":true}}",
        b"{\"active\":\"yes\"}",
        b"{\"capacity\":\"1\"}",
    ];
    for route in routes(&victim) {
        for body in malformed {
            let refusal = route.refuses(JSON, body).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(refusal, (400, "MALFORMED_BODY".into()), "{} {shown:?}", route.path);
        }
        for body in other {
            let refusal = route.refuses(JSON, body).await;
            assert_eq!(refusal, (422, "INVALID_REQUEST".into()), "{} {:?}", route.path, String::from_utf8_lossy(body));
        }
        for kind in [
            "",
            "content-type: text/plain\r\n",
            "content-type: application/jsonp\r\n",
            "content-type: ;;;\r\n",
            "content-type: multipart/form-data; boundary=x\r\n",
            "content-type: application/x-www-form-urlencoded\r\n",
        ] {
            assert_eq!(
                route.refuses(kind, b"{}").await,
                (415, "UNSUPPORTED_MEDIA_TYPE".into()),
                "{} {kind}",
                route.path
            );
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(20_000));
        assert_eq!(route.refuses(JSON, large.as_bytes()).await, (413, "BODY_TOO_LARGE".into()), "{}", route.path);
    }
    let seen = store::overview(&victim, "e").await;
    assert_eq!((&seen["waiting"], &seen["active"], &seen["phase"]), (&0.into(), &0.into(), &"OPEN".into()), "{seen}");
    victim.unhurt().await;
}

/// A length that is a lie, and chunks without end.
#[tokio::test]
async fn endless_bodies_end_early() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "e", 1).await;
    for route in routes(&victim) {
        let Route { to, method, path, authorization } = &route;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\n{authorization}{JSON}");
        for length in ["16385", "1000000000000", "18446744073709551614"] {
            let mut raw = Raw::say(*to, format!("{head}content-length: {length}\r\n\r\n{{")).await;
            let reply = raw.reply().await.expect("an answer before the body");
            assert!(matches!(reply.status, 400 | 413 | 431), "{path} {length}: {reply:?}");
        }
        let endless =
            format!("{head}transfer-encoding: chunked\r\n\r\n{}", "400\r\n".to_owned() + &" ".repeat(0x400) + "\r\n");
        let text = endless + &format!("400\r\n{}\r\n", " ".repeat(0x400)).repeat(2_000);
        let (replies, closed) = send(*to, text.as_bytes(), 2).await;
        assert!(closed && replies.first().is_none_or(|reply| reply.status == 413), "{path}: {replies:?}");
        // Chunks that are none.
        for chunk in [
            "zz\r\n",
            "-1\r\n",
            "ffffffffffffffffff\r\n",
            "5 5\r\nhello\r\n",
            "5\nhello\n0\n\n",
            "1\r\n{}\r\n",
            ";=;\r\n",
        ] {
            let text = format!(
                "{head}transfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\nGET /health HTTP/1.1\r\nhost: {to}\r\n\r\n"
            );
            let (replies, closed) = send(*to, text.as_bytes(), 2).await;
            assert!(closed && replies.len() <= 1, "{path} {chunk:?}: {replies:?}");
            assert!(replies.iter().all(|reply| (400..500).contains(&reply.status)), "{path} {chunk:?}: {replies:?}");
        }
    }
    victim.unhurt().await;
}

/// Percent-encoded bytes of every kind where an identifier stands.
const NOT_IDS: [&str; 22] = [
    "%00",
    "a%00",
    "%2F",
    "a%2Fb",
    "..",
    "%2e%2e",
    ".",
    "-a",
    "_a",
    "%20",
    "a%20b",
    "a+b",
    "%7Ba%7D",
    "a%0d%0aset-cookie:x",
    "%ff",
    "%c3%28",
    "%E2%82%AC",
    "%",
    "%zz",
    "a*",
    "usher:%7Be%7D:meta",
    "%F0%9F%8E%AB",
];

#[tokio::test]
async fn identifiers_are_checked_everywhere() {
    let victim = Victim::start(PROGRAM, &[]).await;
    let long = "x".repeat(65);
    let longest = "x".repeat(10_000);
    for id in NOT_IDS.into_iter().chain([long.as_str(), longest.as_str()]) {
        for path in ["check", "leave", "release"] {
            let reply = victim.ask("POST", &format!("/api/v1/queue/{path}/{id}"), "", "").await;
            assert_eq!(reply.refusal().0, 404, "{path} {id}");
        }
        assert_eq!(victim.ask("GET", &format!("/api/v1/queue/status/{id}"), "", "").await.refusal().0, 404, "{id}");
        assert_eq!(victim.ask("GET", &format!("/wait/{id}"), "", "").await.status, 404, "{id}");
        let put = victim.operate("PUT", &format!("/api/v1/queue/admin/{id}"), "{\"capacity\":1}").await;
        assert!(matches!(put.status, 404 | 405 | 422), "{id}: {put:?}");
        let person = victim.operate("GET", &format!("/api/v1/queue/admin/e/visitors/{id}"), "").await;
        assert_eq!(person.status, 404, "{id}");
        // In a query `+` is a space.
        let gate = victim.ask("GET", &format!("/api/v1/queue/verify?event={id}"), "", "").await;
        assert!(matches!(gate.refusal().0, 400 | 422), "{id}: {gate:?}");
        let peer = format!("authorization: Bearer {}\r\n", victim.peer);
        let session = ask(victim.ops, "GET", &format!("/api/v1/queue/sessions/e/{id}"), &peer, "").await;
        assert!((400..500).contains(&session.status), "{id}: {session:?}");
    }
    assert_eq!(victim.operate("GET", "/api/v1/queue/admin", "").await.json()["items"], serde_json::json!([]));
    victim.unhurt().await;
}

#[tokio::test]
async fn policies_out_of_range_create_nothing() {
    let victim = Victim::start(PROGRAM, &[]).await;
    let fields = [
        "capacity",
        "admitPerMinute",
        "activeTtlSeconds",
        "claimSeconds",
        "graceSeconds",
        "maxWaiting",
        "order",
        "preQueueAt",
        "opensAt",
        "closesAt",
        "onStoreFailure",
    ];
    let values = [
        "-1",
        "0",
        "0.5",
        "1e3",
        "\"1\"",
        "[]",
        "{}",
        "true",
        "4294967296",
        "18446744073709551616",
        "1e308",
        "\"\\u0000\"",
        "-9223372036854775808",
    ];
    for field in fields {
        for value in values {
            let rest = if field == "capacity" { "" } else { "\"capacity\":1," };
            let body = format!("{{{rest}\"{field}\":{value}}}");
            let reply = victim.operate("PUT", "/api/v1/queue/admin/e", &body).await;
            assert_eq!(reply.refusal(), (422, "INVALID_REQUEST".into()), "{body}");
            assert_eq!(reply.json()["details"]["field"], field, "{body}");
        }
    }
    assert_eq!(victim.operate("GET", "/api/v1/queue/admin/e", "").await.refusal(), (404, "EVENT_NOT_FOUND".into()));
    victim.unhurt().await;
}

/// Names of events that do not exist are asked for without end: nothing is kept of them.
#[tokio::test]
async fn unknown_events_are_forgotten() {
    let victim = Victim::start(PROGRAM, &[]).await;
    for batch in 0..40 {
        let asks: String = (0..500)
            .map(|i| format!("POST /api/v1/queue/check/no-{batch}-{i} HTTP/1.1\r\nhost: {}\r\n\r\n", victim.public))
            .collect();
        let mut raw = Raw::say(victim.public, asks).await;
        for _ in 0..500 {
            assert_eq!(raw.reply().await.expect("an answer").status, 404);
        }
    }
    let metrics = victim.metrics().await;
    assert!(!metrics.contains("no-1-1"), "no series for what is not there");
    victim.unhurt().await;
}
