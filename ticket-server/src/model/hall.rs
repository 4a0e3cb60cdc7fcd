//! The definition of an event together with its seat indexes.
//!
//! A seat keeps its index for as long as the event exists, since holds and the store's bits name
//! seats by index. A seat that is taken out leaves its slot behind, blocked; if it comes back it
//! finds the same slot.

use std::{collections::HashMap, sync::Arc};

use queue_core::ids::EventId;
use serde_json::Value;

use super::{
    command::Shape,
    event::{EventBody, Seat},
};
use crate::{
    ids::{Epoch, SeatId, TicketTypeId},
    limits::SEATS_MAX,
};

/// Slots of one event, those of seats that were taken out included, at most.
pub const SLOTS_MAX: usize = 2 * SEATS_MAX;

/// An event and its slots. Immutable: a change makes a new one.
#[derive(Debug)]
pub struct Hall {
    /// The event.
    pub event: EventId,
    /// Its definition.
    pub body: EventBody,
    /// Which version of the definition this is.
    pub revision: u64,
    slots: Vec<Slot>,
    index: HashMap<SeatId, u32>,
}

/// One index of the store's bits.
#[derive(Debug)]
struct Slot {
    id: SeatId,
    /// `None`: the seat was taken out.
    seat: Option<(Seat, u64)>,
}

/// More slots than an event may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event's seats were renamed too often: more than {SLOTS_MAX} names were used; make a new event")]
pub struct TooManySlots;

/// A stored event that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("event {event} in the ledger cannot be read: {reason}")]
pub struct BadStoredEvent {
    event: EventId,
    reason: String,
}

impl Hall {
    /// A new event.
    pub fn new(event: EventId, body: EventBody) -> Result<Self, TooManySlots> {
        Self::build(event, body, 1, Vec::new())
    }

    /// The same event with another definition.
    pub fn changed(&self, body: EventBody) -> Result<Self, TooManySlots> {
        let names = self.slots.iter().map(|slot| slot.id.clone()).collect();
        Self::build(self.event.clone(), body, self.revision + 1, names)
    }

    /// The event as the ledger has it: its definition, and the names of its slots parted by spaces.
    pub fn stored(event: EventId, revision: u64, body: &str, slots: &str) -> Result<Self, BadStoredEvent> {
        let bad = |reason: String| BadStoredEvent { event: event.clone(), reason };
        let body: Value = serde_json::from_str(body).map_err(|error| bad(error.to_string()))?;
        let body = EventBody::from_json(body).map_err(|problems| bad(format!("{problems:?}")))?;
        let names: Result<Vec<_>, _> = slots.split_ascii_whitespace().map(SeatId::new).collect();
        let names = names.map_err(|error| bad(error.to_string()))?;
        Self::build(event.clone(), body, revision, names).map_err(|error| bad(error.to_string()))
    }

    fn build(event: EventId, body: EventBody, revision: u64, names: Vec<SeatId>) -> Result<Self, TooManySlots> {
        let prices: HashMap<_, _> =
            body.ticket_types.iter().map(|kind| (kind.ticket_type_id.clone(), kind.price_minor)).collect();
        let mut slots: Vec<_> = names.into_iter().map(|id| Slot { id, seat: None }).collect();
        let mut index: HashMap<_, _> = slots.iter().zip(0..).map(|(slot, i)| (slot.id.clone(), i)).collect();
        for seat in body.all_seats() {
            let price = prices.get(&seat.ticket_type_id).copied().unwrap_or(0);
            let next = u32::try_from(slots.len()).map_err(|_| TooManySlots)?;
            let at = *index.entry(seat.seat_id.clone()).or_insert(next);
            if at == next {
                slots.push(Slot { id: seat.seat_id.clone(), seat: None });
            }
            slots[at as usize].seat = Some((seat, price));
        }
        if slots.len() > SLOTS_MAX {
            return Err(TooManySlots);
        }
        Ok(Self { event, body, revision, slots, index })
    }

    /// The names of all slots, parted by spaces.
    pub fn slot_names(&self) -> String {
        let mut names = String::with_capacity(self.slots.len() * 8);
        for slot in &self.slots {
            names.push_str(slot.id.as_str());
            names.push(' ');
        }
        names
    }

    /// The index of a seat that is in the event now.
    pub fn index_of(&self, seat: &str) -> Option<u32> {
        self.index.get(seat).copied().filter(|&i| self.slots[i as usize].seat.is_some())
    }

    /// The index of a seat that is or was in the event.
    pub fn slot_of(&self, seat: &str) -> Option<u32> {
        self.index.get(seat).copied()
    }

    /// The name of a slot.
    pub fn name_of(&self, index: u32) -> Option<&SeatId> {
        self.slots.get(index as usize).map(|slot| &slot.id)
    }

    /// The price of a seat that is in the event now.
    pub fn price_of(&self, index: u32) -> u64 {
        self.slots.get(index as usize).and_then(|slot| slot.seat.as_ref()).map_or(0, |(_, price)| *price)
    }

    /// The ticket type of a seat that is in the event now.
    pub fn type_of(&self, index: u32) -> Option<&TicketTypeId> {
        self.slots.get(index as usize)?.seat.as_ref().map(|(seat, _)| &seat.ticket_type_id)
    }

    /// All seats that are in the event now: index, seat, price.
    pub fn seats(&self) -> impl Iterator<Item = (u32, &Seat, u64)> {
        self.slots.iter().zip(0..).filter_map(|(slot, i)| slot.seat.as_ref().map(|(seat, price)| (i, seat, *price)))
    }

    /// Whether a type of this event has seats.
    pub fn has_seats(&self, kind: &TicketTypeId) -> bool {
        self.body.ticket_type(kind).is_some_and(|kind| kind.quantity.is_none())
    }

    /// What the store must know.
    pub fn shape(&self, epoch: Epoch) -> Shape {
        let blocked: Vec<u32> =
            self.slots.iter().zip(0..).filter(|(slot, _)| slot.seat.is_none()).map(|(_, i)| i).collect();
        let quantities = self.body.ticket_types.iter();
        let quantities = quantities.filter_map(|kind| Some((kind.ticket_type_id.clone(), kind.quantity?)));
        Shape {
            revision: self.revision,
            epoch,
            seats: u32::try_from(self.slots.len()).expect("at most SLOTS_MAX"),
            blocked: blocked.into(),
            quantities: Arc::new(quantities.collect()),
        }
    }
}
