//! The events that are known here, in the order in which they are listed, and what finds them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use queue_core::ids::{EventId, Millis};

use super::search::{self, Question};
use crate::model::Hall;

/// The events.
#[derive(Default)]
pub struct Catalog(RwLock<HashMap<EventId, Known>>);

/// An event, and what it is found by.
struct Known {
    hall: Arc<Hall>,
    text: String,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Words of the name, the venue or the production.
    pub question: Question,
    /// Dates of this production.
    pub production: Option<String>,
    /// Events that start at that time or later.
    pub from: Option<Millis>,
    /// Events that start before that time.
    pub to: Option<Millis>,
}

/// Several dates of one production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Production {
    /// Its name in events.
    pub production: String,
    /// The name of its first date.
    pub name: String,
    /// How many dates there are.
    pub events: usize,
    /// When the first one starts.
    pub first: Millis,
    /// When the last one starts.
    pub last: Millis,
}

impl EventQuery {
    fn wants(&self, known: &Known) -> bool {
        let body = &known.hall.body;
        let starts = body.starts_at;
        self.from.is_none_or(|from| starts >= from)
            && self.to.is_none_or(|to| starts < to)
            && self.production.as_ref().is_none_or(|production| body.production.as_ref() == Some(production))
            && self.question.is_in(&known.text)
    }
}

impl Catalog {
    /// An event.
    pub fn get(&self, event: &str) -> Option<Arc<Hall>> {
        self.0.read().get(event).map(|known| Arc::clone(&known.hall))
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

    /// What is wanted, by start and then by id.
    pub fn list(&self, query: &EventQuery) -> Vec<Arc<Hall>> {
        let known = self.0.read();
        let mut halls: Vec<_> =
            known.values().filter(|known| query.wants(known)).map(|known| Arc::clone(&known.hall)).collect();
        drop(known);
        halls.sort_by(|a, b| (a.body.starts_at, &a.event).cmp(&(b.body.starts_at, &b.event)));
        halls
    }

    /// The productions of what is wanted, by their first date and then by id.
    pub fn productions(&self, query: &EventQuery) -> Vec<Production> {
        let mut productions: BTreeMap<String, Production> = BTreeMap::new();
        for hall in self.list(query) {
            let Some(production) = &hall.body.production else { continue };
            let starts = hall.body.starts_at;
            let entry = productions.entry(production.clone()).or_insert_with(|| Production {
                production: production.clone(),
                name: hall.body.name.clone(),
                events: 0,
                first: starts,
                last: starts,
            });
            entry.events += 1;
            entry.last = starts;
        }
        let mut productions: Vec<_> = productions.into_values().collect();
        productions.sort_by(|a, b| (a.first, &a.production).cmp(&(b.first, &b.production)));
        productions
    }

    /// Takes an event in, unless what is there is newer.
    pub(super) fn put(&self, hall: Arc<Hall>) {
        let text = search::text_of(&hall);
        let mut halls = self.0.write();
        if halls.get(&hall.event).is_none_or(|known| known.hall.revision <= hall.revision) {
            halls.insert(hall.event.clone(), Known { hall, text });
        }
    }
}
