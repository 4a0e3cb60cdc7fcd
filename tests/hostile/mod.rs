//! What a hostile client needs: a server as a process of its own, raw connections to it, and a look at the process
//! afterwards. Both servers stand on the same plumbing, so what attacks that ([`heads`], [`patience`]) is here too.
//!
//! Included by the `hostile` tests of each server with `#[path]`.

#![allow(dead_code, reason = "each server needs its part")]

pub mod forge;
pub mod heads;
pub mod patience;

use std::{net::SocketAddr, process::Command, time::Duration};

use queue_core::service::testing::Program;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// What should happen soon has not happened after so long.
pub const SOON: Duration = Duration::from_secs(30);
/// What a server may have grown by, after whatever was done to it.
const GROWTH_KB_MAX: u64 = 64 * 1024;
/// Connections of the pool to the store may come and go.
const SPARE_FDS: usize = 4;

/// A server under attack.
pub struct Victim {
    program: Program,
    pub public: SocketAddr,
    pub ops: SocketAddr,
    pub operator: String,
    pub peer: String,
    pub state: tempfile::TempDir,
    fds: usize,
    rss_kb: u64,
}

impl Victim {
    /// Starts `program` on free ports with a state folder of its own.
    pub async fn start(program: &str, args: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let (operator, peer) = ("operator-".repeat(5), "peer-".repeat(8));
        let mut command = Command::new(program);
        command.arg("--drain-seconds=5").args(args).env_clear().env("USHER_STATE_DIR", state.path());
        command.env("USHER_OPERATOR_TOKEN", &operator).env("USHER_PEER_TOKEN", &peer);
        let program = Program::start(&mut command);
        let (public, ops) = (program.public, program.ops);
        let mut victim = Self { program, public, ops, operator, peer, state, fds: 0, rss_kb: 0 };
        // The first requests open and allocate what stays.
        for _ in 0..20 {
            assert_eq!(victim.ask("GET", "/health", "", "").await.status, 200);
            victim.metrics().await;
        }
        victim.remember().await;
        victim
    }

    /// What it has now is what it should have in the end.
    pub async fn remember(&mut self) {
        self.fds = self.fds_when_still().await;
        self.rss_kb = self.rss_kb();
    }

    /// One request on a connection of its own to the public listener.
    pub async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        ask(self.public, method, path, headers, body).await
    }

    /// The same to the operations listener, as the operator.
    pub async fn operate(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = format!("authorization: Bearer {}\r\n", self.operator);
        ask(self.ops, method, path, &headers, body).await
    }

    pub async fn metrics(&self) -> String {
        let reply = ask(self.ops, "GET", "/metrics", "", "").await;
        assert_eq!(reply.status, 200);
        reply.text()
    }

    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.program.pid())).unwrap().count()
    }

    /// How many there are once connections that just ended are closed.
    async fn fds_when_still(&self) -> usize {
        let (mut least, mut since) = (self.fds(), Instant::now());
        while since.elapsed() < Duration::from_millis(200) {
            sleep(Duration::from_millis(20)).await;
            let now = self.fds();
            if now < least {
                (least, since) = (now, Instant::now());
            }
        }
        least
    }

    /// Memory in use, in KiB.
    pub fn rss_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Descriptors that are there without anybody.
    pub fn fds_at_start(&self) -> usize {
        self.fds + SPARE_FDS
    }

    /// What it had in memory when it was remembered.
    pub fn rss_kb_before(&self) -> u64 {
        self.rss_kb
    }

    /// Waits until the server has closed what was open beyond the start.
    pub async fn let_go(&self) {
        let until = Instant::now() + SOON;
        while self.fds() > self.fds + SPARE_FDS {
            assert!(Instant::now() < until, "{} descriptors are open, {} at the start", self.fds(), self.fds);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whatever was done: it lives and answers, has panicked nowhere, has answered no 500, holds no more connections
    /// and hardly more memory than before.
    pub async fn unhurt(mut self) {
        assert_eq!(self.ask("GET", "/health", "", "").await.status, 200);
        let metrics = self.metrics().await;
        let failed = metrics.lines().find(|line| line.contains("_http_requests_total") && line.contains("status=\"5"));
        assert_eq!(failed, None);
        self.let_go().await;
        let grown = self.rss_kb().saturating_sub(self.rss_kb);
        assert!(grown < GROWTH_KB_MAX, "it has grown by {grown} KiB");
        assert!(self.program.is_running(), "it has ended");
        let said = self.program.said();
        assert!(!said.contains("panic") && !said.contains("ERROR"), "{said}");
    }
}

/// One request on a connection of its own.
pub async fn ask(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    let text = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{headers}{length}\r\n{body}");
    let (mut replies, _) = send(to, text.as_bytes(), 1).await;
    assert_eq!(replies.len(), 1, "no answer to {text:?}");
    replies.remove(0)
}

/// Sends bytes on a new connection and reads until `most` answers are there or the server closes. Gives the answers
/// and whether it closed.
pub async fn send(to: SocketAddr, bytes: &[u8], most: usize) -> (Vec<Reply>, bool) {
    let mut raw = Raw::open(to).await;
    // A server that refuses early may have closed before all is written.
    let _ = raw.tcp.write_all(bytes).await;
    let mut replies = Vec::new();
    while replies.len() < most {
        match raw.reply().await {
            Some(reply) => replies.push(reply),
            None => return (replies, true),
        }
    }
    (replies, false)
}

/// A connection on which anything goes.
pub struct Raw {
    pub tcp: TcpStream,
    ahead: Vec<u8>,
}

impl Raw {
    pub async fn open(to: SocketAddr) -> Self {
        Self { tcp: TcpStream::connect(to).await.unwrap(), ahead: Vec::new() }
    }

    /// Opens it and sends something.
    pub async fn say(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::open(to).await;
        let _ = raw.tcp.write_all(bytes.as_ref()).await;
        raw
    }

    /// The next answer; `None` when the server closes instead.
    pub async fn reply(&mut self) -> Option<Reply> {
        timeout(SOON, self.read_reply()).await.expect("an answer or the end, in time")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.ahead.drain(..end).collect()).expect("heads are ASCII");
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.ahead.len() < length {
            self.more().await?;
        }
        reply.body = self.ahead.drain(..length).collect();
        Some(reply)
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.tcp.read(&mut buffer).await {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.ahead.extend_from_slice(&buffer[..count]);
                Some(())
            }
        }
    }

    /// Reads until the server closes, `within` at most; what it said, or `None` if it did not close.
    pub async fn closed(&mut self, within: Duration) -> Option<Vec<u8>> {
        timeout(within, async { while self.more().await.is_some() {} }).await.ok()?;
        Some(std::mem::take(&mut self.ahead))
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Status and code of a refusal in the contract's form.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["message"].is_string() && body["retryable"].is_boolean(), "{self:?}");
        assert_eq!(body["traceId"].as_str(), self.header("x-trace-id"), "{self:?}");
        (self.status, body["code"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned())
    }
}
