//! What the queue has to be told.

use queue_core::ids::{EventId, Jti, Millis, VisitorId};

use super::{
    Ledger, LedgerError, OutboxRow, Verdict,
    sql::{Row, Value, number, parse, sql, text_or_null},
};

impl Ledger {
    /// What was not sent yet, after `after`, in the order of the bookings.
    pub async fn unsent(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, LedgerError> {
        let query = sql("SELECT * FROM outbox WHERE sent_at IS NULL AND id > ? ORDER BY id LIMIT ?");
        self.fetch_all(query.bind(after).bind(limit)).await?.iter().map(read_outbox).collect()
    }

    /// Everything of that session up to that row was sent.
    pub async fn mark_sent(&self, event: &EventId, jti: Jti, up_to: i64) -> Result<(), LedgerError> {
        let change = self.change((event.clone(), jti, up_to), |(event, jti, up_to), tx| {
            Box::pin(async move {
                let query =
                    sql("UPDATE outbox SET sent_at = ? WHERE event_id = ? AND jti = ? AND id <= ? AND sent_at IS NULL");
                tx.execute(query.bind(tx.now()).bind(event).bind(*jti).bind(*up_to)).await?;
                Ok(Verdict::Keep(()))
            })
        });
        change.await
    }

    /// Drops messages that were sent before that time, at most so many; how many there were.
    pub async fn prune_outbox(&self, before: Millis, limit: u32) -> Result<u64, LedgerError> {
        let change = self.change((before, limit), |&(before, limit), tx| {
            Box::pin(async move {
                // Not every database can delete so many and no more.
                let query = sql("SELECT id FROM outbox WHERE sent_at < ? ORDER BY sent_at, id LIMIT ?");
                let rows = tx.fetch_all(query.bind(before).bind(limit)).await?;
                let ids = rows.iter().map(|row| number(row, "id").map(Value::from)).collect::<Result<Vec<_>, _>>()?;
                if ids.is_empty() {
                    return Ok(Verdict::Keep(0));
                }
                Ok(Verdict::Keep(tx.execute(sql("DELETE FROM outbox WHERE id IN (").list(ids).push(")")).await?))
            })
        });
        change.await
    }

    /// Sessions that were closed since: their message was sent. In pages, in the order of their names as text: those
    /// after `after`.
    pub async fn closed_since(
        &self,
        event: &EventId,
        since: Millis,
        after: Option<Jti>,
        limit: u32,
    ) -> Result<Vec<(VisitorId, Jti)>, LedgerError> {
        let query = sql("SELECT DISTINCT visitor_id, jti FROM outbox WHERE event_id = ? AND sent_at >= ? AND jti > ? \
                         ORDER BY jti LIMIT ?");
        let after = after.map(|jti| jti.to_string()).unwrap_or_default();
        let rows = self.fetch_all(query.bind(event).bind(since).bind(after).bind(limit)).await?;
        rows.iter().map(|row| Ok((parse(row, "visitor_id")?, parse(row, "jti")?))).collect()
    }
}

fn read_outbox(row: &Row) -> Result<OutboxRow, LedgerError> {
    let id = number(row, "id")?;
    Ok(OutboxRow {
        id: i64::try_from(id).map_err(|_| super::sql::unreadable("id"))?,
        event: parse(row, "event_id")?,
        visitor: parse(row, "visitor_id")?,
        jti: parse(row, "jti")?,
        reservation: parse(row, "reservation_id")?,
        at: Millis(number(row, "at")?),
        traceparent: text_or_null(row, "traceparent")?,
    })
}
