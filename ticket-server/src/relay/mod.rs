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
//! ids. Every server passes over all rows: a message within a second matters more than one that is sent twice, which
//! changes nothing at the queue. What the queue refuses is kept by [`Letters`]. Whoever follows bookings as such is
//! told by [`Feed`].

mod feed;
mod inventory;
#[cfg(feature = "kafka")]
mod kafka;
mod letters;
mod redis_stream;
mod shown;
mod sink;
mod target;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use queue_core::{
    ids::{EventId, VisitorId},
    service::spans::{self, Kind},
    wire::{BookingDone, Message, Outcome as Booked},
};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "kafka")]
pub use self::kafka::Kafka;
pub use self::{
    feed::Feed,
    inventory::Inventories,
    letters::Letters,
    redis_stream::Stream,
    shown::ShownEntry,
    sink::{Position, Receiver, Sink, SinkError},
    target::{SendError, Target},
};
use crate::{
    ledger::{LedgerError, Message as Kept, OutboxRow},
    meters,
    model::{Command, Outcome},
    office::Office,
};

/// Names of all that messages are for.
pub const SINKS: [&str; 3] = [QUEUE, "redis", "kafka"];
/// The queue's.
const QUEUE: &str = "queue";

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
/// Messages that were refused are looked for this often.
const LETTERS_EVERY: Duration = Duration::from_millis(250);

const _: () = assert!(PASS_EVERY.as_millis() + PASS_GAP.as_millis() < 1_000, "a message goes out within a second");

/// The relay of one server.
pub struct Relay {
    office: Arc<Office>,
    target: Arc<Target>,
    letters: Letters,
}

/// How telling of one visitor ended.
enum Told {
    /// What may go has gone, or is kept for later.
    All,
    /// Ledger or queue were not there.
    Away,
}

impl Relay {
    /// Sends what the office has to say to that target.
    pub fn new(office: Arc<Office>, target: Arc<Target>, letters: Letters) -> Self {
        Self { office, target, letters }
    }

    /// Sends until told to stop, and then once more: what the last requests booked would otherwise wait for
    /// the next start.
    pub async fn run(self, stop: CancellationToken) {
        let mut letters = None::<Instant>;
        while !stop.is_cancelled() {
            let mut well = self.pass().await;
            if well && letters.is_none_or(|at| at.elapsed() >= LETTERS_EVERY) {
                well = self.letters.round(self.target.as_ref()).await;
                self.letters.show(QUEUE, None).await;
                letters = Some(Instant::now());
            }
            let pause = if well { PASS_GAP } else { BACK_OFF };
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
            let (rows, held) = match self.page(after).await {
                Ok(page) => page,
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
                if well.load(Ordering::Relaxed) && matches!(self.tell_all(rows, &held).await, Told::Away) {
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

    /// Rows that were not sent, and whose have to wait for one that was refused.
    async fn page(&self, after: i64) -> Result<(Vec<OutboxRow>, HashSet<VisitorId>), LedgerError> {
        let rows = self.office.ledger.unsent(after, PAGE_MAX).await?;
        let held = if rows.is_empty() { HashSet::new() } else { self.letters.held(QUEUE).await? };
        Ok((rows, held))
    }

    /// Tells what is to be told of one visitor, in order.
    async fn tell_all(&self, rows: Vec<OutboxRow>, held: &HashSet<VisitorId>) -> Told {
        let mut waits = rows.first().is_some_and(|row| held.contains(&row.visitor));
        for row in rows {
            match self.may_go(&row).await {
                Some(true) => {}
                Some(false) => continue,
                None => return Told::All,
            }
            let settled = if waits {
                self.letters.wait(QUEUE, kept(&row)).await
            } else {
                let telling = async { self.target.send(&message(&row)).await };
                let trace = row.traceparent.as_deref();
                match spans::resume(trace, Kind::Producer, "tell the queue", telling).await {
                    Ok(()) => {
                        self.arrived(&row);
                        Ok(())
                    }
                    Err(error) => {
                        tracing::warn!(event = %row.event, reservation = %row.reservation, %error, "the queue was not told of a booking");
                        metrics::counter!("usher_ticket_outbox_failures_total").increment(1);
                        let SendError::Refused(reason) = error else { return Told::Away };
                        meters::sink_failed(QUEUE, "refused");
                        // Order is kept for each visitor: the others of whoever has a refused message wait.
                        waits = true;
                        self.letters.refused(QUEUE, kept(&row), reason).await
                    }
                }
            };
            // What is kept for later is settled here, as what was sent.
            let marked = match settled {
                Ok(()) => self.office.ledger.mark_sent(&row.event, row.jti, row.id).await,
                Err(error) => Err(error),
            };
            if let Err(error) = marked {
                // It is sent again, which is harmless.
                tracing::warn!(%error, "a message that was settled could not be marked");
                return Told::Away;
            }
        }
        Told::All
    }

    fn arrived(&self, row: &OutboxRow) {
        let lag_ms = self.office.now().since(row.at);
        metrics::histogram!("usher_ticket_outbox_lag_seconds").record(lag_ms as f64 / 1000.0);
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
        outcome: Booked::Booked,
        reservation_id: Some(row.reservation.to_string()),
        at: row.at,
        traceparent: spans::recorded(),
    })
}

/// The message as it is kept when it cannot go now.
fn kept(row: &OutboxRow) -> Kept {
    Kept {
        id: format!("{}:done", row.reservation),
        place: u64::try_from(row.id).unwrap_or(0),
        event: row.event.clone(),
        visitor: row.visitor.clone(),
        reservation: row.reservation.clone(),
        body: serde_json::to_string(&message(row)).expect("a message is plain data"),
        traceparent: row.traceparent.clone(),
    }
}
