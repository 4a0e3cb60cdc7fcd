//! The whole at once: up to hundreds of thousands of WebSocket waiters on several nodes and one Redis, on one machine,
//! with people joining, being let in, losing their sockets and coming back, and everything they see held against the
//! store's own record.
//!
//! Every process has a bounded number of file descriptors, so there are as many nodes and client processes as it takes;
//! a client is this program again. The load follows a fixed schedule and latencies are taken from when something was
//! due, so a server that stalls does not hide its wait.

mod client;
mod control;
mod judge;
mod meters;
mod plots;
mod progress;
mod record;
mod report;
pub(crate) mod resp;
mod run;
mod stage;
mod truth;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio_util::sync::CancellationToken;

pub use client::{Options as ClientOptions, run as client};
pub(crate) use report::Machine;

use crate::{demo, process::raise_file_limit};

/// Waiters per node and per client, at most, if their number is not given.
const PER_PROCESS_MAX: usize = 17_000;
/// Sockets that a process may have, in percent of its file descriptors.
const FILES_PERCENT: usize = 95;
/// Waiters whose every message is read, at least, where there are so many.
const SAMPLE_MIN: usize = 500;
/// And at least so many of a thousand.
const SAMPLE_PER_MILLE_MIN: u64 = 10;
/// A session's length: longer than anybody stays.
const TTL: Duration = Duration::from_secs(300);
/// Whoever is let in stays for at most this, for half of it on average.
const STAY: Duration = Duration::from_millis(1_000);
/// A run of so many waiters is a full one: bounds of time count, too.
const FULL_SCALE: usize = 100_000;

/// How large, how long, how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many wait.
    #[arg(long, default_value_t = 100_000)]
    scale: usize,
    /// How long, once all of them wait.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Joins each second, and as many admissions.
    #[arg(long, default_value_t = 500.0)]
    joins_per_second: f64,
    /// Sockets that are dropped each minute, and reconnected, in percent.
    #[arg(long, default_value_t = 5.0)]
    drop_percent: f64,
    /// Queue server nodes; by default as many as the file descriptors demand.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=200))]
    nodes: Option<u16>,
    /// Client processes; by default as many as nodes.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=200))]
    clients: Option<u16>,
    /// Let Redis log every change, brought to disk each second.
    #[arg(long)]
    appendonly: bool,
    /// Where the report, the figures and the plots go.
    #[arg(long, default_value = "target/scale")]
    out: PathBuf,
    /// Which sockets are dropped when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// [`Options`], checked, and what follows from them.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub scale: usize,
    pub seconds: u64,
    pub joins_per_second: f64,
    pub drops_per_second: f64,
    pub nodes: usize,
    pub clients: usize,
    /// Sockets of one process, at most.
    pub sockets_max: usize,
    pub capacity: u64,
    pub stay_ms_max: u64,
    pub sampled_per_mille: u64,
    pub appendonly: bool,
    pub seed: u64,
}

impl Plan {
    fn new(options: &Options, files: usize) -> Result<Self> {
        let Options { scale, minutes, joins_per_second, drop_percent, .. } = *options;
        ensure!((100..=2_000_000).contains(&scale), "--scale must be between 100 and 2,000,000");
        ensure!((0.05..=120.0).contains(&minutes), "--minutes must be between 0.05 and 120");
        ensure!((1.0..=20_000.0).contains(&joins_per_second), "--joins-per-second must be between 1 and 20,000");
        ensure!((0.0..=100.0).contains(&drop_percent), "--drop-percent must be between 0 and 100");
        let sockets_max = files * FILES_PERCENT / 100;
        let nodes = options.nodes.map_or_else(|| scale.div_ceil(PER_PROCESS_MAX.min(sockets_max)).max(2), usize::from);
        let clients = options.clients.map_or(nodes, usize::from);
        ensure!(
            scale.div_ceil(nodes.min(clients)) <= sockets_max * 9 / 10,
            "{scale} waiters need more than {nodes} nodes and {clients} clients: each has {files} file descriptors"
        );
        let sampled = (SAMPLE_MIN * 1_000).div_ceil(scale) as u64;
        Ok(Self {
            scale,
            seconds: (minutes * 60.0).round() as u64,
            joins_per_second,
            drops_per_second: scale as f64 * drop_percent / 100.0 / 60.0,
            nodes,
            clients,
            sockets_max,
            // Four fifths of a second's admissions: people stay for half a second, so the capacity is full whenever
            // something stalls, and it is seen whether it holds.
            capacity: ((joins_per_second * 0.8) as u64).max(10),
            stay_ms_max: STAY.as_millis() as u64,
            sampled_per_mille: sampled.clamp(SAMPLE_PER_MILLE_MIN, 1_000),
            appendonly: options.appendonly,
            seed: options.seed,
        })
    }

