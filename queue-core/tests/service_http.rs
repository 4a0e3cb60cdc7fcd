//! What every answer of both servers has, driven over real connections.

mod support;

use support::{Answer, Server, options, serve};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn server() -> Server {
    serve(options()).await
}

async fn get(server: &Server, path: &str, headers: &str) -> Answer {
    server.ask(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", server.address)).await
}

async fn post(server: &Server, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    server.ask(&format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n{body}")).await
}

#[tokio::test]
async fn answers_carry_their_trace() {
    let server = server().await;
    let answer = get(&server, "/items/1", &format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n")).await;
    assert_eq!((answer.status, answer.header("x-trace-id")), (200, Some(TRACE)));
    for bad in ["", "traceparent: 00-0-0-0\r\n", "traceparent: \u{e4}\r\n"] {
        let answer = get(&server, "/items/1", bad).await;
        let trace = answer.header("x-trace-id").unwrap();
        assert!(trace.len() == 32 && trace != TRACE, "{bad}");
    }
    let answer = get(&server, "/nowhere", &format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n")).await;
    assert_eq!((answer.code().as_str(), answer.header("x-trace-id")), ("NOT_FOUND", Some(TRACE)));
}

#[tokio::test]
async fn correlation_ids_are_echoed_when_printable_and_short() {
    let server = server().await;
    for (sent, echoed) in [
        ("abc 123!~".to_owned(), true),
        ("x".repeat(128), true),
        ("x".repeat(129), false),
        ("\u{e4}".to_owned(), false),
        ("a\tb".to_owned(), false),
        (String::new(), false),
    ] {
        for path in ["/items/1", "/nowhere"] {
            let answer = get(&server, path, &format!("x-correlation-id: {sent}\r\n")).await;
            assert_eq!(answer.header("x-correlation-id"), echoed.then_some(sent.as_str()), "{sent:?}");
        }
    }
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_json() {
    let server = server().await;
    for path in ["/", "/items", "/items/", "/items/1/", "/ITEMS/1", "//items/1", "*"] {
        let answer = get(&server, path, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_FOUND"), "{path}");
    }
    for method in ["POST", "PUT", "PATCH", "TRACE", "BREW"] {
        let answer = server.ask(&format!("{method} /items/1 HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, DELETE, HEAD, OPTIONS"));
    }
    let answer = server.ask("OPTIONS /items/1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("allow")), (204, Some("GET, DELETE, HEAD, OPTIONS")));
    let answer = server.ask("CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = server().await;
    let mut raw = server.connect().await;
    raw.send("HEAD /items/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let text = String::from_utf8(raw.until_closed().await).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(text.contains("content-length: 19"), "{text}");
}

#[tokio::test]
async fn parameters_and_queries_are_decoded() {
    let server = server().await;
    let answer = get(&server, "/items/a%2Fb%20c?x=1&q=a%26b+c", "").await;
    assert_eq!(answer.json(), serde_json::json!({"id": "a/b c", "q": "a&b c"}));
    let answer = get(&server, "/items/%ff%fe", "").await;
    assert_eq!(answer.code(), "NOT_FOUND");
    let answer = server.ask("GET http://other.example/items/1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answer.status, 200, "an absolute address");
}

#[tokio::test]
async fn panics_and_internal_errors_show_nothing() {
    let server = server().await;
    for path in ["/panic", "/internal"] {
        let answer = get(&server, path, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "INTERNAL"));
        assert!(!answer.body.contains("purpose") && !answer.body.contains("password"), "{answer:?}");
    }
    assert_eq!(get(&server, "/items/1", "").await.status, 200, "the server lives");
}

#[tokio::test]
async fn a_panic_keeps_the_connection() {
    let server = server().await;
    let mut raw = server.connect().await;
    for (path, status) in [("/panic", 500), ("/items/1", 200), ("/panic", 500)] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(raw.answer().await.status, status);
    }
}

#[tokio::test]
async fn overload_says_when_to_come_back() {
    let server = server().await;
    let answer = get(&server, "/full", "").await;
    assert_eq!((answer.status, answer.code().as_str(), answer.header("retry-after")), (503, "QUEUE_FULL", Some("30")));
}

#[tokio::test]
async fn bodies_are_checked_as_the_contract_has_it() {
    let server = server().await;
    let json = "content-type: application/json\r\n";
    let good = r#"{"eventId":"e","seats":[1]}"#;
    for kind in
        [json, "content-type: Application/JSON; charset=utf-8\r\n", "Content-Type: application/json;charset=x\r\n"]
    {
        assert_eq!(post(&server, "/json", kind, good).await.status, 200, "{kind}");
    }
    for kind in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/jsonp\r\n",
        "content-type: multipart/form-data\r\n",
    ] {
        let answer = post(&server, "/json", kind, good).await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{kind}");
    }
    for bad in ["{", "", "nope", r#"{"eventId":5,"#, "\u{0}"] {
        let answer = post(&server, "/json", json, bad).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MALFORMED_BODY"), "{bad}");
    }
    for (bad, field) in [
        (r#"{"eventId":5}"#, "eventId"),
        ("{}", "eventId"),
        (r#"{"eventId":"e","seats":[1,"2"]}"#, "seats[1]"),
        (r#"{"eventId":"e","x":1}"#, "x"),
    ] {
        let answer = post(&server, "/json", json, bad).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "INVALID_REQUEST"), "{bad}");
        assert_eq!(answer.json()["details"]["field"], field);
        assert!(answer.json()["details"]["problem"].is_string());
    }
}

#[tokio::test]
async fn large_bodies_are_refused_early_and_late() {
    let server = server().await;
    // Said at once: no body need be sent.
    let head = "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let answer = server.ask(&format!("{head}content-length: 1000000000\r\n\r\n")).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "BODY_TOO_LARGE"));
    assert_eq!(answer.json()["details"]["bytesMax"], 64);
    // Found out while it comes.
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    let answer = server.ask(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n")).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "BODY_TOO_LARGE"));
    // Exactly the limit, in pieces.
    let body = format!("{:<64}", r#"{"eventId":"e","seats":[1]}"#);
    let (first, second) = body.split_at(20);
    let chunks = format!("14\r\n{first}\r\n2c\r\n{second}\r\n0\r\n\r\n");
    let answer = server.ask(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn bodies_that_nobody_needs() {
    let server = server().await;
    let json = "content-type: application/json\r\n";
    assert_eq!(post(&server, "/no-body", "", "").await.status, 204);
    assert_eq!(post(&server, "/no-body", json, "{}").await.status, 204);
    assert_eq!(post(&server, "/no-body", "", "{}").await.code(), "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(post(&server, "/optional", "", "").await.json()["eventId"], "");
    assert_eq!(post(&server, "/optional", json, r#"{"eventId":"e"}"#).await.json()["eventId"], "e");
    assert_eq!(post(&server, "/optional", "", r#"{"eventId":"e"}"#).await.code(), "UNSUPPORTED_MEDIA_TYPE");
    let answer = server.ask("POST /optional HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(answer.status, 200, "no length is no body");
}

#[tokio::test]
async fn allowed_origins_may_read() {
    let server = server().await;
    let own = format!("http://{}", server.address);
    for origin in ["https://shop.example", own.as_str()] {
        for path in ["/items/1", "/nowhere", "/full"] {
            let answer = get(&server, path, &format!("origin: {origin}\r\n")).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            assert_eq!(answer.header("access-control-expose-headers"), Some("location, retry-after, etag, x-trace-id"));
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    for origin in ["https://evil.example", "null", "http://shop.example", "https://shop.example:444", "*", ""] {
        let answer = get(&server, "/items/1", &format!("origin: {origin}\r\n")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(answer.header("vary"), Some("origin"));
    }
    let answer = get(&server, "/items/1", "").await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, Some("origin")));
}

#[tokio::test]
async fn preflights_are_answered() {
    let server = server().await;
    let preflight = async |path: &str, origin: &str| {
        let head = format!("OPTIONS {path} HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\n");
        server
            .ask(&format!(
                "{head}access-control-request-method: DELETE\r\naccess-control-request-headers: authorization\r\n\r\n"
            ))
            .await
    };
    let answer = preflight("/items/1", "https://shop.example").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, DELETE, HEAD, OPTIONS"));
    let accepted = "authorization, content-type, idempotency-key, x-usher-place, traceparent";
    assert_eq!(answer.header("access-control-allow-headers"), Some(accepted));
    let answer = preflight("/items/1", "https://evil.example").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "ORIGIN_NOT_ALLOWED"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(preflight("/nowhere", "https://shop.example").await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn what_a_cookie_authenticates_needs_an_origin() {
    let server = server().await;
    assert_eq!(post(&server, "/protected", "origin: https://shop.example\r\n", "").await.status, 204);
    assert_eq!(post(&server, "/protected", "origin: http://x\r\n", "").await.status, 204, "the own host");
    for origin in ["", "origin: https://evil.example\r\n", "origin: null\r\n"] {
        let answer = post(&server, "/protected", origin, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "ORIGIN_NOT_ALLOWED"), "{origin}");
    }
}

#[tokio::test]
async fn clients_are_known_through_trusted_proxies() {
    let server = server().await;
    let answer = get(&server, "/who", "x-forwarded-for: 6.6.6.6, 198.51.100.7\r\nx-forwarded-proto: https\r\ncookie: a=1; c=2\r\nauthorization: Bearer tok\r\n").await;
    let host = server.address.to_string();
    assert_eq!(
        answer.json(),
        serde_json::json!({"ip": "198.51.100.7", "tls": true, "cookie": "2", "bearer": "tok", "host": host})
    );
    let untrusting = serve(support::short(|_| ()).without_proxies()).await;
    let answer = get(&untrusting, "/who", "x-forwarded-for: 198.51.100.7\r\nx-forwarded-proto: https\r\n").await;
    assert_eq!(answer.json()["ip"], "127.0.0.1");
    assert_eq!(answer.json()["tls"], false);
}

trait WithoutProxies {
    fn without_proxies(self) -> Self;
}

impl WithoutProxies for queue_core::service::http::HttpOptions {
    fn without_proxies(mut self) -> Self {
        self.proxies = Default::default();
        self
    }
}

#[tokio::test]
async fn cookies_are_secure_behind_tls() {
    let server = server().await;
    let answer = get(&server, "/cookie", "").await;
    assert_eq!(answer.header("set-cookie"), Some("c=v; Max-Age=9; Path=/; HttpOnly; SameSite=Lax"));
    let answer = get(&server, "/cookie", "forwarded: for=1.2.3.4;proto=https\r\n").await;
    assert_eq!(answer.header("set-cookie"), Some("c=v; Max-Age=9; Path=/; HttpOnly; SameSite=Lax; Secure"));
}

#[tokio::test]
async fn pages_have_their_headers() {
    let server = server().await;
    let answer = get(&server, "/page", "").await;
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'self'; frame-ancestors 'none'"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = server().await;
    let fields = |count: usize| (0..count).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    // Host is one of them.
    assert_eq!(get(&server, "/items/1", &fields(63)).await.status, 200);
    let answer = get(&server, "/items/1", &fields(64)).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "HEAD_TOO_LARGE"));
    assert_eq!(get(&server, "/items/1", &fields(200)).await.status, 431, "the parser's own refusal");
    assert_eq!(get(&server, "/items/1", &format!("x: {}\r\n", "y".repeat(16_000))).await.status, 200);
    assert_eq!(get(&server, "/items/1", &format!("x: {}\r\n", "y".repeat(16_384))).await.status, 431);
    // One that never ends is refused as soon as it is too large.
    let answer = server.ask(&format!("GET /items/1 HTTP/1.1\r\nx: {}", "y".repeat(17_000))).await;
    assert_eq!(answer.status, 431);
    let answer = server.ask(&format!("GET /items/{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(17_000))).await;
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    assert_eq!(server.ask("not http at all\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = server().await;
    for (head, status) in [
        ("HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        ("HTTP/1.0\r\n\r\n", 200),
        ("HTTP/1.1\r\n\r\n", 400),
        ("HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", 400),
        ("HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n", 400),
    ] {
        let answer = server.ask(&format!("GET /items/1 {head}")).await;
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        assert!(status == 200 || answer.code() == "MALFORMED_REQUEST");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let metrics = queue_core::service::metrics::install();
    let server = serve(queue_core::service::http::HttpOptions { metrics_prefix: "usher_counted_", ..options() }).await;
    for path in ["/items/1", "/items/2", "/nowhere/1", "/nowhere/2", "/full"] {
        get(&server, path, "").await;
    }
    let text = metrics.render();
    for line in [
        r#"usher_counted_http_requests_total{route="/items/{id}",status="200"} 2"#,
        r#"usher_counted_http_requests_total{route="unmatched",status="404"} 2"#,
        r#"usher_counted_http_requests_total{route="/full",status="503"} 1"#,
        r#"usher_counted_http_request_duration_seconds_count{route="/items/{id}"} 2"#,
        "# HELP usher_counted_http_requests_total",
        "# TYPE usher_counted_http_request_duration_seconds histogram",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn other_clients_understand_it() {
    let server = server().await;
    let client = reqwest::Client::new();
    let answer = client.post(server.url("/json")).json(&serde_json::json!({"eventId": "e"})).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["eventId"], "e");
    let answer = client.delete(server.url("/items/1")).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert!(answer.headers().contains_key("date"));
    let answer = client.put(server.url("/items/1")).send().await.unwrap();
    assert_eq!(answer.json::<queue_core::wire::ErrorBody>().await.unwrap().code, "METHOD_NOT_ALLOWED");
}
