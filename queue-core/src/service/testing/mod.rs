//! What the tests of all crates need: a real Redis of their own, our programs as processes, and a client that says
//! what it got.

mod asking;
mod program;
mod redis;

use std::time::Duration;

pub use self::{
    asking::{Answer, Ask, client},
    program::{Program, signal},
    redis::{TestRedis, TestSentinel},
};

/// What is expected within seconds has not happened after so long.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Tries until there is something, [`WITHIN`] at most; then panics with `what` was waited for.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "waited longer than {WITHIN:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
