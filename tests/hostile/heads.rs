//! Request heads that no honest client sends, on a listener that has a plain `GET` address.

use std::net::SocketAddr;

use super::{Raw, Reply, SOON, send};
use tokio::io::AsyncWriteExt;

/// Every kind of broken head: each is refused or, where the standard lets it be read, read in one way only.
pub async fn attack(to: SocketAddr, path: &str) {
    broken(to, path).await;
    framing(to, path).await;
    targets(to, path).await;
    large(to, path).await;
    hosts(to, path).await;
    pipelined(to, path).await;
    early(to).await;
}

/// The answer to one request, and that nothing came behind it before the server closed.
async fn only(to: SocketAddr, text: impl AsRef<[u8]>) -> Option<Reply> {
    let (mut replies, closed) = send(to, text.as_ref(), 2).await;
    assert!(closed && replies.len() <= 1, "{:?} got {replies:?}", String::from_utf8_lossy(text.as_ref()));
    replies.pop()
}

/// What is no HTTP/1 is answered with 400, or the connection just ends.
async fn broken(to: SocketAddr, path: &str) {
    let host = format!("host: {to}\r\nconnection: close\r\n");
    let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut tls = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    tls.extend([7; 500]);
    let texts: Vec<Vec<u8>> = vec![
        noise,
        tls,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        format!("GET {path}\r\n\r\n").into(),
        format!("GET {path} HTTP/2.0\r\n{host}\r\n").into(),
        format!("GET {path} HTTP/1.1.1\r\n{host}\r\n").into(),
        format!("GET {path} HTTP/9\r\n{host}\r\n").into(),
        format!("GET  {path} HTTP/1.1\r\n{host}\r\n").into(),
        format!("GET {path} x HTTP/1.1\r\n{host}\r\n").into(),
        format!("GET {path}\0 HTTP/1.1\r\n{host}\r\n").into(),
        format!("GE(T {path} HTTP/1.1\r\n{host}\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}a b: c\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}x : y\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}x: y\0z\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}x: y\r\n folded\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}\tx: y\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}: nameless\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\n{host}no colon\r\n\r\n").into(),
        format!("GET {path} HTTP/1.1\r\nx: a\rb\r\n{host}\r\n").into(),
    ];
    for text in texts {
        let reply = only(to, &text).await;
        assert!(reply.is_none_or(|reply| reply.status == 400), "{:?}", String::from_utf8_lossy(&text));
    }
}

/// Where two readers could see two different ends of a request, the server refuses, or reads one request and closes.
async fn framing(to: SocketAddr, path: &str) {
    let smuggled = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    let host = format!("host: {to}\r\n");
    for lengths in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5 5\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: \x0bchunked\r\n",
    ] {
        let reply = only(to, format!("POST {path} HTTP/1.1\r\n{host}{lengths}\r\nhello{smuggled}")).await;
        assert!(reply.is_none_or(|reply| reply.status == 400), "{lengths:?}");
    }
    // Both lengths: one of them counts, and whatever follows is thrown away with the connection.
    for lengths in
        ["content-length: 4\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"]
    {
        let text = format!("POST {path} HTTP/1.1\r\n{host}{lengths}\r\n0\r\n\r\n{smuggled}");
        assert!(only(to, text).await.is_none_or(|reply| (400..500).contains(&reply.status)), "{lengths:?}");
    }
    // HTTP/1.0 has no chunks.
    let text = format!("POST {path} HTTP/1.0\r\n{host}transfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}");
    assert!(only(to, text).await.is_none_or(|reply| reply.status == 400));
}

/// Targets of other forms, and addresses that try to get out of theirs.
async fn targets(to: SocketAddr, path: &str) {
    let one = async |method: &str, target: &str, more: &str| {
        only(to, format!("{method} {target} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{more}\r\n")).await
    };
    assert_eq!(one("GET", &format!("http://{to}{path}"), "").await.unwrap().status, 200);
    assert_eq!(one("GET", &format!("{path}?{}", "a=b&".repeat(3_000)), "").await.unwrap().status, 200);
    let head = format!("HEAD {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n");
    let head = Raw::say(to, head).await.closed(SOON).await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200") && head.ends_with(b"\r\n\r\n"), "no body behind a HEAD");
    for (method, target) in [
        ("GET", "*".to_owned()),
        ("OPTIONS", "*".to_owned()),
        ("GET", "//".to_owned()),
        ("GET", format!("{path}/")),
        ("GET", format!("/{path}")),
        ("GET", format!("{path}%00")),
        ("GET", format!("{path}%2f..%2f..%2fetc%2fpasswd")),
        ("GET", "/../../etc/passwd".to_owned()),
        ("GET", "/assets/..%2f..%2fetc%2fpasswd".to_owned()),
        ("GET", "/assets/%2e%2e/%2e%2e/etc/passwd".to_owned()),
        ("GET", "/assets/%00".to_owned()),
        ("GET", "/%ff%fe".to_owned()),
        ("GET", "/%".to_owned()),
        ("GET", "/%zz".to_owned()),
        ("CONNECT", "evil.example:443".to_owned()),
    ] {
        let reply = one(method, &target, "").await.unwrap_or_else(|| panic!("no answer to {target}"));
        assert!(matches!(reply.status, 400 | 401 | 404 | 405 | 421), "{method} {target}: {reply:?}");
    }
    for method in ["FOO", "get", "DELETE", "PATCH", "TRACE", &"M".repeat(200)] {
        assert_eq!(one(method, path, "").await.unwrap().refusal(), (405, "METHOD_NOT_ALLOWED".into()), "{method}");
    }
    // Upgrades to what is not spoken, fields that mean nothing, bytes that are no ASCII.
    for more in [
        "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "expect: the worst\r\n",
        "range: bytes=0-,0-,0-,0-,0-\r\n",
        "traceparent: 00-zzzz-zz-zz\r\n",
        "x-correlation-id: \u{fffd}\r\n",
        "accept-language: ko;q=x,,,;;;=,en;q=9999999999999999999\r\n",
        "cookie: ;;;=;=;a;=b;usher_place.=;usher_active.\r\n",
        "forwarded: for=\"[::1\";;;for=,by=\"\r\nx-forwarded-for: ,,,999.999.999.999\r\n",
        "if-none-match: \"\"\"\"W/\"\r\n",
    ] {
        assert_eq!(one("GET", path, more).await.unwrap().status, 200, "{more}");
    }
}

