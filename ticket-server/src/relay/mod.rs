//! Tells the queue when a visitor is done, at least once and in order for each visitor.
//!
//! The outbox row is written with the booking, in the same transaction: it is the durable intention
//! to tell. Whether it may go is decided each time anew, in the store, in one step: the session has
//! a booking and its visitor holds nothing, and it is marked closed, which the taking of a hold
//! checks. Until then the row stays where it is. So a session that closes later than its booking,
//! because a second hold ended later, needs nobody to write a second row, and a crash between any
//! two steps leaves a row that the next pass finds: closing again is closing once, and the queue
//! takes a message twice.
//!
//! Passes are woken by a commit, by the end of a hold, and by a timer. Each pass reads every unsent
//! row, never only "those after the last", since transactions may commit in another order than their
//! ids.

mod inventory;
mod target;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use queue_core::{
    ids::{EventId, VisitorId},
    service::spans::{self, Kind},
    wire::{BookingDone, Message, Outcome as Told},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    inventory::Inventories,
    target::{SendError, Target},
};
use crate::{
    ledger::OutboxRow,
    model::{Command, Outcome},
    office::Office,
};

/// A pass begins at least this often.
const PASS_EVERY: Duration = Duration::from_millis(400);
/// Between two passes, so that a rush of wake-ups becomes few passes.
const PASS_GAP: Duration = Duration::from_millis(10);
/// After the queue did not take a message.
const BACK_OFF: Duration = Duration::from_millis(500);
/// Rows read in one call.
const PAGE_MAX: u32 = 512;
/// Visitors told of at the same time.
const VISITORS_AT_ONCE: usize = 32;

const _: () = assert!(PASS_EVERY.as_millis() + PASS_GAP.as_millis() < 1_000, "a message goes out within a second");

/// The relay of one server.
pub struct Relay {
    office: Arc<Office>,
    target: Arc<Target>,
}

impl Relay {
    /// Sends what the office has to say to that target.
    pub fn new(office: Arc<Office>, target: Arc<Target>) -> Self {
        Self { office, target }
    }

    /// Sends until told to stop, and then once more: what the last requests booked would otherwise wait for
    /// the next start.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = if self.pass().await { PASS_GAP } else { BACK_OFF };
            let woken = async {
                tokio::time::sleep(pause).await;
                tokio::select! {
                    () = self.office.outbox.notified() => {}
                    () = tokio::time::sleep(PASS_EVERY) => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
            }
        }
        self.pass().await;
    }

    /// Looks at every unsent row once. Whether the ledger and the queue were there.
    async fn pass(&self) -> bool {
        let well = AtomicBool::new(true);
        let mut after = 0;
        loop {
            let rows = match self.office.ledger.unsent(after, PAGE_MAX).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    return false;
                }
            };
            let Some(last) = rows.last() else { break };
            after = last.id;
            let full = rows.len() == PAGE_MAX as usize;
            let mut visitors: BTreeMap<(EventId, VisitorId), Vec<OutboxRow>> = BTreeMap::new();
            for row in rows {
                visitors.entry((row.event.clone(), row.visitor.clone())).or_default().push(row);
            }
            let tell = |rows: Vec<OutboxRow>| async {
                // When the queue is away, the rest of the pass would only say so again.
                if well.load(Ordering::Relaxed) && !self.tell_all(rows).await {
                    well.store(false, Ordering::Relaxed);
                }
            };
            stream::iter(visitors.into_values()).for_each_concurrent(VISITORS_AT_ONCE, tell).await;
            if !full || !well.load(Ordering::Relaxed) {
                break;
            }
        }
        well.into_inner()
    }

    /// What is to be told of one visitor, in order. Whether the ledger and the queue were there.
    async fn tell_all(&self, rows: Vec<OutboxRow>) -> bool {
        for row in rows {
            match self.may_go(&row).await {
                Some(true) => {}
                Some(false) => continue,
                None => return true,
            }
            let telling = async { self.target.send(&message(&row)).await };
            let trace = row.traceparent.as_deref();
            if let Err(error) = spans::resume(trace, Kind::Producer, "tell the queue", telling).await {
                tracing::warn!(event = %row.event, reservation = %row.reservation, %error, "the queue was not told of a booking");
                metrics::counter!("usher_ticket_outbox_failures_total").increment(1);
                // Order is kept for each visitor: whoever has a refused message waits, the others do not.
                return matches!(error, SendError::Refused(_));
            }
            let lag_ms = self.office.now().since(row.at);
            metrics::histogram!("usher_ticket_outbox_lag_seconds").record(lag_ms as f64 / 1000.0);
            if let Err(error) = self.office.ledger.mark_sent(&row.event, row.jti, row.id).await {
                // It is sent again, which is harmless.
                tracing::warn!(%error, "a sent message could not be marked");
                return false;
            }
        }
        true
    }

    /// Whether the session is closed, now or since before; `None` when the store cannot say.
    async fn may_go(&self, row: &OutboxRow) -> Option<bool> {
        let command = Command::Close { visitor: row.visitor.clone(), jti: row.jti };
        match self.office.engine.apply(&row.event, command).await {
            Ok(Outcome::Closed) => Some(true),
            Ok(Outcome::NotDone) => Some(false),
            _ => None,
        }
    }
}

fn message(row: &OutboxRow) -> Message {
    Message::BookingDone(BookingDone {
        event_id: row.event.clone(),
        visitor_id: row.visitor.clone(),
        jti: row.jti,
        outcome: Told::Booked,
        reservation_id: Some(row.reservation.to_string()),
        at: row.at,
        traceparent: spans::recorded(),
    })
}
