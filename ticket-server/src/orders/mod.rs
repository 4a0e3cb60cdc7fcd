//! Orders: what is bought, paid and given back.
//!
//! [`saga`] is the pure state machine; the ledger keeps it ([`crate::ledger`]); `running` does what it says, one
//! step after the other; `recovery` takes up what nobody runs any more. Nothing in here knows HTTP requests.

mod cancelling;
mod faults;
mod history;
mod notifying;
mod order;
mod placing;
mod recovery;
mod running;
pub mod saga;

use std::{sync::Arc, time::Duration};

pub use self::{
    history::Happening,
    notifying::Notifier,
    order::{Item, Kept, Key, Order, OrderId, Step, code_of},
    placing::{Charge, Means, Placed},
    saga::{Failure, Kind, OrderState, Saga, Stage},
};
use crate::{office::Office, payments::Payments};

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// An authorization is waited for so long; then it is called off.
    pub authorization: Duration,
    /// A buyer waits so long for an answer; then the order goes on, and asking again tells how it ended.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { authorization: Duration::from_secs(60), answer: Duration::from_secs(25) }
    }
}

/// The orders of one server. A cheap handle.
#[derive(Clone)]
pub struct Orders {
    office: Arc<Office>,
    payments: Arc<Payments>,
    notifier: Option<Arc<Notifier>>,
    patience: Patience,
}

impl Orders {
    /// Orders that are paid by those payments; buyers' systems are told by the notifier, if there is one.
    pub fn new(
        office: Arc<Office>,
        payments: Arc<Payments>,
        notifier: Option<Arc<Notifier>>,
        patience: Patience,
    ) -> Self {
        Self { office, payments, notifier, patience }
    }

    /// Who pays.
    pub fn payments(&self) -> &Payments {
        &self.payments
    }
}

/// Counts how an order or a charge ended.
fn count(outcome: &'static str) {
    metrics::counter!("usher_ticket_orders_total", "outcome" => outcome).increment(1);
}
