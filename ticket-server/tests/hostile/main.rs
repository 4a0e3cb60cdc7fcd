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
