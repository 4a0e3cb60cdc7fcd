//! The queue's Redis side: what its scripts cost, how long they stop Redis, what they keep, and how soon people feel it.
//!
//! Scripts are run by the engine of the queue server, so that what is measured is what is deployed.

pub mod events;
pub mod joins;
pub mod memory;
pub mod positions;
pub mod release;
pub mod stops;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use queue_core::{
    ids::{EventId, Generation, Millis, Seq, VisitorId},
    limits::JOIN_BATCH_MAX,
    line::{Command, Configure, Outcome},
    policy::Policy,
    service::redis::{Arg, Options as StoreOptions, StoreUrl, Value},
};
use queue_server::engine::{
    Engine as _,
    redis::{Options as EngineOptions, RedisEngine},
};

use crate::{random::Random, servers::Redis};

/// Nothing that is measured takes so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The event that everything happens in.
const EVENT: &str = "measured";
/// When time begins where it is ours.
const BEGINNING: u64 = 1_800_000_000_000;
/// Members of one bare ZADD to compare with.
pub const ZADD_MEMBERS: usize = 256;

/// A clock that goes when it is told to.
#[derive(Clone, Debug, Default)]
pub struct TestTime(Arc<AtomicU64>);

impl TestTime {
    /// The time.
    pub fn now(&self) -> Millis {
        Millis(BEGINNING + self.0.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// A Redis of our own with the queue's engine on it and one event.
pub struct Bed {
    /// The server.
    pub redis: Redis,
    /// The engine.
    pub engine: RedisEngine,
    /// The event.
    pub event: EventId,
    /// The time the engine goes by.
    pub time: TestTime,
}

impl Bed {
    /// Starts a Redis, with an append-only file or without. Time stands still but for [`TestTime::pass`].
    pub async fn start(name: &str, folder: &Path, appendonly: bool) -> Result<Self> {
        let redis = Redis::start_with(name, folder, appendonly).await?;
        let time = TestTime::default();
        let clock = time.clone();
        let store = StoreOptions { command_timeout: PATIENCE, connect_timeout: PATIENCE, ..StoreOptions::default() };
        let options = EngineOptions { store, virtual_clock: Some(Arc::new(move || clock.now())) };
        let url = StoreUrl::parse(&redis.url()).context("the store's URL")?;
        let engine = RedisEngine::connect(&url, options);
        engine.wait_ready(PATIENCE).await?;
        let event = EventId::new(EVENT).context("the event's id")?;
        Ok(Self { redis, engine, event, time })
    }

    /// Carries out one command.
    pub async fn apply(&self, command: Command) -> Result<Outcome> {
        Ok(self.engine.apply(&self.event, None, command).await?.outcome)
    }

    /// Creates the event, or changes its policy.
    pub async fn configure(&self, policy: Policy) -> Result<()> {
        let configure = Configure::new(policy, Generation(7));
        self.apply(Command::Configure(configure)).await.map(drop)
    }

    /// Joins visitors in batches.
    pub async fn join(&self, visitors: &[VisitorId]) -> Result<()> {
        for batch in visitors.chunks(JOIN_BATCH_MAX) {
            self.apply(Command::Join { visitors: batch.to_vec(), floor: Seq(0) }).await?;
        }
        Ok(())
    }

    /// One command of Redis itself.
    pub async fn command<A: Into<Arg>>(
        &self,
        name: &'static str,
        args: impl IntoIterator<Item = A> + Send,
    ) -> Result<Value> {
        Ok(self.engine.store().command(name, args).await?)
    }

    /// Processor time of Redis so far, to the microsecond.
    pub async fn cpu(&self) -> Result<Duration> {
        let info = self.command("INFO", ["cpu"]).await?.into_text("INFO")?;
        let seconds = info_number(&info, "used_cpu_user")? + info_number(&info, "used_cpu_sys")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Ends the server.
    pub async fn stop(self) {
        drop(self.engine);
        self.redis.child.stop().await;
    }
}

/// Draws visitors who never come again.
#[derive(Debug)]
pub struct Visitors(Random);

impl Visitors {
    /// The same every time.
    pub const fn new() -> Self {
        Self(Random::new(4, 0))
    }

    /// So many.
    pub fn draw(&mut self, count: usize) -> Vec<VisitorId> {
        let mut one = || {
            let (high, low) = (u128::from(self.0.next()), u128::from(self.0.next()));
            VisitorId::anonymous(((high << 64) | low).to_be_bytes())
        };
        (0..count).map(|_| one()).collect()
    }
}

impl Default for Visitors {
    fn default() -> Self {
        Self::new()
    }
}

/// The arguments of a bare ZADD to `key` of members at ranks from `first` on.
pub fn zadd(key: &str, first: usize, visitors: &[VisitorId]) -> Vec<Arg> {
    let pairs = visitors.iter().enumerate();
    let pairs = pairs.flat_map(|(i, visitor)| [Arg::from(first + i), Arg::from(visitor.as_str())]);
    std::iter::once(Arg::from(key)).chain(pairs).collect()
}

/// A number of `INFO`.
pub fn info_number(info: &str, field: &str) -> Result<f64> {
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let text = line.with_context(|| format!("INFO has no {field}"))?;
    text.trim().parse().with_context(|| format!("{field} is no number: {text}"))
}

/// Processor time of all our own threads so far, to the nanosecond (Linux only).
pub fn own_cpu() -> Result<Duration> {
    let mut ns = 0;
    for task in std::fs::read_dir("/proc/self/task").context("reading our threads")? {
        // A thread may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        ns += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).context("no schedstat")?;
    }
    Ok(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        assert_eq!(info_number("# CPU\r\nused_cpu_sys:0.5\r\nused_cpu_user:1.25\r\n", "used_cpu_user").unwrap(), 1.25);
        assert!(info_number("used_cpu_sys:x", "used_cpu_sys").is_err());
        assert!(info_number("", "used_cpu_sys").is_err());
    }

    #[test]
    fn our_own_time_goes_on() {
        let before = own_cpu().unwrap();
        while own_cpu().unwrap() == before {}
    }
}
