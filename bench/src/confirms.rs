//! Confirmations a second: the ledger's batches beside one transaction for each booking, on as many connections.
//!
//! Both run in this process, against databases that it starts and that write to the disk before they say that
//! something is committed. Each booking has two seats. Rounds alternate; what counts is the ratio of the medians.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::testing_sql::{TestMariaDb, TestPostgres},
};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use ticket_server::{
    clock::Clock,
    ids::{ReservationId, SeatId, TicketTypeId},
    ledger::{Booking, Decision, Ledger, LedgerUrl, Ordered, Tickets},
};
use tokio::task::JoinSet;

use crate::figures::median;

/// What the issue asks for on PostgreSQL, and what would be good.
const FLOOR: f64 = 4.0;
const GOAL: f64 = 10.0;
/// Not counted at the beginning of a round, so that connections are open and statements prepared.
const WARM_UP: Duration = Duration::from_millis(300);

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Confirmations under way at any time, and connections of the comparison.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=128))]
    at_once: u32,
    /// Rounds of each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Length of a round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
}

/// Measures all databases and prints a row for each; fails below the floor.
pub async fn run(options: Options) -> Result<()> {
    println!("{} at once, {} rounds of {} s, two seats each\n", options.at_once, options.rounds, options.seconds);
    let server = tokio::task::spawn_blocking(TestPostgres::start).await?;
    let postgres = compare("PostgreSQL", &server.create_database("tickets"), Some('$'), &options).await?;
    drop(server);
    let server = tokio::task::spawn_blocking(TestMariaDb::start).await?;
    let mariadb = compare("MariaDB", &server.create_database("tickets"), Some('?'), &options).await?;
    drop(server);
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite:{}", folder.path().join("tickets.db").display());
    let sqlite = compare("SQLite", &file, None, &options).await?;
    println!(
        "\n| confirms a second | batches | one by one | ratio | floor | goal |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    );
    postgres.print(Some((FLOOR, GOAL)));
    mariadb.print(None);
    sqlite.print(None);
    let ratio = postgres.ratio().context("nothing to compare with")?;
    ensure!(ratio >= FLOOR, "{ratio:.1} times as many as one by one, below the floor of {FLOOR}");
    Ok(())
}

/// The medians on one database.
struct Figures {
    name: &'static str,
    batches: f64,
    one_by_one: Option<f64>,
}

impl Figures {
    fn ratio(&self) -> Option<f64> {
        self.one_by_one.map(|single| self.batches / single)
    }

    fn print(&self, limits: Option<(f64, f64)>) {
        let shown =
            |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        let limit =
            |pick: fn((f64, f64)) -> f64| limits.map_or("–".to_owned(), |limits| format!("{}×", pick(limits)));
        let ratio = self.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.1}×"));
        println!(
            "| {}, two seats each | {:.0} | {} | {ratio} | {} | {} |",
            self.name,
            self.batches,
            shown(self.one_by_one, 0),
            limit(|limits| limits.0),
            limit(|limits| limits.1)
        );
    }
}

/// Alternates; `mark` begins a placeholder of the comparison, which is left out without one.
async fn compare(name: &'static str, url: &str, mark: Option<char>, options: &Options) -> Result<Figures> {
    let address: LedgerUrl = url.parse().map_err(anyhow::Error::msg)?;
    let ledger = Ledger::open(&address, Clock::Real).await?;
    let next = Arc::new(AtomicU64::new(0));
    let (mut batches, mut singles) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        batches.push(in_batches(&ledger, &next, options).await?);
        if let Some(mark) = mark {
            singles.push(one_by_one(url, mark, &next, options).await?);
        }
        let single = singles.last().map_or(String::new(), |single| format!(", one by one {single:.0}"));
        println!("{name}, round {round}: batches {:.0}{single}", batches[batches.len() - 1]);
    }
    Ok(Figures { name, batches: median(batches), one_by_one: mark.map(|_| median(singles)) })
}

/// What is counted, and until when.
#[derive(Clone)]
struct Round {
    next: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    from: Instant,
    until: Instant,
}

impl Round {
    fn new(next: &Arc<AtomicU64>, options: &Options) -> Self {
        let from = Instant::now() + WARM_UP;
        let until = from + Duration::from_secs(options.seconds);
        Self { next: Arc::clone(next), done: Arc::default(), from, until }
    }

