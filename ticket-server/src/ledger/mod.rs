//! The ledger: what was sold, for good. A booking counts from the moment in which it is in here.
//!
//! Invariants, whatever the database: a seat is in at most one booking; a reservation is decided
//! once, as CONFIRMED or ABORTED, by whoever inserts its row first; a booking and its outbox row
//! are there together or not at all. The store (see [`crate::engine`]) can be rebuilt from here.

//!
//! There is one [`Ledger`] for three databases: SQLite, PostgreSQL, and MySQL or MariaDB. Statements are written
//! once ([`sql`]); in what the databases differ is in [`Dialect`]. Whoever adds a kind of change writes it as a
//! function over a [`Tx`] and hands it to [`Ledger::change`]; who writes together with whom, and what happens
//! when the database is away, is the writer's.

mod arrays;
mod balance;
mod batch;
mod bookings;
mod cancellations;
mod change;
mod counts;
mod dialect;
mod events;
mod feed;
mod figures;
mod letters;
mod migrations;
mod notifications;
mod orders;
mod outbox;
pub mod sql;
mod tickets;
mod tx;
mod url;
mod waiting;
mod writer;
mod writers;
mod writing;

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::{EventId, Jti, Millis, VisitorId},
    service::spans::{self, Kind},
};
use sqlx::{AnyPool, any::AnyPoolOptions};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

pub use self::{
    balance::{Amount, Entry, Keeper},
    bookings::book_in,
    cancellations::Cancelled,
    change::{Doing, Verdict},
    counts::Counted,
    dialect::Dialect,
    feed::{FeedEntry, FeedKind, FeedPlace, Mark, NUMBERS},
    figures::{Completion, MINUTE_MS, SoldIn},
    letters::{Letter, Message, Refusal},
    notifications::{Happened, Notification, Told},
    orders::{
        Beginning, Begun, Effect, KEY_KEPT_MS, KeyNow, Known, Lease, Moved, ORDERS_PER_RESERVATION_MAX, Recorded,
    },
    tickets::Tickets,
    tx::Tx,
    url::LedgerUrl,
    waiting::when_there,
};
use self::{
    change::{Change, Job},
    sql::{Row, Sql},
    writer::Writer,
    writers::Writers,
};
use crate::{
    clock::Clock,
    ids::{ReservationId, SeatId, TicketTypeId},
};

/// Bookings and other changes waiting to be written, at most.
pub const WRITES_WAITING_MAX: usize = 4_096;
/// Changes in one transaction, at most.
pub const WRITE_BATCH_MAX: usize = 256;
/// A change that was not committed in this time counts as unknown.
pub const WRITE_TIMEOUT_MS: u64 = 4_000;
/// Rows read in one call, at most.
pub const READ_PAGE_MAX: u32 = 512;
/// Connections that read.
const READERS_MAX: u32 = 4;
/// A read takes so long at most, with the wait for a connection.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// What a reservation is of, in the words of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// Seats.
    Seats(Vec<SeatId>),
    /// Tickets of a type without seats.
    Quantity {
        /// The type.
        kind: TicketTypeId,
        /// How many.
        quantity: u64,
    },
}

impl Ordered {
    /// How many seats or tickets.
    pub fn count(&self) -> u64 {
        match self {
            Self::Seats(seats) => seats.len() as u64,
            Self::Quantity { quantity, .. } => *quantity,
        }
    }
}

/// A reservation that is to be decided, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Its id.
    pub reservation: ReservationId,
    /// The event.
    pub event: EventId,
    /// Whose it is.
    pub visitor: VisitorId,
    /// The session it was taken in.
    pub jti: Jti,
    /// What it is of.
    pub ordered: Ordered,
    /// Of which types its tickets are, where that is known.
    pub tickets: Tickets,
    /// What it costs.
    pub total_minor: u64,
    /// In which currency.
    pub currency: String,
    /// When the session was admitted, where that is known.
    pub admitted_at: Option<Millis>,
    /// When it was held, where that is known.
    pub held_at: Option<Millis>,
    /// When the hold would have expired.
    pub hold_end: Millis,
    /// When it was decided, by the clock of the server that did.
    pub at: Millis,
}

/// How a reservation was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is booked: now, or it was before.
    Confirmed(Box<Booking>),
    /// It never will be.
    Aborted,
    /// Nothing was decided: these bookings have its seats.
    SeatsSold(Vec<Booking>),
    /// Nothing was decided: not so many are left.
    SoldOut,
}

/// An event as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: EventId,
    /// Which version of the definition this is.
    pub revision: u64,
    /// The definition as JSON.
    pub body: String,
    /// The names of its slots.
    pub slots: String,
    /// Which of them are taken out, parted by spaces. Only what is written needs it.
    pub blocked: String,
    /// Types without seats, and how many there are of each. Only what is written needs it.
    pub quantities: Vec<(TicketTypeId, u64)>,
}

