//! Payments: what an order asks of whoever has the money, and the three that answer.
//!
//! Every operation is asked for by the payment's own id and can be asked again; its answer is where the payment
//! stands now. A provider decides nothing about orders: the saga ([`crate::orders`]) does.

mod guarded;
mod http;
pub mod signature;
mod simulated;

use std::sync::Arc;

use async_trait::async_trait;
use queue_core::service::secret::Secret;

pub use self::{
    guarded::{Guarded, Patience},
    http::HttpProvider,
    simulated::{Behaviour, Memory, Simulated},
};

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PaymentStatus {
    /// The provider never heard of it.
    NotKnown,
    /// It is not decided yet.
    Pending,
    /// The money is promised.
    Authorized,
    /// It will not be paid.
    Declined,
    /// The money is taken.
    Captured,
    /// It was called off before the money was taken; an authorization that arrives later is refused.
    Voided,
    /// The money was given back.
    Refunded,
}

impl PaymentStatus {
    /// The name on the wire and in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotKnown => "NOT_KNOWN",
            Self::Pending => "PENDING",
            Self::Authorized => "AUTHORIZED",
            Self::Declined => "DECLINED",
            Self::Captured => "CAPTURED",
            Self::Voided => "VOIDED",
            Self::Refunded => "REFUNDED",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        use PaymentStatus as P;
        let all = [P::NotKnown, P::Pending, P::Authorized, P::Declined, P::Captured, P::Voided, P::Refunded];
        all.into_iter().find(|status| status.name() == name)
    }

    /// Where a payment stands after an operation: the rules that every provider of ours keeps. What cannot be done
    /// changes nothing.
    pub const fn after(self, operation: Operation) -> Self {
        match (self, operation) {
            (Self::NotKnown | Self::Pending, Operation::Authorize) => Self::Authorized,
            (Self::Authorized, Operation::Capture) => Self::Captured,
            (Self::NotKnown | Self::Pending | Self::Authorized, Operation::Void) => Self::Voided,
            (Self::Captured, Operation::Refund) => Self::Refunded,
            (status, _) => status,
        }
    }
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Promise the money.
    Authorize,
    /// Take what was promised.
    Capture,
    /// Call it off; also what never arrived, so that it is refused when it does.
    Void,
    /// Give back what was taken.
    Refund,
    /// Say where it stands.
    Lookup,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Authorize, Self::Capture, Self::Void, Self::Refund, Self::Lookup];

    /// The name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
            Self::Lookup => "lookup",
        }
    }
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Our name for it; all operations go by it.
    pub id: String,
    /// How much.
    pub amount_minor: u64,
    /// ISO 4217.
    pub currency: String,
    /// Whose it is.
    pub visitor: String,
    /// What the buyer's page got from the provider for the card; only an authorization has it, and it is kept
    /// nowhere.
    pub token: Option<Secret>,
}

/// Why a provider did not say where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Nothing was sent: nothing can have happened.
    NotSent,
    /// It may have been done.
    Unknown,
}

/// Trouble with what happened, for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PaymentError {
    /// Whether it may have been done.
    pub trouble: Trouble,
    /// What happened.
    pub reason: String,
}

impl PaymentError {
    /// It may have been done.
    pub fn unknown(reason: impl std::fmt::Display) -> Self {
        Self { trouble: Trouble::Unknown, reason: reason.to_string() }
    }

    /// Nothing was sent.
    pub fn not_sent(reason: impl std::fmt::Display) -> Self {
        Self { trouble: Trouble::NotSent, reason: reason.to_string() }
    }
}

/// Whoever has the money.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Does what is asked, or finds it done; where the payment stands then.
    async fn ask(&self, operation: Operation, payment: &Payment) -> Result<PaymentStatus, PaymentError>;
}

/// How a buyer pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// By the configured provider.
    Card,
    /// By the simulated provider, said openly.
    Simulated,
    /// From stored value.
    Balance,
}

impl Method {
    /// The name on the wire and in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Simulated => "simulated",
            Self::Balance => "balance",
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Card, Self::Simulated, Self::Balance].into_iter().find(|method| method.name() == name)
    }
}

/// Who answers for which method.
pub struct Payments {
    provider: Option<Arc<dyn Provider>>,
    is_simulated: bool,
    balance: Arc<dyn Provider>,
}

impl Payments {
    /// `provider` is whoever is configured, and whether it is the simulated one.
    pub fn new(provider: Option<Arc<dyn Provider>>, is_simulated: bool, balance: Arc<dyn Provider>) -> Self {
        Self { provider, is_simulated, balance }
    }

    /// Whether somebody answers for it.
    pub fn takes(&self, method: Method) -> bool {
        match method {
            Method::Card => self.provider.is_some(),
            Method::Simulated => self.is_simulated,
            Method::Balance => true,
        }
    }

    /// Asks whoever answers for the method. What costs nothing is paid by nobody.
    pub async fn ask(
        &self,
        method: Method,
        operation: Operation,
        payment: &Payment,
    ) -> Result<PaymentStatus, PaymentError> {
        if payment.amount_minor == 0 {
            return Ok(match operation {
                Operation::Authorize | Operation::Lookup => PaymentStatus::Authorized,
                Operation::Capture => PaymentStatus::Captured,
                Operation::Void => PaymentStatus::Voided,
                Operation::Refund => PaymentStatus::Refunded,
            });
        }
        match (method, &self.provider) {
            (Method::Balance, _) => self.balance.ask(operation, payment).await,
            (Method::Card | Method::Simulated, Some(provider)) => provider.ask(operation, payment).await,
            // It was configured when the order began: somebody must configure it again.
            (Method::Card | Method::Simulated, None) => {
                Err(PaymentError::not_sent("no payment provider is configured"))
            }
        }
    }
}
