//! Processor time per pushed position, beside a bare loop over `send` of the same size to as many sockets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Bare, TABLE_HEAD, bare::position_frame, crowd, row};
use crate::{
    api::{self, Queue},
    figures::{median, micros},
    process::{Child, raise_file_limit},
    servers::{Alone, Server},
};

const FLOOR: f64 = 1.7;
const GOAL: f64 = 1.15;
/// Sockets of one event: with those before them still among the first thousand, who are shown each change.
const SOCKETS_PER_EVENT: usize = 900;
/// All sockets are open within this.
const OPEN_WAIT: Duration = Duration::from_secs(180);

/// How many, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Sockets of each server.
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u64).range(1..=18_000))]
    sockets: u64,
    /// Rounds of each; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=9))]
    rounds: u64,
    /// Seconds per round: so many pushes to each socket.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(2..=10))]
    seconds: u64,
}

/// Our server, and those who stand before the sockets.
struct Ours {
    server: Server,
    /// By event, the next to leave last.
    heads: Vec<(Queue, Vec<String>)>,
    sockets: u64,
}

/// Opens the sockets on both servers, pushes in alternating rounds, and prints a table.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let folder = tempfile::tempdir()?;
    let mut ours = Ours::start(&options, folder.path()).await?;
    let bare = Bare::start(folder.path(), true).await?;
    let clients = ours.fill(folder.path(), &bare).await?;
    let bytes = position_frame().len();
    let (mut our_us, mut bare_us, mut delivered) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        // Whoever goes first changes.
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let (us, share) = ours.round(options.seconds).await?;
                our_us.push(us);
                delivered.push(share);
            } else {
                let before = bare.child.cpu()?;
                let sent = bare.ask(&format!("send/{}", options.seconds)).await?;
                ensure!(sent >= options.seconds * options.sockets * 9 / 10, "the bare loop sent only {sent}");
                bare_us.push(micros(bare.child.cpu()?.saturating_sub(before), sent));
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
    let lost = options.sockets.saturating_sub(crowd::metric(&ours.server.ops_url, "usher_queue_sockets").await?);
    println!(
        "{} sockets, {bytes} bytes per frame, {} rounds of {} s, one worker thread; sockets lost {lost}; \
         of each tick's positions {:.0} % were pushed; µs per push, ours {our_us:.1?}, bare {bare_us:.1?}\n",
        options.sockets,
        options.rounds,
        options.seconds,
        median(delivered) * 100.0,
    );
    println!("{TABLE_HEAD}");
    println!("{}", row("pushed position, beside bare `send`", &our_us, &bare_us, FLOOR, GOAL));
    for child in clients {
        child.kill().await;
    }
    ours.server.child.stop().await;
    bare.child.stop().await;
    ensure!(lost == 0, "sockets were lost");
    Ok(())
}

impl Ours {
    async fn start(options: &Options, folder: &std::path::Path) -> Result<Self> {
        let flags = vec![format!("--sockets-max={}", options.sockets + 100)];
        let (server, operator) =
            Alone { store: "memory", folder, threads: Some(1), flags }.start("queue-server").await?;
        let events = usize::try_from(options.sockets)?.div_ceil(SOCKETS_PER_EVENT);
        let leaving = options.rounds * (options.seconds + 1);
        let mut heads = Vec::new();
        for number in 0..events {
            let event = format!("push-{number}");
            operator.put_queue(&event, &json!({"capacity": 1, "graceSeconds": 3600})).await.context("an event")?;
            let queue = Queue::new(api::client()?, &server.url, &event);
            queue.check(None).await.context("who is in")?;
            let mut tokens = Vec::new();
            for _ in 0..leaving {
                tokens.push(queue.check(None).await?.place_token.context("no place token")?);
            }
            tokens.reverse();
            heads.push((queue, tokens));
        }
        Ok(Self { server, heads, sockets: options.sockets })
    }

    /// Opens the sockets of both servers.
    async fn fill(&self, folder: &std::path::Path, bare: &Bare) -> Result<Vec<Child>> {
        let events: Vec<_> = self.heads.iter().map(|(queue, _)| queue.event().to_owned()).collect();
        let count = usize::try_from(self.sockets)?;
        let mut clients = crowd::start(&self.server.url, &events, count, folder)?;
        let ops_url = &self.server.ops_url;
        let heads: u64 = self.heads.iter().map(|(_, tokens)| tokens.len() as u64).sum();
        let waiting = async || Ok(crowd::metric_or_none(ops_url, "usher_queue_waiting").await);
        crowd::wait_for(self.sockets + heads, OPEN_WAIT, &mut clients, waiting).await?;
        clients.extend(crowd::start(&bare.url, &[], count, folder)?);
        crowd::wait_for(self.sockets, OPEN_WAIT, &mut clients, async || bare.ask("count").await).await?;
        // What the joins have changed is told.
        sleep(Duration::from_secs(3)).await;
        Ok(clients)
    }

    /// Each second one leaves before all the others, of each event. Processor time per push, and which share of
    /// all positions that changed was pushed.
    async fn round(&mut self, seconds: u64) -> Result<(f64, f64)> {
        let pushes = "usher_queue_push_lag_seconds_count";
        let ops_url = &self.server.ops_url;
        let before = (crowd::metric_or_none(ops_url, pushes).await, self.server.child.cpu()?);
        let began = Instant::now();
        for second in 0..seconds {
            for (queue, tokens) in &mut self.heads {
                queue.leave(&tokens.pop().context("nobody is left to leave")?).await?;
            }
            sleep_until(began + Duration::from_secs(second + 1)).await;
        }
        // The last change is told within a tick.
        sleep(Duration::from_millis(1_500)).await;
        let after = (crowd::metric(ops_url, pushes).await?, self.server.child.cpu()?);
        let count = after.0 - before.0;
        ensure!(count > 0, "nothing was pushed");
        let share = count as f64 / (seconds * self.sockets) as f64;
        Ok((micros(after.1.saturating_sub(before.1), count), share))
    }
}
