//! Many new bookings in a few statements: what makes a rush of confirmations fast.
//!
//! The rows go as one text of JSON, which the databases can read as a table: a statement is the same however many
//! there are, so that it is prepared once. PostgreSQL has something better ([`arrays`]).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{
    Booking, LedgerError, Ordered, Tx, arrays,
    bookings::names,
    change::Traced,
    dialect::Dialect,
    feed::FeedKind,
    sql::{int, sql},
};

/// A column of such a table.
#[derive(Clone, Copy)]
enum Column {
    Text(&'static str),
    Int(&'static str),
}
use Column::{Int, Text};

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Text(name) | Int(name) => name,
        }
    }
}

const BOOKINGS: &[Column] = &[
    Text("reservation_id"),
    Text("event_id"),
    Text("visitor_id"),
    Text("jti"),
    Text("state"),
    Text("seats"),
    Text("ticket_type_id"),
    Int("quantity"),
    Text("tickets"),
    Int("total_minor"),
    Text("currency"),
    Int("admitted_at"),
    Int("held_at"),
    Int("hold_end"),
    Int("decided_at"),
];
const SOLD_SEATS: &[Column] = &[Text("event_id"), Text("seat_id"), Text("reservation_id")];
const OUTBOX: &[Column] =
    &[Text("event_id"), Text("visitor_id"), Text("jti"), Text("reservation_id"), Int("at"), Text("traceparent")];
const FEED: &[Column] = &[Text("kind"), Text("reservation_id"), Int("at"), Text("traceparent")];

/// Books all of them; `false` when any cannot be booked as new, and then everything has to be undone.
pub(super) async fn book_all(tx: &mut Tx, traced: &[Traced<'_>]) -> Result<bool, LedgerError> {
    let bookings: Vec<&Booking> = traced.iter().map(|(booking, _)| *booking).collect();
    tx.fed = true;
    match tx.dialect() {
        Dialect::Postgres => arrays::insert(tx, traced).await?,
        Dialect::Sqlite | Dialect::MySql => {
            if !insert_all(tx, traced, &bookings).await? {
                return Ok(false);
            }
        }
    }
    // In one order, so that no two servers wait for each other.
    for ((event, kind), quantity) in quantities(&bookings) {
        let query = sql("UPDATE sold_quantities SET sold = sold + ? \
                         WHERE event_id = ? AND ticket_type_id = ? AND sold + ? <= quantity");
        if tx.execute(query.bind(quantity).bind(event).bind(kind).bind(quantity)).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One table after the other.
async fn insert_all(tx: &mut Tx, traced: &[Traced<'_>], bookings: &[&Booking]) -> Result<bool, LedgerError> {
    let rows: Vec<Json> = bookings.iter().map(|booking| row(booking)).collect();
    if !insert(tx, "bookings", BOOKINGS, &rows).await? {
        return Ok(false);
    }
    let mut seats: Vec<Json> = bookings.iter().flat_map(|booking| seats_of(booking)).collect();
    // In one order, so that no two servers wait for each other.
    seats.sort_by(|a, b| {
        (a["event_id"].as_str(), a["seat_id"].as_str()).cmp(&(b["event_id"].as_str(), b["seat_id"].as_str()))
    });
    if !seats.is_empty() && !insert(tx, "sold_seats", SOLD_SEATS, &seats).await? {
        return Ok(false);
    }
    let messages: Vec<Json> = traced.iter().map(|&traced| message(traced)).collect();
    Ok(insert(tx, "outbox", OUTBOX, &messages).await? && insert(tx, "feed", FEED, &messages).await?)
}

async fn insert(tx: &mut Tx, table: &str, columns: &[Column], rows: &[Json]) -> Result<bool, LedgerError> {
    let text = statement(tx.dialect(), table, columns);
    let values = serde_json::to_string(rows).map_err(|error| LedgerError::Broken(error.to_string()))?;
    tx.insert_new(sql("").push(&text).bind(values), rows.len()).await
}

fn statement(dialect: Dialect, table: &str, columns: &[Column]) -> String {
    let list =
        |each: &dyn Fn(Column) -> String| columns.iter().map(|&column| each(column)).collect::<Vec<_>>().join(", ");
    let names = list(&|column| column.name().to_owned());
    let from = match dialect {
        Dialect::MySql => {
            let types = list(&|column| match column {
                Text(name) => format!("{name} LONGTEXT PATH '$.{name}'"),
                Int(name) => format!("{name} BIGINT PATH '$.{name}'"),
            });
            format!("SELECT {names} FROM JSON_TABLE(?, '$[*]' COLUMNS ({types})) AS made")
        }
        // The condition keeps what follows from being read as the condition of a join.
        _ => {
            let values = list(&|column| format!("value ->> '{}'", column.name()));
            format!("SELECT {values} FROM json_each(?) WHERE true")
        }
    };
    format!("INSERT INTO {table} ({names}) {from}")
}

/// What is not there is left out.
fn row(booking: &Booking) -> Json {
    let mut row = Map::new();
    let mut put = |name: &str, value: Json| drop(row.insert(name.to_owned(), value));
    put("reservation_id", booking.reservation.as_str().into());
    put("event_id", booking.event.as_str().into());
    put("visitor_id", booking.visitor.as_str().into());
    put("jti", booking.jti.to_string().into());
    put("state", "CONFIRMED".into());
    match &booking.ordered {
        Ordered::Seats(seats) => put("seats", names(seats).into()),
        Ordered::Quantity { kind, quantity } => {
            put("ticket_type_id", kind.as_str().into());
            put("quantity", int(*quantity).into());
        }
    }
    if let Some(tickets) = booking.tickets.to_text() {
        put("tickets", tickets.into());
    }
    put("total_minor", int(booking.total_minor).into());
    put("currency", booking.currency.as_str().into());
    if let Some(admitted) = booking.admitted_at {
        put("admitted_at", int(admitted.0).into());
    }
    if let Some(held) = booking.held_at {
        put("held_at", int(held.0).into());
    }
    put("hold_end", int(booking.hold_end.0).into());
    put("decided_at", int(booking.at.0).into());
    Json::Object(row)
}

fn seats_of(booking: &Booking) -> Vec<Json> {
    let Ordered::Seats(seats) = &booking.ordered else { return Vec::new() };
    let (event, reservation) = (booking.event.as_str(), booking.reservation.as_str());
    let row =
        |seat: &crate::ids::SeatId| json!({"event_id": event, "seat_id": seat.as_str(), "reservation_id": reservation});
    seats.iter().map(row).collect()
}

/// A row of the outbox, and of the feed.
fn message((booking, trace): Traced<'_>) -> Json {
    let mut row = json!({
        "event_id": booking.event.as_str(),
        "visitor_id": booking.visitor.as_str(),
        "jti": booking.jti.to_string(),
        "reservation_id": booking.reservation.as_str(),
        "at": int(booking.at.0),
        "kind": FeedKind::Completed.name(),
    });
    // What is not there is left out: databases differ in what they make of a JSON null.
    if let Some(trace) = trace {
        row["traceparent"] = trace.into();
    }
    row
}

/// How many of each type, in the order of event and type.
fn quantities<'a>(bookings: &[&'a Booking]) -> BTreeMap<(&'a str, &'a str), u64> {
    let mut sums = BTreeMap::new();
    for booking in bookings {
        if let Ordered::Quantity { kind, quantity } = &booking.ordered {
            *sums.entry((booking.event.as_str(), kind.as_str())).or_insert(0) += quantity;
        }
    }
    sums
}
