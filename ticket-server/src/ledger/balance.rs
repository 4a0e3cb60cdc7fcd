//! Stored value, and the payments that are kept in the ledger itself: those from stored value, and those of the
//! simulated provider.
//!
//! A payment is one row, which whoever inserts first has decided: an authorization and the note that none is
//! wanted any more cannot both win. The amount of a balance changes in the same transaction.

use queue_core::ids::{Millis, VisitorId};

use super::{
    Ledger, LedgerError, Tx, Verdict,
    sql::{number, sql, text},
};
use crate::payments::{Operation, Payment, PaymentStatus};

/// Entries of a balance that are shown, the newest first.
pub const ENTRIES_MAX: u32 = 100;

/// Who keeps the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Stored value.
    Balance,
    /// The simulated provider.
    Simulated,
}

/// How much somebody has in a currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// The currency.
    pub currency: String,
    /// How much.
    pub amount_minor: u64,
}

/// A change of a balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The currency.
    pub currency: String,
    /// By how much.
    pub delta_minor: i64,
    /// `CHARGE`, `PAY`, `VOID` or `REFUND`.
    pub reason: String,
    /// The order or charge.
    pub order: String,
    /// When.
    pub at: Millis,
}

impl Ledger {
    /// Does what is asked of a payment that is kept here; where it stands then.
    pub async fn keep_payment(
        &self,
        keeper: Keeper,
        payment: &Payment,
        operation: Operation,
        declined: bool,
    ) -> Result<PaymentStatus, LedgerError> {
        let asked = Asked { keeper, payment: Payment { token: None, ..payment.clone() }, operation, declined };
        self.change(asked, |asked, tx| Box::pin(keep_in(tx, asked))).await
    }

    /// What somebody has, by currency.
    pub async fn balances(&self, visitor: &VisitorId) -> Result<Vec<Amount>, LedgerError> {
        let query = sql("SELECT * FROM balances WHERE visitor_id = ? ORDER BY currency").bind(visitor);
        let rows = self.fetch_all(query).await?;
        let read = |row| Ok(Amount { currency: text(row, "currency")?, amount_minor: number(row, "amount_minor")? });
        rows.iter().map(read).collect()
    }

    /// The last changes of somebody's balances, the newest first.
    pub async fn balance_entries(&self, visitor: &VisitorId) -> Result<Vec<Entry>, LedgerError> {
        let query = sql("SELECT * FROM balance_entries WHERE visitor_id = ? ORDER BY at DESC, entry_id DESC LIMIT ?");
        let rows = self.fetch_all(query.bind(visitor).bind(ENTRIES_MAX)).await?;
        rows.iter()
            .map(|row| {
                let delta = sqlx::Row::try_get(row, "delta_minor").map_err(LedgerError::from_sqlx)?;
                Ok(Entry {
                    currency: text(row, "currency")?,
                    delta_minor: delta,
                    reason: text(row, "reason")?,
                    order: text(row, "order_id")?,
                    at: Millis(number(row, "at")?),
                })
            })
            .collect()
    }
}

struct Asked {
    keeper: Keeper,
    payment: Payment,
    operation: Operation,
    declined: bool,
}

