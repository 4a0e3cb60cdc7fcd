//! From a release to the next visitor's `queue-entry-allowed` on a socket, with thousands of sockets open, beside a round
//! trip to Redis in the same run.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use queue_core::{ids::EventId, wire::ServerMessage};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    api::{self, Operator, Queue},
    figures::{Figure, verdict},
    process::{free_port, raise_file_limit},
    random,
    servers::{Redis, Server, Setup},
    socket::{Incoming, Socket},
};

const EVENT: &str = "release";
/// Sessions at a time.
const CAPACITY: usize = 20;
/// Handshakes under way at a time.
const CONNECTING_MAX: usize = 64;
/// Whoever is let in later than this is not let in.
const LET_IN_WITHIN: Duration = Duration::from_secs(10);
/// A message waits for nobody: more of them than this at a time are an error.
const LET_IN_MAX: usize = 1_024;

/// How many, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Sockets that wait.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    sockets: u64,
    /// Nodes that they are spread over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=8))]
    nodes: u64,
    /// Releases, one after the other.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    releases: u64,
    /// Between two of them.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pause_ms: u64,
    /// Sockets idle for so long before the first release.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=300))]
    settle_seconds: u64,
}

/// Somebody was let in: when their client read it, and with which token.
type LetIn = (Instant, String);

/// Measures and prints both distributions.
pub async fn run(options: Options) -> Result<()> {
    let files = raise_file_limit();
    ensure!(files > options.sockets + 200, "{} sockets need more than {files} file descriptors", options.sockets);
    let folder = tempfile::tempdir()?;
    let redis = Redis::start("redis", folder.path()).await?;
    let nodes = start_nodes(&redis, folder.path(), options.nodes).await?;
    let (tell, mut let_in) = mpsc::channel(LET_IN_MAX);
    let mut sockets = JoinSet::new();
    open(&options, &nodes, tell, &mut sockets).await?;
    let mut tokens = Vec::new();
    while tokens.len() < CAPACITY {
        tokens.push(timeout(LET_IN_WITHIN, let_in.recv()).await?.context("the sockets have ended")?.1);
    }
    sleep(Duration::from_secs(options.settle_seconds)).await;
    let (latency, round_trip) = measure(&options, &redis, &nodes, tokens, &mut let_in).await?;
    let mut lost = 0;
    while sockets.try_join_next().is_some() {
        lost += 1;
    }
    // Who was released is told so, and their sockets are closed.
    ensure!(lost <= options.releases, "{lost} sockets were lost");
    for node in nodes {
        node.child.stop().await;
    }
    redis.child.stop().await;
    let row = |what: &str, us: &Histogram<u64>| {
        let at = |quantile| us.value_at_quantile(quantile);
        println!("| {what} | {} | {} | {} | {} | {} |", us.len(), at(0.5), at(0.9), at(0.99), us.max());
    };
    println!("{} sockets on {} node(s):\n", options.sockets, options.nodes);
    println!("| | times | p50 us | p90 us | p99 us | longest us |\n| --- | ---: | ---: | ---: | ---: | ---: |");
    row("release to the next one's entry", &latency);
    row("round trip to Redis", &round_trip);
    verdict(&[Figure {
        what: format!(
            "release to the next `queue-entry-allowed`, {} sockets, p99, in round trips to Redis, p99",
            options.sockets
        ),
        seen: latency.value_at_quantile(0.99) as f64 / round_trip.value_at_quantile(0.99) as f64,
        floor: 20.0,
        goal: 5.0,
        unit: "",
    }])
}

async fn start_nodes(redis: &Redis, folder: &Path, count: u64) -> Result<Vec<Server>> {
    let token = random::secret()?;
    let mut nodes = Vec::new();
    for number in 0..count {
        let setup = Setup {
            name: &format!("queue-server-{number}"),
            listen: free_port()?,
            ops: free_port()?,
            store: &redis.url(),
            state_dir: folder,
            operator_token: &token,
            flags: vec![],
            threads: None,
        };
        nodes.push(setup.start("queue-server", folder).await?);
    }
    let first = nodes.first().context("no node")?;
    let operator = Operator::new(api::client()?, &first.ops_url, &token);
    let policy = json!({"capacity": CAPACITY, "activeTtlSeconds": 3_600});
    operator.put_queue(EVENT, &policy).await.context("creating the event")?;
    Ok(nodes)
}

/// Opens the sockets, those who are let in at once included, each of which is read by a task of its own.
async fn open(options: &Options, nodes: &[Server], tell: mpsc::Sender<LetIn>, sockets: &mut JoinSet<()>) -> Result<()> {
    let event = EventId::new(EVENT).context("the event's id")?;
    let urls = nodes.iter().map(|node| node.url.as_str()).cycle();
    let count = usize::try_from(options.sockets)? + CAPACITY;
    let mut joined = stream::iter(urls.take(count)).map(|url| join(url, &event)).buffer_unordered(CONNECTING_MAX);
    while let Some(socket) = joined.next().await {
        let mut socket = socket?;
        let tell = tell.clone();
        sockets.spawn(async move {
            while let Ok(Incoming::Message(message)) = socket.next().await {
                let at = Instant::now();
                if let ServerMessage::QueueEntryAllowed(status) = *message
                    && let Some(token) = status.active_token
                    && tell.try_send((at, token)).is_err()
                {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Asks to join. The answer may be that somebody is let in: it is read where that is told.
async fn join(url: &str, event: &EventId) -> Result<Socket> {
    let mut socket = Socket::connect(url).await?;
    socket.join(event, None).await?;
    Ok(socket)
}

/// Microseconds of each release, and of a round trip to Redis after each.
async fn measure(
    options: &Options,
    redis: &Redis,
    nodes: &[Server],
    mut tokens: Vec<String>,
    let_in: &mut mpsc::Receiver<LetIn>,
) -> Result<(Histogram<u64>, Histogram<u64>)> {
    let queues: Vec<_> =
        nodes.iter().map(|node| Ok(Queue::new(api::client()?, &node.url, EVENT))).collect::<Result<_>>()?;
    let mut stream = TcpStream::connect(redis.address).await?;
    stream.set_nodelay(true)?;
    let (mut latency, mut round_trip) = (Histogram::new(3)?, Histogram::new(3)?);
    for (queue, number) in queues.iter().cycle().zip(0..options.releases) {
        let token = tokens.swap_remove(number as usize % tokens.len());
        let began = Instant::now();
        let (released, next) = tokio::join!(queue.release(&token), timeout(LET_IN_WITHIN, let_in.recv()));
        released?;
        let (at, token) =
            next.with_context(|| format!("nobody was let in by release {number}"))?.context("no sockets")?;
        tokens.push(token);
        latency.record(u64::try_from(at.duration_since(began).as_micros())?)?;
        sleep(Duration::from_millis(options.pause_ms / 2)).await;
        round_trip.record(ping(&mut stream).await?)?;
        sleep(Duration::from_millis(options.pause_ms / 2)).await;
    }
    Ok((latency, round_trip))
}

/// Microseconds until Redis has answered.
async fn ping(stream: &mut TcpStream) -> Result<u64> {
    const PONG: &[u8] = b"+PONG\r\n";
    let began = Instant::now();
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; PONG.len()];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == PONG, "not a PONG");
    Ok(u64::try_from(began.elapsed().as_micros())?)
}
