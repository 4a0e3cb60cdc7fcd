//! Who runs an order, and when somebody is to look at it again.

use queue_core::ids::Millis;

use super::Lease;
use crate::{
    ledger::{
        Ledger, LedgerError, Tx, Verdict,
        sql::{parse, sql},
    },
    orders::{Order, OrderId},
};

impl Ledger {
    /// Keeps the lease of a run that takes long. Whether it is still its own.
    pub async fn renew(&self, order: &OrderId, lease: Lease) -> Result<bool, LedgerError> {
        let data = (order.clone(), lease);
        let renewing = self.change(data, |(order, lease), tx| {
            Box::pin(async move {
                let query = sql("UPDATE orders SET lease_until = ? WHERE order_id = ? AND lease = ?");
                let query = query.bind(lease.until).bind(order.as_str()).bind(lease.owner.as_str());
                Ok(Verdict::Keep(tx.execute(query).await? == 1))
            })
        });
        renewing.await
    }

    /// Ends a run that leads nowhere for now: somebody is to look at it again then.
    pub async fn put_off(
        &self,
        order: &OrderId,
        lease: &str,
        attempts: u64,
        next_at: Millis,
    ) -> Result<(), LedgerError> {
        let data = (order.clone(), lease.to_owned(), attempts, next_at);
        let putting = self.change(data, |(order, lease, attempts, next_at), tx| {
            Box::pin(async move {
                let query = sql("UPDATE orders SET lease_until = 0, attempts = ?, next_at = ? \
                                 WHERE order_id = ? AND lease = ? AND next_at IS NOT NULL");
                tx.execute(query.bind(*attempts).bind(*next_at).bind(order.as_str()).bind(lease.as_str())).await?;
                Ok(Verdict::Keep(()))
            })
        });
        putting.await
    }

    /// Takes over an order that nobody runs and that is due.
    pub async fn claim_order(&self, order: &OrderId, lease: Lease) -> Result<Option<Order>, LedgerError> {
        let claiming = self.change((order.clone(), lease), |(order, lease), tx| {
            Box::pin(async move {
                let query = sql("UPDATE orders SET lease = ?, lease_until = ?, rev = rev + 1 \
                                 WHERE order_id = ? AND lease_until <= ? AND next_at <= ?");
                let (now, query) = (tx.now(), query.bind(lease.owner.as_str()).bind(lease.until).bind(order.as_str()));
                if tx.execute(query.bind(now).bind(now)).await? == 0 {
                    return Ok(Verdict::Keep(false));
                }
                Ok(Verdict::Keep(true))
            })
        });
        if claiming.await? { self.order(order).await } else { Ok(None) }
    }

    /// Orders that somebody is to look at.
    pub async fn due_orders(&self, now: Millis, limit: u32) -> Result<Vec<OrderId>, LedgerError> {
        let query = sql("SELECT order_id FROM orders WHERE next_at <= ? AND lease_until <= ? ORDER BY next_at LIMIT ?");
        let rows = self.fetch_all(query.bind(now).bind(now).bind(limit)).await?;
        rows.iter().map(|row| parse(row, "order_id")).collect()
    }

    /// Somebody is to look at an order soon: the provider said something. Whether there is such an order.
    pub async fn wake_order(&self, order: &str, event: &str, kind: &str) -> Result<bool, LedgerError> {
        let data = (order.to_owned(), event.to_owned(), kind.to_owned());
        self.change(data, |(order, event, kind), tx| Box::pin(wake_in(tx, order, event, kind))).await
    }
}

async fn wake_in(tx: &mut Tx, order: &str, event: &str, kind: &str) -> Result<Verdict<bool>, LedgerError> {
    let query = sql("SELECT order_id FROM orders WHERE order_id = ?").bind(order);
    if tx.fetch_optional(query).await?.is_none() {
        return Ok(Verdict::Undo(false));
    }
    let query = sql("INSERT INTO payment_events (provider_event_id, order_id, type, at) VALUES ");
    let now = tx.now();
    if tx.insert_new(query.rows([[event.into(), order.into(), kind.into(), now.into()]]), 1).await? {
        let query = sql("UPDATE orders SET next_at = ? WHERE order_id = ? AND next_at > ?");
        tx.execute(query.bind(now).bind(order).bind(now)).await?;
    }
    Ok(Verdict::Keep(true))
}
