//! Orders in the ledger: beginning one under its idempotency key, writing down each move of its saga together with
//! what the move does, and handing sagas to whoever runs them.
//!
//! Every write of a saga names the revision it knows. Two runs of one order, after a lease ran out under a process
//! that stood still, cannot both go on.

mod beginning;
mod keys;
mod moving;
mod reading;
mod running;

use queue_core::ids::Millis;

use super::{Booking, Decision};
use crate::{
    ids::ReservationId,
    orders::{Kept, Key, Order, OrderId},
};

/// Orders of one reservation, at most: each failed one leaves its hold for another try.
pub const ORDERS_PER_RESERVATION_MAX: u64 = 20;
/// Idempotency keys are kept so long.
pub const KEY_KEPT_MS: u64 = 24 * 3_600_000;

/// An order that is to begin.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The order, in its first stage.
    pub order: Order,
    /// Under which key.
    pub key: Key,
    /// Who runs it, and until when nobody else may.
    pub lease: Lease,
}

/// Who runs an order, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// A name that no other run has.
    pub owner: String,
    /// Until then.
    pub until: Millis,
}

/// What the key stands for already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The same request, answered.
    Answered(Kept),
    /// The same request, not answered yet.
    Running(OrderId),
    /// Another request.
    Reused,
}

/// Whether an order began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It did.
    New,
    /// The key was used before.
    Known(Known),
    /// Another order of the reservation is not settled.
    Busy(OrderId),
    /// The reservation had too many orders.
    TooMany,
    /// The reservation is decided already.
    Decided,
}

/// What a move does beside being written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It books.
    Book(Booking),
    /// It takes the booking back.
    Unbook(ReservationId),
    /// It adds the order's amount to its buyer's stored value.
    Credit,
}

/// A move of a saga.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The order as it is then; its revision is that of the move, one more than the one known.
    pub order: Order,
    /// What else happens.
    pub effect: Effect,
    /// The reservation is no longer taken by the order.
    pub closes: bool,
    /// What its idempotency key stands for from now on.
    pub key: KeyNow,
    /// What the buyers' system is told: id and body.
    pub notification: Option<(String, String)>,
    /// When somebody who does not run it is to look at it; nobody when it is done.
    pub next_at: Option<Millis>,
}

/// What an idempotency key stands for from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyNow {
    /// What it stood for before.
    Same,
    /// This answer.
    Answers(Kept),
    /// Nothing: nothing was done, and the same request may be made again.
    Free,
}

/// Whether a move was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was.
    Done,
    /// Somebody else has moved it: this run ends.
    Lost,
    /// The ledger does not book that.
    Refused(Decision),
    /// The reservation was decided before, as CONFIRMED or not.
    Decided(bool),
}
