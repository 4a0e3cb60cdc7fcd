//! Orders in the ledger: beginning one under its idempotency key, writing down each move of its saga together with
//! what the move does, and handing sagas to whoever runs them.
//!
//! Every write of a saga names the revision it knows. Two runs of one order, after a lease ran out under a process
//! that stood still, cannot both go on.

use queue_core::ids::{Millis, VisitorId};

use super::{
    Booking, Decision, Ledger, LedgerError, Ordered, Tx, Verdict, balance, bookings, cancellations,
    sql::{Row, Sql, number, number_or_null, parse, sql, text, text_or_null},
};
use crate::{
    ids::ReservationId,
    orders::{Item, Kept, Key, Order, OrderId, Saga, Step},
};

/// Orders of one reservation, at most: each failed one leaves its hold for another try.
pub const ORDERS_PER_RESERVATION_MAX: u64 = 20;
/// Idempotency keys are kept so long.
pub const KEY_KEPT_MS: u64 = 24 * 3_600_000;

/// An order that is to begin.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The order, in its first stage.
    pub order: Order,
    /// Under which key.
    pub key: Key,
    /// Who runs it, and until when nobody else may.
    pub lease: Lease,
}

/// Who runs an order, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// A name that no other run has.
    pub owner: String,
    /// Until then.
    pub until: Millis,
}

/// What the key stands for already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The same request, answered.
    Answered(Kept),
    /// The same request, not answered yet.
    Running(OrderId),
    /// Another request.
    Reused,
}

/// Whether an order began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It did.
    New,
    /// The key was used before.
    Known(Known),
    /// Another order of the reservation is not settled.
    Busy(OrderId),
    /// The reservation had too many orders.
    TooMany,
    /// The reservation is decided already.
    Decided,
}

/// What a move does beside being written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It books.
    Book(Booking),
    /// It takes the booking back.
    Unbook(ReservationId),
    /// It adds the order's amount to its buyer's stored value.
    Credit,
}

/// A move of a saga.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The order as it is then; its revision is that of the move, one more than the one known.
    pub order: Order,
    /// What else happens.
    pub effect: Effect,
    /// The reservation is no longer taken by the order.
    pub closes: bool,
    /// What its buyer is told from now on.
    pub answer: Option<Kept>,
    /// What the buyers' system is told: id and body.
    pub notification: Option<(String, String)>,
    /// When somebody who does not run it is to look at it; nobody when it is done.
    pub next_at: Option<Millis>,
}

/// Whether a move was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was.
    Done,
    /// Somebody else has moved it: this run ends.
    Lost,
    /// The ledger does not book that.
    Refused(Decision),
    /// The reservation was decided before, as CONFIRMED or not.
    Decided(bool),
}

impl Ledger {
    /// What became of a request with that key.
    pub async fn known_key(&self, visitor: &VisitorId, key: &Key, now: Millis) -> Result<Option<Known>, LedgerError> {
        let row = self.fetch_optional(key_row(visitor, key)).await?;
        row.map(|row| read_key(&row, key, now)).transpose().map(Option::flatten)
    }

    /// Begins an order, unless its key or its reservation forbids.
    pub async fn begin_order(&self, beginning: Beginning) -> Result<Begun, LedgerError> {
        self.change(beginning, |beginning, tx| Box::pin(begin_in(tx, beginning))).await
    }

    /// Writes a move down, with what it does.
    pub async fn record(&self, moved: Moved) -> Result<Recorded, LedgerError> {
        self.change(moved, |moved, tx| Box::pin(record_in(tx, moved))).await
    }

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

async fn take_key(tx: &mut Tx, order: &Order, key: &Key) -> Result<Option<Known>, LedgerError> {
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
                     ticket_type_id, quantity, held_at, hold_end, method, total_minor, currency, stage, failure, \
                     cancelled, asked, deadline, rev, lease, lease_until, next_at, attempts, trace_id, created_at) \
                     VALUES ");
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
        order.created_at.into(),
    ];
    tx.execute(query.rows([row])).await.map(drop)
}

