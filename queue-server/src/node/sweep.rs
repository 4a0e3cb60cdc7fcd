//! Presence: the store is told whom this node heard, and waiters nobody heard of for their grace are removed.

use std::time::Duration;

use queue_core::{
    ids::Millis,
    limits::{BITMAP_CHUNK_BYTES_MAX, SEEN_PERIOD_MS, SEEN_SETTLE_MS, SWEEP_BATCH_MAX},
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

/// The store is asked this often to let go of what it keeps of ranks that are long gone.
const TRIM_EVERY: Duration = Duration::from_secs(300);
/// Bytes of bitmaps that one call looks through, all periods of the grace together, about.
const SWEEP_CALL_BYTES: usize = 65_536;
/// A stretch is at least so long, however long the grace.
const STRETCH_BYTES_MIN: usize = 256;
/// What a sweep may take of a tick. What is left then is looked through in the next, so that the line is read on.
const SWEEP_TENTHS: u32 = 3;

/// When what was done last, and where a sweep has got to.
#[derive(Debug, Default)]
pub struct Sweeper {
    told: Option<Instant>,
    swept: Option<Instant>,
    /// The settled period that was swept last: only a new one has new people to find.
    settled: u64,
    /// The byte of the bitmap at which the sweep that is under way goes on.
    at: Option<u64>,
    trimmed: Option<Instant>,
}

impl Sweeper {
    pub fn tell_due(&self) -> bool {
        self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY)
    }

    pub fn told(&mut self) {
        self.told = Some(Instant::now());
    }

    /// Whether a sweep is due to begin; if so, the next time is later.
    fn begin(&mut self, now: Millis) -> bool {
        let settled = Millis(now.0.saturating_sub(SEEN_SETTLE_MS)).period();
        let due = settled != self.settled || self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY);
        if due {
            (self.swept, self.settled) = (Some(Instant::now()), settled);
        }
        due
    }

    /// Lets the store forget what is long over, if it is time to.
    pub async fn trim(&mut self, node: &Node, line: &LocalLine) -> Result<(), EngineError> {
        if self.trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY) {
            node.apply(line, None, Command::Trim).await?;
            self.trimmed = Some(Instant::now());
        }
        Ok(())
    }

    /// Removes who is gone, stretch by stretch from the head to the tail, if it is time to, or goes on with that.
    pub async fn sweep(&mut self, node: &Node, line: &LocalLine, view: &View) -> Result<(), EngineError> {
        let head = view.index.first_byte();
        let mut at = match self.at.take() {
            Some(at) => at.max(head),
            None if self.begin(view.as_of) => head,
            None => return Ok(()),
        };
        let end = line.rank(view.summary.seq).0 / 8 + 1;
        let stretch = stretch_bytes(line.known.load().policy.grace_periods());
        let until = Instant::now() + node.options.tick * SWEEP_TENTHS / 10;
        while at < end {
            let len = stretch.min((end - at) as usize);
            let applied = node.apply(line, None, Command::Abandon { first_byte: at, len }).await?;
            let Outcome::Abandoned(gone) = applied.outcome else { return Err(broken("abandon")) };
            if !gone.is_empty() {
                line.metrics.released(EndReason::Abandoned, gone.len() as u64);
            }
            if gone.len() < SWEEP_BATCH_MAX {
                at += len as u64;
            }
            if Instant::now() >= until {
                self.at = (at < end).then_some(at);
                break;
            }
        }
        Ok(())
    }
}

/// How much of the line one call looks through: of each period as much, so the less the longer the grace.
pub fn stretch_bytes(grace_periods: u64) -> usize {
    let bitmaps = usize::try_from(grace_periods).unwrap_or(usize::MAX).saturating_add(2);
    (SWEEP_CALL_BYTES / bitmaps).clamp(STRETCH_BYTES_MIN, BITMAP_CHUNK_BYTES_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_grace_has_shorter_stretches() {
        assert_eq!(stretch_bytes(1), BITMAP_CHUNK_BYTES_MAX);
        assert_eq!(stretch_bytes(4), SWEEP_CALL_BYTES / 6);
        assert_eq!(stretch_bytes(120), SWEEP_CALL_BYTES / 122);
        assert_eq!(stretch_bytes(u64::MAX), STRETCH_BYTES_MIN);
    }

    #[test]
    fn a_sweep_begins_with_each_settled_period() {
        let mut sweeper = Sweeper::default();
        assert!(sweeper.begin(Millis(1_000_000)));
        assert!(!sweeper.begin(Millis(1_000_001)));
        assert!(sweeper.begin(Millis(1_000_000 + SEEN_PERIOD_MS)));
    }
}
