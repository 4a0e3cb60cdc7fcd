//! The public side of a sale: every seat's state as JSON, written and compressed once for each version.
//!
//! Whoever asks gets a map that is at least as new as the question. Requests that come while the store is asked wait
//! for the next answer and share it, so that one change costs one map and a crowd costs one question. Maps of
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
use flate2::{Compression, write::GzEncoder};
use queue_core::{codes::Code, ids::EventId, service::http::ApiError};
use serde::Serialize;
use tokio::sync::{Mutex, OnceCell};

use super::{Office, unexpected};
use crate::{
    ids::{Epoch, TicketTypeId},
    live::{Place, State},
    model::{Command, Hall, Outcome, SeatState, Snapshot, Tally, Version},
};

/// Maps that somebody still reads take so much memory at most, give or take the newest of each event.
const MAPS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A map of more seats than this may be [`LARGE_KEPT`] old.
const LARGE_SEATS_MIN: usize = 20_000;
/// How old the map of a large hall may be.
const LARGE_KEPT: Duration = Duration::from_millis(250);
/// Maps of more seats than this are written where they keep nobody else waiting.
const INLINE_SEATS_MAX: usize = 2_000;

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
    text: Vec<u8>,
    bytes: Arc<AtomicUsize>,
}

impl Map {
    fn share(text: Vec<u8>, bytes: &Arc<AtomicUsize>) -> Bytes {
        bytes.fetch_add(text.len(), Ordering::Relaxed);
        Bytes::from_owner(Self { text, bytes: Arc::clone(bytes) })
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

/// What was read last of one event.
#[derive(Default)]
struct Slot {
    view: Option<Arc<SeatView>>,
    /// When the store was asked whether the view is the newest.
    looked: Option<Instant>,
    /// What never changes between two definitions, written once.
    texts: Option<(u64, Arc<Texts>)>,
    /// How long the newest map is.
    newest_bytes: Arc<AtomicUsize>,
}

/// The parts of the map that do not depend on states.
struct Texts {
    /// Up to the epoch.
    head: String,
    /// Slot, index of the type, and all of a seat up to its state.
    seats: Vec<(u32, usize, Box<str>)>,
    bytes: usize,
}

/// A sale as everybody may see it.
pub struct SeatView {
    /// Names the version.
    pub etag: String,
    place: Place,
    revision: u64,
    read: Instant,
    kinds: HashMap<TicketTypeId, Availability>,
    texts: Arc<Texts>,
    snapshot: Arc<Snapshot>,
    json: OnceCell<Bytes>,
    gzip: OnceCell<Bytes>,
    bytes: Arc<AtomicUsize>,
    newest_bytes: Arc<AtomicUsize>,
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

/// Names the data's history as this server knows it: see [`Engine::history`](crate::engine::Engine::history).
#[derive(Clone, Copy)]
pub(crate) struct History(u64);

impl History {
    /// What an epoch of the store is called outside: another one after the store may have lost its last writes,
    /// since versions are counted again then.
    pub(crate) fn of(self, epoch: Epoch) -> Epoch {
        Epoch(epoch.0 ^ self.0)
    }
}

impl SeatView {
    fn is_young_enough(&self, hall: &Hall) -> bool {
        self.texts.seats.len() > LARGE_SEATS_MIN && self.revision == hall.revision && self.read.elapsed() < LARGE_KEPT
    }

    /// What is left of a type.
    pub fn availability(&self, kind: &TicketTypeId) -> Availability {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }

    /// The body of `GET …/seats/events/{eventId}`.
    pub async fn json(&self) -> Result<Bytes, ApiError> {
        let json = self.json.get_or_try_init(|| async {
            self.room()?;
            let (place, texts, snapshot) = (self.place, Arc::clone(&self.texts), Arc::clone(&self.snapshot));
            let json = self.aside(move || write(place, &texts, &snapshot)).await?;
            self.newest_bytes.store(json.len(), Ordering::Relaxed);
            Ok(Map::share(json, &self.bytes))
        });
        json.await.cloned()
    }

    /// The same, compressed.
    pub async fn gzip(&self) -> Result<Bytes, ApiError> {
        let gzip = self.gzip.get_or_try_init(|| async {
            let json = self.json().await?;
            Ok(Map::share(self.aside(move || compress(&json)).await?, &self.bytes))
        });
        gzip.await.cloned()
    }

    fn room(&self) -> Result<(), ApiError> {
        let newest = self.newest_bytes.load(Ordering::Relaxed);
        if self.bytes.load(Ordering::Relaxed) > MAPS_BYTES_MAX + newest { Err(Code::Overloaded.into()) } else { Ok(()) }
    }

    async fn aside(&self, work: impl FnOnce() -> Vec<u8> + Send + 'static) -> Result<Vec<u8>, ApiError> {
        if self.texts.seats.len() <= INLINE_SEATS_MAX {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
    }
}

impl Office {
    /// The sale of an event as it is now.
    pub async fn seat_view(&self, hall: &Arc<Hall>) -> Result<Arc<SeatView>, ApiError> {
        let asked = Instant::now();
        let slot = Arc::clone(&self.views.events.entry(hall.event.clone()).or_default());
        let slot = tokio::time::timeout(MAP_WAIT, slot.lock()).await;
        let mut slot = slot.map_err(|_| ApiError::new(Code::StoreUnavailable).log("no map in time"))?;
        let looked_since = slot.looked.is_some_and(|looked| looked >= asked);
        if let Some(view) = slot.view.as_ref().filter(|view| looked_since || view.is_young_enough(hall)) {
            return Ok(Arc::clone(view));
        }
        let looking = Instant::now();
        let history = self.history();
        let version = match self.ask(&hall.event, Command::Version).await? {
            Outcome::Version(version) => version,
            other => return Err(unexpected(&other)),
        };
        self.must_be_open(&hall.event, version)?;
        let place = Place { epoch: history.of(version.epoch), version: version.version };
        if let Some(view) = slot.view.as_ref().filter(|view| view.place == place) {
            let view = Arc::clone(view);
            slot.looked = Some(looking);
            return Ok(view);
        }
        let hall = self.hall_at(hall, version).await?;
        let snapshot = self.snapshot(&hall.event).await?;
        let texts = match &slot.texts {
            Some((revision, texts)) if *revision == hall.revision => Arc::clone(texts),
            _ => Arc::new(Texts::new(&hall)),
        };
        slot.texts = Some((hall.revision, Arc::clone(&texts)));
        let view = Arc::new(self.views.view(&hall, texts, history, snapshot, Arc::clone(&slot.newest_bytes)));
        slot.looked = Some(looking);
        slot.view = Some(Arc::clone(&view));
        Ok(view)
    }

    /// The sale of an event as it is now, for those who follow it.
    pub(crate) async fn sale_now(&self, event: &EventId) -> Result<State, ApiError> {
        let history = self.history();
        let hall = self.catalog.get(event.as_str()).ok_or(Code::EventNotFound)?;
        let snapshot = self.snapshot(event).await?;
        let version = snapshot.version;
        self.must_be_open(event, version)?;
        let hall = self.hall_at(&hall, version).await?;
        let place = Place { epoch: history.of(version.epoch), version: version.version };
        Ok(State::new(place, hall, snapshot))
    }

    /// All that is public of an event, as of one instant.
    pub(crate) async fn snapshot(&self, event: &EventId) -> Result<Snapshot, ApiError> {
        match self.ask(event, Command::Snapshot).await? {
            Outcome::Snapshot(snapshot) => Ok(snapshot),
            other => Err(unexpected(&other)),
        }
    }

    /// The history of the store's data, as it is known before a question is asked.
    pub(crate) fn history(&self) -> History {
        History(self.engine.history())
    }

    /// Until all bookings are known, what is sold would be shown as free.
    fn must_be_open(&self, event: &EventId, version: Version) -> Result<(), ApiError> {
        if version.open {
            return Ok(());
        }
        self.reload(event);
        Err(ApiError::new(Code::StoreUnavailable).log("not all bookings are known yet"))
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

impl SeatViews {
    fn view(
        &self,
        hall: &Hall,
        texts: Arc<Texts>,
        history: History,
        snapshot: Snapshot,
        newest_bytes: Arc<AtomicUsize>,
    ) -> SeatView {
        let Version { epoch, version, .. } = snapshot.version;
        let place = Place { epoch: history.of(epoch), version };
        SeatView {
            etag: format!("\"{place}\""),
            place,
            revision: hall.revision,
            read: Instant::now(),
            kinds: availability(hall, &texts, &snapshot),
            texts,
            snapshot: Arc::new(snapshot),
            json: OnceCell::new(),
            gzip: OnceCell::new(),
            bytes: Arc::clone(&self.bytes),
            newest_bytes,
        }
    }
}

/// What is left of each type.
fn availability(hall: &Hall, texts: &Texts, snapshot: &Snapshot) -> HashMap<TicketTypeId, Availability> {
    let types = &hall.body.ticket_types;
    let mut tallies = vec![(0, Tally::default()); types.len()];
    for (slot, kind, _) in &texts.seats {
        let (total, tally) = &mut tallies[*kind];
        let state = snapshot.seats.get(*slot);
        *total += 1;
        tally.held += u64::from(state == SeatState::Held);
        tally.sold += u64::from(state == SeatState::Sold);
    }
    let kinds = types.iter().zip(tallies).map(|(kind, (seats, tally))| {
        let id = &kind.ticket_type_id;
        let left = match kind.quantity {
            Some(quantity) => Availability::of(quantity, snapshot.tallies.get(id).copied().unwrap_or_default()),
            None => Availability::of(seats, tally),
        };
        (id.clone(), left)
    });
    kinds.collect()
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
        let place: HashMap<_, _> = hall.body.ticket_types.iter().map(|kind| &kind.ticket_type_id).zip(0..).collect();
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
        let bytes = seats.iter().map(|(_, _, text)| text.len() + 9).sum();
        Self { head: format!("{{\"eventId\":\"{}\",\"epoch\":\"", hall.event), seats, bytes }
    }
}

fn write(place: Place, texts: &Texts, snapshot: &Snapshot) -> Vec<u8> {
    let mut json = String::with_capacity(texts.head.len() + texts.bytes + 96);
    json.push_str(&texts.head);
    json.push_str(&place.epoch.to_string());
    json.push_str("\",\"version\":");
    json.push_str(&place.version.to_string());
    json.push_str(",\"seats\":[");
    for (i, (slot, _, text)) in texts.seats.iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        json.push_str(text);
        json.push_str(snapshot.seats.get(*slot).name());
        json.push_str("\"}");
    }
    json.push_str("]}");
    json.into_bytes()
}

/// Quick rather than small: a map that is asked for often is compressed often too.
const LEVEL: u32 = 3;

fn compress(json: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 16), Compression::new(LEVEL));
    encoder.write_all(json).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}
