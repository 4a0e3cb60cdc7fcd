//! Bookings: what was decided of each reservation, and who has which seat.

use queue_core::{
    ids::{EventId, Millis, VisitorId},
    service::spans::{self, Kind},
};

use super::{
    Booking, Decision, Ledger, LedgerError, Ordered, READ_PAGE_MAX, Tx, Verdict,
    change::Confirming,
    feed::{self, FeedKind},
    sql::{Row, Sql, Value, int, number, number_or_null, parse, parse_or_null, sql, text, text_or_null, unreadable},
};
use crate::ids::{ReservationId, SeatId};

/// The columns that say what is booked, in bookings as in cancellations.
const COLUMNS: &str = "reservation_id, event_id, visitor_id, jti, seats, ticket_type_id, quantity, tickets, \
                       total_minor, currency, admitted_at, held_at, hold_end, decided_at";

impl Ledger {
    /// Books a reservation with its outbox row, in one transaction. Again: the same answer.
    pub async fn book(&self, booking: Booking) -> Result<Decision, LedgerError> {
        let (job, answer) = Confirming::boxed(booking);
        spans::step(Kind::Client, "ledger", self.submit(job, answer)).await
    }

    /// Decides that a reservation will never be booked, unless it is already. The fence against a
    /// confirming request that is slower than its settler.
    pub async fn fence(&self, booking: Booking) -> Result<Decision, LedgerError> {
        self.change(booking, |booking, tx| Box::pin(fence_in(tx, booking))).await
    }

    /// A booking by its reservation.
    pub async fn booking(&self, reservation: &ReservationId) -> Result<Option<Booking>, LedgerError> {
        let query = sql("SELECT * FROM bookings WHERE reservation_id = ? AND state = 'CONFIRMED'").bind(reservation);
        self.fetch_optional(query).await?.as_ref().map(read_booking).transpose()
    }

    /// The other bookings that have seats of this one.
    pub async fn owners(&self, booking: &Booking) -> Result<Vec<Booking>, LedgerError> {
        let Ordered::Seats(seats) = &booking.ordered else { return Ok(Vec::new()) };
        self.fetch_all(owners_of(booking, seats)).await?.iter().map(read_booking).collect()
    }

    /// The bookings of a visitor, the oldest first, at most [`READ_PAGE_MAX`].
    pub async fn bookings_of(&self, event: &EventId, visitor: &VisitorId) -> Result<Vec<Booking>, LedgerError> {
        let query = sql("SELECT * FROM bookings WHERE event_id = ? AND visitor_id = ? AND state = 'CONFIRMED' \
                         ORDER BY decided_at, reservation_id LIMIT ?");
        let rows = self.fetch_all(query.bind(event).bind(visitor).bind(READ_PAGE_MAX)).await?;
        rows.iter().map(read_booking).collect()
    }

    /// All bookings of an event in pages: those after `after`.
    pub async fn bookings(
        &self,
        event: &EventId,
        after: Option<&ReservationId>,
        limit: u32,
    ) -> Result<Vec<Booking>, LedgerError> {
        let query = sql("SELECT * FROM bookings WHERE event_id = ? AND reservation_id > ? AND state = 'CONFIRMED' \
                         ORDER BY reservation_id LIMIT ?");
        let query = query.bind(event).bind(after.map_or("", ReservationId::as_str)).bind(limit);
        self.fetch_all(query).await?.iter().map(read_booking).collect()
    }
}

/// Books within a change that does more beside it. What is refused is to be undone.
pub async fn book_in(tx: &mut Tx, booking: &Booking) -> Result<Verdict<Decision>, LedgerError> {
    match book_new_in(tx, booking).await? {
        Some(verdict) => Ok(verdict),
        None => Ok(Verdict::Keep(decided(tx, booking).await?)),
    }
}

/// The same for who must not take another's booking for the own; `None` when the reservation is decided already.
pub(super) async fn book_new_in(tx: &mut Tx, booking: &Booking) -> Result<Option<Verdict<Decision>>, LedgerError> {
    if !insert(tx, booking, "CONFIRMED").await? {
        return Ok(None);
    }
    match &booking.ordered {
        Ordered::Seats(seats) => {
            let query = sql("INSERT INTO sold_seats (event_id, seat_id, reservation_id) VALUES ")
                .rows(seats.iter().map(|seat| [(&booking.event).into(), seat.into(), (&booking.reservation).into()]));
            if !tx.insert_new(query, seats.len()).await? {
                return Ok(Some(Verdict::Undo(Decision::SeatsSold(owners(tx, booking, seats).await?))));
            }
        }
        Ordered::Quantity { kind, quantity } => {
            let query = sql("UPDATE sold_quantities SET sold = sold + ? \
                             WHERE event_id = ? AND ticket_type_id = ? AND sold + ? <= quantity");
            let query = query.bind(*quantity).bind(&booking.event).bind(kind).bind(*quantity);
            if tx.execute(query).await? == 0 {
                return Ok(Some(Verdict::Undo(Decision::SoldOut)));
            }
        }
    }
    let query = sql(
        "INSERT INTO outbox (event_id, visitor_id, jti, reservation_id, at, traceparent) VALUES (?, ?, ?, ?, ?, ?)",
    );
    let query = query.bind(&booking.event).bind(&booking.visitor).bind(booking.jti);
    let query = query.bind(&booking.reservation).bind(booking.at).bind(tx.trace.as_deref());
    tx.execute(query).await?;
    feed::tell_in(tx, FeedKind::Completed, &booking.reservation, booking.at).await?;
    Ok(Some(Verdict::Keep(Decision::Confirmed(Box::new(booking.clone())))))
}

