//! What many events cost one node that nobody asks about, and whether a busy one delays the looks at others.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use queue_core::{
    ids::{EventId, Millis},
    wire::ServerMessage,
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Operator, Queue},
    figures::{Figure, verdict},
    process::raise_file_limit,
    reads::{command_stats, difference},
    servers::{Alone, Redis, Server},
    socket::{Incoming, Socket},
};

/// How many, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events on the node.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    events: u64,
    /// Of these so many have waiters, the first of them many.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=100))]
    busy: u64,
    /// Sockets of each of them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=1_000))]
    sockets: u64,
    /// Sockets of the first.
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(10..=50_000))]
    crowd: u64,
    /// Looks at lines with waiters are timed for so long.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=300))]
    seconds: u64,
}

/// A line is looked at each tick for a while after it was made.
const SETTLE: Duration = Duration::from_secs(20);
/// A line in which nobody is is looked at twice a minute: each of them twice or three times in this.
const IDLE: Duration = Duration::from_secs(70);
/// Requests under way at a time.
const AT_ONCE: usize = 32;
/// Pushes that wait to be counted, at most.
const PUSHES_MAX: usize = 65_536;
/// A line with waiters is looked at this often.
const TICK_MS: u64 = 1_000;

/// What a node and its store did in a second.
struct Second {
    node_us: f64,
    redis_us: f64,
    scripts: f64,
}

struct World {
    redis: Redis,
    server: Server,
    operator: Operator,
}

/// Measures one after the other and prints a table.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let folder = tempfile::tempdir()?;
    let world = World::start(folder.path()).await?;
    let none = world.measure().await?;
    world.create(&options).await?;
    sleep(SETTLE).await;
    let idle = world.measure().await?;
    let (tell, pushes) = mpsc::channel(PUSHES_MAX);
    let mut sockets = JoinSet::new();
    for number in 1..options.busy {
        world.open(number, options.sockets, Some(&tell), &mut sockets).await?;
    }
    drop(tell);
    let (apart, pushes) = looks(pushes, options.seconds).await?;
    world.open(0, options.crowd, None, &mut sockets).await?;
    let stop = CancellationToken::new();
    let joins = world.joins(stop.clone())?;
    let (beside, _) = looks(pushes, options.seconds).await?;
    stop.cancel();
    let joined = joins.await??;
    sockets.shutdown().await;
    world.server.child.stop().await;
    world.redis.child.stop().await;
    report(&options, &none, &idle, joined, &apart, &beside)
}

fn report(
    options: &Options,
    none: &Second,
    idle: &Second,
    joined: u64,
    apart: &Histogram<u64>,
    beside: &Histogram<u64>,
) -> Result<()> {
    println!(
        "| in a second | no events | {} idle events | more for each |\n| --- | ---: | ---: | ---: |",
        options.events
    );
    let row = |what: &str, of: fn(&Second) -> f64| {
        let (none, idle) = (of(none), of(idle));
        println!("| {what} | {none:.0} | {idle:.0} | {:.3} |", (idle - none) / options.events as f64);
    };
    row("processor time of the node, us", |second| second.node_us);
    row("processor time of Redis, us", |second| second.redis_us);
    row("script calls", |second| second.scripts);
    let others = options.busy - 1;
    println!(
        "\n{others} events with {} sockets each; then another one with {} sockets and {joined} joins over HTTP beside them.\n",
        options.sockets, options.crowd
    );
    println!(
        "| lateness of looks at the {others} | looks | p50 ms | p99 ms | longest ms |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for (what, ms) in [("by themselves", apart), ("beside the busy one", beside)] {
        println!(
            "| {what} | {} | {} | {} | {} |",
            ms.len(),
            ms.value_at_quantile(0.5),
            ms.value_at_quantile(0.99),
            ms.max()
        );
    }
    verdict(&[
        Figure {
            what: format!("processor time of a node for {} idle events, part of a core", options.events),
            seen: (idle.node_us - none.node_us) / 1e6,
            floor: 0.02,
            goal: 0.01,
            unit: "",
        },
        Figure {
            what: format!("script calls for {} idle events, each second", options.events),
            seen: idle.scripts - none.scripts,
            floor: 0.1 * options.events as f64 + 1.0,
            goal: 0.05 * options.events as f64,
            unit: "",
        },
        Figure {
            what: "lateness of looks at other events beside a busy one, p99".to_owned(),
            seen: beside.value_at_quantile(0.99) as f64,
            floor: 500.0,
            goal: 100.0,
            unit: " ms",
        },
    ])
}

