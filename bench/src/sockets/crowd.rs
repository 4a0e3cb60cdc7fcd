//! A process full of sockets: it opens them, joins if it is to, and reads whatever comes.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, stream};
use queue_core::ids::EventId;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    process::{Child, raise_file_limit},
    servers::beside_us,
    socket::{Incoming, Socket},
};

/// Handshakes under way at a time.
const CONNECTING_MAX: usize = 64;
/// Sockets of one such process, at most: file descriptors are what limits them.
pub const SOCKETS_MAX: usize = 9_600;

/// Which sockets.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where.
    #[arg(long)]
    url: String,
    /// Events that are joined in turn; none: sockets that say nothing.
    #[arg(long, value_delimiter = ',')]
    events: Vec<EventId>,
    #[arg(long)]
    count: usize,
    /// Ends each socket as soon as it was answered, and all when that is done.
    #[arg(long)]
    hang_up: bool,
}

/// Opens the sockets and holds them until the process is ended.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let mut events = options.events.iter().cycle();
    let opening = (0..options.count).map(|_| open(&options.url, events.next()));
    let mut opened = stream::iter(opening).buffer_unordered(CONNECTING_MAX);
    let mut held = JoinSet::new();
    while let Some(socket) = opened.next().await {
        let mut socket = socket?;
        if options.hang_up {
            socket.abort();
            continue;
        }
        held.spawn(async move { while let Ok(Incoming::Message(_)) = socket.next().await {} });
    }
    while held.join_next().await.is_some() {}
    Ok(())
}

async fn open(url: &str, event: Option<&EventId>) -> Result<Socket> {
    match event {
        Some(event) => Socket::joined(url, event).await,
        None => Socket::connect(url).await,
    }
}

/// Processes with `count` sockets in all, which they open and hold.
pub fn start(url: &str, events: &[String], count: usize, folder: &Path) -> Result<Vec<Child>> {
    let processes = count.div_ceil(SOCKETS_MAX);
    let one = |number: usize| {
        let share = count / processes + usize::from(number < count % processes);
        let args = arguments(url, events, share);
        Child::start(
            &format!("crowd-{}-{number}", url.rsplit(':').next().unwrap_or_default()),
            &beside_us("bench")?,
            args,
            &[],
            folder,
        )
    };
    (0..processes).map(one).collect()
}

/// One process that opens sockets one after the other, ends each when it was answered, and ends with the last.
pub async fn pass(url: &str, events: &[String], count: usize, folder: &Path) -> Result<()> {
    let mut args = arguments(url, events, count);
    args.push("--hang-up".into());
    let mut child = Child::start("passers", &beside_us("bench")?, args, &[], folder)?;
    let ended = child.ended().await?;
    ensure!(ended.success(), "the sockets were not opened:\n{}", child.last_lines());
    Ok(())
}

fn arguments(url: &str, events: &[String], count: usize) -> Vec<String> {
    let mut args = vec!["socket-crowd".to_owned(), format!("--url={url}"), format!("--count={count}")];
    if !events.is_empty() {
        args.push(format!("--events={}", events.join(",")));
    }
    args
}

/// Waits until `ask` says at least `count`, while the clients live.
pub async fn wait_for(
    count: u64,
    patience: Duration,
    clients: &mut [Child],
    ask: impl AsyncFn() -> Result<u64>,
) -> Result<()> {
    let until = Instant::now() + patience;
    loop {
        let now = ask().await?;
        if now >= count {
            return Ok(());
        }
        for client in clients.iter_mut() {
            ensure!(client.is_running(), "{} ended:\n{}", client.name, client.last_lines());
        }
        ensure!(Instant::now() < until, "only {now} of {count} sockets within {patience:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A number among a server's metrics: the sum over all labels.
pub async fn metric(ops_url: &str, name: &str) -> Result<u64> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let text = http.get(format!("{ops_url}/metrics")).send().await?.error_for_status()?.text().await?;
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    let values: Vec<f64> = text.lines().filter_map(value).collect();
    ensure!(!values.is_empty(), "no metric {name}");
    Ok(values.iter().sum::<f64>() as u64)
}

/// [`metric`], 0 while there is none.
pub async fn metric_or_none(ops_url: &str, name: &str) -> u64 {
    metric(ops_url, name).await.context("reading a metric").unwrap_or_default()
}
