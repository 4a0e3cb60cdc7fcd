//! Our servers under wrk beside hello-world: processor time per request, ours and Redis's, in alternating rounds.
//!
//! Processor time is read from `/proc` around each round, so that a busy machine changes the requests per second but
//! hardly the figure that counts. Both servers run on one worker thread; wrk has one of its own.

pub(crate) mod load;
mod scene;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::{
    load::{Load, Script, Turns},
    scene::Scene,
};
use crate::{
    figures::{median, micros},
    process::find_program,
};

/// What to compare, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    turns: Turns,
    /// Only these rows.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Row>,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    JoinRedis,
    /// Beside the same server with a call of Redis for each join, in place of hello-world.
    JoinTogether,
    JoinMemory,
    Status,
    Verify,
    Hold,
}

impl Row {
    const ALL: [Self; 6] =
        [Self::JoinRedis, Self::JoinTogether, Self::JoinMemory, Self::Status, Self::Verify, Self::Hold];

    const fn name(self) -> &'static str {
        match self {
            Self::JoinRedis => "join, Redis",
            Self::JoinTogether => "join, Redis, beside one call each",
            Self::JoinMemory => "join, memory",
            Self::Status => "status, Redis, 100,000 waiters",
            Self::Verify => "verify, Redis",
            Self::Hold => "hold of one seat, Redis",
        }
    }

    const fn on_redis(self) -> bool {
        !matches!(self, Self::JoinMemory)
    }

    const fn script(self) -> Script {
        match self {
            Self::JoinRedis | Self::JoinTogether | Self::JoinMemory => Script::JOIN,
            Self::Status => Script::STATUS,
            Self::Verify => Script::VERIFY,
            Self::Hold => Script::HOLDS,
        }
    }

    /// What our processor time per request may be, in those of what it is compared with: what may not be missed,
    /// and what we want.
    const fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Self::JoinRedis => Some((1.8, 1.4)),
            Self::JoinTogether => Some((0.7, 0.6)),
            Self::JoinMemory => Some((1.4, 1.15)),
            Self::Status => Some((1.6, 1.25)),
            Self::Verify => Some((1.5, 1.2)),
            Self::Hold => None,
        }
    }

    /// Whether Redis's time counts with the server's.
    const fn counts_redis(self) -> bool {
        matches!(self, Self::JoinTogether)
    }

    /// Whether it may not cost Redis a command.
    const fn asks_nothing(self) -> bool {
        matches!(self, Self::Status)
    }
}

/// One server's round.
#[derive(Clone, Copy, Debug)]
struct Round {
    requests: u64,
    per_second: f64,
    refused: u64,
    server: Duration,
    redis: Duration,
    /// Commands that Redis carried out meanwhile, those of scripts included.
    commands: u64,
}

impl Round {
    fn server_us(&self) -> f64 {
        micros(self.server, self.requests)
    }

    fn redis_us(&self) -> f64 {
        micros(self.redis, self.requests)
    }

    /// What counts in `row`.
    fn cost_us(&self, row: Row) -> f64 {
        self.server_us() + if row.counts_redis() { self.redis_us() } else { 0.0 }
    }
}

/// Runs the comparison and prints a table.
pub async fn run(options: Options) -> Result<()> {
    let wrk = find_program("wrk").context("wrk is not installed")?;
    let folder = tempfile::tempdir()?;
    let load = Load::new(wrk, folder.path(), options.turns);
    let rows = if options.only.is_empty() { Row::ALL.to_vec() } else { options.only.clone() };
    let mut lines = Vec::new();
    for row in rows {
        eprintln!("{} …", row.name());
        let line = compare(row, &options, &load, folder.path()).await.with_context(|| row.name())?;
        eprintln!("{line}");
        lines.push(line);
    }
    println!("{}\n", options.turns);
    println!("The other is hello-world, or what the row says; its µs are its server's and its Redis's.\n");
    println!(
        "| request | server µs | Redis µs | other µs | ratio | floor | goal | requests/s | other requests/s | refused |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

async fn compare(row: Row, options: &Options, load: &Load, folder: &std::path::Path) -> Result<String> {
    let mut scene = Scene::set(row, folder).await?;
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for round in 0..options.turns.rounds {
        let args = scene.prepare(round).await?;
        if round % 2 == 0 {
            ours.push(scene.round(load, row.script(), &args).await?);
            others.push(scene.other_round(load, row.script(), &args).await?);
        } else {
            others.push(scene.other_round(load, row.script(), &args).await?);
            ours.push(scene.round(load, row.script(), &args).await?);
        }
    }
    scene.end().await;
    let refused: u64 = ours.iter().map(|round| round.refused).sum();
    let requests: u64 = ours.iter().map(|round| round.requests).sum();
    ensure!(refused * 2 < requests, "most requests were refused ({refused} of {requests}): nothing was measured");
    let mut note = String::new();
    if row.asks_nothing() {
        let commands: u64 = ours.iter().map(|round| round.commands).sum();
        ensure!(commands * 100 < requests, "Redis carried out {commands} commands for {requests} requests");
        note = format!(", {commands} Redis commands in {requests} requests");
    }
    let cost = |rounds: &[Round]| median(rounds.iter().map(|round| round.cost_us(row)));
    let ratio = cost(&ours) / cost(&others);
    let bound = |bound: f64| format!("{bound}{}", if ratio <= bound { "" } else { " **missed**" });
    let (floor, goal) = row.bounds().map_or_else(Default::default, |(floor, goal)| (bound(floor), bound(goal)));
    let per_second = |rounds: &[Round]| median(rounds.iter().map(|round| round.per_second));
    let redis = if row.on_redis() { format!("{:.1}", median(ours.iter().map(Round::redis_us))) } else { "–".into() };
    Ok(format!(
        "| {}{note} | {:.1} | {redis} | {:.1} | {ratio:.2} | {floor} | {goal} | {:.0} | {:.0} | {refused} |",
        row.name(),
        median(ours.iter().map(Round::server_us)),
        cost(&others),
        per_second(&ours),
        per_second(&others),
    ))
}