impl StoredEvent {
    /// The seats that are in the event.
    pub fn live_seats(&self) -> impl Iterator<Item = &str> {
        let blocked: std::collections::HashSet<_> = self.blocked.split_ascii_whitespace().collect();
        self.slots.split_ascii_whitespace().filter(move |seat| !blocked.contains(seat))
    }
}

/// A message that may have to go to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the outbox.
    pub id: i64,
    /// The event.
    pub event: EventId,
    /// Who booked.
    pub visitor: VisitorId,
    /// In which session.
    pub jti: Jti,
    /// What was booked.
    pub reservation: ReservationId,
    /// When.
    pub at: Millis,
    /// The trace in which it was booked, where traces are recorded.
    pub traceparent: Option<String>,
}

/// Why the ledger did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// More writes are waiting than there is room for; nothing was written.
    #[error("too many writes are waiting for the ledger")]
    Overloaded,
    /// It cannot be reached: nothing was written.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// It said nothing in time: a write may or may not have happened, or may happen yet.
    #[error("it is not known whether the ledger took it: {0}")]
    Unknown(String),
    /// Another transaction was in the way. Only within a change: it is run again, and becomes
    /// [`LedgerError::Unavailable`] when that does not help.
    #[error("another transaction was in the way: {0}")]
    Contended(String),
    /// It was asked or has kept something that makes no sense: a mistake of ours. Nothing was written.
    #[error("the ledger cannot do this: {0}")]
    Broken(String),
    /// The change would take away what is sold.
    #[error("the change would take away what is sold")]
    InUse,
}

/// The ledger. All changes are durable when the call returns. A cheap handle.
#[derive(Clone)]
pub struct Ledger {
    dialect: Dialect,
    readers: AnyPool,
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// Told when this server has written something to the feed.
    fed: Arc<Notify>,
}

impl Ledger {
    /// Connects, and brings the tables up to date. The writers end with the last handle.
    pub async fn open(url: &LedgerUrl, clock: Clock) -> Result<Self, LedgerError> {
        let (options, dialect) = (url.options()?, url.dialect());
        migrations::run(&options, dialect).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(READ_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(tx::set_up(connection, dialect)))
            .connect_lazy_with(options.clone());
        let (jobs, waiting) = mpsc::channel(WRITES_WAITING_MAX);
        let fed = Arc::new(Notify::new());
        let told = Arc::clone(&fed);
        let writer = move || Writer::new(options.clone(), dialect, clock.clone(), Arc::clone(&told));
        tokio::spawn(Writers::new(dialect.writers(), writer).run(waiting));
        Ok(Self { dialect, readers, jobs, fed })
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Makes a change, in one transaction with those of others.
    ///
    /// `work` gets `data` and the transaction, and says what to answer and whether to keep what it did. It may be
    /// run several times, each time after everything was undone that it did before, and its effects last once or
    /// not at all. It must not wait for anything but the transaction: everybody who writes waits with it.
    ///
    /// The answer comes after the commit.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Overloaded`] when too many wait; [`LedgerError::Unavailable`] when nothing was written;
    /// [`LedgerError::Unknown`] when that cannot be said, also because the answer takes longer than
    /// [`WRITE_TIMEOUT_MS`]; [`LedgerError::Broken`] when a statement can never work.
    pub async fn change<D, F, T>(&self, data: D, work: F) -> Result<T, LedgerError>
    where
        D: Send + Sync + 'static,
        F: for<'t> Fn(&'t D, &'t mut Tx) -> Doing<'t, T> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (job, answer) = Change::boxed(data, work);
        spans::step(Kind::Client, "ledger", self.submit(job, answer)).await
    }

    async fn submit<T>(
        &self,
        job: Box<dyn Job>,
        answer: oneshot::Receiver<Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LedgerError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => LedgerError::Unavailable("the writer has ended".into()),
        })?;
        match timeout(Duration::from_millis(WRITE_TIMEOUT_MS), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(LedgerError::Unknown("the writer has ended".into())),
            Err(_) => Err(LedgerError::Unknown("no commit in time".into())),
        }
    }

    /// All rows of a `SELECT`, as of what is committed.
    pub async fn fetch_all(&self, sql: Sql) -> Result<Vec<Row>, LedgerError> {
        let (text, arguments) = sql.ready(self.dialect)?;
        let reading = in_time(sqlx::query_with(text, arguments).fetch_all(&self.readers));
        spans::step(Kind::Client, "ledger", reading).await
    }

    /// The row of a `SELECT`, if there is one, as of what is committed.
    pub async fn fetch_optional(&self, sql: Sql) -> Result<Option<Row>, LedgerError> {
        let (text, arguments) = sql.ready(self.dialect)?;
        let reading = in_time(sqlx::query_with(text, arguments).fetch_optional(&self.readers));
        spans::step(Kind::Client, "ledger", reading).await
    }
}

async fn in_time<T>(reading: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, LedgerError> {
    let result = timeout(READ_TIMEOUT, reading).await;
    let result = result.map_err(|_| LedgerError::Unavailable("the ledger said nothing in time".into()))?;
    result.map_err(LedgerError::from_sqlx)
}
