//! Three times as many joins as the store takes: finds the rate that is sustained, offers three times that on a
//! fixed schedule, and shows what becomes of the joins that are accepted.
//!
//! What limits the joins is the store: it is some milliseconds away (see [`crate::delay`]), and a node has one batch
//! under way at a time. So the processors have room for the refusals. Where the processors themselves are the limit
//! (`--delay-ms 0`), no server can refuse twice what it can accept: a refusal costs it a good part of a join.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::{
    process::Command,
    time::{Instant, interval, timeout},
};

use crate::{
    api::{self, Queue},
    delay::Delay,
    offer::Offered,
    process::{Child, raise_file_limit},
    servers::{Alone, Redis, Server},
};

const EVENT: &str = "overload";
/// Accepted joins while three times too many come, of the sustained rate.
const KEPT_FLOOR: f64 = 0.9;
/// Their latency from the scheduled time at p99.
const P99_FLOOR_MS: f64 = 300.0;
/// A rate is sustained when no more than this share is refused.
const REFUSED_SHARE_MAX: f64 = 0.001;
/// Steps that narrow the sustained rate down.
const NARROWING: u32 = 4;
/// The first rate that is tried, and the factor to the next.
const RATE_FIRST: u32 = 500;
const RATE_FACTOR: f64 = 1.6;
const RATE_MAX: u32 = 1_000_000;

/// How to show it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How much later the store's answers come.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=1000))]
    delay_ms: u64,
    /// Connections of the generator.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..=16000))]
    connections: u16,
    /// Seconds of each step of the search.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    step_seconds: u64,
    /// Seconds of the overload.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// How many times the sustained rate is offered.
    #[arg(long, default_value_t = 3.0)]
    times: f64,
}

/// Redis, the way to it, and a node.
struct World {
    redis: Redis,
    _delay: Option<Delay>,
    node: Server,
    http: reqwest::Client,
    connections: u16,
}

/// One rate, what came of it, and what it cost.
struct Step {
    rate: u32,
    offered: Offered,
    node: Duration,
    redis: Duration,
    waiting_max: u64,
}

impl Step {
    fn accepted_per_second(&self) -> f64 {
        self.offered.accepted as f64 / self.offered.seconds
    }

    fn is_sustained(&self) -> bool {
        let offered = &self.offered;
        let not_accepted = (offered.refused + offered.failed + offered.lost) as f64;
        not_accepted <= offered.due as f64 * REFUSED_SHARE_MAX && offered.accepted_p99_ms <= P99_FLOOR_MS
    }

    fn line(&self) -> String {
        let Offered { due, accepted, refused, failed, lost, .. } = &self.offered;
        let cores = |time: Duration| time.as_secs_f64() / self.offered.seconds;
        format!(
            "{:>7}/s offered: {accepted} of {due} accepted ({:.0}/s), {refused} refused, {failed} failed, {lost} lost; \
             accepted p50 {:.1} p99 {:.1} max {:.1} ms, refused p99 {:.1} ms, sent late p99 {:.1} ms; \
             waiting at most {}; node {:.2} and Redis {:.2} of a core",
            self.rate,
            self.accepted_per_second(),
            self.offered.accepted_p50_ms,
            self.offered.accepted_p99_ms,
            self.offered.accepted_max_ms,
            self.offered.refused_p99_ms,
            self.offered.sent_late_p99_ms,
            self.waiting_max,
            cores(self.node),
            cores(self.redis),
        )
    }
}

/// Runs the search and the overload and prints both.
pub async fn run(options: Options) -> Result<()> {
    let files = raise_file_limit();
    ensure!(files > u64::from(options.connections) + 100, "{files} open files are too few for so many connections");
    let folder = tempfile::tempdir()?;
    let world = World::start(&options, folder.path()).await?;
    let sustained = world.search(&options).await?;
    println!("sustained: {}", sustained.line());
    let rate = (f64::from(sustained.rate) * options.times) as u32;
    let over = world.offer(rate, options.seconds).await?;
    println!("overload:  {}", over.line());
    let (peak, kept) = (sustained.accepted_per_second(), over.accepted_per_second() / sustained.accepted_per_second());
    let p99 = over.offered.accepted_p99_ms;
    let said = |kept: bool| if kept { "kept" } else { "**MISSED**" };
    println!(
        "\nstore {} ms away, {} connections, {} s\n\n\
         | what | seen | floor |\n| --- | ---: | ---: |\n\
         | joins a second that are sustained | {peak:.0} | – |\n\
         | accepted at {} times that | {:.0} % | {:.0} %: {} |\n\
         | their p99, from the scheduled time | {p99:.0} ms | {P99_FLOOR_MS:.0} ms: {} |\n\
         | failed or never answered | {} | 0: {} |",
        options.delay_ms,
        options.connections,
        options.seconds,
        options.times,
        kept * 100.0,
        KEPT_FLOOR * 100.0,
        said(kept >= KEPT_FLOOR),
        said(p99 < P99_FLOOR_MS),
        over.offered.failed + over.offered.lost,
        said(over.offered.failed + over.offered.lost == 0),
    );
    world.end().await;
    Ok(())
}

