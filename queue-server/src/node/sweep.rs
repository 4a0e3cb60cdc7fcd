//! Presence: the store is told whom this node heard, and waiters nobody heard of for their grace are removed.

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::Millis,
    limits::{BITMAP_CHUNK_BYTES_MAX, END_BATCH_MAX, SEEN_PERIOD_MS, SEEN_SETTLE_MS},
    line::{Command, Outcome},
    wire::EndReason,
};
use tokio::time::Instant;

use super::{LocalLine, Node, broken, line::View};
use crate::engine::EngineError;

/// The store is told this often whom the node heard.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The line is swept this often, so that the store knows that somebody looks.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

const _: () = assert!(TELL_EVERY.as_millis() as u64 + 2_000 < SEEN_SETTLE_MS, "what is heard is told before a sweep");
const _: () = assert!(SWEEP_EVERY.as_millis() as u64 * 2 < SEEN_PERIOD_MS, "one sweep may fail");

/// When what was done last.
#[derive(Debug, Default)]
pub struct Sweeper {
    told: Option<Instant>,
    swept: Option<Instant>,
    /// The settled period that was swept last: only a new one has new people to find.
    settled: u64,
}

impl Sweeper {
    pub fn tell_due(&self) -> bool {
        self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY)
    }
    pub fn told(&mut self) {
        self.told = Some(Instant::now());
    }
    /// Whether to sweep now; if so, the next time is later.
    pub fn sweep_due(&mut self, now: Millis) -> bool {
        let settled = Millis(now.0.saturating_sub(SEEN_SETTLE_MS)).period();
        let due = settled != self.settled || self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY);
        if due {
            (self.swept, self.settled) = (Some(Instant::now()), settled);
        }
        due
    }
}

/// Tells the store whom this node heard. What it could not be told is kept for the next time.
pub async fn tell(node: &Node, line: &LocalLine) -> Result<(), EngineError> {
    let mut commands = line.heard.lock().take().into_iter();
    while let Some(command) = commands.next() {
        if let Err(error) = node.apply(line, None, command.clone()).await {
            let mut heard = line.heard.lock();
            std::iter::once(command).chain(commands).for_each(|command| heard.put_back(command));
            return Err(error);
        }
    }
    Ok(())
}

/// Removes who is gone, stretch by stretch from the head to the tail.
pub async fn abandon(node: &Arc<Node>, line: &LocalLine, view: &View) -> Result<(), EngineError> {
    let (mut first_byte, end) = (view.index.first_byte(), line.rank(view.summary.seq).0 / 8 + 1);
    while first_byte < end {
        let len = BITMAP_CHUNK_BYTES_MAX.min((end - first_byte) as usize);
        let applied = node.apply(line, None, Command::Abandon { first_byte, len }).await?;
        let Outcome::Abandoned(gone) = applied.outcome else { return Err(broken("abandon")) };
        if !gone.is_empty() {
            line.metrics.released(EndReason::Abandoned, gone.len() as u64);
        }
        if gone.len() < END_BATCH_MAX {
            first_byte += len as u64;
        }
    }
    Ok(())
}
