//! What one visitor did and was promised.

use serde::{Deserialize, Serialize};

/// What a visitor does once it is their turn, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Waits, picks seats from the map, pays.
    Buyer,
    /// Asks for the best seats of a type.
    BestAvailable,
    /// Buys general admission.
    General,
    /// The socket is gone some time after the join, and nobody ever comes back.
    Abandons,
    /// Waits, and leaves the line in order.
    Leaves,
    /// Reloads the page now and then: comes back with the place token, on any node; then a buyer.
    Reloads,
    /// Opens a second tab, on any node; then a buyer.
    TwoTabs,
    /// Lets hold and session run out.
    Dawdles,
    /// Holds seats and lets them go.
    Hesitates,
    /// The first card is declined; another try, or none.
    FailsToPay,
    /// Wants one of a few seats, again and again, without pause.
    Bot,
}

/// How it went for a visitor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Has a booking.
    Booked,
    /// Left the line or the shop by their own decision, whatever way.
    GaveUp,
    /// Everything was taken, or the line was ended for that.
    SoldOut,
    /// Did not pay.
    Unpaid,
    /// The session or the hold ran out, as a dawdler's does.
    RanOut,
    /// The queue ended place or session for another reason.
    Ended,
    /// Something did not work that should have: `failure` says what.
    Failed,
    /// Still there when the run was given up.
    #[default]
    Unfinished,
}

/// Everything that one visitor did and was promised.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Visitor {
    /// From 0.
    pub number: u64,
    pub kind: Kind,
    /// When the first request was sent; 0 if none was.
    pub arrived_at: u64,
    pub gone_at: u64,
    pub end: End,
    /// Why, where `end` does not say it all: an error code or a reason.
    pub failure: Option<String>,
    /// Every answer that named a place: joins and resumes. The first one made the promise.
    pub places: Vec<Place>,
    /// Positions that were shown; thinned to [`SIGHTS_MAX`], the first and the last always among them.
    pub sights: Vec<Sight>,
    /// Every time that it was told that it is Active, repeated answers included.
    pub admissions: Vec<Admission>,
    /// Every time that it was told `ENDED`.
    pub told_ended: Vec<ToldEnded>,
    /// Holds that were asked for and answered with a reservation.
    pub holds: Vec<Hold>,
    /// Orders, and confirmations without payment, whatever became of them; one for each `Idempotency-Key`.
    pub orders: Vec<Order>,
    /// What it gave up, and whether the server said that it took notice.
    pub departures: Vec<Departure>,
    /// Refusals that belong to the business: a seat was taken, the card declined, …
    pub refusals: Vec<Refusal>,
    /// What should not have happened: no answer, 5xx, an answer that breaks the contract.
    pub errors: Vec<Trouble>,
    /// Sockets that ended by a fault or by the server, without a last word that ends the wait.
    pub sockets_lost: u64,
}

impl Visitor {
    /// Somebody of whom nothing is known yet.
    pub const fn new(number: u64, kind: Kind) -> Self {
        Self {
            number,
            kind,
            arrived_at: 0,
            gone_at: 0,
            end: End::Unfinished,
            failure: None,
            places: Vec::new(),
            sights: Vec::new(),
            admissions: Vec::new(),
            told_ended: Vec::new(),
            holds: Vec::new(),
            orders: Vec::new(),
            departures: Vec::new(),
            refusals: Vec::new(),
            errors: Vec::new(),
            sockets_lost: 0,
        }
    }
}

/// A place in line, read from its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// 16 hexadecimal digits.
    pub generation: String,
    pub seq: u64,
    pub visitor_id: String,
    /// When it was asked for.
    pub asked_at: u64,
    /// When the answer was read.
    pub at: u64,
    /// The server's `asOf`.
    pub as_of: u64,
    /// Shown a place token before: it is a return, not a first join.
    pub returned: bool,
    /// Index of the node that answered.
    pub node: u64,
}

