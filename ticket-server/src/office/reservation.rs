//! A reservation as it is shown to whom it belongs.

use queue_core::ids::{EventId, Millis, VisitorId};
use serde::Serialize;

use crate::{
    ids::{ReservationId, SeatId, TicketTypeId},
    ledger::{Booking, Cancelled, Ordered},
    model::{Hall, Hold, PastState, What},
};

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReservationState {
    Held,
    Confirmed,
    Cancelled,
    Expired,
}

/// The one shape in which reservations are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    pub reservation_id: ReservationId,
    pub event_id: EventId,
    pub visitor_id: VisitorId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seat_ids: Option<Vec<SeatId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_type_id: Option<TicketTypeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u64>,
    pub state: ReservationState,
    pub hold_expires_at: Millis,
    pub total_minor: u64,
    pub currency: String,
}

impl Reservation {
    pub(super) fn of_hold(hall: &Hall, hold: Hold, state: ReservationState) -> Self {
        let (seat_ids, ticket_type_id, quantity) = split(ordered(hall, &hold.what));
        Self {
            reservation_id: hold.reservation,
            event_id: hall.event.clone(),
            visitor_id: hold.visitor,
            seat_ids,
            ticket_type_id,
            quantity,
            state,
            hold_expires_at: hold.end,
            total_minor: hold.total_minor,
            currency: hall.body.currency.clone(),
        }
    }

    pub(super) fn of_past(hall: &Hall, state: PastState, hold: Hold) -> Self {
        let state = match state {
            PastState::Cancelled => ReservationState::Cancelled,
            PastState::Expired => ReservationState::Expired,
        };
        Self::of_hold(hall, hold, state)
    }

    /// A booking that was taken back.
    pub(super) fn of_cancelled(cancelled: Cancelled) -> Self {
        Self { state: ReservationState::Cancelled, ..Self::of_booking(cancelled.booking) }
    }

    /// Whether it was given up or taken back.
    pub fn is_cancelled(&self) -> bool {
        self.state == ReservationState::Cancelled
    }

    pub(super) fn of_booking(booking: Booking) -> Self {
        let (seat_ids, ticket_type_id, quantity) = split(booking.ordered);
        Self {
            reservation_id: booking.reservation,
            event_id: booking.event,
            visitor_id: booking.visitor,
            seat_ids,
            ticket_type_id,
            quantity,
            state: ReservationState::Confirmed,
            hold_expires_at: booking.hold_end,
            total_minor: booking.total_minor,
            currency: booking.currency,
        }
    }
}

fn split(ordered: Ordered) -> (Option<Vec<SeatId>>, Option<TicketTypeId>, Option<u64>) {
    match ordered {
        Ordered::Seats(seats) => (Some(seats), None, None),
        Ordered::Quantity { kind, quantity } => (None, Some(kind), Some(quantity)),
    }
}

/// What a hold is of, in the words of the event. Slots keep their names for good.
pub(super) fn ordered(hall: &Hall, what: &What) -> Ordered {
    match what {
        What::Seats(seats) => Ordered::Seats(seats.iter().filter_map(|&seat| hall.name_of(seat).cloned()).collect()),
        What::Quantity { kind, quantity } => Ordered::Quantity { kind: kind.clone(), quantity: *quantity },
    }
}
