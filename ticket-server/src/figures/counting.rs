//! How far line and store have counted, brought to the ledger now and then: from there it is read after either of
//! them was lost.
//!
//! Every server on a store may bring the same numbers: a row says how far its source has counted, and only grows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use queue_core::ids::{EventId, Generation};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Counted,
    model::Counts,
    office::{EVENTS_MAX, Office},
};

/// What has changed is brought to the ledger this often.
const KEEP_EVERY: Duration = Duration::from_secs(3);
/// Rows in one transaction, at most: those who confirm wait for it.
const ROWS_MAX: usize = 64;
/// Numbers that are remembered here, at most; those that the ledger has can be forgotten.
const KNOWN_MAX: usize = 4 * EVENTS_MAX;
/// The queue is asked about an event in which nothing is held this often at most.
const ASK_IDLE_EVERY: Duration = Duration::from_secs(60);
/// Idle events that the queue is asked about in one pass, at most.
const IDLE_MAX: usize = 16;

/// Numbers on their way to the ledger, by event and source.
#[derive(Default)]
pub struct Counting {
    known: Mutex<HashMap<(EventId, String), Known>>,
}

struct Known {
    counted: Counted,
    /// The ledger has it.
    kept: bool,
}

impl Counting {
    /// What the store said of its holds.
    pub(crate) fn note_store(&self, event: &EventId, counts: Counts) {
        let Some(origin) = counts.origin.filter(|_| counts.taken > 0) else { return };
        let Counts { taken, expired, given_up, .. } = counts;
        self.note(event, Counted { source: format!("store-{origin}"), admitted: 0, taken, expired, given_up });
    }

    /// What the queue said of its line.
    pub(crate) fn note_line(&self, event: &EventId, generation: Generation, admitted: u64) {
        if admitted > 0 {
            self.note(event, Counted { source: format!("line-{generation}"), admitted, ..Counted::default() });
        }
    }

    fn note(&self, event: &EventId, counted: Counted) {
        let mut known = self.known.lock();
        let entry = known.entry((event.clone(), counted.source.clone()));
        let entry = entry.or_insert_with(|| Known { counted: counted.clone(), kept: false });
        let before = entry.counted.clone();
        entry.counted.raise(&counted);
        entry.kept &= entry.counted == before;
    }

    /// What is known of an event here.
    pub(crate) fn of(&self, event: &EventId) -> Vec<Counted> {
        let known = self.known.lock();
        known.iter().filter(|((of, _), _)| of == event).map(|(_, known)| known.counted.clone()).collect()
    }

    /// What the ledger does not have yet, in one order on every server, so that none waits for another.
    fn changed(&self) -> BTreeMap<(EventId, String), Counted> {
        let known = self.known.lock();
        known.iter().filter(|(_, known)| !known.kept).map(|(key, known)| (key.clone(), known.counted.clone())).collect()
    }

    /// The ledger has these.
    fn kept(&self, rows: &[(EventId, Counted)]) {
        let mut known = self.known.lock();
        for (event, counted) in rows {
            if let Some(known) = known.get_mut(&(event.clone(), counted.source.clone())) {
                known.kept = known.counted == *counted;
            }
        }
        if known.len() > KNOWN_MAX {
            known.retain(|_, known| !known.kept);
        }
    }
}

impl Office {
    /// Brings to the ledger what was counted, until told to stop, and then once more.
    pub async fn keep_counts(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked: HashMap<EventId, Instant> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.ask_lines(&mut asked) => {}
            }
            self.keep_changed().await;
        }
        self.look_at_counts().await;
        self.keep_changed().await;
    }

    /// Asks the queue about events in which something happens, and now and then about a few of the others.
    async fn ask_lines(&self, asked: &mut HashMap<EventId, Instant>) {
        let now = Instant::now();
        let mut due: Vec<_> = self.counting.changed().into_keys().map(|(event, _)| event).collect();
        let idle = |event: &EventId| asked.get(event).is_none_or(|at| now.duration_since(*at) >= ASK_IDLE_EVERY);
        due.extend(self.catalog.ids().into_iter().filter(idle).take(IDLE_MAX));
        due.sort_unstable();
        due.dedup();
        for event in due {
            asked.insert(event.clone(), now);
            // A queue that is away would be away for all of them.
            if !self.ask_line(&event).await {
                return;
            }
        }
    }

    /// Notes how many the queue has admitted. Whether it could be asked.
    pub(crate) async fn ask_line(&self, event: &EventId) -> bool {
        match self.sessions.admitted(event).await {
            Ok(Some((generation, admitted))) => {
                self.counting.note_line(event, generation, admitted);
                true
            }
            Ok(None) => true,
            Err(reason) => {
                tracing::debug!(%event, reason, "the queue did not say how many it has admitted");
                false
            }
        }
    }

    async fn keep_changed(&self) {
        let changed = self.counting.changed().into_iter().map(|((event, _), counted)| (event, counted));
        let changed: Vec<_> = changed.collect();
        for rows in changed.chunks(ROWS_MAX) {
            if let Err(error) = self.ledger.keep_counts(rows.to_vec()).await {
                // The next pass brings them, and what came meanwhile.
                return tracing::warn!(%error, "what was counted could not be kept");
            }
            self.counting.kept(rows);
        }
    }
}
