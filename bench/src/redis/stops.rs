//! How long the largest batch of each script stops Redis, by Redis's own clock (SLOWLOG), in the worst of circumstances:
//! a long line of which a fifth is gone at once, and thousands admitted at once. Beside it what the machine does to any
//! process at the same time (`redis-cli --intrinsic-latency`).

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use queue_core::{
    ids::{Rank, Seq, VisitorId},
    limits::{
        ADMIT_BATCH_MAX, BITMAP_CHUNK_BYTES_MAX, END_BATCH_MAX, JOIN_BATCH_MAX, SEEN_PERIOD_MS, SESSIONS_BATCH_MAX,
        SWEEP_BATCH_MAX,
    },
    line::{Admission, Admitted, Command, Outcome},
    policy::Policy,
    service::redis::Value,
    wire::EndReason,
};
use queue_server::node::sweep_stretch_bytes;

use super::{Bed, Visitors};
use crate::figures::{Figure, verdict};
use crate::process::find_program;

/// The circumstances.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many wait.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..=5_000_000))]
    waiting: u64,
    /// How many are let in at once.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000))]
    admitted: u32,
    /// The event's grace: the longer, the more periods are looked through.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(60..=3_600))]
    grace_seconds: u32,
}

/// One in so many is gone.
const GONE_ONE_IN: u64 = 5;
/// Calls of scripts whose batch does not use anything up.
const CALLS: usize = 60;
/// `redis-cli` measures the machine for so long, before and after.
const INTRINSIC_SECONDS: &str = "5";
/// Entries that SLOWLOG keeps.
const SLOWLOG_MAX: &str = "100000";

/// The calls of one script with its largest batch.
struct Stops {
    what: String,
    us: Histogram<u64>,
}

struct Run<'a> {
    bed: &'a Bed,
    options: &'a Options,
    stops: Vec<Stops>,
}

/// Measures all and prints a table.
pub async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bed = Bed::start("redis", folder.path(), false).await?;
    let before = intrinsic_latency().await?;
    let mut run = Run { bed: &bed, options: &options, stops: Vec::new() };
    run.all().await?;
    let stops = run.stops;
    let after = intrinsic_latency().await?;
    bed.stop().await;
    println!(
        "{} waiting, {} gone, {} admitted, grace {} s:\n",
        options.waiting,
        options.waiting / GONE_ONE_IN,
        options.admitted,
        options.grace_seconds
    );
    println!("| script and batch | calls | median us | p99 us | longest us |\n| --- | ---: | ---: | ---: | ---: |");
    for Stops { what, us } in &stops {
        println!(
            "| {what} | {} | {} | {} | {} |",
            us.len(),
            us.value_at_quantile(0.5),
            us.value_at_quantile(0.99),
            us.max()
        );
    }
    println!("\nThe machine itself, before and after:\n{before}\n{after}");
    let longest = stops.iter().max_by_key(|stops| stops.us.value_at_quantile(0.5)).context("nothing was measured")?;
    verdict(&[Figure {
        what: format!("longest median stop of Redis by a script's largest batch ({})", longest.what),
        seen: longest.us.value_at_quantile(0.5) as f64 / 1_000.0,
        floor: 2.0,
        goal: 0.5,
        unit: " ms",
    }])
}

