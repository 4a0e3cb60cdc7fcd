//! What is told of a sale: seat states and what is left, as JSON that is written once and shared by all who hear it.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use queue_core::ids::EventId;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Place;
use crate::{
    ids::{Epoch, SeatId, TicketTypeId},
    model::{Change, Hall, SeatState},
    office::Availability,
};

/// Seats in one message of a WebSocket, at most: more go in several.
const MESSAGE_SEATS_MAX: usize = 400;

/// A seat, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownState<'a> {
    seat_id: &'a SeatId,
    state: &'static str,
}

/// What is left of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownLeft {
    /// The type.
    pub ticket_type_id: TicketTypeId,
    /// What is left of it.
    #[serde(flatten)]
    pub left: Availability,
}

/// Seats that changed, as of one version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    event_id: &'a EventId,
    #[serde(serialize_with = "as_text")]
    epoch: Epoch,
    version: u64,
    seats: &'a [ShownState<'a>],
    availability: &'a [ShownLeft],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeatsMessage<'a> {
    event_id: &'a EventId,
    #[serde(serialize_with = "as_text")]
    epoch: Epoch,
    version: u64,
    /// The first of several messages that make a whole, from 1, and how many there are.
    part: usize,
    parts: usize,
    /// Whether these are all seats, not only those that changed.
    full: bool,
    seats: &'a [ShownState<'a>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LockedMessage<'a> {
    event_id: &'a EventId,
    #[serde(serialize_with = "as_text")]
    epoch: Epoch,
    version: u64,
    seat_ids: Vec<&'a SeatId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TicketMessage<'a> {
    event_id: &'a EventId,
    #[serde(serialize_with = "as_text")]
    epoch: Epoch,
    version: u64,
    #[serde(flatten)]
    left: &'a ShownLeft,
}

/// A message of a WebSocket.
#[derive(Serialize)]
struct Message<'a, T> {
    event: &'a str,
    data: T,
}

/// What the followers on WebSockets are told of one change.
#[derive(Debug, Default)]
pub struct SocketTexts {
    /// `seat-locked` and `seat-update`.
    pub seats: Vec<Utf8Bytes>,
    /// `ticket-updated`, one for each type of which the number has changed.
    pub tickets: Vec<Utf8Bytes>,
}

/// What seats became, and what is left; `full` when it is all seats.
#[derive(Debug)]
pub struct Told {
    place: Place,
    full: bool,
    sse: Bytes,
    texts: OnceLock<SocketTexts>,
    source: Source,
}

/// What the texts are written from.
#[derive(Debug)]
struct Source {
    hall: Arc<Hall>,
    seats: Vec<(u32, SeatState)>,
    left: Vec<ShownLeft>,
}

impl Told {
    /// What became of `seats`, each named once.
    pub fn new(hall: &Arc<Hall>, place: Place, full: bool, seats: Vec<(u32, SeatState)>, left: Vec<ShownLeft>) -> Self {
        let source = Source { hall: Arc::clone(hall), seats, left };
        let name = if full { "snapshot" } else { "seats" };
        let shown = source.shown();
        let body = Body {
            event_id: &hall.event,
            epoch: place.epoch,
            version: place.version,
            seats: &shown,
            availability: &source.left,
        };
        let mut sse = format!("id: {place}\nevent: {name}\ndata: ").into_bytes();
        // Room for all of it: growing would copy it several times.
        sse.reserve(64 + shown.len() * 48 + source.left.len() * 128);
        serde_json::to_writer(&mut sse, &body).expect("what is told has text keys");
        sse.extend_from_slice(b"\n\n");
        Self { place, full, sse: sse.into(), texts: OnceLock::new(), source }
    }

    /// As an event of server-sent events.
    pub fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// As messages of a WebSocket, written when the first one is to be sent.
    pub fn texts(&self) -> &SocketTexts {
        self.texts.get_or_init(|| self.source.texts(self.place, self.full))
    }

    /// As of when.
    pub fn place(&self) -> Place {
        self.place
    }

    /// What is left of the types that are named.
    pub fn left(&self) -> &[ShownLeft] {
        &self.source.left
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        self.sse.len() + self.source.seats.len() * size_of::<(u32, SeatState)>()
    }
}

impl Source {
    fn shown(&self) -> Vec<ShownState<'_>> {
        let shown = |&(slot, state): &(u32, SeatState)| {
            let seat_id = self.hall.name_of(slot).filter(|_| state != SeatState::Blocked)?;
            Some(ShownState { seat_id, state: state.name() })
        };
        self.seats.iter().filter_map(shown).collect()
    }

    fn texts(&self, place: Place, full: bool) -> SocketTexts {
        let (event_id, Place { epoch, version }) = (&self.hall.event, place);
        let mut shown = self.shown();
        let mut seats = Vec::new();
        if !full {
            // What is held now has a message of its own.
            let (locked, rest): (Vec<_>, Vec<_>) =
                shown.into_iter().partition(|seat| seat.state == SeatState::Held.name());
            for part in locked.chunks(MESSAGE_SEATS_MAX) {
                let seat_ids = part.iter().map(|seat| seat.seat_id).collect();
                seats.push(message("seat-locked", LockedMessage { event_id, epoch, version, seat_ids }));
            }
            shown = rest;
        }
        let parts = shown.len().div_ceil(MESSAGE_SEATS_MAX);
        for (part, seats_of) in (1..).zip(shown.chunks(MESSAGE_SEATS_MAX)) {
            let data = SeatsMessage { event_id, epoch, version, part, parts, full, seats: seats_of };
            seats.push(message("seat-update", data));
        }
        let ticket = |left| message("ticket-updated", TicketMessage { event_id, epoch, version, left });
        SocketTexts { seats, tickets: self.left.iter().map(ticket).collect() }
    }
}

/// `{"event":name,"data":…}`.
pub fn message(event: &str, data: impl Serialize) -> Utf8Bytes {
    serde_json::to_string(&Message { event, data }).expect("what is told has text keys").into()
}

/// What seats became in the end, each named once, in the order of their slots.
pub fn last_states<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Vec<(u32, SeatState)> {
    let mut last = BTreeMap::new();
    for change in changes {
        last.extend(change.seats.iter().map(|&seat| (seat, change.state)));
    }
    last.into_iter().collect()
}

fn as_text<S: serde::Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(epoch)
}
