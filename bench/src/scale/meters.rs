//! What each process costs over time, and what the store says of the line.

use anyhow::{Context, Result, bail};
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
    /// What it takes, by its own estimate, but for what is kept of those who have gone.
    pub lasting: u64,
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

    /// What the store's memory is used for: beside what it needs for itself, every key is added up but those of
    /// [`Meter::gone`]. To take those off the whole would not do: they soon are the most of it, and Redis takes an
    /// entry for eight bytes less than its allocator gives it.
    pub async fn memory(&mut self) -> Result<Memory> {
        let [used, mut lasting] = self.info(["used_memory", "used_memory_overhead"]).await?;
        let gone = self.gone().map(str::to_owned);
        let mut cursor = "0".to_owned();
        loop {
            let reply = self.connection.command(&["SCAN", &cursor, "COUNT", "1000"]).await?;
            let [next, keys] = reply.list() else { bail!("an odd reply: {reply:?}") };
            for key in keys.list().iter().filter_map(Reply::text).filter(|key| !gone.iter().any(|gone| gone == key)) {
                // By default five members stand for all, which is some in a hundred off.
                let usage = self.connection.command(&["MEMORY", "USAGE", key, "SAMPLES", "1000"]).await?;
                lasting += usage.number().unwrap_or(0);
            }
            cursor = next.text().context("no cursor")?.to_owned();
            if cursor == "0" {
                return Ok(Memory { used, lasting });
            }
        }
    }

    /// What is kept of those who have gone: two logs, which take turns each hour, and a capped stream.
    fn gone(&self) -> [&str; 3] {
        [&self.keys.ended, &self.keys.ended_old, &self.keys.session_ended]
    }

    /// Bytes of what is kept of those who have gone: takes it away and sees what is left. At the very end.
    pub async fn forget_the_gone(&mut self) -> Result<u64> {
        let [before] = self.info(["used_memory"]).await?;
        let [ended, ended_old, log] = self.gone().map(str::to_owned);
        self.connection.command(&["DEL", &ended, &ended_old, &log]).await?;
        let [after] = self.info(["used_memory"]).await?;
        Ok(before.saturating_sub(after))
    }

    /// Numbers of `INFO memory`.
    async fn info<const N: usize>(&mut self, fields: [&str; N]) -> Result<[u64; N]> {
        let info = self.connection.command(&["INFO", "memory"]).await?;
        let number = |field: &str| {
            let line = info.text()?.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line?.trim().parse().ok()
        };
        let mut numbers = [0; N];
        for (into, field) in numbers.iter_mut().zip(fields) {
            *into = number(field).with_context(|| format!("INFO has no {field}"))?;
        }
        Ok(numbers)
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
