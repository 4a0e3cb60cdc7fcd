//! Group commit: changes gather while the previous transaction is committed, and go as one.
//!
//! A batch is first written as if nothing in it were refused. If something is, all is undone and written again
//! with a savepoint for each change, so that one that is refused leaves its neighbours alone. Nobody is answered
//! before the commit. No timer: when nothing waits, nothing is delayed.
//!
//! When another transaction was in the way, or the connection was lost before the commit, nothing was written and
//! the batch is written again. When the answer to the commit was lost, a row of the writer's own tells: every
//! transaction leaves its number there, and reading it waits for one that may still be under way.

use std::time::Duration;

use queue_core::ids::Millis;
use sqlx::any::AnyConnectOptions;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    LedgerError, WRITE_BATCH_MAX, WRITE_TIMEOUT_MS, batch::book_all, change::Job, dialect::Dialect, sql::sql, tx::Tx,
};
use crate::clock::Clock;

/// A batch is given up after so long, before those who wait for it give up themselves.
const BATCH_TIMEOUT: Duration = Duration::from_millis(WRITE_TIMEOUT_MS - 500);
/// A new connection may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts to connect: at first, and at most.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// After another transaction was in the way, times the number of the attempt.
const CONTENDED_PAUSE: Duration = Duration::from_millis(5);
/// Attempts at one batch, at most.
const ATTEMPTS_MAX: u32 = 20;
/// A connection is replaced after so long, by which its row is renewed.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Rows of writers that were not renewed for so long belong to processes that are gone.
const WRITER_KEPT_MS: u64 = 30 * 86_400_000;

pub(super) type Batch = Vec<Box<dyn Job>>;

/// Owns the one connection that writes.
pub(super) struct Writer {
    options: AnyConnectOptions,
    dialect: Dialect,
    clock: Clock,
    /// Names this writer among those of all servers.
    name: String,
    /// The number of the last transaction.
    number: u64,
    open: Option<(Tx, Instant)>,
    /// How long to wait before the next attempt to connect, and not before when.
    pause: Duration,
    connect_at: Instant,
}

/// How an attempt at a batch ended.
enum Attempt {
    Committed,
    /// Something in it was refused: savepoints are needed. All is undone.
    Refused,
    /// The answer to the commit was lost.
    Unknown(LedgerError),
    /// Nothing was written.
    Failed(LedgerError),
}

impl Writer {
    pub(super) fn new(options: AnyConnectOptions, dialect: Dialect, clock: Clock) -> Self {
        let name = format!("{:016x}", queue_core::service::trace::random_u64());
        Self {
            options,
            dialect,
            clock,
            name,
            number: 0,
            open: None,
            pause: RECONNECT_PAUSE,
            connect_at: Instant::now(),
        }
    }

