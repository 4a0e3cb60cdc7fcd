//! Server memory per idle WebSocket: what the queue server's own resident memory (no programs, no libraries, no
//! buffers of the system) grows by, over the number of waiters.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, stream};
use queue_core::ids::EventId;
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    figures::said,
    process::raise_file_limit,
    servers::{Alone, Server},
    socket::{Incoming, Socket},
    sockets::crowd,
};

const EVENT: &str = "idle";
/// Sockets opened before the first measurement, so that what is allocated once is not counted per socket.
const WARM_UP: usize = 200;
/// The server takes as many as the system lets it.
const SOCKETS_MAX: u64 = 60_000;
/// Handshakes under way at a time.
const CONNECTING_MAX: usize = 64;
/// What the project has set itself: what may not be missed, and what it wants.
const FLOOR_BYTES: u64 = 4 * 1024;
const GOAL_BYTES: u64 = 1_536;
/// All sockets are open within this.
const OPEN_WAIT: Duration = Duration::from_secs(180);

/// How many, and how long they idle.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many sockets.
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    count: u64,
    /// How long they have idled when memory is read: longer than a ping and an idle push.
    #[arg(long, default_value_t = 35)]
    settle_seconds: u64,
}

/// Sockets that are held open and read.
#[derive(Default)]
pub struct Waiters {
    tasks: JoinSet<()>,
    /// How many are open.
    pub count: usize,
}

impl Waiters {
    /// Opens sockets until there are `count`, each of which has joined and been told its position.
    pub async fn grow_to(&mut self, count: usize, url: &str, event: &EventId) -> Result<()> {
        let missing = count.saturating_sub(self.count);
        let mut joined = stream::iter(0..missing).map(|_| Socket::joined(url, event)).buffer_unordered(CONNECTING_MAX);
        while let Some(socket) = joined.next().await {
            let mut socket = socket?;
            self.count += 1;
            self.tasks.spawn(async move { while let Ok(Incoming::Message(_)) = socket.next().await {} });
        }
        Ok(())
    }

    /// How many sockets have been closed by the server.
    pub fn lost(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.count - self.tasks.len()
    }
}

/// A queue server with one paused event, on any store.
pub async fn paused_queue(store: &str, folder: &std::path::Path, threads: Option<usize>) -> Result<Server> {
    let flags = vec![format!("--sockets-max={SOCKETS_MAX}")];
    let (server, operator) = Alone { store, folder, threads, flags }.start("queue-server").await?;
    operator.put_queue(EVENT, &json!({"capacity": 1})).await.context("creating the event")?;
    operator.order("pause", EVENT).await.context("pausing the event")?;
    Ok(server)
}

/// The event of [`paused_queue`].
pub fn paused_event() -> Result<EventId> {
    EventId::new(EVENT).context("the event id")
}

/// Opens the sockets, lets them idle, and prints the memory per socket.
pub async fn run(options: Options) -> Result<()> {
    raise_file_limit();
    let folder = tempfile::tempdir()?;
    let server = paused_queue("memory", folder.path(), None).await?;
    let event = paused_event()?;
    let mut waiters = Waiters::default();
    waiters.grow_to(WARM_UP, &server.url, &event).await?;
    sleep(Duration::from_secs(2)).await;
    let before = server.child.anonymous_bytes()?;
    let count = usize::try_from(options.count)?;
    let mut clients = crowd::start(&server.url, &[EVENT.to_owned()], count, folder.path())?;
    let open = async || Ok(crowd::metric_or_none(&server.ops_url, "usher_queue_waiting").await);
    crowd::wait_for((WARM_UP + count) as u64, OPEN_WAIT, &mut clients, open).await?;
    sleep(Duration::from_secs(2)).await;
    let joined = server.child.anonymous_bytes()?;
    sleep(Duration::from_secs(options.settle_seconds)).await;
    let after = server.child.anonymous_bytes()?;
    let left = crowd::metric(&server.ops_url, "usher_queue_sockets").await?;
    let lost = (WARM_UP + count) as u64 - left;
    let bytes = after.saturating_sub(before) / options.count;
    println!("sockets {count} (after {WARM_UP} to warm up), lost {lost}");
    println!(
        "memory of its own: {} KiB before, {} KiB when all had joined, {} KiB after {} s idle",
        before / 1024,
        joined / 1024,
        after / 1024,
        options.settle_seconds
    );
    let verdict = said(bytes as f64, FLOOR_BYTES as f64, GOAL_BYTES as f64);
    println!(
        "| idle socket, memory engine, {count} sockets | {bytes} B | ≤ {FLOOR_BYTES} B | ≤ {GOAL_BYTES} B | {verdict} |"
    );
    for client in clients {
        client.kill().await;
    }
    server.child.stop().await;
    ensure!(lost == 0, "sockets were lost");
    ensure!(bytes <= FLOOR_BYTES, "more than the floor");
    Ok(())
}
