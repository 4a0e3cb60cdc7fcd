//! The real `ticket-server` in the hands of hostile clients. Whatever comes in is answered with the contract's error;
//! afterwards the process must be unhurt: no panic, no 500, no connection left, hardly more memory.

mod bodies;
mod sale;
mod tokens;

#[path = "../../../tests/hostile/mod.rs"]
mod hostile;

use hostile::{heads, patience};
use sale::Sale;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ticket-server");

#[tokio::test]
async fn heads_that_nobody_sends() {
    let sale = Sale::open().await;
    heads::attack(sale.victim.public, "/health").await;
    heads::attack(sale.victim.ops, "/livez").await;
    sale.victim.unhurt().await;
}

#[tokio::test]
async fn silence_and_trickle() {
    let sale = Sale::open().await;
    let bearer = sale.bearer();
    tokio::join!(
        patience::silent(sale.victim.public, "/health"),
        patience::trickling_as(sale.victim.public, "/health", "/api/v1/seats/reserve", &bearer),
        patience::silent(sale.victim.ops, "/livez"),
    );
    sale.victim.unhurt().await;
}

/// The map of a whole hall, asked for thousands of times and never read.
#[tokio::test]
async fn who_never_reads_is_dropped() {
    let sale = Sale::open().await;
    patience::never_reading(&sale.victim, "/api/v1/seats/events/hall").await;
    sale.victim.unhurt().await;
}

/// Each asks for the map of a large hall after it has changed, and reads nothing of it: each map lives for as long as
/// its reader, so their number is bounded, and the holds go on.
#[tokio::test]
async fn maps_that_nobody_reads_are_bounded() {
    const SEATS: u32 = 100_000;
    const GROWTH_KB_MAX: u64 = (256 + 128) * 1024;
    let mut sale = Sale::open().await;
    let mut large = sale::hall();
    large["maxSeatsPerVisitor"] = 1_000.into();
    large["sections"] = serde_json::json!([
        {"section": "A", "ticketTypeId": "std", "rows": SEATS / 100, "seatsPerRow": 100}
    ]);
    sale.event("large", &large).await;
    let map = "/api/v1/seats/events/large";
    let bytes = sale.victim.ask("GET", map, "", "").await.body.len();
    assert!(bytes > 10 << 20, "{bytes} bytes fit into what the system keeps for a connection");
    sale.victim.remember().await;
    let ask = format!("GET {map} HTTP/1.1\r\nhost: {}\r\n\r\n", sale.victim.public);
    // One for each map: the server may give the same one for a moment.
    let (mut readers, mut last) = (Vec::new(), String::new());
    let until = tokio::time::Instant::now() + 3 * hostile::SOON;
    for seat in 0.. {
        assert!(tokio::time::Instant::now() < until, "{} maps, and none was refused", readers.len());
        let token = sale::bearer(&sale::token(&sale.key, "large", 100 + (seat % 100) as u8));
        let seat = format!("A-{}-{}", seat / 100 + 1, seat % 100 + 1);
        let body = serde_json::json!({"eventId": "large", "seatIds": [seat]}).to_string();
        let held = sale.victim.ask("POST", "/api/v1/seats/reserve", &token, &body).await;
        assert!(matches!(held.status, 201 | 409), "holds go on: {held:?}");
        let raw = hostile::Raw::say(sale.victim.public, &ask).await;
        let mut head = [0; 256];
        let count = raw.tcp.peek(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        if head.starts_with("HTTP/1.1 503") {
            break;
        }
        let tag = head.lines().find(|line| line.starts_with("etag")).unwrap_or_default().to_owned();
        if tag != last {
            readers.push(raw);
        }
        last = tag;
    }
    let grown = sale.victim.rss_kb().saturating_sub(sale.victim.rss_kb_before());
    assert!(grown < GROWTH_KB_MAX, "{grown} KiB for {} maps of {bytes} bytes", readers.len());
    let refused = sale.victim.ask("GET", map, "", "").await;
    assert_eq!(refused.refusal(), (503, "OVERLOADED".into()));
    drop(readers);
    sale.victim.let_go().await;
    assert_eq!(sale.victim.ask("GET", map, "", "").await.status, 200);
}