    const fn ttl_ms(&self) -> u64 {
        TTL.as_millis() as u64
    }

    fn admit_per_minute(&self) -> u64 {
        (self.joins_per_second * 60.0).round() as u64
    }

    /// Whether bounds of time count as much as the others.
    const fn is_full(&self) -> bool {
        self.scale >= FULL_SCALE
    }

    /// How many of `all` are client `index`'s.
    const fn share(&self, all: usize, index: usize) -> usize {
        all / self.clients + (index < all % self.clients) as usize
    }
}

/// Runs it, prints the table and writes the report; fails where a bound was broken.
pub async fn run(options: Options) -> Result<()> {
    let files = usize::try_from(raise_file_limit())?;
    let plan = Plan::new(&options, files)?;
    std::fs::create_dir_all(&options.out).with_context(|| format!("creating {}", options.out.display()))?;
    let stop = CancellationToken::new();
    demo::stop_on_signal(stop.clone())?;
    let folder = tempfile::Builder::new().prefix("usher-scale-").tempdir().context("making a temporary folder")?;
    let machine = report::Machine::read();
    eprintln!(
        "{} waiters on {} nodes, {} clients, {} s; Redis {}",
        plan.scale,
        plan.nodes,
        plan.clients,
        plan.seconds,
        report::persistence(&plan)
    );
    let mut stage = stage::set(&plan, folder.path()).await?;
    let outcome = run::play(&plan, &mut stage, &stop).await;
    stage.end().await;
    let results = outcome?;
    let verdict = judge::judge(&plan, &results);
    report::write(&options.out, &plan, &machine, &results, &verdict)?;
    let broken = verdict.broken(plan.is_full());
    ensure!(broken.is_empty(), "bounds were broken: {}", broken.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn plan(args: &[&str], files: usize) -> Result<Plan> {
        let options = Cli::parse_from(std::iter::once("scale").chain(args.iter().copied())).options;
        Plan::new(&options, files)
    }

    #[test]
    fn processes_follow_from_the_file_descriptors() {
        let full = plan(&[], 20_000).unwrap();
        assert_eq!((full.nodes, full.clients, full.seconds, full.sampled_per_mille), (6, 6, 600, 10));
        assert!(full.is_full());
        assert_eq!((full.capacity, full.admit_per_minute()), (400, 30_000));
        assert!((full.drops_per_second - 83.3).abs() < 0.1);
        let small = plan(&["--scale", "2000", "--minutes", "0.34"], 20_000).unwrap();
        assert_eq!((small.nodes, small.seconds, small.sampled_per_mille), (2, 20, 250));
        let shares: Vec<usize> = (0..6).map(|index| full.share(100_000, index)).collect();
        assert_eq!((shares[0], shares[5], shares.iter().sum()), (16_667, 16_666, 100_000));
        assert!(plan(&["--scale", "100000", "--nodes", "2"], 20_000).is_err());
        assert!(plan(&["--minutes", "0"], 20_000).is_err());
    }
}
