//! The events that are known here, in the order in which they are listed.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use queue_core::ids::{EventId, Millis};

use crate::model::Hall;

/// The events.
#[derive(Default)]
pub struct Catalog(RwLock<HashMap<EventId, Arc<Hall>>>);

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// A word of the name, the venue or the production; whatever its case.
    pub text: Option<String>,
    /// Events that start at that time or later.
    pub from: Option<Millis>,
    /// Events that start before that time.
    pub to: Option<Millis>,
}

impl EventQuery {
    fn wants(&self, hall: &Hall) -> bool {
        let body = &hall.body;
        let starts = body.starts_at;
        let in_time = self.from.is_none_or(|from| starts >= from) && self.to.is_none_or(|to| starts < to);
        in_time
            && self.text.as_ref().is_none_or(|text| {
                let text = text.to_lowercase();
                let mut names = [Some(&body.name), body.venue.as_ref(), body.production.as_ref()].into_iter().flatten();
                names.any(|name| name.to_lowercase().contains(&text))
            })
    }
}

impl Catalog {
    /// An event.
    pub fn get(&self, event: &str) -> Option<Arc<Hall>> {
        self.0.read().get(event).cloned()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// All events, in no order.
    pub fn ids(&self) -> Vec<EventId> {
        self.0.read().keys().cloned().collect()
    }

    /// What is wanted, by start and then by name.
    pub fn list(&self, query: &EventQuery) -> Vec<Arc<Hall>> {
        let mut halls: Vec<_> = self.0.read().values().filter(|hall| query.wants(hall)).cloned().collect();
        halls.sort_by(|a, b| (a.body.starts_at, &a.event).cmp(&(b.body.starts_at, &b.event)));
        halls
    }

    /// Takes an event in, unless what is there is newer.
    pub(super) fn put(&self, hall: Arc<Hall>) {
        let mut halls = self.0.write();
        if halls.get(&hall.event).is_none_or(|known| known.revision <= hall.revision) {
            halls.insert(hall.event.clone(), hall);
        }
    }
}
