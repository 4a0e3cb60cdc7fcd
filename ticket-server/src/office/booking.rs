//! Between the store's words for a booking and the ledger's.

use queue_core::ids::Millis;

use super::reservation::ordered;
use crate::{
    ledger::{Booking, Ordered},
    model::{Hall, Hold, Sold, What},
};

/// What the ledger is to keep of a hold.
pub(super) fn of_hold(hall: &Hall, hold: &Hold, at: Millis) -> Booking {
    Booking {
        reservation: hold.reservation.clone(),
        event: hall.event.clone(),
        visitor: hold.visitor.clone(),
        jti: hold.jti,
        ordered: ordered(hall, &hold.what),
        total_minor: hold.total_minor,
        currency: hall.body.currency.clone(),
        held_at: Some(hold.created),
        hold_end: hold.end,
        at,
    }
}

/// What the store is to mark. A seat that the event never had cannot be marked.
pub(super) fn sold(hall: &Hall, booking: Booking) -> Sold {
    let what = match booking.ordered {
        Ordered::Seats(seats) => What::Seats(seats.iter().filter_map(|seat| hall.slot_of(seat.as_str())).collect()),
        Ordered::Quantity { kind, quantity } => What::Quantity { kind, quantity },
    };
    Sold { reservation: booking.reservation, visitor: booking.visitor, jti: booking.jti, what }
}
