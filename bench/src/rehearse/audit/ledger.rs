//! What the ledger keeps of the event, read with plain statements over a connection of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use queue_core::ids::EventId;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _};
use ticket_server::ledger::sql::{Row, number, number_or_null, text, text_or_null};

use super::facts::{Booking, Goods, KeptPayment, Ledger, Order};

/// Rows of one table that are read, at most.
const ROWS_MAX: usize = 1_000_000;

/// Everything, and the names of all seat indexes.
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub ledger: Ledger,
    pub slots: Vec<String>,
}

/// Reads the ledger at `url`, as the ticket servers have it.
pub async fn read(url: &str, event: &EventId) -> Result<Read> {
    sqlx::any::install_default_drivers();
    // The address may have a password.
    let connection =
        AnyConnection::connect(url).await.map_err(|_| anyhow::anyhow!("the ledger takes no connection"))?;
    let mut tables = Tables { connection, event: event.as_str() };
    let events = tables.of_event("events").await?;
    let slots = text(events.first().context("the ledger has no such event")?, "slots")?;
    let mut ledger = Ledger::default();
    tables.bookings(&mut ledger).await?;
    tables.orders(&mut ledger).await?;
    tables.money(&mut ledger).await?;
    tables.connection.close().await?;
    Ok(Read { ledger, slots: slots.split_ascii_whitespace().map(str::to_owned).collect() })
}

struct Tables<'e> {
    connection: AnyConnection,
    event: &'e str,
}

