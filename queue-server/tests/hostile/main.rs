//! The real `queue-server` in the hands of hostile clients. Whatever comes in is answered with the contract's error or
//! close code; afterwards the process must be unhurt: no panic, no 500, no connection left, hardly more memory.

mod bodies;
mod frames;
mod joins;
mod store;
mod tokens;

#[path = "../../../tests/hostile/mod.rs"]
mod hostile;

use std::time::Duration;

use hostile::{Victim, heads, patience};

const PROGRAM: &str = env!("CARGO_BIN_EXE_queue-server");

#[tokio::test]
async fn heads_that_nobody_sends() {
    let victim = Victim::start(PROGRAM, &[]).await;
    heads::attack(victim.public, "/health").await;
    heads::attack(victim.ops, "/livez").await;
    victim.unhurt().await;
}

#[tokio::test]
async fn silence_and_trickle() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "slow", 1).await;
    tokio::join!(
        patience::silent(victim.public, "/health"),
        patience::trickling(victim.public, "/health", "/api/v1/queue/check/slow"),
        patience::silent(victim.ops, "/livez"),
        frames::nothing_whole_is_said(&victim),
    );
    victim.unhurt().await;
}

#[tokio::test]
async fn who_never_reads_is_dropped() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "mute", 1).await;
    let _mute = frames::mute(&victim, "mute", 50).await;
    patience::never_reading(&victim, "/openapi.json").await;
    assert_eq!(store::overview(&victim, "mute").await["waiting"], 49, "the places outlive the sockets");
    victim.unhurt().await;
}

/// The other end is gone, but nobody says so until something is sent.
#[tokio::test]
async fn connections_that_end_anywhere() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "gone", 1).await;
    let check = format!("POST /api/v1/queue/check/gone HTTP/1.1\r\nhost: {}\r\n\r\n", victim.public);
    let body = "content-type: application/json\r\ncontent-length: 500\r\n";
    let with_body = format!("POST /api/v1/queue/check/gone HTTP/1.1\r\nhost: {}\r\n{body}\r\n{{", victim.public);
    for text in [&check[..10], &check[..check.len() - 2], &check, &with_body] {
        for linger in [None, Some(Duration::ZERO)] {
            for _ in 0..50 {
                let raw = hostile::Raw::say(victim.public, text).await;
                // Zero sends a reset in place of a quiet end.
                socket_linger(&raw, linger);
            }
        }
    }
    frames::vanish(&victim, "gone").await;
    victim.unhurt().await;
}

fn socket_linger(raw: &hostile::Raw, linger: Option<Duration>) {
    if linger.is_some() {
        raw.tcp.set_zero_linger().unwrap();
    }
}
