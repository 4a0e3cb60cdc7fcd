//! Stored value as a provider, and as its owner sees it; and the simulated provider's memory, which is kept in the
//! same way.

use async_trait::async_trait;
use queue_core::{ids::VisitorId, service::http::ApiError};
use serde_json::{Value, json};

use crate::{
    ledger::{Keeper, Ledger, LedgerError},
    office::ledger_error,
    payments::{Memory, Operation, Payment, PaymentError, PaymentStatus, Provider},
};

/// Charges are at most so large, in minor units.
pub const CHARGE_MINOR_MAX: u64 = 1_000_000_000;

/// Payments from stored value: they are made and taken back in the ledger itself.
pub struct StoredValue(pub Ledger);

#[async_trait]
impl Provider for StoredValue {
    async fn ask(&self, operation: Operation, payment: &Payment) -> Result<PaymentStatus, PaymentError> {
        self.0.keep_payment(Keeper::Balance, payment, operation, false).await.map_err(trouble)
    }
}

/// What the simulated provider was asked.
pub struct SimulatedMemory(pub Ledger);

#[async_trait]
impl Memory for SimulatedMemory {
    async fn note(&self, payment: &Payment, operation: Operation, declined: bool) -> Result<PaymentStatus, String> {
        let noted = self.0.keep_payment(Keeper::Simulated, payment, operation, declined).await;
        noted.map_err(|error| error.to_string())
    }
}

fn trouble(error: LedgerError) -> PaymentError {
    match error {
        LedgerError::Overloaded => PaymentError::not_sent(error),
        error => PaymentError::unknown(error),
    }
}

/// What somebody has, and how it came to that.
pub async fn shown(ledger: &Ledger, visitor: &VisitorId) -> Result<Value, ApiError> {
    let amounts = ledger.balances(visitor).await.map_err(ledger_error)?;
    let entries = ledger.balance_entries(visitor).await.map_err(ledger_error)?;
    let items: Vec<_> =
        amounts.iter().map(|amount| json!({"currency": amount.currency, "amountMinor": amount.amount_minor})).collect();
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "at": entry.at, "type": entry.reason, "currency": entry.currency,
                "deltaMinor": entry.delta_minor, "orderId": entry.order,
            })
        })
        .collect();
    Ok(json!({"visitorId": visitor, "items": items, "entries": entries}))
}
