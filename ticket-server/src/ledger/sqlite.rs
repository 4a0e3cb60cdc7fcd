//! The ledger in a SQLite file: write-ahead log, `synchronous=FULL`, one writer, several readers.

use std::{path::PathBuf, str::FromStr, time::Duration};

use async_trait::async_trait;
use queue_core::ids::{EventId, Jti, Millis, VisitorId};
use sqlx::{
    ConnectOptions as _, Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Booking, Decision, Ledger, LedgerError, Ordered, OutboxRow, READ_PAGE_MAX, StoredEvent, WRITE_TIMEOUT_MS,
    WRITES_WAITING_MAX,
    writer::{Job, Writer},
};
use crate::{
    clock::Clock,
    ids::{ReservationId, SeatId},
};

/// Connections that read.
const READERS_MAX: u32 = 4;
/// Making or opening the file at the start may take so long.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// A locked database is waited for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a SQLite file is: `sqlite:path`, `sqlite://path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteUrl(pub PathBuf);

impl FromStr for SqliteUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("sqlite:").ok_or("no sqlite: address")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split('?').next().unwrap_or_default();
        if path.is_empty() || path == ":memory:" {
            return Err("names no file");
        }
        Ok(Self(path.into()))
    }
}

/// A ledger in a SQLite file.
pub struct SqliteLedger {
    readers: SqlitePool,
    jobs: mpsc::Sender<Job>,
}

impl SqliteLedger {
    /// Opens the file, makes it if it is not there, and brings its tables up to date. The writer
    /// ends with the last handle.
    pub async fn open(url: &SqliteUrl, clock: Clock) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::new()
            .filename(&url.0)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options.clone());
        // On a pool of its own: a start on a busy machine may take longer than a request may wait.
        let starting = SqlitePoolOptions::new().max_connections(1).acquire_timeout(START_TIMEOUT);
        let starting = starting.connect_lazy_with(options.clone());
        let migrated = sqlx::migrate!("./migrations/sqlite").run(&starting).await;
        migrated.map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        starting.close().await;
        let first = options.connect().await.map_err(away)?;
        let (jobs, waiting) = mpsc::channel(WRITES_WAITING_MAX);
        tokio::spawn(Writer::new(options, first, clock).run(waiting));
        Ok(Self { readers, jobs })
    }

    async fn write<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Job,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LedgerError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => LedgerError::Unavailable("the writer has ended".into()),
        })?;
        match tokio::time::timeout(Duration::from_millis(WRITE_TIMEOUT_MS), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(LedgerError::Unavailable("the writer has ended".into())),
            Err(_) => Err(LedgerError::Unavailable("no commit in time".into())),
        }
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn book(&self, booking: Booking) -> Result<Decision, LedgerError> {
        self.write(|reply| Job::Book(Box::new(booking), reply)).await
    }

    async fn fence(&self, booking: Booking) -> Result<Decision, LedgerError> {
        self.write(|reply| Job::Fence(Box::new(booking), reply)).await
    }

    async fn booking(&self, reservation: &ReservationId) -> Result<Option<Booking>, LedgerError> {
        let query = sqlx::query("SELECT * FROM bookings WHERE reservation_id = ? AND state = 'CONFIRMED'");
        let row = query.bind(reservation.as_str()).fetch_optional(&self.readers).await.map_err(away)?;
        row.map(|row| read_booking(&row)).transpose()
    }

    async fn bookings_of(&self, event: &EventId, visitor: &VisitorId) -> Result<Vec<Booking>, LedgerError> {
        let query = sqlx::query(
            "SELECT * FROM bookings WHERE event_id = ? AND visitor_id = ? AND state = 'CONFIRMED' \
             ORDER BY decided_at, reservation_id LIMIT ?",
        );
        let query = query.bind(event.as_str()).bind(visitor.as_str()).bind(READ_PAGE_MAX);
        query.fetch_all(&self.readers).await.map_err(away)?.iter().map(read_booking).collect()
    }

    async fn bookings(
        &self,
        event: &EventId,
        after: Option<&ReservationId>,
        limit: u32,
    ) -> Result<Vec<Booking>, LedgerError> {
        let query = sqlx::query(
            "SELECT * FROM bookings WHERE event_id = ? AND reservation_id > ? AND state = 'CONFIRMED' \
             ORDER BY reservation_id LIMIT ?",
        );
        let query = query.bind(event.as_str()).bind(after.map_or("", ReservationId::as_str)).bind(limit);
        query.fetch_all(&self.readers).await.map_err(away)?.iter().map(read_booking).collect()
    }

    async fn put_event(&self, event: StoredEvent) -> Result<(), LedgerError> {
        self.write(|reply| Job::PutEvent(Box::new(event), reply)).await
    }

    async fn events(&self) -> Result<Vec<StoredEvent>, LedgerError> {
        let query = sqlx::query("SELECT event_id, revision, body, slots FROM events ORDER BY event_id");
        query.fetch_all(&self.readers).await.map_err(away)?.iter().map(read_event).collect()
    }

    async fn event(&self, event: &EventId) -> Result<Option<StoredEvent>, LedgerError> {
        let query = sqlx::query("SELECT event_id, revision, body, slots FROM events WHERE event_id = ?");
        let row = query.bind(event.as_str()).fetch_optional(&self.readers).await.map_err(away)?;
        row.map(|row| read_event(&row)).transpose()
    }

    async fn unsent(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, LedgerError> {
        let query = sqlx::query("SELECT * FROM outbox WHERE sent_at IS NULL AND id > ? ORDER BY id LIMIT ?");
        let rows = query.bind(after).bind(limit).fetch_all(&self.readers).await.map_err(away)?;
        rows.iter().map(read_outbox).collect()
    }

    async fn mark_sent(&self, event: &EventId, jti: Jti, up_to: i64) -> Result<(), LedgerError> {
        self.write(|reply| Job::MarkSent { event: event.clone(), jti, up_to, reply }).await
    }

    async fn closed_since(&self, event: &EventId, since: Millis) -> Result<Vec<(VisitorId, Jti)>, LedgerError> {
        let query = sqlx::query("SELECT DISTINCT visitor_id, jti FROM outbox WHERE event_id = ? AND sent_at >= ?");
        let rows = query.bind(event.as_str()).bind(int(since.0)).fetch_all(&self.readers).await.map_err(away)?;
        rows.iter().map(|row| Ok((parse(row, "visitor_id")?, parse(row, "jti")?))).collect()
    }
}

