//! Messages that the queue was sent long ago are dropped from the ledger, a few at a time, so that they do not gather
//! for ever. Bookings stay.

use std::{sync::Arc, time::Duration};

use queue_core::ids::Millis;
use tokio_util::sync::CancellationToken;

use super::Office;
use crate::limits::SESSION_KEPT_MS;

/// The shortest time for which a sent message is kept: until then it tells which sessions are closed.
pub const OUTBOX_KEEP_HOURS_MIN: u64 = 25;
/// The longest.
pub const OUTBOX_KEEP_HOURS_MAX: u64 = 24 * 3_660;
/// Old messages are looked for this often, and as soon again when there are more.
const PRUNE_PERIOD: Duration = Duration::from_secs(300);
const PRUNE_GAP: Duration = Duration::from_millis(250);
/// Messages dropped in one transaction, at most: those who confirm wait for it.
const PRUNE_BATCH_MAX: u32 = 256;

const _: () = assert!(OUTBOX_KEEP_HOURS_MIN * 3_600_000 >= SESSION_KEPT_MS);

impl Office {
    /// Drops sent messages that are older than `keep` until told to stop.
    pub async fn prune_outbox(self: Arc<Self>, keep: Duration, stop: CancellationToken) {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        loop {
            let before = Millis(self.now().0.saturating_sub(keep_ms));
            let pause = match self.ledger.prune_outbox(before, PRUNE_BATCH_MAX).await {
                Ok(dropped) if dropped == u64::from(PRUNE_BATCH_MAX) => PRUNE_GAP,
                Ok(_) => PRUNE_PERIOD,
                Err(error) => {
                    tracing::warn!(%error, "sent messages could not be dropped");
                    PRUNE_PERIOD
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