    /// The next booking, until time is up.
    fn next(&self) -> Option<Booking> {
        (Instant::now() < self.until).then(|| booking(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn count(&self) {
        let now = Instant::now();
        if now >= self.from && now < self.until {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn rate(self, mut tasks: JoinSet<Result<()>>) -> Result<f64> {
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok(self.done.load(Ordering::Relaxed) as f64 / (self.until - self.from).as_secs_f64())
    }
}

async fn in_batches(ledger: &Ledger, next: &Arc<AtomicU64>, options: &Options) -> Result<f64> {
    let round = Round::new(next, options);
    let mut tasks = JoinSet::new();
    for _ in 0..options.at_once {
        let (ledger, round) = (ledger.clone(), round.clone());
        tasks.spawn(async move {
            while let Some(booking) = round.next() {
                let decision = ledger.book(booking).await?;
                ensure!(matches!(decision, Decision::Confirmed(_)), "{decision:?}");
                round.count();
            }
            Ok(())
        });
    }
    round.rate(tasks).await
}

async fn one_by_one(url: &str, mark: char, next: &Arc<AtomicU64>, options: &Options) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..options.at_once {
        connections.push(AnyConnection::connect(url).await?);
    }
    let statements = Arc::new(Statements::new(mark));
    let round = Round::new(next, options);
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let (round, statements) = (round.clone(), Arc::clone(&statements));
        tasks.spawn(async move {
            while let Some(booking) = round.next() {
                statements.book(&mut connection, &booking).await?;
                round.count();
            }
            Ok(connection.close().await?)
        });
    }
    round.rate(tasks).await
}

/// What one transaction for one booking does: as the ledger's own, with nothing left out.
struct Statements {
    booking: String,
    seats: String,
    outbox: String,
    feed: String,
}

impl Statements {
    fn new(mark: char) -> Self {
        let marks = |from: usize, count: usize| {
            let one = |at: usize| if mark == '$' { format!("${at}") } else { "?".to_owned() };
            (from..from + count).map(one).collect::<Vec<_>>().join(", ")
        };
        Self {
            booking: format!(
                "INSERT INTO bookings (reservation_id, event_id, visitor_id, jti, state, seats, tickets, total_minor, \
                 currency, admitted_at, hold_end, decided_at) VALUES ({})",
                marks(1, 12)
            ),
            seats: format!(
                "INSERT INTO sold_seats (event_id, seat_id, reservation_id) VALUES ({}), ({})",
                marks(1, 3),
                marks(4, 3)
            ),
            outbox: format!(
                "INSERT INTO outbox (event_id, visitor_id, jti, reservation_id, at) VALUES ({})",
                marks(1, 5)
            ),
            feed: format!("INSERT INTO feed (kind, reservation_id, at) VALUES ({})", marks(1, 3)),
        }
    }

    async fn book(&self, connection: &mut AnyConnection, booking: &Booking) -> Result<()> {
        let Ordered::Seats(seats) = &booking.ordered else { return Ok(()) };
        let (id, event, visitor) = (booking.reservation.as_str(), booking.event.as_str(), booking.visitor.as_str());
        let jti = booking.jti.to_string();
        let safe = |text: &str| sqlx::AssertSqlSafe(text.to_owned());
        connection.execute(sqlx::raw_sql("BEGIN")).await?;
        let query = sqlx::query(safe(&self.booking)).bind(id).bind(event).bind(visitor).bind(&jti).bind("CONFIRMED");
        let query = query.bind(format!("{} {}", seats[0], seats[1])).bind("std=2").bind(booking.total_minor as i64);
        let query = query.bind(&booking.currency).bind(booking.admitted_at.map(|at| at.0 as i64));
        let query = query.bind(booking.hold_end.0 as i64).bind(booking.at.0 as i64);
        connection.execute(query).await?;
        let query = sqlx::query(safe(&self.seats)).bind(event).bind(seats[0].as_str()).bind(id);
        connection.execute(query.bind(event).bind(seats[1].as_str()).bind(id)).await?;
        let query = sqlx::query(safe(&self.outbox)).bind(event).bind(visitor).bind(&jti).bind(id);
        connection.execute(query.bind(booking.at.0 as i64)).await?;
        let query = sqlx::query(safe(&self.feed)).bind("COMPLETED").bind(id).bind(booking.at.0 as i64);
        connection.execute(query).await?;
        connection.execute(sqlx::raw_sql("COMMIT")).await?;
        Ok(())
    }
}

fn booking(n: u64) -> Booking {
    // As far apart as real ids are.
    let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let seat = |side: char| SeatId::new(&format!("A-{n}-{side}")).expect("a seat's name");
    Booking {
        reservation: ReservationId::new(&format!("r_{id:016x}{n:016x}")).expect("a reservation's id"),
        event: EventId::new("hall").expect("an event's id"),
        visitor: VisitorId::new(&format!("a_{id:016x}")).expect("a visitor's id"),
        jti: Jti { generation: Generation(1), seq: Seq(n + 1) },
        ordered: Ordered::Seats(vec![seat('L'), seat('R')]),
        tickets: Tickets(vec![(TicketTypeId::new("std").expect("a type's id"), 2)]),
        total_minor: 10_000,
        currency: "EUR".into(),
        admitted_at: Some(Millis(1_899_999_999_000)),
        held_at: None,
        hold_end: Millis(1_900_000_300_000),
        at: Millis(1_900_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookings_differ_and_placeholders_fit_the_database() {
        assert_ne!(booking(1).reservation, booking(2).reservation);
        assert!(Statements::new('$').seats.ends_with("($1, $2, $3), ($4, $5, $6)"));
        assert!(Statements::new('?').outbox.ends_with("(?, ?, ?, ?, ?)"));
    }
}
