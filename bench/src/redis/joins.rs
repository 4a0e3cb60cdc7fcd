//! Redis time of a batched join and admission, beside one call per join and a bare ZADD of as many members.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use queue_core::{
    ids::Seq,
    limits::{ADMIT_BATCH_MAX, JOIN_BATCH_MAX},
    line::Command,
    policy::Policy,
};

use super::{Bed, Visitors, ZADD_MEMBERS, zadd};
use crate::figures::{Figure, median, us, verdict};

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// How many wait already.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=5_000_000))]
    waiting: u64,
}

/// Members joined in batches in one round, and by ZADD: all batches of both are full.
const BATCHED: usize = JOIN_BATCH_MAX / 2 * ZADD_MEMBERS;
/// Joins of one call each in one round.
const SINGLE: usize = 2_000;
/// Batches of admissions in one round.
const ADMITS: usize = 20;
/// Where the bare sorted set is.
const PLAIN: &str = "plain";

/// Microseconds of Redis per member, by what was done.
type Costs = BTreeMap<&'static str, f64>;

/// Measures without and with an append-only file, in this order.
pub async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let none = measure(&options, "redis", folder.path(), false).await?;
    let aof = measure(&options, "redis-aof", folder.path(), true).await?;
    println!(
        "Redis time per member in microseconds, {} waiting, median of {} rounds:\n",
        options.waiting, options.rounds
    );
    println!("| | no persistence | appendonly everysec | difference |\n| --- | ---: | ---: | ---: |");
    for (what, cost) in &none {
        println!("| {what} | {cost:.2} | {:.2} | {:+.0} % |", aof[what], (aof[what] / cost - 1.0) * 100.0);
    }
    let ratio = |what: &str, floor, goal| Figure {
        what: format!("batched join in Redis, CPU per member, against {what}"),
        seen: none["join, batched"] / none[what],
        floor,
        goal,
        unit: "",
    };
    verdict(&[ratio("join, one call each", 1.0 / 6.0, 1.0 / 8.0), ratio("bare ZADD", 2.0, 1.4)])
}

async fn measure(options: &Options, name: &str, folder: &Path, appendonly: bool) -> Result<Costs> {
    let bed = Bed::start(name, folder, appendonly).await?;
    // Nobody is let in while the line is filled but one; then slots are free, and joins still queue behind others.
    bed.configure(Policy::with_capacity(1)).await?;
    let mut visitors = Visitors::new();
    let mut plain = 1;
    for _ in 0..options.waiting / ZADD_MEMBERS as u64 {
        bed.join(&visitors.draw(ZADD_MEMBERS)).await?;
        bed.command("ZADD", zadd(PLAIN, plain, &visitors.draw(ZADD_MEMBERS))).await?;
        plain += ZADD_MEMBERS;
    }
    bed.configure(Policy::with_capacity(1_000_000)).await?;
    let mut rounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..options.rounds {
        let mut note = |what, cost| rounds.entry(what).or_default().push(cost);
        note("join, batched", batched(&bed, &mut visitors).await?);
        note("bare ZADD", bare(&bed, &mut visitors, &mut plain).await?);
        note("join, one call each", single(&bed, &mut visitors).await?);
        note("admission, batched", admissions(&bed).await?);
        bed.time.pass(1_000);
    }
    bed.stop().await;
    Ok(rounds.into_iter().map(|(what, costs)| (what, median(costs))).collect())
}

async fn batched(bed: &Bed, visitors: &mut Visitors) -> Result<f64> {
    let drawn = visitors.draw(BATCHED);
    let before = bed.cpu().await?;
    bed.join(&drawn).await?;
    Ok(us(bed.cpu().await? - before) / BATCHED as f64)
}

async fn bare(bed: &Bed, visitors: &mut Visitors, plain: &mut usize) -> Result<f64> {
    let drawn = visitors.draw(BATCHED);
    let before = bed.cpu().await?;
    for chunk in drawn.chunks(ZADD_MEMBERS) {
        bed.command("ZADD", zadd(PLAIN, *plain, chunk)).await?;
        *plain += chunk.len();
    }
    Ok(us(bed.cpu().await? - before) / BATCHED as f64)
}

async fn single(bed: &Bed, visitors: &mut Visitors) -> Result<f64> {
    let drawn = visitors.draw(SINGLE);
    let before = bed.cpu().await?;
    for visitor in drawn {
        bed.apply(Command::Join { visitors: vec![visitor], floor: Seq(0) }).await?;
    }
    Ok(us(bed.cpu().await? - before) / SINGLE as f64)
}

async fn admissions(bed: &Bed) -> Result<f64> {
    let before = bed.cpu().await?;
    for _ in 0..ADMITS {
        bed.apply(Command::Admit { max: ADMIT_BATCH_MAX }).await?;
    }
    Ok(us(bed.cpu().await? - before) / (ADMITS * ADMIT_BATCH_MAX) as f64)
}

const _: () = assert!(BATCHED.is_multiple_of(JOIN_BATCH_MAX), "all batches are full");
