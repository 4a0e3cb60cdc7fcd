//! The public side of a sale: every seat's state as JSON, written once for each version.
//!
//! Whoever asks gets a map that is at least as new as the question. Requests that come while a map
//! is being written wait for it and then look at the version, so that one change costs one map. Maps of
//! large halls cost so much that in a rush they would be all that is done: they may be a little old.
//!
//! A map lives until the last peer that asked for it has read it. All maps that live, read or not, are
//! bounded: who asks for one more while the bound is reached is told that there is too much work.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use dashmap::DashMap;
use queue_core::{codes::Code, ids::EventId, service::http::ApiError};
use serde::Serialize;
use tokio::sync::Mutex;

use super::{Office, unexpected};
use crate::{
    ids::TicketTypeId,
    model::{Command, Hall, Outcome, SeatState, Snapshot, Tally, Version},
};

/// Maps that somebody still reads take so much memory at most, give or take the newest of each event.
const MAPS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A map of more seats than this may be [`LARGE_KEPT`] old.
const LARGE_SEATS_MIN: usize = 20_000;
/// How old the map of a large hall may be.
const LARGE_KEPT: Duration = Duration::from_millis(250);

/// Whoever waits so long for a map that somebody else has written is told that the store does not answer:
/// what they wait for is one question to the store after the other, each of which may take its whole time.
const MAP_WAIT: Duration = Duration::from_millis(800);

/// The maps of all events.
#[derive(Default)]
pub(super) struct SeatViews {
    events: DashMap<EventId, Arc<Mutex<Slot>>>,
    /// Bytes of all maps that live.
    bytes: Arc<AtomicUsize>,
}

/// A map as it is sent.
struct Map {
    text: String,
    bytes: Arc<AtomicUsize>,
}

impl Map {
    fn new(text: String, bytes: &Arc<AtomicUsize>) -> Self {
        bytes.fetch_add(text.len(), Ordering::Relaxed);
        Self { text, bytes: Arc::clone(bytes) }
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

/// What was written last for one event.
#[derive(Default)]
struct Slot {
    view: Option<Arc<SeatView>>,
    /// What never changes between two definitions, written once.
    texts: Option<(u64, Arc<Texts>)>,
}

/// The parts of the map that do not depend on states.
struct Texts {
    /// Up to the version.
    head: String,
    /// Slot, index of the type, and all of a seat up to its state.
    seats: Vec<(u32, usize, Box<str>)>,
    kinds: Vec<TicketTypeId>,
    bytes: usize,
}

/// A sale as everybody may see it.
pub struct SeatView {
    /// Names the version.
    pub etag: String,
    /// The body of `GET …/seats/events/{eventId}`.
    pub json: Bytes,
    version: Version,
    seats: usize,
    written: Instant,
    kinds: HashMap<TicketTypeId, Availability>,
}

/// What is left of a ticket type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// How many there are.
    pub total: u64,
    /// How many are held.
    pub held: u64,
    /// How many are sold.
    pub sold: u64,
    /// How many can be had.
    pub available: u64,
}

impl SeatView {
    fn is_young_enough(&self, hall: &Hall) -> bool {
        self.seats > LARGE_SEATS_MIN && self.version.revision == hall.revision && self.written.elapsed() < LARGE_KEPT
    }