fn name(number: u64) -> String {
    format!("event-{number}")
}

impl World {
    async fn start(folder: &Path) -> Result<Self> {
        let redis = Redis::start("redis", folder).await?;
        let alone = Alone { store: &redis.url(), folder, threads: None, flags: vec![] };
        let (server, operator) = alone.start("queue-server").await?;
        Ok(Self { redis, server, operator })
    }

    async fn measure(&self) -> Result<Second> {
        let before = (self.server.child.cpu()?, self.redis.child.cpu()?, command_stats(&self.redis).await?);
        sleep(IDLE).await;
        let after = (self.server.child.cpu()?, self.redis.child.cpu()?, command_stats(&self.redis).await?);
        let each = |duration: Duration| duration.as_secs_f64() * 1e6 / IDLE.as_secs_f64();
        let scripts = difference(&before.2, &after.2).get("evalsha").copied().unwrap_or(0);
        Ok(Second {
            node_us: each(after.0 - before.0),
            redis_us: each(after.1 - before.1),
            scripts: scripts as f64 / IDLE.as_secs_f64(),
        })
    }

    /// Makes the events: one person is let in each second, so that everybody's position changes each second.
    async fn create(&self, options: &Options) -> Result<()> {
        let policy =
            json!({"capacity": 1_000_000, "admitPerMinute": 60, "activeTtlSeconds": 3_600, "claimSeconds": 3_600});
        let mut made = stream::iter(0..options.events)
            .map(|number| {
                let policy = &policy;
                async move { self.operator.put_queue(&name(number), policy).await }
            })
            .buffer_unordered(AT_ONCE);
        while let Some(made) = made.next().await {
            made.context("creating an event")?;
        }
        Ok(())
    }

    /// Opens sockets of one event. The last to join tells when the line that it was shown was read.
    async fn open(&self, number: u64, count: u64, tell: Option<&Pushes>, sockets: &mut JoinSet<()>) -> Result<()> {
        let event = EventId::new(&name(number)).context("the event's id")?;
        let mut opened =
            stream::iter(0..count).map(|_| Socket::joined(&self.server.url, &event)).buffer_unordered(AT_ONCE);
        let mut left = count;
        while let Some(socket) = opened.next().await {
            let mut socket = socket?;
            left -= 1;
            let tell = tell.filter(|_| left == 0).cloned();
            sockets.spawn(async move {
                while let Ok(Incoming::Message(message)) = socket.next().await {
                    if let (Some(tell), ServerMessage::QueueUpdated(status)) = (&tell, *message)
                        && tell.try_send((number, status.as_of)).is_err()
                    {
                        return;
                    }
                }
            });
        }
        Ok(())
    }

    /// Joins over HTTP, one after the other on several connections, until told to stop. How many.
    fn joins(&self, stop: CancellationToken) -> Result<tokio::task::JoinHandle<Result<u64>>> {
        let queue = Queue::new(api::client()?, &self.server.url, &name(0));
        Ok(tokio::spawn(async move {
            let requests = stream::repeat(queue).take_until(stop.cancelled_owned());
            let joins = requests.map(|queue| async move { queue.check(None).await }).buffer_unordered(AT_ONCE);
            let mut joins = std::pin::pin!(joins);
            let mut count = 0;
            while let Some(joined) = joins.next().await {
                joined?;
                count += 1;
            }
            Ok(count)
        }))
    }
}

/// Which event, and as of when.
type Pushes = mpsc::Sender<(u64, Millis)>;

/// By how much two looks at one event, as somebody near its head is shown them, are further apart than a tick.
async fn looks(
    mut pushes: mpsc::Receiver<(u64, Millis)>,
    seconds: u64,
) -> Result<(Histogram<u64>, mpsc::Receiver<(u64, Millis)>)> {
    let mut late_ms = Histogram::new(3)?;
    let mut last = std::collections::HashMap::new();
    while pushes.try_recv().is_ok() {}
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let (event, as_of) = tokio::select! {
            () = sleep_until(until) => break,
            push = pushes.recv() => push.context("the sockets have ended")?,
        };
        if let Some(before) = last.insert(event, as_of) {
            late_ms.record(as_of.since(before).saturating_sub(TICK_MS))?;
        }
    }
    ensure!(late_ms.len() >= seconds, "only {} looks were seen", late_ms.len());
    Ok((late_ms, pushes))
}
