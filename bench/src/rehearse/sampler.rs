//! Once a second: who is where, by the visitors' knowledge and by the stores', how long requests take, and what each
//! process costs.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use queue_core::{ids::EventId, keys::LineKeys};
use ticket_server::keys::Key;
use tokio::time::timeout;

use super::{
    people::World,
    record::{Line, Sample},
};
use crate::{
    clock::now_ms,
    process::{cpu_of, resident_of},
    scale::resp::Connection,
};

/// A store that does not answer within this is away.
const ANSWER_WAIT: Duration = Duration::from_millis(400);

/// Asks both stores for their numbers, as long as they answer.
pub struct Lines {
    queue: Asker,
    tickets: Asker,
    keys: LineKeys,
    holds: String,
}

/// A connection that is made anew when it was of no use.
struct Asker {
    address: SocketAddr,
    connection: Option<Connection>,
}

impl Asker {
    async fn number(&mut self, words: &[&str]) -> Option<u64> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => timeout(ANSWER_WAIT, Connection::open(self.address)).await.ok()?.ok()?,
        };
        // Given up in the middle it is not used again.
        let reply = timeout(ANSWER_WAIT, connection.command(words)).await.ok()?.ok()?;
        self.connection = Some(connection);
        reply.number()
    }
}

impl Lines {
    /// Of the event on these stores.
    pub fn new(event: &EventId, queue: SocketAddr, tickets: SocketAddr) -> Self {
        let asker = |address| Asker { address, connection: None };
        let holds = Key::Holds.of(event);
        Self { queue: asker(queue), tickets: asker(tickets), keys: LineKeys::new(event), holds }
    }

    /// The numbers now; `None` while one of the stores is away.
    pub async fn now(&mut self) -> Option<Line> {
        let waiting = self.queue.number(&["ZCARD", &self.keys.waiting]).await?;
        let active = self.queue.number(&["ZCARD", &self.keys.active]).await?;
        let held = self.tickets.number(&["HLEN", &self.holds]).await?;
        Some(Line { waiting, active, held })
    }
}

/// One sample. `processes`: what runs now.
pub async fn take(world: &Arc<World>, lines: &mut Lines, processes: &[(String, u32)]) -> Sample {
    let second = world.meter.second();
    let gauges = &world.gauges;
    let mut sample = Sample {
        at: now_ms(),
        arrived: gauges.arrived.get(),
        waiting: gauges.waiting.get(),
        active: gauges.active.get(),
        holding: gauges.holding.get(),
        gone: gauges.gone.get(),
        booked: gauges.booked.get(),
        line: lines.now().await,
        requests: second.requests,
        failed: second.failed,
        joins: second.joins,
        p50_ms: second.p50_ms,
        p95_ms: second.p95_ms,
        ..Sample::default()
    };
    for (name, pid) in processes {
        // One that has just been killed has neither.
        if let Ok(bytes) = resident_of(*pid) {
            sample.memory.insert(name.clone(), bytes);
        }
        if let Ok(cpu) = cpu_of(*pid) {
            sample.cpu_ms.insert(name.clone(), cpu.as_millis() as u64);
        }
    }
    sample
}

/// What Redis calls itself.
pub async fn redis_version(address: SocketAddr) -> Result<String> {
    let info = Connection::open(address).await?.command(&["INFO", "server"]).await?;
    let text = info.text().unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("redis_version:")).context("no redis_version")?;
    Ok(version.trim().to_owned())
}
