//! What the buyers' system is to be told, and what happened to reservations beside their orders and bookings.

use queue_core::ids::{EventId, Millis, VisitorId};

use super::{
    Ledger, LedgerError, Verdict,
    sql::{number, number_or_null, sql, text, text_or_null},
};
use crate::{ids::ReservationId, orders::OrderId};

/// A message to the buyers' system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its id: told twice, it is one.
    pub id: String,
    /// What is sent.
    pub body: String,
    /// How often it was tried.
    pub attempts: u64,
    /// The work of whoever ordered.
    pub traceparent: Option<String>,
}

/// How telling of an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing was to be told.
    Nothing,
    /// Not yet.
    Pending,
    /// It was told.
    Done,
    /// Nobody tries any more.
    Failed,
}

/// Something that happened to a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The reservation.
    pub reservation: ReservationId,
    /// Its event.
    pub event: EventId,
    /// Whose it is.
    pub visitor: VisitorId,
    /// What: `HELD`, `EXTENDED`, `CANCELLED`.
    pub kind: &'static str,
    /// When.
    pub at: Millis,
}

impl Ledger {
    /// Takes messages that are due: nobody else tries them until then. A message is told at least once, since
    /// whoever took it may end before it was told.
    pub async fn take_notifications(
        &self,
        now: Millis,
        until: Millis,
        limit: u32,
    ) -> Result<Vec<Notification>, LedgerError> {
        let query =
            sql("SELECT n.*, o.traceparent FROM notifications n LEFT JOIN orders o ON o.order_id = n.order_id \
                         WHERE n.due_at <= ? ORDER BY n.due_at LIMIT ?");
        let rows = self.fetch_all(query.bind(now).bind(limit)).await?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            let notification = Notification {
                id: text(&row, "notification_id")?,
                body: text(&row, "body")?,
                attempts: number(&row, "attempts")?,
                traceparent: text_or_null(&row, "traceparent")?,
            };
            let taking = self.change((notification.id.clone(), now, until), |(id, now, until), tx| {
                Box::pin(async move {
                    let query = sql("UPDATE notifications SET due_at = ?, attempts = attempts + 1 \
                                     WHERE notification_id = ? AND due_at <= ?");
                    Ok(Verdict::Keep(tx.execute(query.bind(*until).bind(id).bind(*now)).await? == 1))
                })
            });
            if taking.await? {
                taken.push(notification);
            }
        }
        Ok(taken)
    }

    /// A message was told, or is to be tried again then, or never.
    pub async fn settle_notification(
        &self,
        id: &str,
        sent_at: Option<Millis>,
        due_at: Option<Millis>,
    ) -> Result<(), LedgerError> {
        let settling = self.change((id.to_owned(), sent_at, due_at), |(id, sent_at, due_at), tx| {
            Box::pin(async move {
                let query = sql("UPDATE notifications SET sent_at = ?, due_at = ? WHERE notification_id = ?");
                tx.execute(query.bind(*sent_at).bind(*due_at).bind(id)).await?;
                Ok(Verdict::Keep(()))
            })
        });
        settling.await
    }

    /// How telling of an order goes.
    pub async fn told_of(&self, order: &OrderId) -> Result<Told, LedgerError> {
        let query = sql("SELECT * FROM notifications WHERE order_id = ? ORDER BY created_at LIMIT 1");
        let Some(row) = self.fetch_optional(query.bind(order.as_str())).await? else { return Ok(Told::Nothing) };
        Ok(match (number_or_null(&row, "sent_at")?, number_or_null(&row, "due_at")?) {
            (Some(_), _) => Told::Done,
            (None, Some(_)) => Told::Pending,
            (None, None) => Told::Failed,
        })
    }

    /// Keeps what happened to a reservation.
    pub async fn log_reservation(&self, happened: Happened) -> Result<(), LedgerError> {
        let logging = self.change(happened, |happened, tx| {
            Box::pin(async move {
                let Happened { reservation, event, visitor, kind, at } = happened;
                let query = sql("INSERT INTO reservation_log (entry_id, reservation_id, event_id, visitor_id, type, \
                                 at) VALUES ");
                let id = format!("{reservation}:{kind}:{}", at.0);
                let row = [id.into(), reservation.into(), event.into(), visitor.into(), (*kind).into(), (*at).into()];
                tx.insert_new(query.rows([row]), 1).await?;
                Ok(Verdict::Keep(()))
            })
        });
        logging.await
    }

    /// What was kept of a reservation, the oldest first.
    pub async fn reservation_log(&self, reservation: &ReservationId) -> Result<Vec<(String, Millis)>, LedgerError> {
        let query = sql("SELECT * FROM reservation_log WHERE reservation_id = ? ORDER BY at, entry_id LIMIT 512");
        let rows = self.fetch_all(query.bind(reservation)).await?;
        rows.iter().map(|row| Ok((text(row, "type")?, parse_at(row)?))).collect()
    }
}

fn parse_at(row: &super::sql::Row) -> Result<Millis, LedgerError> {
    number(row, "at").map(Millis)
}
