//! The record of a run: everything that was promised to anybody, what the stores and the provider say of it, and
//! what was done to the servers meanwhile. It is saved as JSON beside the report.
//!
//! All times are milliseconds since the epoch by the clock of this machine, which the servers and stores have too,
//! unless a name says otherwise. Everything is bounded: what a visitor could do without end is cut off at the
//! constants below, and how much was left out is counted.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// The shape below; a reader refuses another one.
pub const VERSION: u32 = 1;
/// Sights of a position that are kept of one visitor, at most: when there are more, every second one is dropped.
pub const SIGHTS_MAX: usize = 64;
/// Things of one kind (refusals, holds, orders, errors, …) that are kept of one visitor, at most.
pub const ITEMS_MAX: usize = 64;
/// Steps of the store that are kept, at most; a run that makes more is broken off.
pub const STEPS_MAX: usize = 2_000_000;

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The scenario as it was run: TOML, with what the flags changed.
    pub scenario: String,
    /// What made the crowd.
    pub seed: u64,
    pub rules: Rules,
    /// When the first visitor could come.
    pub started_at: u64,
    /// When the last one had gone and everything had settled, or was given up.
    pub ended_at: u64,
    /// Whether everything settled in time: nobody waiting or active, nothing held, no order running.
    pub settled: bool,
    pub machine: Machine,
    /// By number.
    pub visitors: Vec<Visitor>,
    /// The provider's own book, by payment.
    pub payments: Vec<Payment>,
    /// What the queue's store did to the line, in its own order.
    pub steps: Vec<Step>,
    /// Requests by route, sockets' joins among them.
    pub routes: BTreeMap<String, Route>,
    pub faults: Vec<Fault>,
    /// One a second.
    pub samples: Vec<Sample>,
    /// Things that were left out because of a bound: what, and how many.
    pub left_out: BTreeMap<String, u64>,
}

/// The rules of the event, as both servers were told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    pub event_id: String,
    pub currency: String,
    pub payment_required: bool,
    /// Sessions at a time.
    pub capacity: u64,
    pub admit_per_minute: Option<u64>,
    pub active_ttl_ms: u64,
    pub claim_ms: u64,
    pub grace_ms: u64,
    /// How long a hold lasts, as every visitor asks for.
    pub hold_ms: u64,
    pub seats_per_visitor_max: u64,
    /// Seats `SECTION-ROW-NUMBER`, rows and numbers from 1.
    pub sections: Vec<Section>,
    /// Types without seats.
    pub areas: Vec<Area>,
    /// `postgresql`, `mariadb` or `sqlite`.
    pub ledger: String,
    pub queue_nodes: u64,
    pub ticket_servers: u64,
}

/// A block of seats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    pub section: String,
    pub ticket_type_id: String,
    pub rows: u64,
    pub seats_per_row: u64,
    pub price_minor: u64,
}

/// General admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Area {
    pub ticket_type_id: String,
    pub quantity: u64,
    pub price_minor: u64,
}

/// What it ran on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub cores: u64,
    pub memory_bytes: u64,
    pub system: String,
    /// Of the servers: `debug`, `measure`, `release`, …: the folder they lie in.
    pub build: String,
    pub redis: String,
    pub ledger: String,
}

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

/// One payment in the provider's own book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The order's id.
    pub payment_id: String,
    pub amount_minor: u64,
    pub currency: String,
    /// `AUTHORIZED`, `DECLINED`, `PENDING`, `CAPTURED`, `VOIDED` or `REFUNDED`.
    pub status: String,
    /// Every operation that was asked, in order.
    pub history: Vec<Entry>,
}

/// One line of the provider's book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `authorize`, `capture`, `void`, `refund` or `lookup`.
    pub operation: String,
    /// Where the payment stood afterwards.
    pub status: String,
    pub at: u64,
    /// False: it was done, and the answer was thrown away on purpose.
    pub answered: bool,
}

/// What the queue's store did, in the order in which it did it: every change of the line and of the sessions, read off
/// the store's own log of commands, so that the line and the number of Active are known after each step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Step {
    /// Put in line, at the end, all of one transition. Somebody who was restored to their place too.
    Joined {
        /// By the store's clock, as in the others.
        at: u64,
        /// Number and visitor.
        waiters: Vec<(u64, String)>,
    },
    /// Let in, all of one transition, in order.
    Admitted {
        at: u64,
        /// Number and visitor.
        sessions: Vec<(u64, String)>,
        /// End of these sessions: the admission and `active_ttl_ms`.
        expires_at: u64,
        /// Out of the line, from its head; else directly on joining, since nobody waited.
        from_line: bool,
    },
    /// Taken out of the line without a session.
    Gone {
        at: u64,
        /// Number and visitor.
        waiters: Vec<(u64, String)>,
        /// `LEFT`, `ABANDONED`, `SOLD_OUT`, …
        reason: String,
    },
    /// A session ended.
    Ended {
        at: u64,
        jti: String,
        visitor_id: String,
        /// `RELEASED`, `EXPIRED`, `LEFT`, …
        reason: String,
    },
}

