//! The ledger: what was sold, for good. A booking counts from the moment in which it is in here.
//!
//! Invariants, whatever the database: a seat is in at most one booking; a reservation is decided
//! once, as CONFIRMED or ABORTED, by whoever inserts its row first; a booking and its outbox row
//! are there together or not at all. The store (see [`crate::engine`]) can be rebuilt from here.

mod sqlite;
mod writer;

use async_trait::async_trait;
use queue_core::ids::{EventId, Jti, Millis, VisitorId};

pub use self::sqlite::{SqliteLedger, SqliteUrl};
use crate::ids::{ReservationId, SeatId, TicketTypeId};

/// Bookings and other changes waiting to be written, at most.
pub const WRITES_WAITING_MAX: usize = 4_096;
/// Changes in one transaction, at most.
pub const WRITE_BATCH_MAX: usize = 256;
/// A change that was not committed in this time counts as unknown.
pub const WRITE_TIMEOUT_MS: u64 = 4_000;
/// Rows read in one call, at most.
pub const READ_PAGE_MAX: u32 = 512;

/// What a reservation is of, in the words of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// Seats.
    Seats(Vec<SeatId>),
    /// Tickets of a type without seats.
    Quantity {
        /// The type.
        kind: TicketTypeId,
        /// How many.
        quantity: u64,
    },
}

/// A reservation that is to be decided, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Its id.
    pub reservation: ReservationId,
    /// The event.
    pub event: EventId,
    /// Whose it is.
    pub visitor: VisitorId,
    /// The session it was taken in.
    pub jti: Jti,
    /// What it is of.
    pub ordered: Ordered,
    /// What it costs.
    pub total_minor: u64,
    /// In which currency.
    pub currency: String,
    /// When the hold would have expired.
    pub hold_end: Millis,
    /// When it was decided, by the clock of the server that did.
    pub at: Millis,
}

/// How a reservation was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is booked: now, or it was before.
    Confirmed(Box<Booking>),
    /// It never will be.
    Aborted,
    /// Nothing was decided: these bookings have its seats.
    SeatsSold(Vec<Booking>),
    /// Nothing was decided: not so many are left.
    SoldOut,
}

/// An event as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: EventId,
    /// Which version of the definition this is.
    pub revision: u64,
    /// The definition as JSON.
    pub body: String,
    /// The names of its slots.
    pub slots: String,
    /// Which of them are taken out, parted by spaces. Only what is written needs it.
    pub blocked: String,
    /// Types without seats, and how many there are of each. Only what is written needs it.
    pub quantities: Vec<(TicketTypeId, u64)>,
}

impl StoredEvent {
    /// The seats that are in the event.
    pub fn live_seats(&self) -> impl Iterator<Item = &str> {
        let blocked: std::collections::HashSet<_> = self.blocked.split_ascii_whitespace().collect();
        self.slots.split_ascii_whitespace().filter(move |seat| !blocked.contains(seat))
    }
}

/// A message that may have to go to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the outbox.
    pub id: i64,
    /// The event.
    pub event: EventId,
    /// Who booked.
    pub visitor: VisitorId,
    /// In which session.
    pub jti: Jti,
    /// What was booked.
    pub reservation: ReservationId,
    /// When.
    pub at: Millis,
}

/// Why the ledger did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// More writes are waiting than there is room for; nothing was written.
    #[error("too many writes are waiting for the ledger")]
    Overloaded,
    /// It cannot be reached, or said nothing in time: a write may or may not have happened.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// The change would take away what is sold.
    #[error("the change would take away what is sold")]
    InUse,
}

/// A database that keeps bookings. All changes are durable when the call returns.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Books a reservation with its outbox row, in one transaction. Again: the same answer.
    async fn book(&self, booking: Booking) -> Result<Decision, LedgerError>;

    /// Decides that a reservation will never be booked, unless it is already. The fence against a
    /// confirming request that is slower than its settler.
    async fn fence(&self, booking: Booking) -> Result<Decision, LedgerError>;

    /// A booking by its reservation.
    async fn booking(&self, reservation: &ReservationId) -> Result<Option<Booking>, LedgerError>;

    /// The bookings of a visitor, the oldest first, at most [`READ_PAGE_MAX`].
    async fn bookings_of(&self, event: &EventId, visitor: &VisitorId) -> Result<Vec<Booking>, LedgerError>;

    /// All bookings of an event in pages: those after `after`.
    async fn bookings(
        &self,
        event: &EventId,
        after: Option<&ReservationId>,
        limit: u32,
    ) -> Result<Vec<Booking>, LedgerError>;

    /// Keeps an event; refused when seats or tickets that are sold would be gone.
    async fn put_event(&self, event: StoredEvent) -> Result<(), LedgerError>;

    /// All events.
    async fn events(&self) -> Result<Vec<StoredEvent>, LedgerError>;

    /// One event.
    async fn event(&self, event: &EventId) -> Result<Option<StoredEvent>, LedgerError>;

    /// What was not sent yet, after `after`, in the order of the bookings.
    async fn unsent(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, LedgerError>;

    /// Everything of that session up to that row was sent.
    async fn mark_sent(&self, event: &EventId, jti: Jti, up_to: i64) -> Result<(), LedgerError>;

    /// Sessions that were closed since: their message was sent.
    async fn closed_since(&self, event: &EventId, since: Millis) -> Result<Vec<(VisitorId, Jti)>, LedgerError>;
}
