//! How an entry of the feed is told, to every sink and by the operator's routes: `docs/events.md` has the shape.

use queue_core::ids::{EventId, Jti, Millis, VisitorId};
use serde::Serialize;

use crate::{
    ids::{ReservationId, SeatId, TicketTypeId},
    ledger::{FeedEntry, FeedKind, Message, Ordered},
};

/// An entry as it is told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEntry<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    sequence: u64,
    at: Millis,
    event_id: &'a EventId,
    visitor_id: &'a VisitorId,
    jti: Jti,
    /// The place in the queue that the session had.
    place: u64,
    reservation_id: &'a ReservationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    seat_ids: Option<&'a [SeatId]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_type_id: Option<&'a TicketTypeId>,
    quantity: u64,
    total_minor: u64,
    currency: &'a str,
    completed_at: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

impl<'a> ShownEntry<'a> {
    /// Of that entry.
    pub fn of(entry: &'a FeedEntry) -> Self {
        let booking = &entry.booking;
        let (seat_ids, ticket_type_id, quantity) = match &booking.ordered {
            Ordered::Seats(seats) => (Some(seats.as_slice()), None, seats.len() as u64),
            Ordered::Quantity { kind, quantity } => (None, Some(kind), *quantity),
        };
        Self {
            id: id_of(entry),
            kind: match entry.kind {
                FeedKind::Completed => "reservation.completed",
                FeedKind::Cancelled => "reservation.cancelled",
            },
            sequence: entry.seq,
            at: entry.at,
            event_id: &booking.event,
            visitor_id: &booking.visitor,
            jti: booking.jti,
            place: booking.jti.seq.0,
            reservation_id: &booking.reservation,
            seat_ids,
            ticket_type_id,
            quantity,
            total_minor: booking.total_minor,
            currency: &booking.currency,
            completed_at: booking.at,
            traceparent: entry.traceparent.as_deref(),
        }
    }
}

/// The same however often it is told: a reservation is booked once and taken back once.
fn id_of(entry: &FeedEntry) -> String {
    let what = match entry.kind {
        FeedKind::Completed => "completed",
        FeedKind::Cancelled => "cancelled",
    };
    format!("{}:{what}", entry.booking.reservation)
}

/// The message that a sink is sent.
pub fn message(entry: &FeedEntry) -> Message {
    Message {
        id: id_of(entry),
        place: entry.seq,
        event: entry.booking.event.clone(),
        visitor: entry.booking.visitor.clone(),
        reservation: entry.booking.reservation.clone(),
        body: serde_json::to_string(&ShownEntry::of(entry)).expect("an entry is plain data"),
        traceparent: entry.traceparent.clone(),
    }
}