impl Run<'_> {
    async fn all(&mut self) -> Result<()> {
        let bed = self.bed;
        bed.command("CONFIG", ["SET", "slowlog-max-len", SLOWLOG_MAX]).await?;
        bed.configure(self.policy(1)).await?;
        let mut drawn = Visitors::new();
        let visitors = drawn.draw(usize::try_from(self.options.waiting)? + 1);
        bed.join(&visitors).await?;
        bed.command("CONFIG", ["SET", "slowlog-log-slower-than", "0"]).await?;
        self.joins(&visitors, &mut drawn).await?;
        self.reads().await?;
        let gone = self.gone().await?;
        self.restored(&gone).await?;
        self.sessions().await?;
        self.cleared().await
    }

    fn policy(&self, capacity: u32) -> Policy {
        Policy { grace_seconds: self.options.grace_seconds, ..Policy::with_capacity(capacity) }
    }

    /// Takes note of how long the calls took since the last time. Of one script each.
    async fn note(&mut self, what: String) -> Result<()> {
        let entries = self.bed.command("SLOWLOG", ["GET", "-1"]).await?;
        let mut us = Histogram::new(3)?;
        for call in evalsha_us(entries)? {
            us.record(call)?;
        }
        ensure!(!us.is_empty(), "{what}: no calls");
        self.stops.push(Stops { what, us });
        self.bed.command("SLOWLOG", ["RESET"]).await.map(drop)
    }

    /// Forgets the calls since the last time.
    async fn skip(&self) -> Result<()> {
        self.bed.command("SLOWLOG", ["RESET"]).await.map(drop)
    }

    async fn joins(&mut self, known: &[VisitorId], drawn: &mut Visitors) -> Result<()> {
        self.skip().await?;
        self.bed.join(&drawn.draw(CALLS * JOIN_BATCH_MAX)).await?;
        self.note(format!("join, {JOIN_BATCH_MAX} new")).await?;
        // From all over the line.
        let step = (known.len() - 1) / (CALLS * JOIN_BATCH_MAX);
        let some: Vec<_> = known[1..].iter().step_by(step.max(1)).take(CALLS * JOIN_BATCH_MAX).cloned().collect();
        self.bed.join(&some).await?;
        self.note(format!("join, {JOIN_BATCH_MAX} who are in line")).await?;
        let new = drawn.draw(some.len() / 2);
        let mixed: Vec<_> = new.into_iter().zip(some).flat_map(|(new, known)| [new, known]).collect();
        self.bed.join(&mixed).await?;
        self.note(format!("join, {JOIN_BATCH_MAX} of whom half are in line")).await
    }

    async fn reads(&mut self) -> Result<()> {
        for _ in 0..CALLS {
            self.bed.apply(Command::Snapshot).await?;
        }
        self.note("snapshot of the whole line".to_owned()).await?;
        let period = self.bed.time.now().period();
        for call in 0..CALLS {
            let first_byte = (call % 4 * BITMAP_CHUNK_BYTES_MAX) as u64;
            self.bed.apply(Command::Seen { period, first_byte, bytes: vec![0x5a; BITMAP_CHUNK_BYTES_MAX] }).await?;
        }
        self.note(format!("seen, {BITMAP_CHUNK_BYTES_MAX} bytes")).await
    }

    /// All but a fifth are heard for the grace, then the line is swept as nodes do it. Who was removed.
    async fn gone(&mut self) -> Result<Vec<VisitorId>> {
        let Outcome::Snapshot(view) = self.bed.apply(Command::Snapshot).await? else { bail!("no snapshot") };
        let heard: Vec<u8> = (0..view.present.len() as u64).map(|byte| heard_byte(view.first_byte + byte)).collect();
        let (first_byte, end) = (view.first_byte, view.first_byte + heard.len() as u64);
        let periods = self.policy(1).grace_periods();
        for _ in 0..periods + 2 {
            self.bed.time.pass(SEEN_PERIOD_MS);
            let period = self.bed.time.now().period();
            self.bed.apply(Command::Seen { period, first_byte, bytes: heard.clone() }).await?;
            // Somebody looks each period, but nobody is gone for long enough yet.
            self.bed.apply(Command::Abandon { first_byte, len: 0 }).await?;
        }
        self.skip().await?;
        let stretch = sweep_stretch_bytes(periods);
        let (mut at, mut gone) = (first_byte, Vec::new());
        while at < end {
            let len = stretch.min(usize::try_from(end - at)?);
            let Outcome::Abandoned(some) = self.bed.apply(Command::Abandon { first_byte: at, len }).await? else {
                bail!("not swept");
            };
            if some.len() < SWEEP_BATCH_MAX {
                at += len as u64;
            }
            gone.extend(some);
        }
        let wanted = self.options.waiting / GONE_ONE_IN;
        ensure!(gone.len() as u64 * 10 > wanted * 9, "{} of about {wanted} were swept", gone.len());
        self.note(format!("abandon, {SWEEP_BATCH_MAX} scattered in {stretch} bytes")).await?;
        Ok(gone)
    }

    async fn restored(&mut self, gone: &[VisitorId]) -> Result<()> {
        let mut places = Vec::new();
        for visitor in gone.iter().take(CALLS * SWEEP_BATCH_MAX) {
            let Outcome::Standing(standing) = self.bed.apply(Command::Lookup(visitor.clone())).await? else {
                bail!("no standing");
            };
            let queue_core::line::Standing::Ended { seq, .. } = standing else { bail!("not ended: {standing:?}") };
            places.push((visitor.clone(), seq));
        }
        self.skip().await?;
        let outcome = self.bed.apply(Command::Restore(places)).await?;
        ensure!(matches!(outcome, Outcome::Restored(back) if back.iter().all(|back| *back)), "not all came back");
        self.note(format!("restore, {SWEEP_BATCH_MAX}")).await
    }

    /// Lets thousands in at once, and ends their sessions in each way there is.
    async fn sessions(&mut self) -> Result<()> {
        let bed = self.bed;
        bed.configure(self.policy(self.options.admitted)).await?;
        self.skip().await?;
        let admitted = self.admit().await?;
        self.note(format!("admit, {ADMIT_BATCH_MAX}")).await?;
        let (released, expired) = admitted.split_at(admitted.len() / 2);
        let sessions = released.iter().map(|session| (session.visitor.clone(), session.seq)).collect();
        bed.apply(Command::Release(sessions)).await?;
        self.note(format!("release, {SESSIONS_BATCH_MAX}")).await?;
        ensure!(!expired.is_empty(), "nobody is left to expire");
        bed.time.pass(u64::from(self.policy(1).active_ttl_seconds) * 1_000);
        while let Outcome::Expired(SESSIONS_BATCH_MAX) = bed.apply(Command::Expire).await? {}
        self.note(format!("expire, {SESSIONS_BATCH_MAX}")).await?;
        self.admit().await?;
        self.skip().await?;
        while let Outcome::Cleared(SESSIONS_BATCH_MAX) = bed.apply(Command::ClearActive).await? {}
        self.note(format!("clear of sessions, {SESSIONS_BATCH_MAX}")).await
    }

    async fn admit(&self) -> Result<Vec<Admission>> {
        let mut all = Vec::new();
        loop {
            let outcome = self.bed.apply(Command::Admit { max: ADMIT_BATCH_MAX }).await?;
            let Outcome::Admitted(Admitted { sessions, .. }) = outcome else { bail!("nobody was admitted") };
            if sessions.is_empty() {
                break;
            }
            all.extend(sessions);
        }
        // Whoever is in from the beginning has one of the slots.
        ensure!(all.len() + 1 >= self.options.admitted as usize, "{} were admitted", all.len());
        let distinct: HashSet<Seq> = all.iter().map(|session| session.seq).collect();
        ensure!(distinct.len() == all.len(), "somebody was admitted twice");
        Ok(all)
    }

    async fn cleared(&mut self) -> Result<()> {
        let upto = Rank(u64::from(u32::MAX));
        self.skip().await?;
        for _ in 0..CALLS {
            self.bed.apply(Command::ClearWaiting { upto, reason: EndReason::Cleared }).await?;
        }
        self.note(format!("clear of the line, {END_BATCH_MAX}")).await
    }
}