/// A position as it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sight {
    /// By the server.
    pub as_of: u64,
    /// When it was read.
    pub at: u64,
    pub position: u64,
    pub waiting: u64,
}

/// Told that it is their turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// `GENERATION.SEQ`, from the token.
    pub jti: String,
    pub visitor_id: String,
    /// When the session ends: `exp` of the token, whole seconds as milliseconds.
    pub expires_at: u64,
    /// When it was read.
    pub at: u64,
}

/// Told that place or session is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldEnded {
    /// `RELEASED`, `EXPIRED`, `SOLD_OUT`, …
    pub reason: String,
    pub at: u64,
}

/// What is held or booked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goods {
    /// Empty for general admission.
    pub seat_ids: Vec<String>,
    /// Only for general admission.
    pub ticket_type_id: Option<String>,
    pub quantity: Option<u64>,
    pub total_minor: u64,
}

/// A hold that a server acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    pub reservation_id: String,
    /// The session it was taken in.
    pub jti: String,
    pub goods: Goods,
    pub hold_expires_at: u64,
    pub asked_at: u64,
    pub at: u64,
    /// What the visitor knows of its end.
    pub end: HoldEnd,
    /// When that was known; 0 while it is open.
    pub ended_at: u64,
}

/// How a hold ended, as far as its holder was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldEnd {
    /// Nothing was told: it ran out, or was let go with the session, or the visitor went away.
    Open,
    /// There is an acknowledged booking of it.
    Booked,
    /// A cancellation was acknowledged.
    Cancelled,
    /// A server said `HOLD_EXPIRED` or that it is no longer held.
    Gone,
    /// An order or a confirmation was sent and never answered for good: it may be booked or not.
    Unknown,
}

/// An order with its key, or a confirmation where nothing is to be paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub reservation_id: String,
    /// Empty for a confirmation without payment.
    pub idempotency_key: String,
    /// Whether the card was one that is declined.
    pub bad_card: bool,
    /// When it was first sent.
    pub asked_at: u64,
    /// How often it was sent.
    pub tries: u64,
    /// When the answer for good was read; 0 if there was none.
    pub at: u64,
    /// Its status; 0 if there was none.
    pub status: u16,
    /// Its error code.
    pub code: Option<String>,
    /// Known of answered orders, failed ones too (`details.orderId`).
    pub order_id: Option<String>,
    /// `CONFIRMED`, `FAILED`, …, as answered.
    pub state: Option<String>,
    /// Steps with their status, as answered: `AUTHORIZE DONE`.
    pub steps: Vec<String>,
    /// What was acknowledged as booked.
    pub booked: Option<Goods>,
    /// Answers for good to the same key and body, when it was sent again after the first one.
    #[serde(default)]
    pub repeats: Vec<Repeat>,
}

/// An answer to a key that had its answer before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// When it was read.
    pub at: u64,
    pub status: u16,
    pub code: Option<String>,
    pub order_id: Option<String>,
    pub state: Option<String>,
}

/// Something that a visitor gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    pub what: Leaving,
    /// The place's or session's `GENERATION.SEQ`, or the reservation.
    pub of: String,
    pub asked_at: u64,
    /// When it was acknowledged; 0 if it never was.
    pub at: u64,
}

/// By which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaving {
    /// `POST queue/leave`.
    Leave,
    /// `POST queue/release`.
    Release,
    /// `POST reservations/{id}/cancel`.
    Cancel,
    /// The socket was dropped, for good, without a word.
    Abandon,
}

/// An answer that says no, as it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    pub route: String,
    pub code: String,
    pub at: u64,
}

/// Something that should not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    pub route: String,
    /// An error code, or `TIMEOUT`, `NO_CONNECTION`, `LOST`, `UNREADABLE`.
    pub code: String,
    /// 0 if there was no answer.
    pub status: u16,
    /// When the request was sent.
    pub at: u64,
    /// Sent within a fault's window, or answered within one.
    pub in_fault: bool,
}
