//! Keeps a store connected: opens its connections, watches them, and opens new ones when one is
//! lost, for ever, with growing and jittered pauses.

use std::{sync::Arc, sync::atomic::AtomicUsize, time::Duration};

use fred::types::RespVersion;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tracing::{info, warn};

use super::{CONNECTIONS_MAX, Live, ServerIdentity, Shared, connection::Connection};

/// The first pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(1_000);

pub(super) async fn run(shared: Arc<Shared>) {
    let mut pauses = Pauses::default();
    loop {
        match open(&shared).await {
            Ok((connections, server)) => {
                pauses = Pauses::default();
                let reason = serve(&shared, connections, server).await;
                warn!(store = %shared.url, reason, "lost the store");
            }
            Err(reason) if pauses.count == 0 => warn!(store = %shared.url, reason, "cannot reach the store, trying on"),
            Err(_) => {}
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn open(shared: &Shared) -> Result<(Vec<Connection>, ServerIdentity), String> {
    let mut connections = Vec::new();
    for _ in 0..shared.options.connections.clamp(1, CONNECTIONS_MAX) {
        connections.push(Connection::open(&shared.url, &shared.options, RespVersion::RESP2).await?);
    }
    let server = connections[0].identify(shared.url.is_cluster()).await?;
    if !shared.url.is_cluster()
        && let Some(policy) = connections[0].evicts().await?
    {
        warn!(
            store = %shared.url, policy,
            "when it is full this store throws away what it was given, places in line among it: set maxmemory-policy noeviction",
        );
    }
    Ok((connections, server))
}

/// Lets calls through until a connection is lost, and says why it was.
async fn serve(shared: &Shared, mut connections: Vec<Connection>, server: ServerIdentity) -> String {
    let clients = connections.iter().map(|connection| connection.client.clone()).collect();
    shared.live.store(Some(Arc::new(Live { clients, next: AtomicUsize::new(0) })));
    shared.health.send_modify(|health| {
        health.up = true;
        health.epoch += 1;
        health.server = server;
        info!(store = %shared.url, epoch = health.epoch, "connected to the store");
    });
    let mut watched: FuturesUnordered<_> = connections.iter_mut().map(Connection::lost).collect();
    let reason = tokio::select! {
        reason = watched.next() => reason.unwrap_or_default(),
        () = shared.misplaced.notified() => "the server no longer takes writes".to_owned(),
    };
    shared.live.store(None);
    shared.health.send_modify(|health| health.up = false);
    reason
}

/// Pauses that double, each between half and the whole of its length, so that the nodes of a
/// server that comes back do not all call at once.
#[derive(Default)]
pub(super) struct Pauses {
    count: u32,
}

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        let whole = PAUSE_MIN.saturating_mul(1 << self.count.min(10)).min(PAUSE_MAX);
        self.count = self.count.saturating_add(1);
        let mut random = [0; 1];
        // Without randomness the pause is just not jittered.
        let _ = aws_lc_rs::rand::fill(&mut random);
        whole / 2 + whole.mul_f64(f64::from(random[0]) / 512.0)
    }
}