impl World {
    async fn start(options: &Options, folder: &std::path::Path) -> Result<Self> {
        let redis = Redis::start("redis", folder).await?;
        let (store, delay) = match options.delay_ms {
            0 => (redis.url(), None),
            ms => {
                let delay = Delay::start(redis.address, Duration::from_millis(ms)).await?;
                (format!("redis://{}", delay.address), Some(delay))
            }
        };
        let alone = Alone { store: &store, folder, threads: None, flags: vec![] };
        let (node, operator) = alone.start("queue-server").await?;
        let http = api::client()?;
        operator.put_queue(EVENT, &json!({"capacity": 1, "claimSeconds": 300})).await.context("creating the event")?;
        Queue::new(http.clone(), &node.url, EVENT).check(None).await.context("filling the only slot")?;
        Ok(Self { redis, _delay: delay, node, http, connections: options.connections })
    }

    /// The highest rate that is sustained, and what it looked like.
    async fn search(&self, options: &Options) -> Result<Step> {
        let (mut good, mut bad): (Option<Step>, Option<u32>) = (None, None);
        let (mut rate, mut narrowed) = (RATE_FIRST, 0);
        while narrowed < NARROWING && rate <= RATE_MAX {
            let step = self.offer(rate, options.step_seconds).await?;
            eprintln!("{}", step.line());
            if step.is_sustained() {
                good = Some(step)
            } else {
                bad = Some(rate)
            }
            let low = good.as_ref().map_or(0, |step| step.rate);
            rate = match bad {
                None => (f64::from(rate) * RATE_FACTOR) as u32,
                Some(bad) => {
                    narrowed += 1;
                    low.midpoint(bad)
                }
            };
            ensure!(rate > 10, "not even a few joins a second are sustained");
        }
        good.context("no rate is sustained")
    }

    async fn offer(&self, rate: u32, seconds: u64) -> Result<Step> {
        let cpu = || -> Result<_> { Ok((self.node.child.cpu()?, self.redis.child.cpu()?)) };
        let before = cpu()?;
        let output = Command::new(std::env::current_exe()?)
            .arg("offer")
            .args(["--address", self.node.url.trim_start_matches("http://"), "--event", EVENT])
            .args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()])
            .args(["--connections", &self.connections.to_string()])
            .kill_on_drop(true)
            .output();
        let offering = timeout(Duration::from_secs(seconds + 60), output);
        let (output, waiting_max) = self.watching(offering).await;
        let output = output.context("the generator did not end")??;
        ensure!(output.status.success(), "the generator failed: {}", String::from_utf8_lossy(&output.stderr));
        let after = cpu()?;
        let offered = serde_json::from_slice(&output.stdout).context("what the generator said")?;
        Ok(Step { rate, offered, node: after.0 - before.0, redis: after.1 - before.1, waiting_max })
    }

    /// Lets `work` go on, and looks meanwhile how many joins wait for the store.
    async fn watching<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let mut ticks = interval(Duration::from_millis(250));
        let mut most = 0;
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return (done, most),
                _ = ticks.tick() => most = most.max(self.waiting_joins().await.unwrap_or_default()),
            }
        }
    }

    async fn waiting_joins(&self) -> Result<u64> {
        let began = Instant::now();
        let text = self.http.get(format!("{}/metrics", self.node.ops_url)).send().await?.text().await?;
        let line = text.lines().find(|line| line.starts_with("usher_queue_joins_waiting{"));
        let value = line.and_then(|line| line.rsplit(' ').next()).context("no such metric")?;
        ensure!(began.elapsed() < Duration::from_secs(5), "the metrics take too long");
        Ok(value.parse::<f64>()? as u64)
    }

    async fn end(self) {
        let children: [Child; 2] = [self.node.child, self.redis.child];
        for child in children {
            child.stop().await;
        }
    }
}
