//! Positions of one node's waiters from one read of the line and a sweep, beside ZRANK for each of them, pipelined.
//! Processor time of both sides: Redis and whoever asks.

use std::{hint::black_box, time::Duration};

use anyhow::{Context, Result, bail};
use queue_core::{
    ids::{Rank, VisitorId},
    keys::LineKeys,
    line::{Command, Outcome},
    policy::Policy,
    positions::{PositionIndex, RankMap},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{Bed, Visitors, own_cpu};
use crate::figures::{Figure, median, us, verdict};

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many wait in all.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=5_000_000))]
    waiting: u64,
    /// Every so manieth of them is local.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    every: u64,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
}

/// Reads and sweeps in one round.
const READS: u32 = 50;
/// Commands sent together.
const PIPELINE: usize = 1_000;

/// Measures both in turn.
pub async fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bed = Bed::start("redis", folder.path(), false).await?;
    // The first is let in: the second has rank 2.
    bed.configure(Policy::with_capacity(1)).await?;
    let visitors = Visitors::new().draw(usize::try_from(options.waiting)? + 1);
    bed.join(&visitors).await?;
    let local: Vec<(Rank, &VisitorId)> =
        (2..).map(Rank).zip(&visitors[1..]).step_by(usize::try_from(options.every)?).collect();
    let ranks = ranks_of(&local)?;
    check(&bed, &ranks, local.len()).await?;
    let (mut sweeps, mut in_redis, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let (redis, own) = read_and_sweep(&bed, &ranks).await?;
        sweeps.push(us(redis + own));
        in_redis.push(us(redis));
        asked.push(us(ask_each(&bed, &local).await?));
    }
    let (sweep, asked) = (median(sweeps), median(asked));
    println!(
        "{} local of {} waiters, processor time of both sides, median of {} rounds:",
        local.len(),
        options.waiting,
        options.rounds
    );
    println!(
        "one read and a sweep {sweep:.0} us (of it Redis {:.0} us), ZRANK for each {asked:.0} us",
        median(in_redis)
    );
    bed.stop().await;
    verdict(&[Figure {
        what: format!(
            "positions of {} local among {}, read and sweep, against ZRANK for each",
            local.len(),
            options.waiting
        ),
        seen: sweep / asked,
        floor: 1.0 / 500.0,
        goal: 1.0 / 1_000.0,
        unit: "",
    }])
}

/// The waiters as a node keeps them.
fn ranks_of(local: &[(Rank, &VisitorId)]) -> Result<RankMap<Rank>> {
    let mut ranks = RankMap::default();
    for (rank, _) in local {
        ranks.insert(*rank, *rank).ok().context("a rank comes twice")?;
    }
    Ok(ranks)
}

/// The line as a node reads it.
async fn read(bed: &Bed) -> Result<PositionIndex> {
    let Outcome::Snapshot(snapshot) = bed.apply(Command::Snapshot).await? else { bail!("no snapshot") };
    Ok(PositionIndex::new(snapshot.first_byte, snapshot.present))
}

/// Everybody is found, and at the right place.
async fn check(bed: &Bed, ranks: &RankMap<Rank>, count: usize) -> Result<()> {
    let index = read(bed).await?;
    let mut right = 0;
    // The first in line has rank 2.
    ranks.sweep(&index, |rank, spot| right += usize::from(spot.rank == *rank && spot.place == Some(rank.0 - 1)));
    anyhow::ensure!(right == count, "{right} of {count} places are right");
    Ok(())
}

/// Processor time of one read and one sweep: Redis's, and ours.
async fn read_and_sweep(bed: &Bed, ranks: &RankMap<Rank>) -> Result<(Duration, Duration)> {
    let (redis, own) = (bed.cpu().await?, own_cpu()?);
    for _ in 0..READS {
        let index = read(bed).await?;
        let mut sum = 0;
        ranks.sweep(&index, |_, spot| sum += spot.place.unwrap_or_default());
        anyhow::ensure!(black_box(sum) > 0, "nobody waits");
    }
    Ok(((bed.cpu().await? - redis) / READS, (own_cpu()? - own) / READS))
}

/// Processor time of both sides when each is asked about.
async fn ask_each(bed: &Bed, local: &[(Rank, &VisitorId)]) -> Result<Duration> {
    let key = LineKeys::new(&bed.event).waiting;
    let requests: Vec<String> = local.chunks(PIPELINE).map(|some| zranks(&key, some)).collect();
    let mut stream = BufReader::new(TcpStream::connect(bed.redis.address).await?);
    let mut line = Vec::new();
    let (redis, own) = (bed.cpu().await?, own_cpu()?);
    for (request, some) in requests.iter().zip(local.chunks(PIPELINE)) {
        stream.write_all(request.as_bytes()).await?;
        for (rank, _) in some {
            line.clear();
            stream.read_until(b'\n', &mut line).await?;
            // The second to join, rank 2, is the first in line: 0.
            let answer = line.strip_prefix(b":").and_then(|rest| std::str::from_utf8(rest).ok());
            let place: u64 = answer.and_then(|text| text.trim_end().parse().ok()).context("not a rank")?;
            anyhow::ensure!(place + 2 == rank.0, "ZRANK and rank differ");
        }
    }
    Ok(bed.cpu().await? - redis + (own_cpu()? - own))
}

fn zranks(key: &str, some: &[(Rank, &VisitorId)]) -> String {
    let mut request = String::with_capacity(some.len() * 100);
    for (_, visitor) in some {
        let (key_len, visitor_len) = (key.len(), visitor.as_str().len());
        request.push_str(&format!("*3\r\n$5\r\nZRANK\r\n${key_len}\r\n{key}\r\n${visitor_len}\r\n{visitor}\r\n"));
    }
    request
}
