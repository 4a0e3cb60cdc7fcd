//! How long connections may take, how many there may be, and how they end.

mod support;

use std::time::{Duration, Instant};

use queue_core::service::http::HttpOptions;
use support::{PATIENCE, Raw, Server, options, serve, short};
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(150);
/// Far beyond `SHORT`, far below the time-outs that a test leaves as they are.
const LATE: Duration = Duration::from_secs(5);
const GET: &str = "GET /items/1 HTTP/1.1\r\nhost: x\r\n\r\n";

/// Closed no earlier than the time-out, and not much later.
async fn closes_after(raw: &mut Raw, since: Instant, timeout: Duration) {
    raw.until_closed().await;
    let took = since.elapsed();
    assert!(took >= timeout && took < LATE, "closed after {took:?}");
}

#[tokio::test]
async fn silent_peers_are_closed() {
    let server = serve(short(|t| t.head = SHORT)).await;
    let since = Instant::now();
    let mut raw = server.connect().await;
    closes_after(&mut raw, since, SHORT).await;
}

#[tokio::test]
async fn half_a_head_is_closed_however_it_trickles() {
    let server = serve(short(|t| t.head = 2 * SHORT)).await;
    let since = Instant::now();
    let mut raw = server.connect().await;
    raw.send("GET /items/1 HTTP/1.1\r\nhost:").await;
    let mut trickling = server.connect().await;
    let trickle = tokio::spawn(async move {
        let since = Instant::now();
        loop {
            if trickling.0.write_all(b"x").await.is_err() || since.elapsed() > LATE {
                return since.elapsed();
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    closes_after(&mut raw, since, 2 * SHORT).await;
    assert!(trickle.await.unwrap() < LATE, "each byte must not buy time");
}

#[tokio::test]
async fn the_h2_preface_buys_no_time() {
    let server = serve(short(|t| t.head = SHORT)).await;
    let mut raw = server.connect().await;
    let since = Instant::now();
    raw.send("PRI * HTTP/2.0\r\n").await;
    raw.until_closed().await;
    assert!(since.elapsed() < LATE);
}

#[tokio::test]
async fn idle_connections_are_closed_after_an_answer() {
    let server = serve(short(|t| t.idle = 2 * SHORT)).await;
    let mut raw = server.connect().await;
    for _ in 0..3 {
        raw.send(GET).await;
        assert_eq!(raw.answer().await.status, 200);
        assert!(raw.open_after(SHORT).await, "it may be used again");
    }
    raw.send(GET).await;
    let since = Instant::now();
    raw.answer().await;
    closes_after(&mut raw, since, 2 * SHORT).await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_for_the_first_head() {
    let server = serve(short(|t| t.head = SHORT)).await;
    let mut raw = server.connect().await;
    raw.send(GET).await;
    raw.answer().await;
    assert!(raw.open_after(4 * SHORT).await);
    raw.send(GET).await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn the_next_head_has_the_idle_time() {
    let server = serve(short(|t| t.idle = 2 * SHORT)).await;
    let mut raw = server.connect().await;
    raw.send(GET).await;
    let since = Instant::now();
    raw.answer().await;
    raw.send("GET /items/1 HTT").await;
    closes_after(&mut raw, since, 2 * SHORT).await;
}

#[tokio::test]
async fn slow_handlers_are_not_idle() {
    let server = serve(short(|t| (t.head, t.idle) = (SHORT, SHORT))).await;
    let mut raw = server.connect().await;
    raw.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.app.began.notified().await;
    assert!(raw.open_after(4 * SHORT).await);
    server.app.go.notify_one();
    assert_eq!(raw.answer().await.body, "done");
    let since = Instant::now();
    raw.until_closed().await;
    assert!(since.elapsed() < LATE, "then it is idle");
}

#[tokio::test]
async fn slow_bodies_are_told_so() {
    let server = serve(short(|t| t.body = SHORT)).await;
    let head = "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n";
    let answer = server.ask(&format!("{head}{{\"event")).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "REQUEST_TIMEOUT"));
}

#[tokio::test]
async fn streams_live_while_they_are_read() {
    let server = serve(short(|t| (t.head, t.idle, t.stall) = (SHORT, SHORT, SHORT))).await;
    let mut raw = server.connect().await;
    raw.send("GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let since = Instant::now();
    let mut buffer = [0; 64];
    while since.elapsed() < 5 * SHORT {
        let read = tokio::io::AsyncReadExt::read(&mut raw.0, &mut buffer);
        assert!(tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap() > 0, "closed after {:?}", since.elapsed());
    }
    server.draining.cancel();
    assert!(String::from_utf8(raw.until_closed().await).unwrap().ends_with("0\r\n\r\n"), "a whole end");
}

#[tokio::test]
async fn who_does_not_read_a_stream_is_dropped() {
    let server = serve(short(|t| (t.idle, t.stall) = (SHORT, SHORT))).await;
    let mut raw = server.connect().await;
    raw.send("GET /stream?size=1000000 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // Nobody reads: once the buffers of both sides are full, the stall begins.
    tokio::time::timeout(LATE, closed_by_peer(&raw)).await.expect("dropped in time");
}

/// Waits until writing fails, which it does once the peer has closed with unread data.
async fn closed_by_peer(raw: &Raw) {
    loop {
        if raw.0.try_write(b"x").is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock) {
            return;
        }
        tokio::time::sleep(SHORT / 10).await;
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let server = serve(HttpOptions { connections_max: 2, ..options() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for raw in [&mut first, &mut second] {
        raw.send(GET).await;
        assert_eq!(raw.answer().await.status, 200);
    }
    let answer = server.ask(GET).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "OVERLOADED"));
    assert_eq!(answer.header("connection"), Some("close"));
    drop(first);
    works_again(&server).await;
}

async fn works_again(server: &Server) {
    let since = Instant::now();
    while server.ask(GET).await.status != 200 {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn upgraded_connections_speak_for_themselves_and_still_count() {
    let mut options = short(|t| (t.head, t.idle) = (SHORT, SHORT));
    options.connections_max = 1;
    let server = serve(options).await;
    let mut raw = server.connect().await;
    // The first bytes of the new protocol may come with the head.
    raw.send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly").await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 101);
    assert!(answer.header("x-trace-id").is_some());
    server.app.upgraded.notified().await;
    let mut echo = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut raw.0, &mut echo).await.unwrap();
    assert_eq!(&echo, b"early");
    assert!(raw.open_after(4 * SHORT).await, "HTTP's time-outs are over");
    raw.send("later").await;
    tokio::io::AsyncReadExt::read_exact(&mut raw.0, &mut echo).await.unwrap();
    assert_eq!(&echo, b"later");
    assert_eq!(server.ask(GET).await.status, 503, "it is still one of ours");
    drop(raw);
    works_again(&server).await;
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_nobody_in() {
    let server = serve(options()).await;
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.answer().await;
    let mut fresh = server.connect().await;
    let mut busy = server.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.app.began.notified().await;
    server.draining.cancel();
    let since = Instant::now();
    assert!(idle.until_closed().await.is_empty());
    assert!(fresh.until_closed().await.is_empty());
    assert!(since.elapsed() < LATE);
    let since = Instant::now();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        assert!(since.elapsed() < PATIENCE, "the address is let go of");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!server.serving.is_finished());
    server.app.go.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    tokio::time::timeout(PATIENCE, server.serving).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn half_a_head_does_not_hold_a_drain_up() {
    let server = serve(short(|t| t.drain_head = SHORT)).await;
    let mut raw = server.connect().await;
    raw.send("GET /items/1 HTTP/1.1\r\n").await;
    let mut second = server.connect().await;
    second.send(GET).await;
    second.answer().await;
    second.send("GET /it").await;
    server.draining.cancel();
    tokio::time::timeout(LATE, server.serving).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off() {
    let server = serve(options()).await;
    let mut busy = server.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.app.began.notified().await;
    server.draining.cancel();
    server.killed.cancel();
    tokio::time::timeout(PATIENCE, server.serving).await.expect("it ends").unwrap();
    assert!(busy.until_closed().await.is_empty());
}

#[tokio::test]
async fn an_answer_before_the_body_is_read_reaches_the_client() {
    let server = serve(options()).await;
    let body = vec![b'x'; 2_000_000];
    for (path, status) in [("/json", 413), ("/nowhere", 404)] {
        for kind in ["content-type: application/json\r\n", ""] {
            let mut raw = server.connect().await;
            let length = body.len();
            raw.send(&format!("POST {path} HTTP/1.1\r\nhost: x\r\n{kind}content-length: {length}\r\n\r\n")).await;
            // The answer is on its way already; who only sends at first must still get to read it.
            raw.0.write_all(&body).await.unwrap();
            let status = if path == "/json" && kind.is_empty() { 415 } else { status };
            assert_eq!(raw.answer().await.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_never_closes_does_not_hold_its_place() {
    let server = serve(HttpOptions { connections_max: 1, ..options() }).await;
    let mut raw = server.connect().await;
    raw.send("GET /items/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    works_again(&server).await;
    drop(raw);
}
