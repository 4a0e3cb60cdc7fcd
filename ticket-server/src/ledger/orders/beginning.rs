//! Beginning an order.

use queue_core::ids::Millis;

use super::{Beginning, Begun, Lease, ORDERS_PER_RESERVATION_MAX, keys::take_key, moving::insert_steps};
use crate::{
    ids::ReservationId,
    ledger::{
        Ledger, LedgerError, Tx, Verdict, bookings,
        sql::{number, parse, sql},
    },
    orders::{Order, OrderId},
};

impl Ledger {
    /// Begins an order, unless its key or its reservation forbids.
    pub async fn begin_order(&self, beginning: Beginning) -> Result<Begun, LedgerError> {
        self.change(beginning, |beginning, tx| Box::pin(begin_in(tx, beginning))).await
    }
}

async fn begin_in(tx: &mut Tx, beginning: &Beginning) -> Result<Verdict<Begun>, LedgerError> {
    let Beginning { order, key, lease } = beginning;
    if let Some(known) = take_key(tx, order, key).await? {
        return Ok(Verdict::Undo(Begun::Known(known)));
    }
    if let Some(item) = &order.item
        && let Some(refused) = take_reservation(tx, &item.reservation, &order.id).await?
    {
        return Ok(Verdict::Undo(refused));
    }
    insert_order(tx, order, lease).await?;
    insert_steps(tx, order, 0).await?;
    Ok(Verdict::Keep(Begun::New))
}

/// Why a reservation can have no new order.
async fn take_reservation(
    tx: &mut Tx,
    reservation: &ReservationId,
    order: &OrderId,
) -> Result<Option<Begun>, LedgerError> {
    let query = sql("INSERT INTO open_orders (reservation_id, order_id) VALUES ");
    if !tx.insert_new(query.rows([[reservation.into(), order.as_str().into()]]), 1).await? {
        let query = sql("SELECT order_id FROM open_orders WHERE reservation_id = ?").bind(reservation);
        let row = tx.fetch_optional(query).await?;
        let row = row.ok_or_else(|| LedgerError::Unavailable("an order was settled at that moment".into()))?;
        return Ok(Some(Begun::Busy(parse(&row, "order_id")?)));
    }
    let query = sql("SELECT state FROM bookings WHERE reservation_id = ?").bind(reservation);
    if tx.fetch_optional(query).await?.is_some() {
        return Ok(Some(Begun::Decided));
    }
    let query = sql("SELECT COUNT(*) AS n FROM orders WHERE reservation_id = ?").bind(reservation);
    let many = match tx.fetch_optional(query).await? {
        Some(row) => number(&row, "n")? >= ORDERS_PER_RESERVATION_MAX,
        None => false,
    };
    Ok(many.then_some(Begun::TooMany))
}

async fn insert_order(tx: &mut Tx, order: &Order, lease: &Lease) -> Result<(), LedgerError> {
    let query = sql("INSERT INTO orders (order_id, kind, event_id, visitor_id, jti, reservation_id, seats, \
                     ticket_type_id, quantity, tickets, admitted_at, held_at, hold_end, method, total_minor, currency, stage, failure, \
                     cancelled, asked, deadline, rev, lease, lease_until, next_at, attempts, trace_id, traceparent, \
                     created_at) VALUES ");
    let (seats, kind, quantity) = match order.item.as_ref().map(|item| &item.ordered) {
        Some(ordered) => bookings::columns(ordered),
        None => (None, None, None),
    };
    let item = order.item.as_ref();
    let row = [
        order.id.as_str().into(),
        order.saga.kind.name().into(),
        (&order.event).into(),
        (&order.visitor).into(),
        order.jti.into(),
        item.map(|item| item.reservation.as_str()).into(),
        seats.into(),
        kind.into(),
        quantity.into(),
        item.and_then(|item| item.tickets.to_text()).into(),
        order.admitted_at.into(),
        item.map_or(Millis(0), |item| item.held_at).into(),
        item.map_or(Millis(0), |item| item.hold_end).into(),
        order.method.name().into(),
        order.total_minor.into(),
        order.currency.as_str().into(),
        order.saga.stage.name().into(),
        order.saga.failure.map(|failure| failure.name()).into(),
        u64::from(order.saga.cancelled).into(),
        u64::from(order.saga.asked).into(),
        order.saga.deadline.into(),
        order.rev.into(),
        lease.owner.as_str().into(),
        lease.until.into(),
        Some(order.created_at).into(),
        0_u64.into(),
        order.trace_id.as_str().into(),
        order.traceparent.as_deref().into(),
        order.created_at.into(),
    ];
    tx.execute(query.rows([row])).await.map(drop)
}