/// Any trouble with the database.
pub(super) fn away(error: sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

/// SQLite's integers are signed; all of ours are far below 2^63.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn read_booking(row: &SqliteRow) -> Result<Booking, LedgerError> {
    let seats: Option<String> = row.try_get("seats").map_err(away)?;
    let ordered = match seats {
        Some(seats) => {
            let seats: Result<Vec<_>, _> = seats.split(' ').map(SeatId::new).collect();
            Ordered::Seats(seats.map_err(|_| unreadable("seats"))?)
        }
        None => Ordered::Quantity { kind: parse(row, "ticket_type_id")?, quantity: number(row, "quantity")? },
    };
    Ok(Booking {
        reservation: parse(row, "reservation_id")?,
        event: parse(row, "event_id")?,
        visitor: parse(row, "visitor_id")?,
        jti: parse(row, "jti")?,
        ordered,
        total_minor: number(row, "total_minor")?,
        currency: row.try_get("currency").map_err(away)?,
        hold_end: Millis(number(row, "hold_end")?),
        at: Millis(number(row, "decided_at")?),
    })
}

fn read_event(row: &SqliteRow) -> Result<StoredEvent, LedgerError> {
    Ok(StoredEvent {
        event: parse(row, "event_id")?,
        revision: number(row, "revision")?,
        body: row.try_get("body").map_err(away)?,
        slots: row.try_get("slots").map_err(away)?,
        blocked: String::new(),
        quantities: Vec::new(),
    })
}

fn read_outbox(row: &SqliteRow) -> Result<OutboxRow, LedgerError> {
    Ok(OutboxRow {
        id: row.try_get("id").map_err(away)?,
        event: parse(row, "event_id")?,
        visitor: parse(row, "visitor_id")?,
        jti: parse(row, "jti")?,
        reservation: parse(row, "reservation_id")?,
        at: Millis(number(row, "at")?),
    })
}

fn parse<T: FromStr>(row: &SqliteRow, column: &str) -> Result<T, LedgerError> {
    let text: &str = row.try_get(column).map_err(away)?;
    text.parse().map_err(|_| unreadable(column))
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, LedgerError> {
    let value: i64 = row.try_get(column).map_err(away)?;
    u64::try_from(value).map_err(|_| unreadable(column))
}

fn unreadable(column: &str) -> LedgerError {
    LedgerError::Unavailable(format!("a row with an unreadable {column}"))
}
