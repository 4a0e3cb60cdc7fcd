//! Everything that is compared: the record of the run, and what the stores and the ledger keep after it. Plain data.

use std::collections::{BTreeMap, BTreeSet};

use crate::rehearse::record::Record;

/// All of it, as of one moment at which nothing happens any more.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub record: Record,
    pub queue: QueueStore,
    pub tickets: TicketStore,
    pub ledger: Ledger,
}

/// What the queue's Redis keeps of the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStore {
    pub generation: String,
    /// By rank.
    pub waiting: BTreeMap<u64, String>,
    /// Visitor, and when the slot is taken back.
    pub active: BTreeMap<String, u64>,
    /// Visitor, and the number of their session.
    pub sessions: BTreeMap<String, u64>,
    /// Visitor, and number and reason of what ended last of theirs.
    pub ended: BTreeMap<String, (u64, String)>,
    /// The last number that was given out.
    pub seq: u64,
    /// How many were ever let in.
    pub admitted: u64,
}

/// What is held, booked or sold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goods {
    /// Empty for general admission.
    pub seats: BTreeSet<String>,
    /// Type and number, for general admission.
    pub quantity: Option<(String, u64)>,
}

/// What the ticket server's Redis keeps of the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketStore {
    /// Seats that are held, by their two bits.
    pub held: BTreeSet<String>,
    /// Seats that are sold.
    pub sold: BTreeSet<String>,
    /// Type: held and sold.
    pub tallies: BTreeMap<String, (u64, u64)>,
    pub holds: BTreeMap<String, Hold>,
    /// Reservations with an end, and with a pin.
    pub ends: BTreeSet<String>,
    pub pins: BTreeSet<String>,
    /// Reservations that visitors still hold by their own lists.
    pub items_held: BTreeSet<String>,
    /// When it was read, by its own clock.
    pub now: u64,
}

/// A hold in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    pub visitor: String,
    pub end: u64,
    pub pinned: bool,
    pub goods: Goods,
}

/// What the ledger keeps of the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By reservation.
    pub bookings: BTreeMap<String, Booking>,
    /// Seat and reservation; a seat that is there twice is in here twice.
    pub sold_seats: Vec<(String, String)>,
    /// Type: how many there are, and how many are sold.
    pub sold_quantities: BTreeMap<String, (u64, i64)>,
    /// Messages to the queue that were not sent: id and session.
    pub unsent: Vec<(i64, String)>,
    /// By order.
    pub orders: BTreeMap<String, Order>,
    /// Reservation and order, of orders that are not settled.
    pub open_orders: Vec<(String, String)>,
    /// Orders to which an idempotency key belongs, with the status of the first answer.
    pub keys: Vec<(String, Option<u64>)>,
    /// Bookings that were taken back.
    pub cancelled: BTreeSet<String>,
    /// Payments that are kept in the ledger itself: stored value, and the simulated provider's.
    pub kept_payments: BTreeMap<String, KeptPayment>,
    /// Visitor and currency: what they have.
    pub balances: BTreeMap<(String, String), i64>,
    /// Visitor and currency: the sum of what was added and taken.
    pub balance_sums: BTreeMap<(String, String), i64>,
}

/// How a reservation was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Booking {
    pub visitor: String,
    pub jti: String,
    /// Else it is aborted.
    pub confirmed: bool,
    pub goods: Goods,
    pub total_minor: u64,
    pub currency: String,
}

/// An order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// `ORDER` or `CHARGE`.
    pub kind: String,
    pub visitor: String,
    /// Empty for a charge.
    pub reservation: String,
    pub method: String,
    pub total_minor: u64,
    pub currency: String,
    pub stage: String,
    pub failure: Option<String>,
    pub cancelled: bool,
    /// Somebody is to look at it again.
    pub is_due: bool,
}

/// A payment that the ledger keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptPayment {
    pub status: String,
    pub total_minor: u64,
    pub currency: String,
}

impl Facts {
    /// What has not come to its end, in words; empty when nothing happens any more.
    pub fn unfinished(&self) -> Vec<String> {
        let counts = [
            ("waiting", self.queue.waiting.len()),
            ("active", self.queue.active.len()),
            ("holds", self.tickets.holds.len()),
            ("messages to the queue", self.ledger.unsent.len()),
            ("orders", self.ledger.orders.values().filter(|order| order.is_due).count()),
        ];
        counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect()
    }
}
