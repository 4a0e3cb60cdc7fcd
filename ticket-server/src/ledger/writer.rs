//! Group commit: changes gather while the previous transaction is committed, and go as one.
//!
//! Each change runs in a savepoint of its own, so that one that is refused leaves its neighbours
//! alone. Nobody is answered before the commit. No timer: when nothing waits, nothing is delayed.

use std::collections::HashSet;

use queue_core::ids::{EventId, Jti};
use sqlx::{ConnectOptions as _, QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};

use super::{
    Booking, Decision, LedgerError, Ordered, StoredEvent, WRITE_BATCH_MAX,
    sqlite::{away, int, read_booking},
};
use crate::clock::Clock;

type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// One change.
pub(super) enum Job {
    Book(Box<Booking>, Reply<Decision>),
    Fence(Box<Booking>, Reply<Decision>),
    PutEvent(Box<StoredEvent>, Reply<()>),
    MarkSent { event: EventId, jti: Jti, up_to: i64, reply: Reply<()> },
}

/// A change that is done but for the commit, and whom to tell.
enum Done {
    Decision(Decision, Reply<Decision>),
    Unit(Result<(), LedgerError>, Reply<()>),
}

/// Owns the one connection that writes.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    clock: Clock,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection, clock: Clock) -> Self {
        Self { options, connection: Some(connection), clock }
    }

    /// Writes until nobody can ask any more.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(WRITE_BATCH_MAX);
        while jobs.recv_many(&mut batch, WRITE_BATCH_MAX).await > 0 {
            metrics::histogram!("usher_ticket_ledger_batch_size").record(batch.len() as f64);
            self.write(std::mem::take(&mut batch)).await;
        }
    }

    async fn write(&mut self, batch: Vec<Job>) {
        // Whoever is left in here when a step fails gets an error: its reply is dropped unanswered otherwise.
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return batch.into_iter().for_each(|job| job.fail(error.clone())),
        };
        let mut done = Vec::with_capacity(batch.len());
        let mut jobs = batch.into_iter();
        let result = self.transaction(&mut connection, &mut jobs, &mut done).await;
        match result {
            Ok(()) => {
                self.connection = Some(connection);
                done.into_iter().for_each(Done::tell);
            }
            Err(error) => {
                // The connection is dropped, which rolls back what it had begun; the next batch opens another.
                tracing::warn!(%error, "the ledger did not take a batch");
                done.into_iter().for_each(|done| done.fail(error.clone()));
                jobs.for_each(|job| job.fail(error.clone()));
            }
        }
    }

    async fn connect(&mut self) -> Result<SqliteConnection, LedgerError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.options.connect().await.map_err(away),
        }
    }

    async fn transaction(
        &self,
        connection: &mut SqliteConnection,
        jobs: &mut std::vec::IntoIter<Job>,
        done: &mut Vec<Done>,
    ) -> Result<(), LedgerError> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(away)?;
        for job in jobs.by_ref() {
            sqlx::query("SAVEPOINT change").execute(&mut *connection).await.map_err(away)?;
            let (keep, result) = match job.run(connection, &self.clock).await {
                Ok(result) => result,
                Err((error, job)) => {
                    job.fail(error.clone());
                    return Err(error);
                }
            };
            done.push(result);
            if !keep {
                sqlx::query("ROLLBACK TO change").execute(&mut *connection).await.map_err(away)?;
            }
            sqlx::query("RELEASE change").execute(&mut *connection).await.map_err(away)?;
        }
        sqlx::query("COMMIT").execute(&mut *connection).await.map_err(away)?;
        Ok(())
    }
}

impl Job {
    /// Makes the change; whether to keep it, and what to answer after the commit.
    async fn run(self, connection: &mut SqliteConnection, clock: &Clock) -> Result<(bool, Done), (LedgerError, Self)> {
        match self {
            Self::Book(booking, reply) => match book(connection, &booking).await {
                Ok(decision) => {
                    let keep = matches!(decision, Decision::Confirmed(_) | Decision::Aborted);
                    Ok((keep, Done::Decision(decision, reply)))
                }
                Err(error) => Err((error, Self::Book(booking, reply))),
            },
            Self::Fence(booking, reply) => match fence(connection, &booking).await {
                Ok(decision) => Ok((true, Done::Decision(decision, reply))),
                Err(error) => Err((error, Self::Fence(booking, reply))),
            },
            Self::PutEvent(event, reply) => match put_event(connection, &event, clock).await {
                Ok(result) => Ok((result.is_ok(), Done::Unit(result, reply))),
                Err(error) => Err((error, Self::PutEvent(event, reply))),
            },
            Self::MarkSent { event, jti, up_to, reply } => {
                let query = sqlx::query(
                    "UPDATE outbox SET sent_at = ? WHERE event_id = ? AND jti = ? AND id <= ? AND sent_at IS NULL",
                );
                let now = int(clock.now().0);
                let query = query.bind(now).bind(event.as_str()).bind(jti.to_string()).bind(up_to);
                match query.execute(connection).await {
                    Ok(_) => Ok((true, Done::Unit(Ok(()), reply))),
                    Err(error) => Err((away(error), Self::MarkSent { event, jti, up_to, reply })),
                }
            }
        }
    }

