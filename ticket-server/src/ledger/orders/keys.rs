//! Idempotency keys: what was asked with one, and the first answer.

use queue_core::ids::{Millis, VisitorId};

use super::{KEY_KEPT_MS, KeyNow, Known};
use crate::{
    ledger::{
        Ledger, LedgerError, Tx, Verdict,
        sql::{Row, Sql, number, number_or_null, parse, sql, text, text_or_null},
    },
    orders::{Kept, Key, Order},
};

impl Ledger {
    /// What became of a request with that key.
    pub async fn known_key(&self, visitor: &VisitorId, key: &Key, now: Millis) -> Result<Option<Known>, LedgerError> {
        let row = self.fetch_optional(key_row(visitor, key)).await?;
        row.map(|row| read_key(&row, key, now)).transpose().map(Option::flatten)
    }

    /// Forgets idempotency keys that are old enough. Whether there may be more.
    pub async fn forget_keys(&self, before: Millis, limit: u32) -> Result<bool, LedgerError> {
        let query = sql("SELECT visitor_id, key_hash FROM order_keys WHERE created_at < ? LIMIT ?");
        let rows = self.fetch_all(query.bind(before).bind(limit)).await?;
        let keys: Vec<_> = rows
            .iter()
            .map(|row| Ok((text(row, "visitor_id")?, text(row, "key_hash")?)))
            .collect::<Result<_, LedgerError>>()?;
        let more = keys.len() == limit as usize;
        let forgetting = self.change((keys, before), |(keys, before), tx| {
            Box::pin(async move {
                for (visitor, key) in keys {
                    let query = sql("DELETE FROM order_keys WHERE visitor_id = ? AND key_hash = ? AND created_at < ?");
                    tx.execute(query.bind(visitor).bind(key).bind(*before)).await?;
                }
                Ok(Verdict::Keep(()))
            })
        });
        forgetting.await.map(|()| more)
    }
}

fn key_row(visitor: &VisitorId, key: &Key) -> Sql {
    sql("SELECT * FROM order_keys WHERE visitor_id = ? AND key_hash = ?").bind(visitor).bind(&key.key)
}

/// A key that is old enough stands for nothing any more.
fn read_key(row: &Row, key: &Key, now: Millis) -> Result<Option<Known>, LedgerError> {
    if number(row, "created_at")? + KEY_KEPT_MS < now.0 {
        return Ok(None);
    }
    if text(row, "body_hash")? != key.body {
        return Ok(Some(Known::Reused));
    }
    let status = number_or_null(row, "status")?.and_then(|status| u16::try_from(status).ok());
    Ok(Some(match (status, text_or_null(row, "body")?) {
        (Some(status), Some(body)) => Known::Answered(Kept { status, body }),
        _ => Known::Running(parse(row, "order_id")?),
    }))
}

/// Takes the key for a new order; what it stands for already, if it does.
pub(super) async fn take_key(tx: &mut Tx, order: &Order, key: &Key) -> Result<Option<Known>, LedgerError> {
    // One that nobody swept yet.
    let query = sql("DELETE FROM order_keys WHERE visitor_id = ? AND key_hash = ? AND created_at < ?");
    let old = Millis(order.created_at.0.saturating_sub(KEY_KEPT_MS));
    tx.execute(query.bind(&order.visitor).bind(&key.key).bind(old)).await?;
    let query = sql("INSERT INTO order_keys (visitor_id, key_hash, body_hash, order_id, created_at) VALUES ");
    let row = [
        (&order.visitor).into(),
        (&key.key).into(),
        (&key.body).into(),
        order.id.as_str().into(),
        order.created_at.into(),
    ];
    if tx.insert_new(query.rows([row]), 1).await? {
        return Ok(None);
    }
    match tx.fetch_optional(key_row(&order.visitor, key)).await? {
        Some(row) => Ok(Some(read_key(&row, key, order.created_at)?.unwrap_or(Known::Reused))),
        // Swept in between: whoever asks again finds it free.
        None => Err(LedgerError::Unavailable("a key was forgotten at that moment".into())),
    }
}

/// From now on the key of the order stands for this.
pub(super) async fn answer_key(tx: &mut Tx, order: &Order, key: &KeyNow) -> Result<(), LedgerError> {
    let query = match key {
        KeyNow::Same => return Ok(()),
        KeyNow::Answers(answer) => {
            sql("UPDATE order_keys SET status = ?, body = ?").bind(u64::from(answer.status)).bind(&answer.body)
        }
        KeyNow::Free => sql("DELETE FROM order_keys"),
    };
    let query = query.push(" WHERE visitor_id = ? AND order_id = ?");
    tx.execute(query.bind(&order.visitor).bind(order.id.as_str())).await.map(drop)
}
