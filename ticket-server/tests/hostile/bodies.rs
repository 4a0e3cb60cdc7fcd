//! Bodies and identifiers on every route that takes them: the contract's refusal, and nothing is held.

use super::{
    hostile::{Raw, ask, send},
    sale::{self, Sale},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json\r\n";
/// Routes of visitors with a body.
const VISITORS: [&str; 4] =
    ["/api/v1/seats/reserve", "/api/v1/reservations", "/api/v1/orders", "/api/v1/balance/charge"];

async fn refuses(to: std::net::SocketAddr, head: &str, body: &[u8]) -> (u16, String) {
    let mut text =
        format!("{head}host: {to}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    text.extend_from_slice(body);
    let (replies, _) = send(to, &text, 1).await;
    replies.first().unwrap_or_else(|| panic!("no answer to {head}")).refusal()
}

#[tokio::test]
async fn bodies_are_refused_everywhere() {
    let sale = Sale::open().await;
    let operator = sale::bearer(&sale.victim.operator);
    let mut heads: Vec<_> = VISITORS
        .iter()
        .map(|path| (sale.victim.public, format!("POST {path} HTTP/1.1\r\nidempotency-key: k\r\n{}", sale.bearer())))
        .collect();
    heads.push((sale.victim.ops, format!("PUT /api/v1/admin/events/other HTTP/1.1\r\n{operator}")));
    let deep = format!("{{\"a\":{}", "[".repeat(10_000));
    let malformed: &[&[u8]] = &[
        b"{",
        b"nope",
        b"{\"a\":}",
        b"{\"a\":1}x",
        b"{} {}",
        b"{\"a\":1,}",
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\\ud800\"}",
        b"\0",
        b" ",
        b"{\"a\":NaN}",
        b"{\"a\":1e999999}",
        deep.as_bytes(),
        b"",
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
        b"{}",
        b"{\"eventId\":[\"hall\"]}",
        b"{\"__proto__\":{}}",
    ];
    for (to, head) in &heads {
        for body in malformed {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            let refusal = refuses(*to, &format!("{head}{JSON}"), body).await;
            assert_eq!(refusal, (400, "MALFORMED_BODY".into()), "{head} {shown:?}");
        }
        for body in other {
            let refusal = refuses(*to, &format!("{head}{JSON}"), body).await;
            assert_eq!(refusal, (422, "INVALID_REQUEST".into()), "{head} {:?}", String::from_utf8_lossy(body));
        }
        for kind in ["", "content-type: text/plain\r\n", "content-type: application/jsonp\r\n", "content-type: ;\r\n"] {
            let refusal = refuses(*to, &format!("{head}{kind}"), b"{}").await;
            assert_eq!(refusal, (415, "UNSUPPORTED_MEDIA_TYPE".into()), "{head} {kind}");
        }
    }
    for (to, head) in &heads[..VISITORS.len()] {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(20_000));
        let refusal = refuses(*to, &format!("{head}{JSON}"), large.as_bytes()).await;
        assert_eq!(refusal, (413, "BODY_TOO_LARGE".into()), "{head}");
    }
    // The operator may send much, but not without end.
    let put = &heads[VISITORS.len()].1;
    let text = format!("{put}{JSON}host: {}\r\ncontent-length: 1000000000000\r\n\r\n{{", sale.victim.ops);
    let reply = Raw::say(sale.victim.ops, text).await.reply().await.unwrap();
    assert_eq!(reply.refusal(), (413, "BODY_TOO_LARGE".into()));
    assert_eq!(sale.taken().await, [json!("A-10-20")]);
    sale.victim.unhurt().await;
}

#[tokio::test]
async fn wishes_out_of_range_hold_nothing() {
    let sale = Sale::open().await;
    let nine: Vec<_> = (1..=9).map(|number| format!("A-1-{number}")).collect();
    let seats = |ids: Value| json!({"eventId": "hall", "seatIds": ids});
    let mut wishes = vec![
        ("seats/reserve", seats(json!([])), 422),
        ("seats/reserve", seats(json!(nine)), 422),
        ("seats/reserve", seats(json!(["A-1-1", "A-1-1"])), 422),
        ("seats/reserve", seats(json!("A-1-1")), 422),
        ("seats/reserve", seats(json!({"0": "A-1-1"})), 422),
        ("seats/reserve", seats(json!([["A-1-1"]])), 422),
        ("seats/reserve", seats(json!(["A-1-1", null])), 422),
        ("seats/reserve", seats(json!(["A-1-1", ""])), 422),
        ("seats/reserve", seats(json!(["A-1-1", "A 1 2"])), 422),
        ("seats/reserve", seats(json!(["A-1-1", "A-1-1\u{0}"])), 422),
        ("seats/reserve", seats(json!(["A-1-1", "x".repeat(65)])), 422),
        ("seats/reserve", seats(json!(["A-1-1", "A-1-21"])), 404),
        ("seats/reserve", seats(json!(["A-1-1", "a-1-1"])), 404),
        ("seats/reserve", seats(json!(["A-1-1", "A-01-1"])), 404),
        ("seats/reserve", json!({"eventId": "other", "seatIds": ["A-1-1"]}), 403),
        ("seats/reserve", json!({"eventId": "../hall", "seatIds": ["A-1-1"]}), 422),
        ("seats/reserve", json!({"eventId": "hall", "seatIds": ["A-1-1"], "visitorId": "a_x"}), 422),
        ("reservations", json!({"eventId": "hall", "ticketTypeId": "none", "quantity": 1}), 404),
        ("reservations", json!({"eventId": "hall", "ticketTypeId": "floor\n", "quantity": 1}), 422),
    ];
    for quantity in
        [json!(0), json!(-1), json!(1.5), json!("1"), json!([1]), json!(u64::MAX), json!(1e300), Value::Null]
    {
        wishes.push(("reservations", json!({"eventId": "hall", "ticketTypeId": "floor", "quantity": quantity}), 422));
    }
    for seconds in [json!(0), json!(9), json!(901), json!(-1), json!("60"), json!(60.5), json!(u64::MAX)] {
        wishes.push(("seats/reserve", json!({"eventId": "hall", "seatIds": ["A-1-1"], "holdSeconds": seconds}), 422));
    }
    for (path, body, status) in wishes {
        let reply = sale.post(&format!("/api/v1/{path}"), &body).await;
        assert_eq!(reply.refusal().0, status, "{body}: {reply:?}");
    }
    assert_eq!(sale.taken().await, [json!("A-10-20")]);
    sale.victim.unhurt().await;
}

const NOT_IDS: [&str; 16] = [
    "%00",
    "a%00",
    "%2F",
    "a%2Fb",
    "..",
    "%2e%2e",
    "-a",
    "%20",
    "%7Ba%7D",
    "a%0d%0aset-cookie:x",
    "%ff",
    "%c3%28",
    "%",
    "%zz",
    "a*",
    "%F0%9F%8E%AB",
];

#[tokio::test]
async fn identifiers_are_checked_everywhere() {
    let sale = Sale::open().await;
    let (long, longest) = ("x".repeat(65), "x".repeat(10_000));
    for id in NOT_IDS.into_iter().chain([long.as_str(), longest.as_str()]) {
        for path in [
            "events/{}",
            "tickets/event/{}",
            "seats/events/{}",
            "tickets/availability/{}?eventId=hall",
            "tickets/availability/std?eventId={}",
        ] {
            let reply = sale.victim.ask("GET", &format!("/api/v1/{}", path.replace("{}", id)), "", "").await;
            assert!(matches!(reply.refusal().0, 404 | 422), "{path} {id}: {reply:?}");
        }
        for (method, path) in [
            ("GET", "reservations/{}"),
            ("DELETE", "reservations/{}"),
            ("POST", "reservations/{}/extend"),
            ("POST", "reservations/{}/confirm"),
            ("POST", "reservations/{}/cancel"),
            ("GET", "seats/reservation/{}"),
            ("GET", "reservations/{}/history"),
            ("GET", "orders/{}"),
        ] {
            let path = format!("/api/v1/{}", path.replace("{}", id));
            let reply = sale.victim.ask(method, &path, &sale.bearer(), "").await;
            assert_eq!(reply.refusal().0, 404, "{method} {path}: {reply:?}");
        }
        let put = sale.victim.operate("PUT", &format!("/api/v1/admin/events/{id}"), &sale::hall().to_string()).await;
        assert!(matches!(put.status, 404 | 422), "{id}: {put:?}");
        assert_eq!(sale.victim.ask("GET", &format!("/tickets/{id}"), "", "").await.status, 404, "{id}");
    }
    for query in [
        "page=0",
        "page=-1",
        "page=1000001",
        "pageSize=0",
        "pageSize=101",
        "page=x",
        "from=soon",
        "to=%00",
        "page=18446744073709551616",
        &format!("q={}", "a".repeat(10_000)),
    ] {
        let reply = sale.victim.ask("GET", &format!("/api/v1/events?{query}"), "", "").await;
        assert_eq!(reply.refusal(), (422, "INVALID_REQUEST".into()), "{query}");
    }
    for query in ["q=%ff", "q=%00", "q=%27%20or%201%3D1", "x=y&&&=&=", "q=(%5B*", "page=1000000&pageSize=100"] {
        assert_eq!(sale.victim.ask("GET", &format!("/api/v1/events?{query}"), "", "").await.status, 200, "{query}");
    }
    let listed = sale.victim.ask("GET", "/api/v1/events", "", "").await.json();
    assert_eq!(listed["total"], 1, "{listed}");
    sale.victim.unhurt().await;
}

/// A thousand times the same seat at once: one hold.
#[tokio::test]
async fn one_seat_has_one_holder() {
    let sale = Sale::open().await;
    let body = json!({"eventId": "hall", "seatIds": ["A-5-5"]}).to_string();
    let answers = join_all((0..100_u8).map(|visitor| {
        let (to, body) = (sale.victim.public, &body);
        let headers = sale::bearer(&sale::token(&sale.key, "hall", 100 + visitor % 50));
        async move {
            let mut held = 0;
            for _ in 0..10 {
                let reply = ask(to, "POST", "/api/v1/seats/reserve", &headers, body).await;
                assert!(matches!(reply.status, 201 | 409), "{reply:?}");
                held += usize::from(reply.status == 201);
            }
            held
        }
    }));
    assert_eq!(answers.await.into_iter().sum::<usize>(), 1);
    sale.victim.unhurt().await;
}
