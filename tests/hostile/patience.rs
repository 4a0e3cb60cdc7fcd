//! Peers that take their time: they connect and say nothing, say half of something, or never read what they asked
//! for. Each is closed within the contract's time, whatever it trickles.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

use super::{Raw, Victim};

/// A first head and a body have so long.
const HEAD: Duration = Duration::from_secs(10);
/// What is closed a bit late on a busy machine is still closed.
const SLACK: Duration = Duration::from_secs(10);
/// Peers of each kind.
const PEERS: usize = 40;

/// Half of something, and silence.
pub async fn silent(to: SocketAddr, path: &str) {
    let openings: Vec<Vec<u8>> = vec![
        vec![],
        b"G".to_vec(),
        format!("GET {path} HTTP/1.1").into(),
        format!("GET {path} HTTP/1.1\r\nhost: {to}\r\nx: ").into(),
        format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n").into(),
        b"PRI * HTTP/2.0\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
        b"\x16\x03\x01".to_vec(),
    ];
    let began = Instant::now();
    let peers = openings.iter().cycle().take(PEERS * openings.len()).map(|opening| async move {
        let mut raw = Raw::say(to, opening).await;
        let said = raw.closed(HEAD + SLACK).await;
        let said = said.unwrap_or_else(|| panic!("{:?} is still open", String::from_utf8_lossy(opening)));
        // The operations listener takes few at a time, and says so to the others.
        let told = [b"HTTP/1.1 4", b"HTTP/1.1 5"].into_iter().any(|start| said.starts_with(start));
        assert!(said.is_empty() || told, "{:?}", String::from_utf8_lossy(&said));
    });
    join_all(peers).await;
    assert!(began.elapsed() < HEAD + SLACK);
}

/// A byte now and then keeps nobody's place: neither in a head nor in a body.
pub async fn trickling(to: SocketAddr, path: &str, body_path: &str) {
    trickling_as(to, path, body_path, "").await;
}

/// The same with header fields that make the server want the body.
pub async fn trickling_as(to: SocketAddr, path: &str, body_path: &str, who: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\nx: ");
    let sized = format!(
        "POST {body_path} HTTP/1.1\r\nhost: {to}\r\n{who}content-type: application/json\r\ncontent-length: 9000\r\n\r\n{{"
    );
    let chunked = format!(
        "POST {body_path} HTTP/1.1\r\nhost: {to}\r\n{who}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let kinds: [(&str, &[u8], Option<u16>); 4] = [
        (&head, b"y", None),
        (&sized, b" ", Some(408)),
        (&chunked, b"1\r\n \r\n", Some(408)),
        // A chunk's size line that never ends.
        (&chunked, b"0", Some(408)),
    ];
    let peers = kinds.iter().cycle().take(PEERS).map(|(opening, drop, status)| async move {
        let mut raw = Raw::say(to, opening).await;
        let until = Instant::now() + HEAD + SLACK;
        let mut said = None;
        while said.is_none() {
            assert!(Instant::now() < until, "{opening:?} is still open");
            if raw.tcp.write_all(drop).await.is_err() {
                break;
            }
            said = raw.closed(Duration::from_millis(500)).await;
        }
        let said = said.unwrap_or_default();
        if let (Some(status), false) = (status, said.is_empty()) {
            let wanted = format!("HTTP/1.1 {status}");
            let early = said.starts_with(b"HTTP/1.1 400") && drop == b"0";
            assert!(said.starts_with(wanted.as_bytes()) || early, "{:?}", String::from_utf8_lossy(&said));
        }
    });
    join_all(peers).await;
}

/// Who asks for far more than is read holds a bounded part of it in the server's memory, and is dropped.
pub async fn never_reading(victim: &Victim, path: &str) {
    const READERS: usize = 60;
    const BYTES_EACH_MAX: u64 = 512 * 1024;
    let (to, before) = (victim.public, victim.rss_kb());
    let asks = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n\r\n").repeat(2_000);
    let peers = join_all((0..READERS).map(|_| async {
        let mut raw = Raw::open(to).await;
        // As much as the server takes: it stops reading when nobody reads.
        let _ = tokio::time::timeout(Duration::from_secs(3), raw.tcp.write_all(asks.as_bytes())).await;
        raw
    }))
    .await;
    let grown = victim.rss_kb().saturating_sub(before) * 1024;
    assert!(grown < READERS as u64 * BYTES_EACH_MAX, "{grown} bytes for {READERS} readers");
    // They are dropped, though nothing is read: the descriptors tell.
    let until = Instant::now() + Duration::from_secs(100);
    while victim.fds() > victim.fds_at_start() {
        assert!(Instant::now() < until, "{} descriptors are still open", victim.fds());
        sleep(Duration::from_millis(250)).await;
    }
    drop(peers);
}
