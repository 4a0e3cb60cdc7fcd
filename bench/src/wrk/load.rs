//! Running wrk and reading what it says.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, time::timeout};

/// A script for wrk.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    name: &'static str,
    text: &'static str,
}

impl Script {
    /// New visitors.
    pub const JOIN: Self = Self { name: "join.lua", text: include_str!("../../wrk/join.lua") };
    /// Known visitors ask where they stand.
    pub const STATUS: Self = Self { name: "status.lua", text: include_str!("../../wrk/status.lua") };
    /// The gate.
    pub const VERIFY: Self = Self { name: "verify.lua", text: include_str!("../../wrk/verify.lua") };
    /// Seats.
    pub const HOLDS: Self = Self { name: "holds.lua", text: include_str!("../../wrk/holds.lua") };
}

/// How often, how long and how many at once.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Turns {
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub rounds: u32,
    /// Seconds per round and server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub seconds: u64,
    /// Connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub connections: u16,
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, seconds, connections } = self;
        write!(f, "wrk -t1 -c{connections} -d{seconds}s, {rounds} rounds, medians; µs are processor time per request")
    }
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// Answers.
    pub requests: u64,
    /// Answers per second.
    pub per_second: f64,
    /// Answers that were neither 2xx nor 3xx.
    pub refused: u64,
}

/// How to run wrk.
#[derive(Debug)]
pub struct Load {
    wrk: PathBuf,
    folder: PathBuf,
    connections: u16,
    seconds: u64,
}

impl Load {
    /// With one thread, its scripts in `folder`.
    pub fn new(wrk: PathBuf, folder: &Path, turns: Turns) -> Self {
        Self { wrk, folder: folder.to_owned(), connections: turns.connections, seconds: turns.seconds }
    }

    /// Runs one round of a script against `url`.
    pub async fn run(&self, url: &str, script: Script, args: &[String]) -> Result<Counted> {
        let file = self.folder.join(script.name);
        std::fs::write(&file, script.text).with_context(|| format!("writing {}", file.display()))?;
        let mut all = vec!["-s".to_owned(), file.display().to_string(), url.to_owned(), "--".into()];
        all.extend_from_slice(args);
        self.count(all).await
    }

    /// Runs one round of the same request with one header.
    pub async fn get(&self, url: &str, header: &str) -> Result<Counted> {
        self.count(vec!["-H".into(), header.to_owned(), url.to_owned()]).await
    }

    async fn count(&self, args: Vec<String>) -> Result<Counted> {
        let output = Command::new(&self.wrk)
            .args(["-t1", &format!("-c{}", self.connections), &format!("-d{}s", self.seconds)])
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(Duration::from_secs(self.seconds + 20), output).await.context("wrk did not end")??;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        parse(&text).with_context(|| format!("wrk said: {text}"))
    }
}

fn parse(text: &str) -> Option<Counted> {
    let line = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
    Some(Counted {
        requests: requests.parse().ok()?,
        per_second: line("Requests/sec:")?.parse().ok()?,
        refused: line("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 1s test @ http://127.0.0.1:1\n  1 threads and 64 connections\n  98765 requests in 3.00s, \
                    20.1MB read\n  Non-2xx or 3xx responses: 12\nRequests/sec:  32921.67\nTransfer/sec:  6.70MB\n";
        assert_eq!(parse(text), Some(Counted { requests: 98_765, per_second: 32_921.67, refused: 12 }));
        assert_eq!(parse("unable to connect"), None);
    }
}
