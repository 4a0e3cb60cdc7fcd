//! What runs in the background: what was kept long enough is forgotten, and pinned holds whose process died
//! are settled.
//!
//! A settler asks the ledger to insert an ABORTED row under the hold's reservation id. Whoever
//! inserts that row first, the confirming request or the settler, has decided; only then is the
//! seat freed or marked sold.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use queue_core::ids::EventId;
use tokio_util::sync::CancellationToken;

use super::{Office, booking};
use crate::{
    ledger::{Decision, WRITE_TIMEOUT_MS},
    limits::END_BATCH_MAX,
    model::{Command, Hall, Hold, Outcome},
};

/// Pinned holds and old news are looked for this often.
const SETTLE_PERIOD: Duration = Duration::from_secs(2);
/// A hold that is pinned for so long has lost its confirming request.
pub const PIN_SETTLE_MS: u64 = 10_000;
/// Pinned holds looked at in one pass. Those of orders that wait for their payment provider stay among them.
const SETTLE_BATCH_MAX: usize = 1_024;
/// Events looked after at the same time.
const EVENTS_AT_ONCE: usize = 16;

const _: () = assert!(PIN_SETTLE_MS > 2 * WRITE_TIMEOUT_MS, "a request that still waits for the ledger is left alone");

impl Office {
    /// Settles pinned holds and forgets old news until told to stop.
    pub async fn settle_holds(self: Arc<Self>, stop: CancellationToken) {
        let pass = |event: EventId| {
            let office = Arc::clone(&self);
            async move {
                office.settle(&event).await;
                office.forget(&event).await;
            }
        };
        self.each_period(SETTLE_PERIOD, stop, pass).await;
    }

    async fn each_period<F: Future<Output = ()>>(
        &self,
        period: Duration,
        stop: CancellationToken,
        pass: impl Fn(EventId) -> F,
    ) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if self.engine.is_up() {
                stream::iter(self.catalog.ids()).for_each_concurrent(EVENTS_AT_ONCE, &pass).await;
            }
        }
    }

    async fn forget(&self, event: &EventId) {
        while let Ok(Outcome::Freed { more: true, .. }) =
            self.engine.apply(event, Command::Forget { batch: END_BATCH_MAX }).await
        {}
    }

    async fn settle(&self, event: &EventId) {
        let command = Command::Pinned { for_ms: PIN_SETTLE_MS, batch: SETTLE_BATCH_MAX };
        let Ok(Outcome::Holds(holds)) = self.engine.apply(event, command).await else { return };
        for hold in holds {
            self.settle_one(event, &hold).await;
        }
    }

    async fn settle_one(&self, event: &EventId, hold: &Hold) {
        let Some(hall) = self.catalog.get(event.as_str()) else { return };
        let Ok(hall) = self.hall_naming(hall, hold).await else { return };
        match self.ledger.has_open_order(&hold.reservation).await {
            Ok(false) => {}
            // Its order holds on to it, and lets it go.
            Ok(true) => return,
            Err(error) => return tracing::warn!(%event, %error, "a pinned hold cannot be settled"),
        }
        if self.now() < hold.end {
            return self.give_back(event, hold, &hall).await;
        }
        match self.ledger.fence(booking::of_hold(&hall, hold, None, self.now())).await {
            Ok(Decision::Confirmed(booking)) => {
                tracing::info!(%event, reservation = %hold.reservation, "a pinned hold turned out to be booked");
                self.tell(event, Command::Book { bookings: vec![booking::sold(&hall, *booking)] }).await;
                self.outbox.notify_one();
            }
            Ok(_) => {
                tracing::info!(%event, reservation = %hold.reservation, "a pinned hold was never booked");
                self.abort(event, &hold.reservation).await;
            }
            // Until the ledger is back nobody can know.
            Err(error) => tracing::warn!(%event, %error, "a pinned hold cannot be settled"),
        }
    }

    /// A hold that was to be booked while the ledger was away, and has time left: its visitor may try again. A
    /// write that nobody waits for any more is not made, so what is not booked by now was given up.
    async fn give_back(&self, event: &EventId, hold: &Hold, hall: &Hall) {
        match self.ledger.booking(&hold.reservation).await {
            Ok(Some(booking)) => {
                self.tell(event, Command::Book { bookings: vec![booking::sold(hall, booking)] }).await;
                self.outbox.notify_one();
            }
            Ok(None) => {
                tracing::info!(%event, reservation = %hold.reservation, "a hold that was not booked goes on");
                self.tell(event, Command::Unpin { reservation: hold.reservation.clone() }).await;
            }
            Err(error) => tracing::warn!(%event, %error, "a pinned hold cannot be settled"),
        }
    }
}
