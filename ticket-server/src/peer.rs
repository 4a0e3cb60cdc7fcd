//! Calls to the queue server's operations listener, with the peer token. One client, bounded in
//! time and in what is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use queue_core::service::{
    context,
    secret::Secret,
    spans::{self, Kind},
    trace::TRACEPARENT,
};

use crate::clock::Clock;

/// A call takes at most so long.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Answers are at most so long.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Trouble is logged at most this often.
const COMPLAIN_EVERY_MS: u64 = 10_000;

/// The queue server.
#[derive(Clone)]
pub struct Peer {
    http: reqwest::Client,
    base: Arc<str>,
    token: Secret,
    complained: Arc<AtomicU64>,
}

impl Peer {
    /// The queue at `base`, `http://host:port`.
    pub fn new(base: &str, token: Secret) -> Result<Self, String> {
        let base = base.trim_end_matches('/').into();
        Ok(Self { http: client(CALL_TIMEOUT)?, base, token, complained: Arc::default() })
    }

    /// Status and body of a `GET`.
    pub async fn get(&self, path: &str) -> Result<(u16, Bytes), String> {
        self.call(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Status and body of a `POST` of JSON.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<(u16, Bytes), String> {
        let request = self.http.post(format!("{}{path}", self.base));
        self.call(request.header("content-type", "application/json").body(body)).await
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<(u16, Bytes), String> {
        spans::step(Kind::Client, "queue-server", self.send(request)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Bytes), String> {
        let trouble = |error: reqwest::Error| format!("the queue cannot be asked: {}", chain(&error));
        // Both servers' log lines of one request share its trace.
        let request = match context::traceparent() {
            Some(trace) => request.header(TRACEPARENT, trace),
            None => request,
        };
        let response = request.bearer_auth(self.token.expose()).send().await.map_err(trouble)?;
        let status = response.status().as_u16();
        Ok((status, read_bounded(response, ANSWER_BYTES_MAX).await?))
    }

    /// Logs trouble, but not for each request.
    pub fn complain(&self, what: &str) {
        let now = Clock::Real.now().0;
        let before = self.complained.load(Ordering::Relaxed);
        if now.saturating_sub(before) >= COMPLAIN_EVERY_MS
            && self.complained.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(what, "tokens alone decide while sessions cannot be asked about");
        }
    }
}

/// A client for calls between servers: no proxy, no redirects, bounded in time.
pub fn client(timeout: Duration) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())
}

/// The body of an answer, refused when it is too long.
pub async fn read_bounded(mut response: reqwest::Response, bytes_max: usize) -> Result<Bytes, String> {
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("an answer longer than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// An error with its causes: the client's own text leaves out what went wrong.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
