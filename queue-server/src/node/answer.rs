//! How a visitor's place becomes the contract's `QueueStatus`.

use queue_core::{
    ids::{Jti, Millis, VisitorId},
    wire::{EndReason, QueueState, QueueStatus},
};

use super::{LocalLine, Node, line::View};

/// Clients that poll ask again after at least this.
const POLL_MS_MIN: u64 = 2_000;
/// Clients that poll ask again after at most this: far below the shortest grace.
const POLL_MS_MAX: u64 = 15_000;

const _: () = assert!(POLL_MS_MAX * 3 < queue_core::limits::GRACE_MS_MIN, "two polls may get lost");

/// A waiter's numbers at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub as_of: Millis,
    pub position: u64,
    pub waiting: u64,
    pub paused: bool,
    /// The last sign of life.
    pub heard: Millis,
}

/// Near the head more often than far back; spread by position, so that a crowd does not ask at once.
pub(super) fn poll_after_ms(position: u64) -> u64 {
    let ms = (POLL_MS_MIN + position * 10).min(POLL_MS_MAX);
    ms - ms / 10 + position.wrapping_mul(0x9e37_79b9) % (ms / 10)
}

pub fn waiting(line: &LocalLine, at: Waiting) -> QueueStatus {
    let mut status = QueueStatus::bare(line.event.clone(), at.as_of, QueueState::Waiting);
    status.position = Some(at.position);
    status.waiting = Some(at.waiting.max(at.position));
    status.eta = Some(line.eta(at.position, at.paused));
    status.paused = Some(at.paused);
    status.tickets_left = line.view.load().summary.stock.map(|stock| stock.left);
    status.kept_until = Some(at.heard.plus(line.known.load().policy.grace_ms()));
    status.poll_after_ms = Some(poll_after_ms(at.position));
    status
}

/// From what the node knows: no question to the store.
pub fn from_view(line: &LocalLine, view: &View, rank: queue_core::ids::Rank, heard: Millis) -> QueueStatus {
    let (waiting_in_all, paused) = (view.index.waiting(), view.summary.paused);
    let position = view.index.position(rank);
    waiting(line, Waiting { as_of: view.as_of, position, waiting: waiting_in_all, paused, heard })
}

pub fn active(
    node: &Node,
    line: &LocalLine,
    now: Millis,
    visitor: &VisitorId,
    jti: Jti,
    expires: Millis,
) -> QueueStatus {
    let began = Millis(expires.0.saturating_sub(line.known.load().policy.active_ttl_ms())).min(now);
    let mut status = QueueStatus::bare(line.event.clone(), now, QueueState::Active);
    status.active_token = Some(node.keys.active_token(&line.event, visitor, jti, began, expires));
    status.expires_at = Some(expires);
    status
}

pub fn ended(line: &LocalLine, now: Millis, reason: EndReason) -> QueueStatus {
    QueueStatus::ended(line.event.clone(), now, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_spread_and_bounded() {
        for position in [1, 2, 10, 999, 5_000, 10_000_000] {
            let ms = poll_after_ms(position);
            assert!((POLL_MS_MIN * 9 / 10..=POLL_MS_MAX).contains(&ms), "{position}: {ms}");
        }
    }
}
