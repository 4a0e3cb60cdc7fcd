//! Between the store's words for a booking and the ledger's.

use queue_core::ids::Millis;

use super::{Caller, reservation::ordered};
use crate::{
    ledger::{Booking, Ordered, Tickets},
    model::{Hall, Hold, Sold, What},
};

/// What the ledger is to keep of a hold. When its session was admitted only the session itself can say.
pub(super) fn of_hold(hall: &Hall, hold: &Hold, caller: Option<&Caller>, at: Millis) -> Booking {
    Booking {
        reservation: hold.reservation.clone(),
        event: hall.event.clone(),
        visitor: hold.visitor.clone(),
        jti: hold.jti,
        ordered: ordered(hall, &hold.what),
        tickets: tickets(hall, &hold.what),
        total_minor: hold.total_minor,
        currency: hall.body.currency.clone(),
        admitted_at: caller.filter(|caller| caller.jti == hold.jti).and_then(|caller| caller.admitted),
        held_at: Some(hold.created),
        hold_end: hold.end,
        at,
    }
}

/// Of which types. A seat that was taken out of the event since has none.
fn tickets(hall: &Hall, what: &What) -> Tickets {
    let mut tickets = Tickets::default();
    match what {
        What::Seats(seats) => {
            for kind in seats.iter().filter_map(|&seat| hall.type_of(seat)) {
                tickets.add(kind, 1);
            }
        }
        What::Quantity { kind, quantity } => tickets.add(kind, *quantity),
    }
    tickets
}

/// What the store is to mark. A seat that the event never had cannot be marked.
pub(super) fn sold(hall: &Hall, booking: Booking) -> Sold {
    let what = match booking.ordered {
        Ordered::Seats(seats) => What::Seats(seats.iter().filter_map(|seat| hall.slot_of(seat.as_str())).collect()),
        Ordered::Quantity { kind, quantity } => What::Quantity { kind, quantity },
    };
    Sold { reservation: booking.reservation, visitor: booking.visitor, jti: booking.jti, what }
}