impl Tables<'_> {
    /// All rows of a table.
    async fn all(&mut self, table: &str) -> Result<Vec<Row>> {
        let limit = ROWS_MAX + 1;
        let statement = AssertSqlSafe(format!("SELECT * FROM {table} LIMIT {limit}")).into_sql_str();
        let rows = sqlx::query(statement).fetch_all(&mut self.connection).await;
        let rows = rows.with_context(|| format!("reading {table}"))?;
        ensure!(rows.len() <= ROWS_MAX, "{table} has more than {ROWS_MAX} rows");
        Ok(rows)
    }

    /// Those of the event. What the names of events do to a statement differs between databases, so they are compared
    /// here.
    async fn of_event(&mut self, table: &str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for row in self.all(table).await? {
            if text(&row, "event_id")? == self.event {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    async fn bookings(&mut self, ledger: &mut Ledger) -> Result<()> {
        for row in self.of_event("bookings").await? {
            let booking = Booking {
                visitor: text(&row, "visitor_id")?,
                jti: text(&row, "jti")?,
                confirmed: text(&row, "state")? == "CONFIRMED",
                goods: goods(&row)?,
                total_minor: number(&row, "total_minor")?,
                currency: text(&row, "currency")?,
            };
            ledger.bookings.insert(text(&row, "reservation_id")?, booking);
        }
        for row in self.of_event("sold_seats").await? {
            ledger.sold_seats.push((text(&row, "seat_id")?, text(&row, "reservation_id")?));
        }
        for row in self.of_event("sold_quantities").await? {
            let counts = (number(&row, "quantity")?, row.try_get("sold")?);
            ledger.sold_quantities.insert(text(&row, "ticket_type_id")?, counts);
        }
        for row in self.of_event("outbox").await? {
            if number_or_null(&row, "sent_at")?.is_none() {
                ledger.unsent.push((row.try_get("id")?, text(&row, "jti")?));
            }
        }
        for row in self.of_event("cancellations").await? {
            ledger.cancelled.insert(text(&row, "reservation_id")?);
        }
        Ok(())
    }

    async fn orders(&mut self, ledger: &mut Ledger) -> Result<()> {
        for row in self.all("orders").await? {
            let order = Order {
                kind: text(&row, "kind")?,
                visitor: text(&row, "visitor_id")?,
                reservation: text_or_null(&row, "reservation_id")?.unwrap_or_default(),
                method: text(&row, "method")?,
                total_minor: number(&row, "total_minor")?,
                currency: text(&row, "currency")?,
                stage: text(&row, "stage")?,
                failure: text_or_null(&row, "failure")?,
                cancelled: number(&row, "cancelled")? != 0,
                is_due: number_or_null(&row, "next_at")?.is_some(),
            };
            ledger.orders.insert(text(&row, "order_id")?, order);
        }
        for row in self.all("open_orders").await? {
            ledger.open_orders.push((text(&row, "reservation_id")?, text(&row, "order_id")?));
        }
        for row in self.all("order_keys").await? {
            ledger.keys.push((text(&row, "order_id")?, number_or_null(&row, "status")?));
        }
        Ok(())
    }

    async fn money(&mut self, ledger: &mut Ledger) -> Result<()> {
        for row in self.all("kept_payments").await? {
            let payment = KeptPayment {
                status: text(&row, "status")?,
                total_minor: number(&row, "total_minor")?,
                currency: text(&row, "currency")?,
            };
            ledger.kept_payments.insert(text(&row, "payment_id")?, payment);
        }
        let whose = |row: &Row| Ok::<_, anyhow::Error>((text(row, "visitor_id")?, text(row, "currency")?));
        for row in self.all("balances").await? {
            ledger.balances.insert(whose(&row)?, row.try_get("amount_minor")?);
        }
        let mut sums = BTreeMap::new();
        for row in self.all("balance_entries").await? {
            *sums.entry(whose(&row)?).or_insert(0) += row.try_get::<i64, _>("delta_minor")?;
        }
        ledger.balance_sums = sums;
        Ok(())
    }
}

fn goods(row: &Row) -> Result<Goods> {
    let seats = text_or_null(row, "seats")?.unwrap_or_default();
    let quantity = match (text_or_null(row, "ticket_type_id")?, number_or_null(row, "quantity")?) {
        (Some(kind), Some(quantity)) => Some((kind, quantity)),
        _ => None,
    };
    Ok(Goods { seats: seats.split_ascii_whitespace().map(str::to_owned).collect(), quantity })
}

#[cfg(test)]
mod tests {
    use queue_core::{
        ids::{Generation, Jti, Millis, Seq, VisitorId},
        service::testing_sql::{TestMariaDb, TestPostgres},
    };
    use sqlx::Executor as _;
    use ticket_server::{
        clock::Clock,
        ids::{ReservationId, SeatId, TicketTypeId},
        ledger::{self, Decision, LedgerUrl, Ordered, StoredEvent},
    };

    use super::*;

    fn event(name: &str) -> EventId {
        EventId::new(name).unwrap()
    }

    fn booking(event: &EventId, reservation: &str, ordered: Ordered) -> ledger::Booking {
        ledger::Booking {
            reservation: ReservationId::new(reservation).unwrap(),
            event: event.clone(),
            visitor: VisitorId::new("a_1").unwrap(),
            jti: Jti { generation: Generation(255), seq: Seq(7) },
            ordered,
            total_minor: 1_000,
            currency: "EUR".into(),
            held_at: None,
            admitted_at: None,
            tickets: ledger::Tickets::default(),
            hold_end: Millis(9),
            at: Millis(8),
        }
    }

    /// Fills a ledger by its own ways where there are any, by statements where that would take a whole server.
    async fn fill(url: &str) {
        let address: LedgerUrl = url.parse().unwrap();
        let ledger = ledger::Ledger::open(&address, Clock::Real).await.unwrap();
        let floor = TicketTypeId::new("floor").unwrap();
        for name in ["e", "E"] {
            let stored = StoredEvent {
                event: event(name),
                revision: 1,
                body: "{}".into(),
                slots: "A-1-1 A-1-2 ".into(),
                blocked: String::new(),
                quantities: vec![(floor.clone(), 5)],
            };
            ledger.put_event(stored).await.unwrap();
        }
        let seats = |name: &str| Ordered::Seats(vec![SeatId::new(name).unwrap()]);
        for (event_name, id, ordered) in [
            ("e", "r_1", seats("A-1-2")),
            ("e", "r_2", Ordered::Quantity { kind: floor.clone(), quantity: 2 }),
            ("E", "r_3", seats("A-1-2")),
            ("e", "r_4", seats("A-1-1")),
        ] {
            let booked = ledger.book(booking(&event(event_name), id, ordered)).await.unwrap();
            assert!(matches!(booked, Decision::Confirmed(_)), "{booked:?}");
        }
        assert!(ledger.cancel_booking(&ReservationId::new("r_4").unwrap()).await.unwrap());
        assert_eq!(ledger.fence(booking(&event("e"), "r_5", seats("A-1-1"))).await.unwrap(), Decision::Aborted);
        let mut connection = AnyConnection::connect(url).await.unwrap();
        let orders = "INSERT INTO orders (order_id, kind, event_id, visitor_id, jti, reservation_id, held_at, hold_end, \
                      method, total_minor, currency, stage, failure, cancelled, asked, deadline, rev, lease, \
                      lease_until, next_at, attempts, trace_id, created_at) VALUES \
                      ('o_1', 'ORDER', 'e', 'a_1', 'x', 'r_1', 1, 2, 'card', 1000, 'EUR', 'DONE', NULL, 0, 1, 0, 1, '', \
                      0, NULL, 0, '', 1), \
                      ('o_2', 'CHARGE', '', 'a_1', '', NULL, 1, 2, 'card', 500, 'EUR', 'VOID', 'DECLINED', 0, 1, 0, 1, \
                      '', 0, 77, 0, '', 1)";
        for statement in [
            orders,
            "INSERT INTO open_orders (reservation_id, order_id) VALUES ('r_1', 'o_1')",
            "INSERT INTO order_keys (visitor_id, key_hash, body_hash, order_id, status, body, created_at) VALUES \
             ('a_1', 'k', 'b', 'o_1', 201, '{}', 1), ('a_1', 'l', 'b', 'o_2', NULL, NULL, 1)",
            "INSERT INTO kept_payments (payment_id, provider, status, total_minor, currency, visitor_id, at) VALUES \
             ('o_1', 'simulated', 'CAPTURED', 1000, 'EUR', 'a_1', 1)",
            "INSERT INTO balances (visitor_id, currency, amount_minor) VALUES ('a_1', 'EUR', 30)",
            "INSERT INTO balance_entries (entry_id, visitor_id, currency, delta_minor, reason, order_id, at) VALUES \
             ('1', 'a_1', 'EUR', 50, 'CHARGE', 'o_2', 1), ('2', 'a_1', 'EUR', -20, 'PAY', 'o_3', 2)",
        ] {
            connection.execute(statement).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    async fn is_read(url: &str) {
        fill(url).await;
        let Read { ledger, slots } = read(url, &event("e")).await.unwrap();
        assert_eq!(slots, ["A-1-1", "A-1-2"]);
        let confirmed: Vec<_> = ledger.bookings.iter().map(|(id, booking)| (id.as_str(), booking.confirmed)).collect();
        assert_eq!(confirmed, [("r_1", true), ("r_2", true), ("r_4", false), ("r_5", false)]);
        let one = &ledger.bookings["r_1"];
        assert_eq!(one.goods, Goods { seats: ["A-1-2".to_owned()].into(), quantity: None });
        assert_eq!((one.visitor.as_str(), one.jti.as_str(), one.total_minor), ("a_1", "00000000000000ff.7", 1_000));
        assert_eq!(ledger.bookings["r_2"].goods.quantity, Some(("floor".to_owned(), 2)));
        assert_eq!(ledger.sold_seats, [("A-1-2".to_owned(), "r_1".to_owned())]);
        assert_eq!(ledger.sold_quantities, BTreeMap::from([("floor".to_owned(), (5, 2))]));
        assert_eq!(ledger.cancelled, ["r_4".to_owned()].into());
        assert_eq!(ledger.unsent.len(), 2, "{:?}", ledger.unsent);
        assert_eq!(ledger.orders.len(), 2);
        let (order, charge) = (&ledger.orders["o_1"], &ledger.orders["o_2"]);
        assert!(!order.is_due && order.failure.is_none() && order.reservation == "r_1");
        assert!(charge.is_due && charge.failure.as_deref() == Some("DECLINED") && charge.reservation.is_empty());
        assert_eq!(ledger.open_orders, [("r_1".to_owned(), "o_1".to_owned())]);
        let mut keys = ledger.keys;
        keys.sort();
        assert_eq!(keys, [("o_1".to_owned(), Some(201)), ("o_2".to_owned(), None)]);
        assert_eq!(ledger.kept_payments["o_1"].status, "CAPTURED");
        let whose = ("a_1".to_owned(), "EUR".to_owned());
        assert_eq!((ledger.balances[&whose], ledger.balance_sums[&whose]), (30, 30));
        assert!(read(url, &event("f")).await.is_err());
    }

    #[tokio::test]
    async fn a_ledger_on_sqlite_is_read() {
        let folder = tempfile::tempdir().unwrap();
        is_read(&format!("sqlite:{}", folder.path().join("ledger.db").display())).await;
    }

    #[tokio::test]
    async fn a_ledger_on_postgresql_is_read() {
        let server = tokio::task::spawn_blocking(TestPostgres::start).await.unwrap();
        is_read(&server.create_database("tickets")).await;
    }

    #[tokio::test]
    async fn a_ledger_on_mariadb_is_read() {
        let server = tokio::task::spawn_blocking(TestMariaDb::start).await.unwrap();
        is_read(&server.create_database("tickets")).await;
    }
}