/// The bits of those who are heard, of eight ranks.
fn heard_byte(byte: u64) -> u8 {
    (0..8).fold(0, |bits, bit| {
        // Scattered, but the same in every period.
        let mixed = (byte * 8 + bit).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        bits | u8::from(!mixed.is_multiple_of(GONE_ONE_IN)) << (7 - bit)
    })
}

/// Durations of the script calls in an answer to `SLOWLOG GET`, newest first, each with the command that ran beside it.
fn evalsha_us(entries: Value) -> Result<Vec<u64>> {
    let (mut calls, mut beside) = (Vec::new(), 0);
    let mut entries = entries.into_reply("SLOWLOG")?;
    while !entries.is_empty() {
        let mut entry = entries.list()?;
        let (_id, _at, us) = (entry.u64()?, entry.u64()?, entry.u64()?);
        let command = entry.list()?.text()?;
        if command.eq_ignore_ascii_case("evalsha") {
            calls.push(us + std::mem::take(&mut beside));
        } else if command.eq_ignore_ascii_case("getrange") {
            beside = us;
        }
    }
    Ok(calls)
}

/// What `redis-cli --intrinsic-latency` says last.
async fn intrinsic_latency() -> Result<String> {
    let program = find_program("redis-cli").context("redis-cli is not installed")?;
    let mut command = tokio::process::Command::new(program);
    let output = command.args(["--intrinsic-latency", INTRINSIC_SECONDS]).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let longest = text.lines().rfind(|line| line.starts_with("Max latency so far")).unwrap_or_default();
    let average = text.lines().find(|line| line.contains("avg latency")).unwrap_or_default();
    Ok(format!("{longest}; {}", average.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_gone() {
        let heard: u32 = (0..10_000).map(|byte| heard_byte(byte).count_ones()).sum();
        assert!((62_000..66_000).contains(&heard), "{heard}");
    }

    #[test]
    fn script_calls_are_found_in_the_slowlog() {
        let text = |text: &str| Value::Bytes(text.to_owned().into());
        let entry = |us, name: &str| {
            Value::Array(vec![Value::Int(1), Value::Int(2), Value::Int(us), Value::Array(vec![text(name), text("x")])])
        };
        let entries =
            [entry(5, "EVALSHA"), entry(9, "INFO"), entry(7, "evalsha"), entry(3, "GETRANGE"), entry(2, "EVALSHA")];
        assert_eq!(evalsha_us(Value::Array(entries.to_vec())).unwrap(), [5, 7, 5]);
    }
}