    /// Writes until nobody can ask any more.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut batch = Vec::with_capacity(WRITE_BATCH_MAX);
        while jobs.recv_many(&mut batch, WRITE_BATCH_MAX).await > 0 {
            // Who has given up was told that nobody knows; it is better not to be done than to be done late.
            batch.retain(|job| !job.is_abandoned());
            if batch.is_empty() {
                continue;
            }
            metrics::histogram!("usher_ticket_ledger_batch_size").record(batch.len() as f64);
            let result = self.write(&mut batch).await;
            match result {
                Ok(()) => batch.drain(..).for_each(Job::tell),
                Err(error) => {
                    tracing::warn!(%error, "the ledger did not take a batch");
                    batch.drain(..).for_each(|job| job.fail(error.clone()));
                }
            }
        }
        self.leave().await;
    }

    /// Until it is written, or it is certain that it is not, or time is up.
    async fn write(&mut self, batch: &mut Batch) -> Result<(), LedgerError> {
        let deadline = Instant::now() + BATCH_TIMEOUT;
        let mut careful = false;
        let mut last = LedgerError::Unavailable("no attempt".into());
        for attempt in 1..=ATTEMPTS_MAX {
            match self.attempt(batch, careful, deadline).await {
                Attempt::Committed => return Ok(()),
                Attempt::Refused => careful = true,
                Attempt::Unknown(error) => match self.resolve(deadline).await {
                    Some(true) => return Ok(()),
                    Some(false) => last = error,
                    None => return Err(LedgerError::Unknown(error.to_string())),
                },
                Attempt::Failed(error) => last = error,
            }
            let pause = match &last {
                LedgerError::Contended(_) => CONTENDED_PAUSE * attempt,
                LedgerError::Broken(_) => break,
                _ => Duration::ZERO,
            };
            if self.is_away() || Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
        }
        Err(match last {
            LedgerError::Contended(reason) => LedgerError::Unavailable(reason),
            error => error,
        })
    }

    /// The connection is kept only when it is known to be in no transaction.
    async fn attempt(&mut self, batch: &mut Batch, careful: bool, deadline: Instant) -> Attempt {
        let (mut tx, since) = match self.connect(deadline).await {
            Ok(open) => open,
            Err(error) => return Attempt::Failed(error),
        };
        let late = || LedgerError::Unavailable("the ledger said nothing in time".into());
        self.number += 1;
        let written = timeout_at(deadline, write_all(&mut tx, batch, careful, self.clock.now())).await;
        let failed = match written.unwrap_or_else(|_| Err(late())) {
            Ok(true) => None,
            Ok(false) => Some(Attempt::Refused),
            Err(error @ LedgerError::Contended(_)) => Some(Attempt::Failed(error)),
            // Dropping the connection undoes what it had begun.
            Err(error) => return Attempt::Failed(error),
        };
        if let Some(failed) = failed {
            if timeout_at(deadline, tx.raw("ROLLBACK")).await.is_ok_and(|done| done.is_ok()) {
                self.open = Some((tx, since));
            }
            return failed;
        }
        let commit = format!("UPDATE writers SET batch = {} WHERE writer = '{}'; COMMIT", self.number, self.name);
        match timeout_at(deadline, tx.raw(commit)).await {
            Ok(Ok(())) => {
                self.open = Some((tx, since));
                Attempt::Committed
            }
            Ok(Err(error)) => Attempt::Unknown(LedgerError::from_sqlx(error)),
            Err(_) => Attempt::Unknown(late()),
        }
    }

    /// Whether the last transaction was committed, as far as can be found out in time.
    async fn resolve(&mut self, deadline: Instant) -> Option<bool> {
        while Instant::now() < deadline {
            let Ok((mut tx, since)) = self.connect(deadline).await else { continue };
            let text = format!("SELECT batch FROM writers WHERE writer = ?{}", self.dialect.for_update());
            let read = async {
                tx.begin(self.clock.now()).await?;
                let row = tx.fetch_optional(sql("").push(&text).bind(self.name.as_str())).await?;
                tx.raw("ROLLBACK").await.map_err(LedgerError::from_sqlx)?;
                row.map(|row| super::sql::number(&row, "batch")).transpose()
            };
            if let Ok(Ok(number)) = timeout_at(deadline, read).await {
                self.open = Some((tx, since));
                return Some(number == Some(self.number));
            }
        }
        None
    }

    /// The connection, which is a new one after the last was lost. While there is none, the pauses between
    /// attempts grow.
    async fn connect(&mut self, deadline: Instant) -> Result<(Tx, Instant), LedgerError> {
        if let Some((tx, since)) = self.open.take().filter(|(_, since)| since.elapsed() < CONNECTION_AGE_MAX) {
            return Ok((tx, since));
        }
        if Instant::now() < self.connect_at {
            if self.is_away() || self.connect_at >= deadline {
                return Err(LedgerError::Unavailable("the ledger was not there a moment ago".into()));
            }
            sleep_until(self.connect_at).await;
        }
        let connecting = enter(&self.options, self.dialect, &self.name, self.clock.now());
        let within = CONNECT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let result = timeout(within, connecting).await;
        let result = result.unwrap_or_else(|_| Err(LedgerError::Unavailable("no connection in time".into())));
        match result {
            Ok(tx) => {
                self.pause = RECONNECT_PAUSE;
                Ok((tx, Instant::now()))
            }
            Err(error) => {
                self.connect_at = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(RECONNECT_PAUSE_MAX);
                Err(error)
            }
        }
    }

    /// Whether so many attempts to connect have failed that nobody should wait for the next one.
    fn is_away(&self) -> bool {
        self.pause == RECONNECT_PAUSE_MAX
    }

    /// Takes this writer's row away.
    async fn leave(mut self) {
        let Some((mut tx, _)) = self.open.take() else { return };
        let gone = sql("DELETE FROM writers WHERE writer = ?").bind(self.name.as_str());
        // If not now, then a month later by another writer.
        let _ = timeout(CONNECT_TIMEOUT, tx.execute(gone)).await;
    }
}

/// Connects, makes or renews the writer's row, and drops those of writers that are long gone.
async fn enter(options: &AnyConnectOptions, dialect: Dialect, name: &str, now: Millis) -> Result<Tx, LedgerError> {
    let mut tx = Tx::connect(options, dialect).await?;
    let row = sql("INSERT INTO writers (writer, batch, seen_at) VALUES (?, 0, ?)");
    let row = row.push(&dialect.or_update("writer", &["seen_at"]));
    tx.execute(row.bind(name).bind(now)).await?;
    let old = sql("DELETE FROM writers WHERE seen_at < ?").bind(now.0.saturating_sub(WRITER_KEPT_MS));
    tx.execute(old).await?;
    Ok(tx)
}

/// All but the commit; `false` when it has to be done again, carefully.
async fn write_all(tx: &mut Tx, batch: &mut Batch, careful: bool, now: Millis) -> Result<bool, LedgerError> {
    tx.begin(now).await?;
    if careful { write_apart(tx, batch).await.map(|()| true) } else { write_together(tx, batch).await }
}

/// All but the commit, as if nothing were refused: the bookings in a few statements for all. `false` when something
/// is, and then everything has to be undone.
async fn write_together(tx: &mut Tx, batch: &mut Batch) -> Result<bool, LedgerError> {
    let bookings: Vec<_> = batch.iter().filter_map(|job| job.booking()).collect();
    let together = bookings.len() > 1;
    if together {
        match book_all(tx, &bookings).await {
            Ok(true) => {}
            Ok(false) | Err(LedgerError::Broken(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    for job in batch {
        if together && job.booking().is_some() {
            job.booked();
            continue;
        }
        match job.run(tx).await {
            Ok(true) => {}
            Ok(false) | Err(LedgerError::Broken(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// All but the commit, each change in a savepoint of its own.
async fn write_apart(tx: &mut Tx, batch: &mut Batch) -> Result<(), LedgerError> {
    for job in batch {
        tx.raw("SAVEPOINT one").await.map_err(LedgerError::from_sqlx)?;
        let keep = match job.run(tx).await {
            Ok(keep) => keep,
            Err(error @ LedgerError::Broken(_)) => {
                job.refuse(error);
                tx.recover();
                false
            }
            Err(error) => return Err(error),
        };
        let end = if keep { "RELEASE SAVEPOINT one" } else { "ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one" };
        tx.raw(end).await.map_err(LedgerError::from_sqlx)?;
    }
    Ok(())
}
