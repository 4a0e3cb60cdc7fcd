//! Takes up what nobody runs any more: orders whose process ended or that had to wait, cancellations that the store
//! was not told, messages to the buyers' system, and idempotency keys that are old enough.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use queue_core::ids::Millis;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Orders;
use crate::ledger::KEY_KEPT_MS;

/// A look at what is due, this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Orders read in one look, and run at the same time.
const ORDERS_MAX: u32 = 256;
const ORDERS_AT_ONCE: usize = 32;
/// Cancellations read in one look.
const CANCELLATIONS_MAX: u32 = 64;
/// Keys are swept this often, so many at a time.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_MAX: u32 = 256;

impl Orders {
    /// Takes up what is due until told to stop.
    pub async fn recover(self, stop: CancellationToken) {
        let telling = self.clone();
        let tell = async {
            let mut ticks = ticks();
            loop {
                ticks.tick().await;
                while telling.notify().await {}
            }
        };
        let recover = async {
            let mut ticks = ticks();
            let mut swept = Instant::now();
            loop {
                ticks.tick().await;
                self.take_up_due().await;
                self.tell_cancellations().await;
                if swept.elapsed() >= SWEEP_EVERY {
                    self.sweep_keys().await;
                    swept = Instant::now();
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(tell, recover); } => {}
        }
    }

    async fn take_up_due(&self) {
        let due = match self.office.ledger.due_orders(self.office.now(), ORDERS_MAX).await {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "orders that are due cannot be read"),
        };
        metrics::gauge!("usher_ticket_orders_due").set(due.len() as f64);
        stream::iter(due).for_each_concurrent(ORDERS_AT_ONCE, |order| async move { self.take_up(&order).await }).await;
    }

    async fn tell_cancellations(&self) {
        let due = self.office.ledger.cancellations_due(self.office.now(), CANCELLATIONS_MAX).await;
        for cancelled in due.unwrap_or_default() {
            self.tell_cancelled(&cancelled).await;
        }
    }

    async fn sweep_keys(&self) {
        let before = Millis(self.office.now().0.saturating_sub(KEY_KEPT_MS));
        while let Ok(true) = self.office.ledger.forget_keys(before, SWEEP_MAX).await {}
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
