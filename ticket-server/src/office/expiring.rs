//! Expired holds are freed within a second, and events in which none ends cost next to nothing.
//!
//! Whoever frees learns when the next hold ends. No hold that is taken later ends within the shortest time that one
//! lasts, so nobody has to look before the earlier of the two, whichever server takes it. Only a hold that was being
//! booked and is not may end at once: then the event is looked at in the next period ([`Wakes`]).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use queue_core::ids::EventId;
use tokio_util::sync::CancellationToken;

use super::Office;
use crate::{
    limits::{END_BATCH_MAX, HOLD_MS_MIN},
    model::{Command, Outcome},
};

/// Events that are due are looked for this often.
const PERIOD: Duration = Duration::from_millis(250);
/// An event is looked at again after this, whatever is known of it.
const LOOK_AT_LEAST: Duration = Duration::from_millis(HOLD_MS_MIN);
/// Events looked at at the same time.
const EVENTS_AT_ONCE: usize = 16;

const _: () = assert!(PERIOD.as_millis() < 1_000, "an expired hold is free within a second");

/// Events in which a hold may have ended unforeseen. At most as many as there are events.
#[derive(Default)]
pub(super) struct Wakes(Mutex<HashSet<EventId>>);

impl Wakes {
    /// Looks at the event soon.
    pub(super) fn wake(&self, event: &EventId) {
        self.0.lock().insert(event.clone());
    }

    fn take(&self) -> HashSet<EventId> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Office {
    /// Frees expired holds until told to stop.
    pub async fn expire_holds(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks: HashMap<EventId, Instant> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            for event in self.expiring.take() {
                looks.remove(&event);
            }
            if !self.engine.is_up() {
                // Whatever comes back may be another store.
                looks.clear();
                continue;
            }
            let now = Instant::now();
            let mut due = self.catalog.ids();
            due.retain(|event| looks.get(event).is_none_or(|look| *look <= now));
            let passes = stream::iter(due).map(|event| async {
                let next = self.expire(&event).await;
                (event, next)
            });
            let passes: Vec<_> = passes.buffer_unordered(EVENTS_AT_ONCE).collect().await;
            for (event, next) in passes {
                // From before it was asked: what has been taken since then may end that much earlier.
                match next {
                    Some(next) => looks.insert(event, now + next.min(LOOK_AT_LEAST)),
                    None => looks.remove(&event),
                };
            }
        }
    }

    /// Asks once more how far the store has counted: it may not be asked again.
    pub(crate) async fn look_at_counts(&self) {
        if self.engine.is_up() {
            let looks = stream::iter(self.catalog.ids()).map(|event| async move { self.expire(&event).await });
            looks.buffer_unordered(EVENTS_AT_ONCE).for_each(|_| async {}).await;
        }
    }

    /// Frees what is due. In how long it has to be looked at again; `None` when nobody knows.
    async fn expire(&self, event: &EventId) -> Option<Duration> {
        loop {
            match self.engine.apply(event, Command::Expire { batch: END_BATCH_MAX }).await {
                Ok(Outcome::Expired { holds, more, next_ms, counts }) => {
                    self.counting.note_store(event, counts);
                    if !holds.is_empty() {
                        metrics::counter!("usher_ticket_holds_expired_total").increment(holds.len() as u64);
                        self.live.touch(event);
                        // A session may be done now.
                        self.outbox.notify_one();
                    }
                    if !more {
                        return Some(next_ms.map_or(LOOK_AT_LEAST, Duration::from_millis));
                    }
                }
                Ok(Outcome::Refused(_)) => {
                    self.reload(event);
                    return None;
                }
                Ok(other) => {
                    tracing::error!(%event, ?other, "an answer that expiring does not have");
                    return None;
                }
                // The store's state says what is wrong; the next pass tries again.
                Err(_) => return None,
            }
        }
    }
}
