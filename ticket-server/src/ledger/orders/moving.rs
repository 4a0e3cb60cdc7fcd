//! Writing a move down, together with what it does.

use super::{Effect, Moved, Recorded, keys::answer_key};
use crate::{
    ledger::{Decision, Ledger, LedgerError, Tx, Verdict, balance, bookings, cancellations, sql::sql},
    orders::Order,
};

impl Ledger {
    /// Writes a move down, with what it does.
    pub async fn record(&self, moved: Moved) -> Result<Recorded, LedgerError> {
        self.change(moved, |moved, tx| Box::pin(record_in(tx, moved))).await
    }
}

/// The steps from that revision on.
pub(super) async fn insert_steps(tx: &mut Tx, order: &Order, from: u64) -> Result<(), LedgerError> {
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
    let Moved { order, effect, closes, key, notification, next_at } = moved;
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
    answer_key(tx, order, key).await?;
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
            match bookings::book_new_in(tx, booking).await? {
                Some(Verdict::Keep(Decision::Confirmed(_))) => {}
                Some(Verdict::Keep(decision) | Verdict::Undo(decision)) => {
                    return Ok(Some(Recorded::Refused(decision)));
                }
                // The saga has not booked it: the row is somebody else's, for which nobody is to pay here.
                None => return Ok(Some(Recorded::Decided(bookings::is_confirmed(tx, booking).await?))),
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
