//! Events, as they are defined and changed. What is sold stays in them.

use std::collections::HashSet;

use queue_core::ids::EventId;

use super::{
    Ledger, LedgerError, StoredEvent, Tx, Verdict,
    sql::{Row, int, number, parse, sql, text},
};

impl Ledger {
    /// Keeps an event; refused when seats or tickets that are sold would be gone.
    pub async fn put_event(&self, event: StoredEvent) -> Result<(), LedgerError> {
        self.change(event, |event, tx| Box::pin(put_event_in(tx, event))).await?
    }

    /// All events.
    pub async fn events(&self) -> Result<Vec<StoredEvent>, LedgerError> {
        let query = sql("SELECT event_id, revision, body, slots FROM events ORDER BY event_id");
        self.fetch_all(query).await?.iter().map(read_event).collect()
    }

    /// One event.
    pub async fn event(&self, event: &EventId) -> Result<Option<StoredEvent>, LedgerError> {
        let query = sql("SELECT event_id, revision, body, slots FROM events WHERE event_id = ?").bind(event);
        self.fetch_optional(query).await?.as_ref().map(read_event).transpose()
    }
}

/// The inner error is the answer, the outer one the database's.
async fn put_event_in(tx: &mut Tx, event: &StoredEvent) -> Result<Verdict<Result<(), LedgerError>>, LedgerError> {
    if takes_what_is_sold(tx, event).await? {
        return Ok(Verdict::Undo(Err(LedgerError::InUse)));
    }
    let none_sold = sql("DELETE FROM sold_quantities WHERE event_id = ? AND sold = 0").bind(&event.event);
    tx.execute(none_sold).await?;
    for (kind, quantity) in &event.quantities {
        let query = sql("INSERT INTO sold_quantities (event_id, ticket_type_id, quantity, sold) VALUES (?, ?, ?, 0)");
        let query = query.push(&tx.dialect().or_update("event_id, ticket_type_id", &["quantity"]));
        tx.execute(query.bind(&event.event).bind(kind).bind(*quantity)).await?;
    }
    let query = sql("INSERT INTO events (event_id, revision, body, slots, updated_at) VALUES (?, ?, ?, ?, ?)");
    let query = query.push(&tx.dialect().or_update("event_id", &["revision", "body", "slots", "updated_at"]));
    let query = query.bind(&event.event).bind(event.revision).bind(event.body.as_str());
    tx.execute(query.bind(event.slots.as_str()).bind(tx.now())).await?;
    Ok(Verdict::Keep(Ok(())))
}

async fn takes_what_is_sold(tx: &mut Tx, event: &StoredEvent) -> Result<bool, LedgerError> {
    let live: HashSet<&str> = event.live_seats().collect();
    let query = sql("SELECT seat_id FROM sold_seats WHERE event_id = ?").bind(&event.event);
    for row in tx.fetch_all(query).await? {
        if !live.contains(text(&row, "seat_id")?.as_str()) {
            return Ok(true);
        }
    }
    let query = sql("SELECT ticket_type_id, sold FROM sold_quantities WHERE event_id = ? AND sold > 0");
    for row in tx.fetch_all(query.bind(&event.event)).await? {
        let (kind, sold) = (text(&row, "ticket_type_id")?, number(&row, "sold")?);
        let has_room =
            |(other, quantity): &(crate::ids::TicketTypeId, u64)| other.as_str() == kind && int(*quantity) >= int(sold);
        if !event.quantities.iter().any(has_room) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_event(row: &Row) -> Result<StoredEvent, LedgerError> {
    Ok(StoredEvent {
        event: parse(row, "event_id")?,
        revision: number(row, "revision")?,
        body: text(row, "body")?,
        slots: text(row, "slots")?,
        blocked: String::new(),
        quantities: Vec::new(),
    })
}
