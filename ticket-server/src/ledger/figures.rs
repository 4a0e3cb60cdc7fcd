//! What is read of a sale as a whole. Each question goes by an index in the order of time; a booking that was taken
//! back is in none of the answers.

use queue_core::ids::{EventId, Jti, Millis};

use super::{
    Booking, Ledger, LedgerError, Tickets, bookings,
    sql::{Row, Sql, number, parse_or_null, sql},
};
use crate::{ids::ReservationId, limits::HOLD_SEATS_MAX};

/// The milliseconds of a minute.
pub const MINUTE_MS: u64 = 60_000;

/// A booking, as far as others may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which one: not for others.
    pub reservation: ReservationId,
    /// The session it was made in.
    pub jti: Jti,
    /// How many seats or tickets.
    pub seats: u64,
    /// When its session was admitted, where that is known.
    pub admitted_at: Option<Millis>,
    /// When it was booked.
    pub at: Millis,
}

/// Bookings of one minute that are of the same tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldIn {
    /// When the minute begins; 0 where all time is meant.
    pub minute: Millis,
    /// What each of them is of; empty where that is not known.
    pub tickets: Tickets,
    /// How many there are.
    pub bookings: u64,
}

/// Tickets as text: a type of at most 64 characters and a count for each of the seats of a booking.
const TICKETS_CHARS_MAX: usize = HOLD_SEATS_MAX * 80;
/// A session's name: 16 digits, a point, and a number.
const JTI_CHARS_MAX: usize = 40;

/// What every question is asked of.
const OF_EVENT: &str = " FROM bookings WHERE event_id = ? AND state = 'CONFIRMED'";

fn of_event(what: &str, event: &EventId) -> Sql {
    sql("SELECT ").push(what).push(OF_EVENT).bind(event)
}

impl Ledger {
    /// How many bookings an event has.
    pub async fn completions_total(&self, event: &EventId) -> Result<u64, LedgerError> {
        self.count(of_event("COUNT(*) AS n", event)).await
    }

    /// Bookings in the order in which they were made, those of the same moment by their ids.
    pub async fn completions(&self, event: &EventId, skip: u64, limit: u64) -> Result<Vec<Completion>, LedgerError> {
        // What is passed over is read from the index alone.
        let page = "SELECT b.* FROM (SELECT reservation_id FROM bookings WHERE event_id = ? AND state = 'CONFIRMED' \
                    ORDER BY decided_at, reservation_id LIMIT ? OFFSET ?) page \
                    JOIN bookings b ON b.reservation_id = page.reservation_id \
                    ORDER BY b.decided_at, b.reservation_id";
        let rows = self.fetch_all(sql(page).bind(event).bind(limit).bind(skip)).await?;
        rows.iter().map(|row| bookings::read_booking(row).map(Completion::of)).collect()
    }

    /// How many bookings of its event were made before a booking.
    pub async fn completions_before(
        &self,
        event: &EventId,
        at: Millis,
        reservation: &ReservationId,
    ) -> Result<u64, LedgerError> {
        let query = of_event("COUNT(*) AS n", event);
        let query = query.push(" AND (decided_at < ? OR (decided_at = ? AND reservation_id < ?))");
        self.count(query.bind(at).bind(at).bind(reservation)).await
    }

    /// What was sold since ever.
    pub async fn sold(&self, event: &EventId) -> Result<Vec<SoldIn>, LedgerError> {
        let query = of_event(&self.sold_rows("0"), event).push(" GROUP BY 2");
        self.fetch_all(query).await?.iter().map(read_sold).collect()
    }

    /// What was sold in each minute before `before` in which something was, the newest first; at most so many rows.
    pub async fn sold_by_minute(
        &self,
        event: &EventId,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<SoldIn>, LedgerError> {
        let query = of_event(&self.sold_rows("decided_at - decided_at % 60000"), event);
        let query = query.push(" AND decided_at < ? GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT ?");
        self.fetch_all(query.bind(before).bind(limit)).await?.iter().map(read_sold).collect()
    }

    /// How many sessions have booked something.
    pub async fn sessions_booked(&self, event: &EventId) -> Result<u64, LedgerError> {
        let session = self.dialect.grouped("jti", JTI_CHARS_MAX);
        let sessions =
            sql("SELECT COUNT(*) AS n FROM (SELECT DISTINCT ").push(&session).push(OF_EVENT).push(") sessions");
        self.count(sessions.bind(event)).await
    }

    fn sold_rows(&self, minute: &str) -> String {
        let tickets = self.dialect.grouped("tickets", TICKETS_CHARS_MAX);
        format!("{minute} AS minute, {tickets} AS tickets, COUNT(*) AS n")
    }

    async fn count(&self, query: Sql) -> Result<u64, LedgerError> {
        self.fetch_optional(query).await?.map_or(Ok(0), |row| number(&row, "n"))
    }
}

impl Completion {
    /// A booking, as far as others may know of it.
    pub fn of(booking: Booking) -> Self {
        Self {
            seats: booking.ordered.count(),
            reservation: booking.reservation,
            jti: booking.jti,
            admitted_at: booking.admitted_at,
            at: booking.at,
        }
    }
}

fn read_sold(row: &Row) -> Result<SoldIn, LedgerError> {
    Ok(SoldIn {
        minute: Millis(number(row, "minute")?),
        tickets: parse_or_null(row, "tickets")?.unwrap_or_default(),
        bookings: number(row, "n")?,
    })
}
