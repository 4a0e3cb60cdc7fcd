//! What each process costs over time, and what the store says of the line.

use anyhow::{Context, Result};
use queue_core::{ids::EventId, keys::LineKeys};
use serde::Serialize;

use super::{
    resp::{Connection, Reply},
    stage::Stage,
};
use crate::process::{Child, cpu_of};

/// What a process is, for sums over all of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Redis,
    Node,
    Client,
    Bench,
}

/// One process at one moment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub name: String,
    pub role: Role,
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
    pub resident_bytes: u64,
}

/// Each process of the stage, and this one.
pub fn usage(stage: &Stage) -> Result<Vec<Usage>> {
    let one = |child: &Child, role| -> Result<Usage> {
        let (cpu_ms, resident_bytes) = (child.cpu()?.as_millis() as u64, child.resident_bytes()?);
        Ok(Usage { name: child.name.clone(), role, cpu_ms, resident_bytes })
    };
    let mut all = vec![one(&stage.redis.child, Role::Redis)?];
    for node in &stage.nodes {
        all.push(one(&node.child, Role::Node)?);
    }
    for client in &stage.clients {
        all.push(one(client, Role::Client)?);
    }
    let cpu_ms = cpu_of(std::process::id())?.as_millis() as u64;
    all.push(Usage { name: "bench".into(), role: Role::Bench, cpu_ms, resident_bytes: 0 });
    Ok(all)
}

/// What the store says.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub waiting: u64,
    pub active: u64,
    /// The last number handed out.
    pub seq: u64,
    pub admitted: u64,
    pub abandoned: u64,
    /// Joined and went home again, by any way but abandonment.
    pub released: u64,
    pub expired: u64,
}

/// Memory of the store in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub used: u64,
    /// Of it, what is kept of those who have gone: for an hour or two, and the capped stream of ended sessions.
    pub of_the_gone: u64,
}

/// Asks the store.
#[derive(Debug)]
pub struct Meter {
    connection: Connection,
    keys: LineKeys,
}

impl Meter {
    /// Of one event.
    pub fn new(connection: Connection, event: &EventId) -> Self {
        Self { connection, keys: LineKeys::new(event) }
    }

    /// The numbers of the line, as of one instant.
    pub async fn counts(&mut self) -> Result<Counts> {
        let Self { connection, keys } = self;
        connection.command(&["MULTI"]).await?;
        connection.command(&["ZCARD", &keys.waiting]).await?;
        connection.command(&["ZCARD", &keys.active]).await?;
        let fields = ["HMGET", &keys.meta, "seq", "admitted", "abandoned", "released", "expired"];
        connection.command(&fields).await?;
        let reply = connection.command(&["EXEC"]).await?;
        let [waiting, active, meta] = reply.list() else { anyhow::bail!("an odd reply: {reply:?}") };
        let number = |reply: &Reply| reply.number().context("not a number");
        let [seq, admitted, abandoned, released, expired] = meta.list() else { anyhow::bail!("an odd line") };
        Ok(Counts {
            waiting: number(waiting)?,
            active: number(active)?,
            seq: number(seq)?,
            admitted: number(admitted)?,
            abandoned: number(abandoned)?,
            released: number(released)?,
            expired: number(expired)?,
        })
    }

    /// How many hold a session.
    pub async fn active(&mut self) -> Result<u64> {
        self.connection.command(&["ZCARD", &self.keys.active]).await?.number().context("not a number")
    }

    /// What the store's memory is used for.
    pub async fn memory(&mut self) -> Result<Memory> {
        let Self { connection, keys } = self;
        let info = connection.command(&["INFO", "memory"]).await?;
        let line = info.text().unwrap_or_default().lines().find_map(|line| line.strip_prefix("used_memory:"));
        let used = line.and_then(|bytes| bytes.trim().parse().ok()).context("no used_memory")?;
        let mut of_the_gone = 0;
        // By default five members stand for all, which is some in a hundred off.
        for key in [&keys.ended, &keys.ended_old, &keys.session_ended] {
            of_the_gone +=
                connection.command(&["MEMORY", "USAGE", key, "SAMPLES", "1000"]).await?.number().unwrap_or(0);
        }
        Ok(Memory { used, of_the_gone })
    }

    /// Everybody in line, in order: their numbers.
    pub async fn line(&mut self) -> Result<Vec<u64>> {
        const CHUNK: usize = 10_000;
        let mut all = Vec::new();
        loop {
            let (first, last) = (all.len().to_string(), (all.len() + CHUNK - 1).to_string());
            let words = ["ZRANGE", &self.keys.waiting, &first, &last, "WITHSCORES"];
            let reply = self.connection.command(&words).await?;
            let numbers = reply.list().chunks_exact(2).map(|pair| pair[1].number().context("not a number"));
            let before = all.len();
            for number in numbers {
                all.push(number?);
            }
            if all.len() == before {
                return Ok(all);
            }
        }
    }
}