async fn keep_in(tx: &mut Tx, asked: &Asked) -> Result<Verdict<PaymentStatus>, LedgerError> {
    use PaymentStatus as P;
    let (before, after) = match asked.operation {
        Operation::Lookup => (None, P::NotKnown),
        Operation::Authorize => (None, if asked.declined { P::Declined } else { P::Authorized }),
        Operation::Void => (Some(P::Authorized), P::Voided),
        Operation::Capture => (Some(P::Authorized), P::Captured),
        Operation::Refund => (Some(P::Captured), P::Refunded),
    };
    // What begins a payment, or sees to it that it never begins.
    let inserts = matches!(asked.operation, Operation::Authorize | Operation::Void);
    if inserts && insert(tx, asked, after).await? {
        let paid = after != P::Authorized || asked.keeper != Keeper::Balance || debit_in(tx, &asked.payment).await?;
        return Ok(if paid { Verdict::Keep(after) } else { Verdict::Undo(P::Declined) });
    }
    let id = asked.payment.id.as_str();
    if let Some(before) = before {
        let query = sql("UPDATE kept_payments SET status = ?, at = ? WHERE payment_id = ? AND status = ?");
        let now = tx.now();
        let changed = tx.execute(query.bind(after.name()).bind(now).bind(id).bind(before.name())).await? == 1;
        if changed && asked.keeper == Keeper::Balance && after != P::Captured {
            let Payment { visitor, currency, amount_minor, .. } = &asked.payment;
            let reason = if after == P::Voided { "VOID" } else { "REFUND" };
            credit_in(tx, &format!("{id}:back"), visitor, currency, *amount_minor, reason, id).await?;
        }
    }
    let row = tx.fetch_optional(sql("SELECT status FROM kept_payments WHERE payment_id = ?").bind(id)).await?;
    let status = row.map(|row| text(&row, "status")).transpose()?;
    let status = status.map_or(Some(P::NotKnown), |name| P::from_name(&name));
    status.map(Verdict::Keep).ok_or_else(|| super::sql::unreadable("status"))
}

async fn insert(tx: &mut Tx, asked: &Asked, status: PaymentStatus) -> Result<bool, LedgerError> {
    let query = sql("INSERT INTO kept_payments (payment_id, provider, status, total_minor, currency, visitor_id, at) \
                     VALUES ");
    let payment = &asked.payment;
    let keeper = match asked.keeper {
        Keeper::Balance => "balance",
        Keeper::Simulated => "simulated",
    };
    let row = [
        (&payment.id).into(),
        keeper.into(),
        status.name().into(),
        payment.amount_minor.into(),
        (&payment.currency).into(),
        (&payment.visitor).into(),
        tx.now().into(),
    ];
    tx.insert_new(query.rows([row]), 1).await
}

/// Takes the amount of a payment from a balance. Whether there was so much.
async fn debit_in(tx: &mut Tx, payment: &Payment) -> Result<bool, LedgerError> {
    let query = sql("UPDATE balances SET amount_minor = amount_minor - ? \
                     WHERE visitor_id = ? AND currency = ? AND amount_minor >= ?");
    let amount = payment.amount_minor;
    let query = query.bind(amount).bind(&payment.visitor).bind(&payment.currency).bind(amount);
    if tx.execute(query).await? == 0 {
        return Ok(false);
    }
    let (id, minus) = (format!("{}:pay", payment.id), -super::sql::int(amount));
    enter(tx, &id, &payment.visitor, &payment.currency, minus, "PAY", &payment.id).await.map(|_| true)
}

/// Adds to a balance, once for each entry.
pub(super) async fn credit_in(
    tx: &mut Tx,
    entry: &str,
    visitor: &str,
    currency: &str,
    amount_minor: u64,
    reason: &str,
    order: &str,
) -> Result<(), LedgerError> {
    if !enter(tx, entry, visitor, currency, super::sql::int(amount_minor), reason, order).await? {
        return Ok(());
    }
    let query = sql("INSERT INTO balances (visitor_id, currency, amount_minor) VALUES ");
    let row = [visitor.into(), currency.into(), amount_minor.into()];
    if tx.insert_new(query.rows([row]), 1).await? {
        return Ok(());
    }
    let query = sql("UPDATE balances SET amount_minor = amount_minor + ? WHERE visitor_id = ? AND currency = ?");
    tx.execute(query.bind(amount_minor).bind(visitor).bind(currency)).await.map(drop)
}

/// Whether the entry is new.
async fn enter(
    tx: &mut Tx,
    entry: &str,
    visitor: &str,
    currency: &str,
    delta: i64,
    reason: &str,
    order: &str,
) -> Result<bool, LedgerError> {
    let query = sql("INSERT INTO balance_entries (entry_id, visitor_id, currency, delta_minor, reason, order_id, at) \
                     VALUES ");
    let at = tx.now().into();
    let row = [entry.into(), visitor.into(), currency.into(), delta.into(), reason.into(), order.into(), at];
    tx.insert_new(query.rows([row]), 1).await
}
