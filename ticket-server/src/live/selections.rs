//! Which seats people on WebSockets look at just now: counted, never by whom.
//!
//! It binds nobody and is told a few times a second at most, however often minds change. Each server tells what its own
//! visitors look at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use queue_core::ids::EventId;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{feed::Feed, shown::message};
use crate::{ids::SeatId, model::Hall};

/// Seats in one message, at most; what is more goes with the next one.
const MESSAGE_SEATS_MAX: usize = 400;

/// What the visitors of one event look at.
#[derive(Debug, Default)]
pub struct Selections {
    counts: HashMap<u32, u32>,
    changed: BTreeSet<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Selected<'a> {
    event_id: &'a EventId,
    seats: Vec<Looked<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Looked<'a> {
    seat_id: &'a SeatId,
    selecting: u32,
}

impl Selections {
    fn change(&mut self, before: &[u32], now: &[u32]) {
        for &slot in now.iter().filter(|slot| !before.contains(slot)) {
            *self.counts.entry(slot).or_default() += 1;
            self.changed.insert(slot);
        }
        for &slot in before.iter().filter(|slot| !now.contains(slot)) {
            if let Some(count) = self.counts.get_mut(&slot) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&slot);
                }
            }
            self.changed.insert(slot);
        }
    }

    /// What has changed since it was told last, as a message; not all of it if it is much.
    pub fn take(&mut self, hall: &Hall) -> Option<Utf8Bytes> {
        if self.changed.is_empty() {
            return None;
        }
        let mut slots = Vec::new();
        while slots.len() < MESSAGE_SEATS_MAX
            && let Some(slot) = self.changed.pop_first()
        {
            slots.push(slot);
        }
        Some(self.text(hall, &slots))
    }

    /// What is looked at now, for who has just come; not all of it if it is much.
    pub fn now(&self, hall: &Hall) -> Option<Utf8Bytes> {
        let slots: Vec<_> = self.counts.keys().copied().take(MESSAGE_SEATS_MAX).collect();
        (!slots.is_empty()).then(|| self.text(hall, &slots))
    }

    fn text(&self, hall: &Hall, slots: &[u32]) -> Utf8Bytes {
        let looked = |&slot: &u32| {
            Some(Looked { seat_id: hall.name_of(slot)?, selecting: self.counts.get(&slot).copied().unwrap_or(0) })
        };
        let seats = slots.iter().filter_map(looked).collect();
        message("seat-selection-changed", Selected { event_id: &hall.event, seats })
    }
}

/// What one visitor looks at, until it is dropped.
#[derive(Debug)]
pub struct Selection {
    feed: Arc<Feed>,
    slots: Vec<u32>,
}

impl Selection {
    /// Nothing yet.
    pub(super) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, slots: Vec::new() }
    }

    /// These seats, each named once.
    pub fn set(&mut self, slots: Vec<u32>) {
        self.feed.selections().change(&self.slots, &slots);
        self.slots = slots;
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        self.set(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changes_their_mind_is_counted_once() {
        let mut selections = Selections::default();
        selections.change(&[], &[1, 2]);
        selections.change(&[], &[2]);
        selections.change(&[1, 2], &[3]);
        assert_eq!(selections.counts, HashMap::from([(2, 1), (3, 1)]));
        assert_eq!(selections.changed, BTreeSet::from([1, 2, 3]));
        selections.change(&[2], &[]);
        selections.change(&[3], &[]);
        assert!(selections.counts.is_empty(), "who looks at nothing is not remembered");
    }
}
