//! Redis memory per waiter: the line with its bitmaps, all waiters heard in every period of the grace, beside a sorted
//! set of the same members and ranks.

use anyhow::Result;
use queue_core::{
    limits::{JOIN_BATCH_MAX, SEEN_PERIOD_MS},
    line::Command,
    policy::Policy,
};

use super::{Bed, Visitors, info_number, zadd};
use crate::figures::{Figure, verdict};

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many wait.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    waiting: u64,
}

/// Fills both and compares.
pub async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let alone = Bed::start("redis-alone", folder.path(), false).await?;
    let ours = Bed::start("redis-ours", folder.path(), false).await?;
    let policy = Policy::with_capacity(1);
    let periods = policy.grace_periods() + 2;
    ours.configure(policy).await?;
    let (alone_before, ours_before) = (used(&alone).await?, used(&ours).await?);
    let mut visitors = Visitors::new();
    let batches = options.waiting / JOIN_BATCH_MAX as u64;
    for batch in 0..batches {
        let drawn = visitors.draw(JOIN_BATCH_MAX);
        ours.join(&drawn).await?;
        alone.command("ZADD", zadd("waiting", 1 + batch as usize * JOIN_BATCH_MAX, &drawn)).await?;
        // A thousand batches a second or so: times of joining are kept for each second.
        if batch % 1_000 == 999 {
            ours.time.pass(1_000);
        }
    }
    let joined = used(&ours).await? - ours_before;
    let bytes = (batches * JOIN_BATCH_MAX as u64 / 8) as usize + 1;
    let heard = |period| Command::Seen { period, first_byte: 0, bytes: vec![0xff; bytes] };
    for _ in 0..periods {
        ours.time.pass(SEEN_PERIOD_MS);
        let period = ours.time.now().period();
        // Whom a node heard at the end of a period is told once that is over.
        ours.apply(heard(period - 1)).await?;
        ours.apply(heard(period)).await?;
    }
    let (alone_used, ours_used) = (used(&alone).await? - alone_before, used(&ours).await? - ours_before);
    let count = (batches * JOIN_BATCH_MAX as u64) as f64;
    println!(
        "{count} waiters: sorted set alone {:.2} B each, the line when all had joined {:.2} B, with {periods} periods in which all were heard {:.2} B",
        alone_used / count,
        joined / count,
        ours_used / count
    );
    alone.stop().await;
    ours.stop().await;
    verdict(&[Figure {
        what: format!("Redis memory per waiter, {count} waiters, more than the sorted set alone"),
        seen: (ours_used / alone_used - 1.0) * 100.0,
        floor: 3.0,
        goal: 0.5,
        unit: " %",
    }])
}

/// What the data takes, without connections.
async fn used(bed: &Bed) -> Result<f64> {
    let info = bed.command("INFO", ["memory"]).await?.into_text("INFO")?;
    info_number(&info, "used_memory_dataset")
}