/// The steps from that revision on.
async fn insert_steps(tx: &mut Tx, order: &Order, from: u64) -> Result<(), LedgerError> {
    let steps = order.steps.iter().filter(|step| step.n >= from);
    let rows: Vec<_> = steps
        .map(|step| {
            let failure = step.failure.map(|failure| failure.name());
            [order.id.as_str().into(), step.n.into(), step.stage.name().into(), failure.into(), step.at.into()]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let query = sql("INSERT INTO order_steps (order_id, n, stage, failure, at) VALUES ").rows(rows);
    tx.execute(query).await.map(drop)
}

async fn record_in(tx: &mut Tx, moved: &Moved) -> Result<Verdict<Recorded>, LedgerError> {
    let Moved { order, effect, closes, answer, notification, next_at } = moved;
    let saga = &order.saga;
    let query = sql("UPDATE orders SET stage = ?, failure = ?, cancelled = ?, asked = ?, attempts = 0, next_at = ?, \
                     rev = ?");
    let query = query.bind(saga.stage.name()).bind(saga.failure.map(|failure| failure.name()));
    let query = query.bind(u64::from(saga.cancelled)).bind(u64::from(saga.asked)).bind(*next_at).bind(order.rev);
    // What is done needs nobody to run it: whoever begins something new with it need not wait.
    let query = query.push(if next_at.is_none() { ", lease_until = 0" } else { "" });
    let query = query.push(" WHERE order_id = ? AND rev = ?").bind(order.id.as_str()).bind(order.rev - 1);
    if tx.execute(query).await? == 0 {
        return Ok(Verdict::Undo(Recorded::Lost));
    }
    insert_steps(tx, order, order.rev).await?;
    if let Some(refused) = have_effect(tx, order, effect).await? {
        return Ok(Verdict::Undo(refused));
    }
    if *closes {
        let query = sql("DELETE FROM open_orders WHERE order_id = ?").bind(order.id.as_str());
        let reservation = order.item.as_ref().map(|item| &item.reservation);
        let query = match reservation {
            Some(reservation) => query.push(" AND reservation_id = ?").bind(reservation),
            None => query,
        };
        tx.execute(query).await?;
    }
    if let Some(answer) = answer {
        let query = sql("UPDATE order_keys SET status = ?, body = ? WHERE visitor_id = ? AND order_id = ?");
        let query = query.bind(u64::from(answer.status)).bind(&answer.body).bind(&order.visitor);
        tx.execute(query.bind(order.id.as_str())).await?;
    }
    if let Some((id, body)) = notification {
        let query = sql("INSERT INTO notifications (notification_id, order_id, body, created_at, due_at, attempts) \
                         VALUES ");
        let now = tx.now();
        let row = [id.into(), order.id.as_str().into(), body.into(), now.into(), Some(now).into(), 0_u64.into()];
        tx.execute(query.rows([row])).await?;
    }
    Ok(Verdict::Keep(Recorded::Done))
}

async fn have_effect(tx: &mut Tx, order: &Order, effect: &Effect) -> Result<Option<Recorded>, LedgerError> {
    match effect {
        Effect::None => {}
        Effect::Book(booking) => {
            // The saga has not booked it: who met a row here met somebody else's.
            let query = sql("SELECT state FROM bookings WHERE reservation_id = ?").bind(&booking.reservation);
            if let Some(row) = tx.fetch_optional(query).await? {
                return Ok(Some(Recorded::Decided(text(&row, "state")? == "CONFIRMED")));
            }
            match bookings::book_in(tx, booking).await? {
                Verdict::Keep(Decision::Confirmed(_)) => {}
                Verdict::Keep(Decision::Aborted) => return Ok(Some(Recorded::Decided(false))),
                Verdict::Keep(decision) | Verdict::Undo(decision) => return Ok(Some(Recorded::Refused(decision))),
            }
        }
        Effect::Unbook(reservation) => {
            if !cancellations::cancel_in(tx, reservation).await? {
                return Ok(Some(Recorded::Decided(false)));
            }
        }
        Effect::Credit => {
            let entry = format!("{}:charge", order.id);
            let (visitor, currency) = (order.visitor.as_str(), order.currency.as_str());
            balance::credit_in(tx, &entry, visitor, currency, order.total_minor, "CHARGE", order.id.as_str()).await?;
        }
    }
    Ok(None)
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

fn read_order(row: &Row) -> Result<Order, LedgerError> {
    let item = match text_or_null(row, "reservation_id")? {
        Some(_) => Some(Item {
            reservation: parse(row, "reservation_id")?,
            ordered: read_ordered(row)?,
            held_at: Millis(number(row, "held_at")?),
            hold_end: Millis(number(row, "hold_end")?),
        }),
        None => None,
    };
    let failure = match text_or_null(row, "failure")? {
        Some(_) => Some(parse(row, "failure")?),
        None => None,
    };
    Ok(Order {
        id: parse(row, "order_id")?,
        saga: Saga {
            kind: parse(row, "kind")?,
            stage: parse(row, "stage")?,
            failure,
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
        rev: number(row, "rev")?,
        attempts: number(row, "attempts")?,
        trace_id: text(row, "trace_id")?,
        created_at: Millis(number(row, "created_at")?),
        steps: Vec::new(),
    })
}

fn read_ordered(row: &Row) -> Result<Ordered, LedgerError> {
    bookings::read_ordered(row)
}

fn read_step(row: &Row) -> Result<Step, LedgerError> {
    let failure = match text_or_null(row, "failure")? {
        Some(_) => Some(parse(row, "failure")?),
        None => None,
    };
    Ok(Step { n: number(row, "n")?, stage: parse(row, "stage")?, failure, at: Millis(number(row, "at")?) })
}
