//! One connection that writes batches: until each is written, or it is certain that it is not.
//!
//! A batch is first written as if nothing in it were refused. If something is, all is undone and written again,
//! carefully ([`super::writing`]). Bookings of seats alone are one statement where the database has one for that,
//! which is also their transaction.
//!
//! When another transaction was in the way, or the connection was lost before the commit, nothing was written and
//! the batch is written again. When the answer to the commit was lost, a row of the writer's own tells: every
//! transaction leaves its number there, and reading it waits for one that may still be under way. What has not begun
//! by then finds a later number there, and writes nothing.

use std::{sync::Arc, time::Duration};

use queue_core::ids::Millis;
use sqlx::any::AnyConnectOptions;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    LedgerError, WRITE_TIMEOUT_MS,
    change::Job,
    dialect::Dialect,
    sql::sql,
    tx::Tx,
    writing::{commit_all, is_one_statement, write_all},
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
    /// Told when there is something new in the feed.
    fed: Arc<Notify>,
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
    pub(super) fn new(options: AnyConnectOptions, dialect: Dialect, clock: Clock, fed: Arc<Notify>) -> Self {
        let name = format!("{:016x}", queue_core::service::trace::random_u64());
        Self {
            options,
            dialect,
            clock,
            name,
            number: 0,
            fed,
            open: None,
            pause: RECONNECT_PAUSE,
            connect_at: Instant::now(),
        }
    }

    /// Writes a batch, and tells everybody in it.
    pub(super) async fn serve(&mut self, mut batch: Batch) {
        match self.write(&mut batch).await {
            Ok(()) => batch.into_iter().for_each(Job::tell),
            Err(error) => {
                tracing::warn!(%error, "the ledger did not take a batch");
                batch.into_iter().for_each(|job| job.fail(error.clone()));
            }
        }
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
        self.number += 1;
        if !careful && is_one_statement(self.dialect, batch) {
            return self.attempt_at_once(tx, since, batch, deadline).await;
        }
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
                if tx.fed {
                    self.fed.notify_one();
                }
                self.open = Some((tx, since));
                Attempt::Committed
            }
            Ok(Err(error)) => Attempt::Unknown(LedgerError::from_sqlx(error)),
            Err(_) => Attempt::Unknown(late()),
        }
    }

    /// In one statement, which commits.
    async fn attempt_at_once(&mut self, mut tx: Tx, since: Instant, batch: &mut Batch, deadline: Instant) -> Attempt {
        let written = timeout_at(deadline, commit_all(&mut tx, batch, &self.name, self.number)).await;
        let attempt = match written {
            Ok(Ok(true)) => {
                self.fed.notify_one();
                Attempt::Committed
            }
            // The row is gone: a new connection makes it again.
            Ok(Ok(false)) => return Attempt::Failed(LedgerError::Unavailable("the writer's row is gone".into())),
            Ok(Err(LedgerError::Broken(_))) => Attempt::Refused,
            Ok(Err(error @ LedgerError::Contended(_))) => Attempt::Failed(error),
            Ok(Err(error)) => return Attempt::Unknown(error),
            Err(_) => return Attempt::Unknown(late()),
        };
        self.open = Some((tx, since));
        attempt
    }

    /// Whether the last transaction was committed, as far as can be found out in time. If not, it never will be.
    async fn resolve(&mut self, deadline: Instant) -> Option<bool> {
        let asked = self.number;
        // The next number is what whoever comes late finds.
        self.number += 1;
        while Instant::now() < deadline {
            let Ok((mut tx, since)) = self.connect(deadline).await else { continue };
            let read = async {
                tx.begin(self.clock.now()).await?;
                let text = format!("SELECT batch FROM writers WHERE writer = ?{}", self.dialect.for_update());
                let row = tx.fetch_optional(sql("").push(&text).bind(self.name.as_str())).await?;
                let found = row.map(|row| super::sql::number(&row, "batch")).transpose()?;
                let late = sql("UPDATE writers SET batch = ? WHERE writer = ?");
                tx.execute(late.bind(self.number).bind(self.name.as_str())).await?;
                tx.raw("COMMIT").await.map_err(LedgerError::from_sqlx)?;
                Ok::<_, LedgerError>(found)
            };
            if let Ok(Ok(found)) = timeout_at(deadline, read).await {
                self.open = Some((tx, since));
                return Some(found == Some(asked));
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
    pub(super) async fn leave(mut self) {
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

fn late() -> LedgerError {
    LedgerError::Unavailable("the ledger said nothing in time".into())
}