async fn fence_in(tx: &mut Tx, booking: &Booking) -> Result<Verdict<Decision>, LedgerError> {
    let decision = if insert(tx, booking, "ABORTED").await? { Decision::Aborted } else { decided(tx, booking).await? };
    Ok(Verdict::Keep(decision))
}

/// Whether the row is new: whoever inserts it has decided.
async fn insert(tx: &mut Tx, booking: &Booking, state: &str) -> Result<bool, LedgerError> {
    tx.insert_new(insert_row("bookings", "state", booking, [state.into()]), 1).await
}

/// Inserts a row that says what is booked, and what else the table has.
pub(super) fn insert_row<const N: usize>(table: &str, more: &str, booking: &Booking, values: [Value; N]) -> Sql {
    let query = sql("INSERT INTO ").push(table).push(" (").push(COLUMNS).push(", ").push(more).push(") VALUES (");
    let (seats, kind, quantity) = columns(&booking.ordered);
    let booked = [
        (&booking.reservation).into(),
        (&booking.event).into(),
        (&booking.visitor).into(),
        booking.jti.into(),
        seats.into(),
        kind.into(),
        quantity.into(),
        booking.tickets.to_text().into(),
        booking.total_minor.into(),
        booking.currency.as_str().into(),
        booking.admitted_at.into(),
        booking.held_at.into(),
        booking.hold_end.into(),
        booking.at.into(),
    ];
    query.list(booked.into_iter().chain(values)).push(")")
}

/// What is ordered, as it is kept: seats, type, quantity.
pub(super) fn columns(ordered: &Ordered) -> (Option<String>, Option<&str>, Option<i64>) {
    match ordered {
        Ordered::Seats(seats) => (Some(names(seats)), None, None),
        Ordered::Quantity { kind, quantity } => (None, Some(kind.as_str()), Some(int(*quantity))),
    }
}

pub(super) fn names(seats: &[SeatId]) -> String {
    seats.iter().map(SeatId::as_str).collect::<Vec<_>>().join(" ")
}

/// What was decided before. Meeting one's own row is success.
async fn decided(tx: &mut Tx, booking: &Booking) -> Result<Decision, LedgerError> {
    let query = sql("SELECT * FROM bookings WHERE reservation_id = ?").bind(&booking.reservation);
    // The row was there when it was met, and no row is ever taken away.
    let row = tx.fetch_optional(query).await?.ok_or_else(|| unreadable("reservation_id"))?;
    if text(&row, "state")? == "CONFIRMED" {
        Ok(Decision::Confirmed(Box::new(read_booking(&row)?)))
    } else {
        Ok(Decision::Aborted)
    }
}

/// Whether a reservation that is decided is booked.
pub(super) async fn is_confirmed(tx: &mut Tx, booking: &Booking) -> Result<bool, LedgerError> {
    Ok(matches!(decided(tx, booking).await?, Decision::Confirmed(_)))
}

/// The other bookings that have these seats.
async fn owners(tx: &mut Tx, booking: &Booking, seats: &[SeatId]) -> Result<Vec<Booking>, LedgerError> {
    tx.fetch_all(owners_of(booking, seats)).await?.iter().map(read_booking).collect()
}

fn owners_of(booking: &Booking, seats: &[SeatId]) -> Sql {
    let query = sql("SELECT DISTINCT b.* FROM sold_seats s JOIN bookings b ON b.reservation_id = s.reservation_id \
                     WHERE s.event_id = ? AND s.reservation_id <> ? AND s.seat_id IN (");
    let query = query.bind(&booking.event).bind(&booking.reservation);
    query.list(seats.iter().map(Into::into)).push(") ORDER BY b.reservation_id")
}

/// What is ordered, back from [`columns`].
pub(super) fn read_ordered(row: &Row) -> Result<Ordered, LedgerError> {
    Ok(match text_or_null(row, "seats")? {
        Some(seats) => {
            let seats: Result<Vec<_>, _> = seats.split(' ').map(SeatId::new).collect();
            Ordered::Seats(seats.map_err(|_| unreadable("seats"))?)
        }
        None => Ordered::Quantity { kind: parse(row, "ticket_type_id")?, quantity: number(row, "quantity")? },
    })
}

pub(super) fn read_booking(row: &Row) -> Result<Booking, LedgerError> {
    let ordered = read_ordered(row)?;
    Ok(Booking {
        reservation: parse(row, "reservation_id")?,
        event: parse(row, "event_id")?,
        visitor: parse(row, "visitor_id")?,
        jti: parse(row, "jti")?,
        ordered,
        tickets: parse_or_null(row, "tickets")?.unwrap_or_default(),
        total_minor: number(row, "total_minor")?,
        currency: text(row, "currency")?,
        admitted_at: number_or_null(row, "admitted_at")?.map(Millis),
        held_at: number_or_null(row, "held_at")?.map(Millis),
        hold_end: Millis(number(row, "hold_end")?),
        at: Millis(number(row, "decided_at")?),
    })
}
