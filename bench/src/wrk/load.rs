//! Running wrk and reading what it says.

use std::{
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
    /// A script with the name of its file.
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }

    /// New visitors.
    pub const JOIN: Self = Self { name: "join.lua", text: include_str!("../../wrk/join.lua") };
    /// Known visitors ask where they stand.
    pub const STATUS: Self = Self { name: "status.lua", text: include_str!("../../wrk/status.lua") };
    /// The gate.
    pub const VERIFY: Self = Self { name: "verify.lua", text: include_str!("../../wrk/verify.lua") };
    /// Seats.
    pub const HOLD: Self = Self { name: "hold.lua", text: include_str!("../../wrk/hold.lua") };
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
    /// With one thread and so many connections, its scripts in `folder`.
    pub fn new(wrk: PathBuf, folder: &Path, connections: u16, seconds: u64) -> Self {
        Self { wrk, folder: folder.to_owned(), connections, seconds }
    }

    /// Runs one round against `url`.
    pub async fn run(&self, url: &str, script: Script, args: &[String]) -> Result<Counted> {
        let file = self.folder.join(script.name);
        std::fs::write(&file, script.text).with_context(|| format!("writing {}", file.display()))?;
        let output = Command::new(&self.wrk)
            .args(["-t1", &format!("-c{}", self.connections), &format!("-d{}s", self.seconds), "-s"])
            .arg(&file)
            .arg(url)
            .arg("--")
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
