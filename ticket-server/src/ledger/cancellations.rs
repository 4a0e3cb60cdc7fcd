//! Bookings that are taken back. A row here and an ABORTED one in `bookings` are a cancelled booking: it will
//! never be booked again, and its seats can be.

use queue_core::ids::{EventId, Millis, VisitorId};

use super::{
    Booking, Ledger, LedgerError, Ordered, Tx, Verdict, bookings,
    feed::{self, FeedKind},
    sql::{Row, number, sql, unreadable},
};
use crate::ids::ReservationId;

/// The store is told again after so long: one that was being rebuilt may have been told the booking after its end.
const TELL_AGAIN_MS: u64 = 30_000;

/// A booking that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// What was booked.
    pub booking: Booking,
    /// When it was taken back.
    pub at: Millis,
}

impl Ledger {
    /// Takes a booking back that no order paid. Whether it was booked.
    pub async fn cancel_booking(&self, reservation: &ReservationId) -> Result<bool, LedgerError> {
        let cancelling = self.change(reservation.clone(), |reservation, tx| {
            Box::pin(async move {
                let done = cancel_in(tx, reservation).await?;
                Ok(if done { Verdict::Keep(true) } else { Verdict::Undo(false) })
            })
        });
        cancelling.await
    }

    /// A booking that was taken back.
    pub async fn cancelled(&self, reservation: &ReservationId) -> Result<Option<Cancelled>, LedgerError> {
        let query = sql("SELECT * FROM cancellations WHERE reservation_id = ?").bind(reservation);
        self.fetch_optional(query).await?.as_ref().map(read_cancelled).transpose()
    }

    /// The cancelled bookings of a visitor.
    pub async fn cancelled_of(&self, event: &EventId, visitor: &VisitorId) -> Result<Vec<Cancelled>, LedgerError> {
        let query = sql("SELECT * FROM cancellations WHERE event_id = ? AND visitor_id = ? \
                         ORDER BY cancelled_at LIMIT 512");
        self.fetch_all(query.bind(event).bind(visitor)).await?.iter().map(read_cancelled).collect()
    }

    /// Bookings of an event that were taken back since, in pages: those after `after`.
    pub async fn cancelled_since(
        &self,
        event: &EventId,
        since: Millis,
        after: Option<&Cancelled>,
        limit: u32,
    ) -> Result<Vec<Cancelled>, LedgerError> {
        let (at, id) = match after {
            Some(last) => (last.at, last.booking.reservation.as_str()),
            None => (since, ""),
        };
        let query = sql("SELECT * FROM cancellations WHERE event_id = ? AND cancelled_at >= ? \
                         AND (cancelled_at > ? OR reservation_id > ?) ORDER BY cancelled_at, reservation_id LIMIT ?");
        let rows = self.fetch_all(query.bind(event).bind(at).bind(at).bind(id).bind(limit)).await?;
        rows.iter().map(read_cancelled).collect()
    }

    /// Bookings whose end the store is to be told.
    pub async fn cancellations_due(&self, now: Millis, limit: u32) -> Result<Vec<Cancelled>, LedgerError> {
        let query = sql("SELECT * FROM cancellations WHERE due_at <= ? ORDER BY due_at LIMIT ?");
        self.fetch_all(query.bind(now).bind(limit)).await?.iter().map(read_cancelled).collect()
    }

    /// The store was told; a while after the end for the last time.
    pub async fn cancellation_told(&self, cancelled: &Cancelled, now: Millis) -> Result<(), LedgerError> {
        let last = cancelled.at.plus(TELL_AGAIN_MS);
        let next = (now < last).then_some(last);
        let data = (cancelled.booking.reservation.clone(), next);
        let telling = self.change(data, |(reservation, next), tx| {
            Box::pin(async move {
                let query = sql("UPDATE cancellations SET due_at = ? WHERE reservation_id = ?");
                tx.execute(query.bind(*next).bind(reservation)).await?;
                Ok(Verdict::Keep(()))
            })
        });
        telling.await
    }
}

/// Takes a booking back within a change that does more beside it. Whether it was booked; if not, the change has to
/// be undone.
pub(super) async fn cancel_in(tx: &mut Tx, reservation: &ReservationId) -> Result<bool, LedgerError> {
    let query = sql("UPDATE bookings SET state = 'ABORTED' WHERE reservation_id = ? AND state = 'CONFIRMED'");
    if tx.execute(query.bind(reservation)).await? == 0 {
        return Ok(false);
    }
    let query = sql("SELECT * FROM bookings WHERE reservation_id = ?").bind(reservation);
    let row = tx.fetch_optional(query).await?.ok_or_else(|| unreadable("reservation_id"))?;
    let booking = &bookings::read_booking(&row)?;
    match &booking.ordered {
        Ordered::Seats(_) => {
            let query = sql("DELETE FROM sold_seats WHERE event_id = ? AND reservation_id = ?");
            tx.execute(query.bind(&booking.event).bind(&booking.reservation)).await?;
        }
        Ordered::Quantity { kind, quantity } => {
            let query = sql("UPDATE sold_quantities SET sold = sold - ? \
                             WHERE event_id = ? AND ticket_type_id = ? AND sold >= ?");
            tx.execute(query.bind(*quantity).bind(&booking.event).bind(kind).bind(*quantity)).await?;
        }
    }
    // What the queue was not told yet, it need not hear any more: the visitor has booked nothing.
    let query = sql("DELETE FROM outbox WHERE reservation_id = ? AND sent_at IS NULL").bind(&booking.reservation);
    tx.execute(query).await?;
    let now = tx.now();
    let row = bookings::insert_row("cancellations", "cancelled_at, due_at", booking, [now.into(), Some(now).into()]);
    tx.execute(row).await?;
    feed::tell_in(tx, FeedKind::Cancelled, &booking.reservation, now).await?;
    Ok(true)
}

fn read_cancelled(row: &Row) -> Result<Cancelled, LedgerError> {
    Ok(Cancelled { booking: bookings::read_booking(row)?, at: Millis(number(row, "cancelled_at")?) })
}