    /// Whoever asked may have gone; nobody else is to be told.
    fn fail(self, error: LedgerError) {
        match self {
            Self::Book(_, reply) | Self::Fence(_, reply) => drop(reply.send(Err(error))),
            Self::PutEvent(_, reply) | Self::MarkSent { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

impl Done {
    fn tell(self) {
        match self {
            Self::Decision(decision, reply) => drop(reply.send(Ok(decision))),
            Self::Unit(result, reply) => drop(reply.send(result)),
        }
    }

    fn fail(self, error: LedgerError) {
        match self {
            Self::Decision(_, reply) => drop(reply.send(Err(error))),
            Self::Unit(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

async fn book(connection: &mut SqliteConnection, booking: &Booking) -> Result<Decision, LedgerError> {
    if !insert(connection, booking, "CONFIRMED").await? {
        return decided(connection, booking).await;
    }
    match &booking.ordered {
        Ordered::Seats(seats) => {
            let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO sold_seats (event_id, seat_id, reservation_id) ");
            query.push_values(seats, |mut row, seat| {
                row.push_bind(booking.event.as_str()).push_bind(seat.as_str());
                row.push_bind(booking.reservation.as_str());
            });
            query.push(" ON CONFLICT DO NOTHING");
            let inserted = query.build().execute(&mut *connection).await.map_err(away)?.rows_affected();
            if inserted < seats.len() as u64 {
                return Ok(Decision::SeatsSold(owners(connection, booking, seats).await?));
            }
        }
        Ordered::Quantity { kind, quantity } => {
            let query = sqlx::query(
                "UPDATE sold_quantities SET sold = sold + ?1 \
                 WHERE event_id = ?2 AND ticket_type_id = ?3 AND sold + ?1 <= quantity",
            );
            let query = query.bind(int(*quantity)).bind(booking.event.as_str()).bind(kind.as_str());
            if query.execute(&mut *connection).await.map_err(away)?.rows_affected() == 0 {
                return Ok(Decision::SoldOut);
            }
        }
    }
    let query =
        sqlx::query("INSERT INTO outbox (event_id, visitor_id, jti, reservation_id, at) VALUES (?, ?, ?, ?, ?)");
    let query = query.bind(booking.event.as_str()).bind(booking.visitor.as_str()).bind(booking.jti.to_string());
    let query = query.bind(booking.reservation.as_str()).bind(int(booking.at.0));
    query.execute(&mut *connection).await.map_err(away)?;
    Ok(Decision::Confirmed(Box::new(booking.clone())))
}

async fn fence(connection: &mut SqliteConnection, booking: &Booking) -> Result<Decision, LedgerError> {
    if insert(connection, booking, "ABORTED").await? {
        Ok(Decision::Aborted)
    } else {
        decided(connection, booking).await
    }
}

/// Whether the row is new: whoever inserts it has decided.
async fn insert(connection: &mut SqliteConnection, booking: &Booking, state: &str) -> Result<bool, LedgerError> {
    let (seats, kind, quantity) = match &booking.ordered {
        Ordered::Seats(seats) => (Some(names(seats)), None, None),
        Ordered::Quantity { kind, quantity } => (None, Some(kind.as_str()), Some(int(*quantity))),
    };
    let query = sqlx::query(
        "INSERT INTO bookings (reservation_id, event_id, visitor_id, jti, state, seats, ticket_type_id, quantity, \
         total_minor, currency, hold_end, decided_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (reservation_id) DO NOTHING",
    );
    let query = query.bind(booking.reservation.as_str()).bind(booking.event.as_str()).bind(booking.visitor.as_str());
    let query = query.bind(booking.jti.to_string()).bind(state).bind(seats).bind(kind).bind(quantity);
    let query = query.bind(int(booking.total_minor)).bind(booking.currency.as_str());
    let query = query.bind(int(booking.hold_end.0)).bind(int(booking.at.0));
    Ok(query.execute(connection).await.map_err(away)?.rows_affected() == 1)
}

fn names(seats: &[crate::ids::SeatId]) -> String {
    seats.iter().map(crate::ids::SeatId::as_str).collect::<Vec<_>>().join(" ")
}

/// What was decided before. Meeting one's own row is success.
async fn decided(connection: &mut SqliteConnection, booking: &Booking) -> Result<Decision, LedgerError> {
    let query = sqlx::query("SELECT * FROM bookings WHERE reservation_id = ?");
    let row = query.bind(booking.reservation.as_str()).fetch_one(connection).await.map_err(away)?;
    let state: &str = row.try_get("state").map_err(away)?;
    if state == "CONFIRMED" { Ok(Decision::Confirmed(Box::new(read_booking(&row)?))) } else { Ok(Decision::Aborted) }
}

/// The other bookings that have these seats.
async fn owners(
    connection: &mut SqliteConnection,
    booking: &Booking,
    seats: &[crate::ids::SeatId],
) -> Result<Vec<Booking>, LedgerError> {
    let mut owners = Vec::new();
    for seat in seats {
        let query = sqlx::query(
            "SELECT b.* FROM sold_seats s JOIN bookings b ON b.reservation_id = s.reservation_id \
             WHERE s.event_id = ? AND s.seat_id = ? AND s.reservation_id <> ?",
        );
        let query = query.bind(booking.event.as_str()).bind(seat.as_str()).bind(booking.reservation.as_str());
        let row = query.fetch_optional(&mut *connection).await.map_err(away)?;
        if let Some(row) = row {
            let owner = read_booking(&row)?;
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
    }
    Ok(owners)
}

/// The inner error is the answer, the outer one the database's.
async fn put_event(
    connection: &mut SqliteConnection,
    event: &StoredEvent,
    clock: &Clock,
) -> Result<Result<(), LedgerError>, LedgerError> {
    let live: HashSet<&str> = event.live_seats().collect();
    let query = sqlx::query("SELECT seat_id FROM sold_seats WHERE event_id = ?").bind(event.event.as_str());
    for row in query.fetch_all(&mut *connection).await.map_err(away)? {
        let seat: &str = row.try_get("seat_id").map_err(away)?;
        if !live.contains(seat) {
            return Ok(Err(LedgerError::InUse));
        }
    }
    let query = sqlx::query("SELECT ticket_type_id, sold FROM sold_quantities WHERE event_id = ? AND sold > 0");
    for row in query.bind(event.event.as_str()).fetch_all(&mut *connection).await.map_err(away)? {
        let (kind, sold): (&str, i64) =
            (row.try_get("ticket_type_id").map_err(away)?, row.try_get("sold").map_err(away)?);
        if !event.quantities.iter().any(|(other, quantity)| other.as_str() == kind && int(*quantity) >= sold) {
            return Ok(Err(LedgerError::InUse));
        }
    }
    let query = sqlx::query("DELETE FROM sold_quantities WHERE event_id = ? AND sold = 0");
    query.bind(event.event.as_str()).execute(&mut *connection).await.map_err(away)?;
    for (kind, quantity) in &event.quantities {
        let query = sqlx::query(
            "INSERT INTO sold_quantities (event_id, ticket_type_id, quantity) VALUES (?, ?, ?) \
             ON CONFLICT (event_id, ticket_type_id) DO UPDATE SET quantity = excluded.quantity",
        );
        let query = query.bind(event.event.as_str()).bind(kind.as_str()).bind(int(*quantity));
        query.execute(&mut *connection).await.map_err(away)?;
    }
    let query = sqlx::query(
        "INSERT INTO events (event_id, revision, body, slots, updated_at) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (event_id) DO UPDATE SET revision = excluded.revision, body = excluded.body, \
         slots = excluded.slots, updated_at = excluded.updated_at",
    );
    let query = query.bind(event.event.as_str()).bind(int(event.revision)).bind(event.body.as_str());
    let query = query.bind(event.slots.as_str()).bind(int(clock.now().0));
    query.execute(&mut *connection).await.map_err(away)?;
    Ok(Ok(()))
}
