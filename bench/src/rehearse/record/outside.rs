//! What the provider and the queue's store say that they did.

use serde::{Deserialize, Serialize};

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
