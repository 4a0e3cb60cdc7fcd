//! Reading orders with their steps.

use queue_core::ids::Millis;

use super::ORDERS_PER_RESERVATION_MAX;
use crate::{
    ids::ReservationId,
    ledger::{
        Ledger, LedgerError, bookings,
        sql::{Row, number, number_or_null, parse, parse_or_null, sql, text, text_or_null},
    },
    orders::{Item, Order, OrderId, Saga, Step},
};

impl Ledger {
    /// One order with its steps.
    pub async fn order(&self, order: &OrderId) -> Result<Option<Order>, LedgerError> {
        let query = sql("SELECT * FROM orders WHERE order_id = ?").bind(order.as_str());
        let Some(row) = self.fetch_optional(query).await? else { return Ok(None) };
        let mut order = read_order(&row)?;
        let query = sql("SELECT * FROM order_steps WHERE order_id = ? ORDER BY n").bind(order.id.as_str());
        order.steps = self.fetch_all(query).await?.iter().map(read_step).collect::<Result<_, _>>()?;
        Ok(Some(order))
    }

    /// The orders of a reservation, the oldest first.
    pub async fn orders_of(&self, reservation: &ReservationId) -> Result<Vec<Order>, LedgerError> {
        let query = sql("SELECT order_id FROM orders WHERE reservation_id = ? ORDER BY created_at LIMIT ?");
        let rows = self.fetch_all(query.bind(reservation).bind(ORDERS_PER_RESERVATION_MAX)).await?;
        let mut orders = Vec::with_capacity(rows.len());
        for row in rows {
            orders.extend(self.order(&parse(&row, "order_id")?).await?);
        }
        Ok(orders)
    }

    /// Whether an order of the reservation is not settled.
    pub async fn has_open_order(&self, reservation: &ReservationId) -> Result<bool, LedgerError> {
        let query = sql("SELECT order_id FROM open_orders WHERE reservation_id = ?").bind(reservation);
        Ok(self.fetch_optional(query).await?.is_some())
    }
}

fn read_order(row: &Row) -> Result<Order, LedgerError> {
    let item = match text_or_null(row, "reservation_id")? {
        Some(_) => Some(Item {
            reservation: parse(row, "reservation_id")?,
            ordered: bookings::read_ordered(row)?,
            tickets: parse_or_null(row, "tickets")?.unwrap_or_default(),
            held_at: Millis(number(row, "held_at")?),
            hold_end: Millis(number(row, "hold_end")?),
        }),
        None => None,
    };
    Ok(Order {
        id: parse(row, "order_id")?,
        saga: Saga {
            kind: parse(row, "kind")?,
            stage: parse(row, "stage")?,
            failure: parse_or_null(row, "failure")?,
            cancelled: number(row, "cancelled")? == 1,
            asked: number(row, "asked")? == 1,
            deadline: Millis(number(row, "deadline")?),
        },
        event: parse(row, "event_id")?,
        visitor: parse(row, "visitor_id")?,
        jti: parse(row, "jti")?,
        item,
        method: parse(row, "method")?,
        total_minor: number(row, "total_minor")?,
        currency: text(row, "currency")?,
        admitted_at: number_or_null(row, "admitted_at")?.map(Millis),
        rev: number(row, "rev")?,
        attempts: number(row, "attempts")?,
        trace_id: text(row, "trace_id")?,
        traceparent: text_or_null(row, "traceparent")?,
        created_at: Millis(number(row, "created_at")?),
        steps: Vec::new(),
    })
}

fn read_step(row: &Row) -> Result<Step, LedgerError> {
    Ok(Step {
        n: number(row, "n")?,
        stage: parse(row, "stage")?,
        failure: parse_or_null(row, "failure")?,
        at: Millis(number(row, "at")?),
    })
}
