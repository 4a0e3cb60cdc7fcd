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

    /// The names of all events.
    pub async fn event_ids(&self) -> Result<Vec<EventId>, LedgerError> {
        let rows = self.fetch_all(sql("SELECT event_id FROM events ORDER BY event_id")).await?;
        rows.iter().map(|row| parse(row, "event_id")).collect()
    }

    /// One event.
    pub async fn event(&self, event: &EventId) -> Result<Option<StoredEvent>, LedgerError> {
        let query = sql("SELECT event_id, revision, body, slots FROM events WHERE event_id = ?").bind(event);
        self.fetch_optional(query).await?.as_ref().map(read_event).transpose()
    }
}

/// Has the seats that are taken out of an event, so that nobody can book them: a hold that the store has forgotten may
/// be on its way here still.
const TAKEN_OUT: &str = "-";
/// Seats in one statement, at most.
const SEATS_AT_ONCE: usize = 2_000;

/// The inner error is the answer, the outer one the database's.
async fn put_event_in(tx: &mut Tx, event: &StoredEvent) -> Result<Verdict<Result<(), LedgerError>>, LedgerError> {
    if takes_what_is_sold(tx, event).await? || !take_out(tx, event).await? {
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
    let query = sql("SELECT seat_id FROM sold_seats WHERE event_id = ? AND reservation_id <> ?").bind(&event.event);
    for row in tx.fetch_all(query.bind(TAKEN_OUT)).await? {
        if !live.contains(text(&row, "seat_id")?.as_str()) {
            return Ok(true);
        }
    }
    // Whoever books waits until the event is as it will be.
    let query =
        sql("SELECT ticket_type_id, sold FROM sold_quantities WHERE event_id = ?").push(tx.dialect().for_update());
    for row in tx.fetch_all(query.bind(&event.event)).await? {
        let (kind, sold) = (text(&row, "ticket_type_id")?, number(&row, "sold")?);
        if sold == 0 {
            continue;
        }
        let has_room =
            |(other, quantity): &(crate::ids::TicketTypeId, u64)| other.as_str() == kind && int(*quantity) >= int(sold);
        if !event.quantities.iter().any(has_room) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the seats out that are to be, and puts those back that are not. Whether nobody has booked one meanwhile.
async fn take_out(tx: &mut Tx, event: &StoredEvent) -> Result<bool, LedgerError> {
    let query = sql("SELECT seat_id FROM sold_seats WHERE event_id = ? AND reservation_id = ?").bind(&event.event);
    let rows = tx.fetch_all(query.bind(TAKEN_OUT)).await?;
    let out: HashSet<String> = rows.iter().map(|row| text(row, "seat_id")).collect::<Result<_, _>>()?;
    let wanted: HashSet<&str> = event.blocked.split_ascii_whitespace().collect();
    let back: Vec<_> = out.iter().filter(|seat| !wanted.contains(seat.as_str())).collect();
    for seats in back.chunks(SEATS_AT_ONCE) {
        let query = sql("DELETE FROM sold_seats WHERE event_id = ? AND reservation_id = ? AND seat_id IN (");
        let query = query.bind(&event.event).bind(TAKEN_OUT).list(seats.iter().map(|seat| seat.as_str().into()));
        tx.execute(query.push(")")).await?;
    }
    // In one order, so that no two servers wait for each other.
    let mut more: Vec<_> = wanted.into_iter().filter(|seat| !out.contains(*seat)).collect();
    more.sort_unstable();
    for seats in more.chunks(SEATS_AT_ONCE) {
        let query = sql("INSERT INTO sold_seats (event_id, seat_id, reservation_id) VALUES ");
        let query = query.rows(seats.iter().map(|&seat| [(&event.event).into(), seat.into(), TAKEN_OUT.into()]));
        if !tx.insert_new(query, seats.len()).await? {
            return Ok(false);
        }
    }
    Ok(true)
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
