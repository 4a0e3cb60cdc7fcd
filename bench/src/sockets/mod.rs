//! What sockets cost: a push beside a bare `send`, a join beside an upgrade. The clients are processes of their own,
//! since one process may have some 20,000 file descriptors here.

pub mod bare;
pub mod clear;
pub mod connect;
pub mod crowd;
pub mod push;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    figures::{median, said},
    process::{Child, free_port},
    servers::beside_us,
};

/// How long a server may take to answer at its start.
const START_WAIT: Duration = Duration::from_secs(20);

/// The bare server as a child.
#[derive(Debug)]
pub struct Bare {
    pub child: Child,
    pub url: String,
    http: reqwest::Client,
}

impl Bare {
    /// Starts one on a free port and waits until it answers.
    /// `keep`: it is to send to its sockets later; else it reads them until they end, on one worker thread.
    pub async fn start(folder: &Path, keep: bool) -> Result<Self> {
        let address: SocketAddr = free_port()?;
        let mut args = vec!["bare-sockets".to_owned(), format!("--listen={address}")];
        args.extend(keep.then(|| "--keep".to_owned()));
        let child = Child::start("bare", &beside_us("bench")?, args, &[("TOKIO_WORKER_THREADS", "1".into())], folder)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut bare = Self { child, url: format!("http://{address}"), http };
        let until = Instant::now() + START_WAIT;
        while bare.ask("count").await.is_err() {
            if !bare.child.is_running() || Instant::now() > until {
                bail!("the bare server did not start:\n{}", bare.child.last_lines());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(bare)
    }

    /// Asks for a number.
    pub async fn ask(&self, what: &str) -> Result<u64> {
        let answer = self.http.get(format!("{}/{what}", self.url)).send().await?.error_for_status()?.text().await?;
        answer.trim().parse().with_context(|| format!("no number: {answer}"))
    }
}

/// A row of `RESULTS.md`: what it took of ours and of the limit, beside floor and goal.
pub fn row(what: &str, ours: &[f64], limit: &[f64], floor: f64, goal: f64) -> String {
    let (ours, limit) = (median(ours.iter().copied()), median(limit.iter().copied()));
    let ratio = ours / limit;
    let said = said(ratio, floor, goal);
    format!("| {what} | {ours:.1} µs | {limit:.1} µs | {ratio:.2} | ≤ {floor} | ≤ {goal} | {said} |")
}

/// The head of a table of [`row`]s.
pub const TABLE_HEAD: &str =
    "| what | ours | limit | ratio | floor | goal | |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_kept() {
        assert!(
            row("x", &[1.0, 9.0, 1.1], &[1.0], 1.7, 1.15)
                .ends_with("| 1.1 µs | 1.0 µs | 1.10 | ≤ 1.7 | ≤ 1.15 | goal reached |")
        );
        assert!(row("x", &[1.5], &[1.0], 1.7, 1.15).ends_with("floor kept |"));
        assert!(row("x", &[2.0], &[1.0], 1.7, 1.15).ends_with("floor **MISSED** |"));
    }
}