    /// What is left of a type.
    pub fn availability(&self, kind: &TicketTypeId) -> Availability {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }
}

impl Office {
    /// The sale of an event as it is now.
    pub async fn seat_view(&self, hall: &Arc<Hall>) -> Result<Arc<SeatView>, ApiError> {
        let slot = Arc::clone(&self.views.events.entry(hall.event.clone()).or_default());
        let slot = tokio::time::timeout(MAP_WAIT, slot.lock()).await;
        let mut slot = slot.map_err(|_| ApiError::new(Code::StoreUnavailable).log("no map in time"))?;
        if let Some(view) = slot.view.as_ref().filter(|view| view.is_young_enough(hall)) {
            return Ok(Arc::clone(view));
        }
        let version = match self.ask(&hall.event, Command::Version).await? {
            Outcome::Version(version) => version,
            other => return Err(unexpected(&other)),
        };
        if let Some(view) = slot.view.as_ref().filter(|view| view.version == version) {
            return Ok(Arc::clone(view));
        }
        let newest = slot.view.as_ref().map_or(0, |view| view.json.len());
        if self.views.bytes.load(Ordering::Relaxed) > MAPS_BYTES_MAX + newest {
            return Err(Code::Overloaded.into());
        }
        let hall = self.hall_at(hall, version).await?;
        let snapshot = match self.ask(&hall.event, Command::Snapshot).await? {
            Outcome::Snapshot(snapshot) => snapshot,
            other => return Err(unexpected(&other)),
        };
        let texts = match &slot.texts {
            Some((revision, texts)) if *revision == hall.revision => Arc::clone(texts),
            _ => Arc::new(Texts::new(&hall)),
        };
        slot.texts = Some((hall.revision, Arc::clone(&texts)));
        let view = Arc::new(write(&hall, &texts, &snapshot, &self.views.bytes));
        slot.view = Some(Arc::clone(&view));
        Ok(view)
    }

    /// The definition that the store goes by.
    async fn hall_at(&self, hall: &Arc<Hall>, version: Version) -> Result<Arc<Hall>, ApiError> {
        if hall.revision == version.revision {
            return Ok(Arc::clone(hall));
        }
        let newer = self.load(&hall.event).await?;
        if newer.revision == version.revision { Ok(newer) } else { Err(Code::StoreUnavailable.into()) }
    }
}

impl Texts {
    fn new(hall: &Hall) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shown<'a> {
            #[serde(flatten)]
            seat: &'a crate::model::event::Seat,
            price_minor: u64,
        }
        let kinds: Vec<_> = hall.body.ticket_types.iter().map(|kind| kind.ticket_type_id.clone()).collect();
        let place: HashMap<_, _> = kinds.iter().zip(0..).collect();
        let text = |seat, price_minor| {
            let mut text = serde_json::to_string(&Shown { seat, price_minor }).expect("a seat has text keys");
            text.truncate(text.len() - 1);
            text.push_str(",\"state\":\"");
            text.into_boxed_str()
        };
        let seats: Vec<_> = hall
            .seats()
            .map(|(slot, seat, price)| (slot, place.get(&seat.ticket_type_id).copied().unwrap_or(0), text(seat, price)))
            .collect();
        let bytes = seats.iter().map(|(_, _, text)| text.len() + 8).sum();
        Self { head: format!("{{\"eventId\":\"{}\",\"version\":", hall.event), seats, kinds, bytes }
    }
}

fn write(hall: &Hall, texts: &Texts, snapshot: &Snapshot, bytes: &Arc<AtomicUsize>) -> SeatView {
    let version = snapshot.version;
    let mut json = String::with_capacity(texts.head.len() + texts.bytes + 64);
    json.push_str(&texts.head);
    json.push_str(&version.version.to_string());
    json.push_str(",\"seats\":[");
    let mut tallies = vec![(0, Tally::default()); texts.kinds.len()];
    for (i, (slot, kind, text)) in texts.seats.iter().enumerate() {
        let state = snapshot.seats.get(*slot);
        let (total, tally) = &mut tallies[*kind];
        *total += 1;
        tally.held += u64::from(state == SeatState::Held);
        tally.sold += u64::from(state == SeatState::Sold);
        if i > 0 {
            json.push(',');
        }
        json.push_str(text);
        json.push_str(state.name());
        json.push_str("\"}");
    }
    json.push_str("]}");
    let kinds = hall.body.ticket_types.iter().zip(tallies).map(|(kind, (seats, tally))| {
        let id = &kind.ticket_type_id;
        let (total, tally) = match kind.quantity {
            Some(quantity) => (quantity, snapshot.tallies.get(id).copied().unwrap_or_default()),
            None => (seats, tally),
        };
        let available = total.saturating_sub(tally.held + tally.sold);
        (id.clone(), Availability { total, held: tally.held, sold: tally.sold, available })
    });
    SeatView {
        etag: format!("\"{}-{}\"", version.epoch, version.version),
        json: Bytes::from_owner(Map::new(json, bytes)),
        version,
        seats: texts.seats.len(),
        written: Instant::now(),
        kinds: kinds.collect(),
    }
}