/// Requests of one route.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// All of them; those that failed, too.
    pub all: Counts,
    /// Those that neither began nor ended within the window of a fault.
    pub calm: Counts,
    /// Answers by status; `0` for none.
    pub statuses: BTreeMap<u16, u64>,
}

/// Requests, and how long they took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub requests: u64,
    /// Refused as they may be.
    pub refused: u64,
    /// No answer, 5xx, an answer that breaks the contract.
    pub failed: u64,
    pub latency: Latency,
}

/// An HDR histogram of microseconds with three digits, as value and count, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency(pub Vec<(u64, u64)>);

impl Latency {
    /// Milliseconds that `share` (0 to 1) of all took at most; 0 if there were none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let all: u64 = self.0.iter().map(|(_, count)| count).sum();
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        let found = self.0.iter().find(|(_, count)| {
            passed += count;
            passed >= wanted
        });
        found.or(self.0.last()).map_or(0.0, |(us, _)| *us as f64 / 1_000.0)
    }

    /// Both together.
    pub fn merged<'l>(all: impl IntoIterator<Item = &'l Self>) -> Self {
        let mut counts = BTreeMap::new();
        for (us, count) in all.into_iter().flat_map(|latency| &latency.0) {
            *counts.entry(*us).or_insert(0) += count;
        }
        Self(counts.into_iter().collect())
    }
}

/// Something that was done to the servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// As the scenario calls it: `node-killed`, `redis-paused`, …
    pub fault: String,
    /// To whom: `queue-1`, `redis-tickets`, `ledger`, …
    pub target: String,
    pub from: u64,
    /// When it was taken back.
    pub to: u64,
    /// When every server said again that it is ready; the window of the fault ends a little later.
    pub ready_at: u64,
    /// End of the window: requests that begin later count as calm.
    pub window_to: u64,
    /// What was seen, for people: `killed with 2 payments under way`.
    pub note: String,
}

/// Once a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub at: u64,
    /// Visitors that have come so far.
    pub arrived: u64,
    /// Visitors in line, by their own knowledge.
    pub waiting: u64,
    pub active: u64,
    /// Holds that their holders believe to have.
    pub holding: u64,
    /// Visitors that have gone.
    pub gone: u64,
    /// Seats and tickets that were acknowledged as booked so far.
    pub booked: u64,
    /// By the store; `None` while it cannot be asked.
    pub line: Option<Line>,
    /// Requests answered within this second, and of these failed.
    pub requests: u64,
    pub failed: u64,
    /// First answers to a join or return within this second.
    pub joins: u64,
    /// Latency of this second, in milliseconds; 0 without requests.
    pub p50_ms: f64,
    pub p95_ms: f64,
    /// Resident memory by process, in bytes.
    pub memory: BTreeMap<String, u64>,
    /// Processor time by process so far, in milliseconds; begins anew where a process does.
    pub cpu_ms: BTreeMap<String, u64>,
}

/// The stores' own numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub waiting: u64,
    pub active: u64,
    /// Holds in the ticket store, pinned ones too.
    pub held: u64,
}

/// Where the auditor finds what the servers keep. They run until it is done.
#[derive(Clone)]
pub struct Sources {
    pub queue_redis: SocketAddr,
    pub ticket_redis: SocketAddr,
    /// As the ticket servers have it: `postgres://…`, `mysql://…`, `sqlite:…`.
    pub ledger: String,
    /// Public and operations address of each queue node: `http://…`.
    pub queue: Vec<(String, String)>,
    /// The same of each ticket server.
    pub tickets: Vec<(String, String)>,
    /// For the operations listeners. Never printed.
    pub operator_token: String,
}

/// What the auditor found of one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The invariant: "no seat sold twice".
    pub what: String,
    /// How many things were compared.
    pub checked: u64,
    /// How many broke it.
    pub broken: u64,
    /// Some of these, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether it was kept.
    pub const fn holds(&self) -> bool {
        self.broken == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values() {
        let fast = Latency(vec![(1_000, 90), (2_000, 5)]);
        let slow = Latency(vec![(2_000, 4), (500_000, 1)]);
        let both = Latency::merged([&fast, &slow]);
        assert_eq!(both.0, [(1_000, 90), (2_000, 9), (500_000, 1)]);
        assert_eq!((both.quantile_ms(0.5), both.quantile_ms(0.95), both.quantile_ms(1.0)), (1.0, 2.0, 500.0));
        assert_eq!(Latency::default().quantile_ms(0.95), 0.0);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record { version: VERSION, seed: 7, ..Record::default() };
        record.visitors.push(Visitor::new(0, Kind::TwoTabs));
        record.steps.push(Step::Admitted { at: 1, sessions: vec![(1, "a_x".into())], expires_at: 2, from_line: true });
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""kind":"two-tabs""#) && text.contains(r#""step":"admitted""#), "{text}");
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(read.steps, record.steps);
        assert_eq!(read.visitors[0].kind, Kind::TwoTabs);
    }
}
