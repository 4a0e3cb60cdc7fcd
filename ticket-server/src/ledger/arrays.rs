//! Many new bookings in one statement of PostgreSQL: each column goes as one array, and bookings, seats, outbox
//! and feed are written from it together.
//!
//! When a batch is nothing but such bookings, the statement is also the transaction: it takes the writer's row first
//! and writes only if its number is new there, so that one trip to the database begins, writes and commits.

use std::borrow::Cow;

use super::{
    LedgerError, Ordered, Tx,
    bookings::names,
    change::Traced,
    sql::{Sql, int, sql},
};

/// Takes the number, if nobody has taken a later one: see [`super::writer`].
const MINE: &str = "mine AS (UPDATE writers SET batch = ? WHERE writer = ? AND batch < ? RETURNING batch), ";
const MADE: &str = "made AS MATERIALIZED (SELECT given.* FROM unnest(?::text[], ?::text[], ?::text[], ?::text[], \
     ?::text[], ?::text[], ?::bigint[], ?::text[], ?::bigint[], ?::text[], ?::bigint[], ?::bigint[], ?::bigint[], \
     ?::bigint[], ?::text[]) \
     AS given (reservation_id, event_id, visitor_id, jti, seats, ticket_type_id, quantity, tickets, total_minor, currency, \
     admitted_at, held_at, hold_end, decided_at, traceparent)";
/// Seats in one order, so that no two servers wait for each other.
const WRITTEN: &str = "), \
     seats_sold AS (INSERT INTO sold_seats (event_id, seat_id, reservation_id) \
     SELECT event_id, seat_id, reservation_id FROM made, unnest(string_to_array(seats, ' ')) AS seat_id \
     ORDER BY event_id COLLATE \"C\", seat_id COLLATE \"C\"), \
     told AS (INSERT INTO outbox (event_id, visitor_id, jti, reservation_id, at, traceparent) \
     SELECT event_id, visitor_id, jti, reservation_id, decided_at, traceparent FROM made), \
     fed AS (INSERT INTO feed (kind, reservation_id, at, traceparent) \
     SELECT 'COMPLETED', reservation_id, decided_at, traceparent FROM made), \
     booked AS (INSERT INTO bookings (reservation_id, event_id, visitor_id, jti, state, seats, ticket_type_id, quantity, \
     tickets, total_minor, currency, admitted_at, held_at, hold_end, decided_at) \
     SELECT reservation_id, event_id, visitor_id, jti, 'CONFIRMED', seats, ticket_type_id, quantity, tickets, \
     total_minor, currency, admitted_at, held_at, hold_end, decided_at FROM made) ";

/// Writes them in the transaction at hand, but for the tickets without seats, which are not counted here. One that
/// cannot be written as new is an error, and nothing is written then.
pub(super) async fn insert(tx: &mut Tx, bookings: &[Traced<'_>]) -> Result<(), LedgerError> {
    let query = sql("WITH ").push(MADE).push(WRITTEN).push("SELECT count(*) FROM made");
    tx.fetch_optional(columns(query, bookings)).await.map(drop)
}

/// Writes and commits them; only seats. `false` when that number of the writer's is not to be written any more: then
/// nothing was.
pub(super) async fn commit(
    tx: &mut Tx,
    bookings: &[Traced<'_>],
    writer: &str,
    number: u64,
) -> Result<bool, LedgerError> {
    let query = sql("WITH ").push(MINE).push(MADE).push(", mine").push(WRITTEN).push("SELECT batch FROM mine");
    let query = query.bind(number).bind(writer).bind(number);
    Ok(tx.fetch_optional(columns(query, bookings)).await?.is_some())
}

/// The columns of [`MADE`], one array each.
fn columns(query: Sql, bookings: &[Traced<'_>]) -> Sql {
    let mut columns: [String; COLUMNS] = Default::default();
    for &traced in bookings {
        for (column, cell) in columns.iter_mut().zip(cells(traced)) {
            column.push(if column.is_empty() { '{' } else { ',' });
            cell.write(column);
        }
    }
    columns.into_iter().fold(query, |query, column| query.bind(column + "}"))
}

const COLUMNS: usize = 15;

enum Cell<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Null,
}

impl Cell<'_> {
    fn write(self, column: &mut String) {
        match self {
            Self::Null => column.push_str("NULL"),
            Self::Number(number) => column.push_str(&int(number).to_string()),
            Self::Text(text) => {
                column.push('"');
                for part in text.split_inclusive(['"', '\\']) {
                    match part.strip_suffix(['"', '\\']) {
                        Some(plain) => column.extend([plain, "\\", &part[plain.len()..]]),
                        None => column.push_str(part),
                    }
                }
                column.push('"');
            }
        }
    }
}

fn cells<'a>((booking, trace): Traced<'a>) -> [Cell<'a>; COLUMNS] {
    let text = |text: &'a str| Cell::Text(text.into());
    let (seats, kind, quantity) = match &booking.ordered {
        Ordered::Seats(seats) => (Cell::Text(names(seats).into()), Cell::Null, Cell::Null),
        Ordered::Quantity { kind, quantity } => (Cell::Null, text(kind.as_str()), Cell::Number(*quantity)),
    };
    [
        text(booking.reservation.as_str()),
        text(booking.event.as_str()),
        text(booking.visitor.as_str()),
        Cell::Text(booking.jti.to_string().into()),
        seats,
        kind,
        quantity,
        booking.tickets.to_text().map_or(Cell::Null, |tickets| Cell::Text(tickets.into())),
        Cell::Number(booking.total_minor),
        text(&booking.currency),
        booking.admitted_at.map_or(Cell::Null, |at| Cell::Number(at.0)),
        booking.held_at.map_or(Cell::Null, |at| Cell::Number(at.0)),
        Cell::Number(booking.hold_end.0),
        Cell::Number(booking.at.0),
        trace.map_or(Cell::Null, text),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted() {
        let mut column = String::new();
        for cell in [Cell::Text(r#"a"b\c"#.into()), Cell::Number(7), Cell::Null, Cell::Text("".into())] {
            cell.write(&mut column);
        }
        assert_eq!(column, r#""a\"b\\c"7NULL"""#);
    }

    #[test]
    fn every_column_has_a_place() {
        assert_eq!(MADE.matches('?').count(), COLUMNS);
    }
}