/// What is too much is told so.
async fn large(to: SocketAddr, path: &str) {
    let host = format!("host: {to}\r\nconnection: close\r\n");
    let status = async |text: String| only(to, text).await.map_or(0, |reply| reply.status);
    let many = |count: usize| (0..count).map(|i| format!("x-{i}: y\r\n")).collect::<String>();
    assert_eq!(status(format!("GET {path} HTTP/1.1\r\n{host}{}\r\n", many(62))).await, 200);
    for (what, text) in [
        ("65 fields", format!("GET {path} HTTP/1.1\r\n{host}{}\r\n", many(63))),
        ("1,000 fields", format!("GET {path} HTTP/1.1\r\n{host}{}\r\n", many(1_000))),
        ("a long field", format!("GET {path} HTTP/1.1\r\n{host}x: {}\r\n\r\n", "y".repeat(17_000))),
        ("a long name", format!("GET {path} HTTP/1.1\r\n{host}{}: y\r\n\r\n", "x".repeat(17_000))),
        ("an endless head", format!("GET {path} HTTP/1.1\r\n{host}x: {}", "y".repeat(3_000_000))),
        ("a long query", format!("GET {path}?{} HTTP/1.1\r\n{host}\r\n", "q".repeat(17_000))),
        ("a very long query", format!("GET {path}?{} HTTP/1.1\r\n{host}\r\n", "q".repeat(70_000))),
        ("a long method", format!("{} {path} HTTP/1.1\r\n{host}\r\n", "M".repeat(17_000))),
    ] {
        let status = status(text).await;
        assert!(matches!(status, 400 | 414 | 431), "{what}: {status}");
    }
}

/// RFC 9112, section 3.2: one `Host`, unless the request is of HTTP/1.0.
async fn hosts(to: SocketAddr, path: &str) {
    let close = "connection: close\r\n";
    for (text, status) in [
        (format!("GET {path} HTTP/1.0\r\nhost: {to}\r\n\r\n"), 200),
        (format!("GET {path} HTTP/1.1\r\n{close}\r\n"), 400),
        (format!("GET {path} HTTP/1.1\r\n{close}host: {to}\r\nhost: {to}\r\n\r\n"), 400),
        (format!("GET {path} HTTP/1.1\r\n{close}host: {to}\r\nhost: evil.example\r\n\r\n"), 400),
        (format!("GET http://{to}{path} HTTP/1.1\r\n{close}\r\n"), 400),
    ] {
        let reply = only(to, &text).await.unwrap_or_else(|| panic!("no answer to {text:?}"));
        assert_eq!(reply.status, status, "{text:?}: {reply:?}");
    }
}

/// A thousand requests in one breath are answered in order; a refused one in the middle shifts nothing.
async fn pipelined(to: SocketAddr, path: &str) {
    let one = |id: usize, path: &str| format!("GET {path} HTTP/1.1\r\nhost: {to}\r\nx-correlation-id: {id}\r\n\r\n");
    let mut raw = Raw::open(to).await;
    for hundred in 0..10 {
        let ids = hundred * 100..(hundred + 1) * 100;
        let target = |id: usize| if id % 10 == 3 { "/nowhere" } else { path };
        let text: String = ids.clone().map(|id| one(id, target(id))).collect();
        raw.tcp.write_all(text.as_bytes()).await.unwrap();
        for id in ids {
            let reply = raw.reply().await.expect("an answer");
            assert_eq!(reply.header("x-correlation-id"), Some(id.to_string().as_str()));
            assert_eq!(reply.status, if id % 10 == 3 { 404 } else { 200 });
        }
    }
}

/// Who waits for `100 Continue` gets it only where the body is wanted.
async fn early(to: SocketAddr) {
    let text = format!(
        "POST /nowhere HTTP/1.1\r\nhost: {to}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n"
    );
    let mut raw = Raw::say(to, text).await;
    assert_eq!(raw.reply().await.map(|reply| reply.status), Some(404), "nobody wants the body");
}
