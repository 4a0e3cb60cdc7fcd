//! What the cases have in common: a database to themselves, and bookings.

use std::sync::atomic::{AtomicU32, Ordering};

use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::testing_sql::{TestMariaDb, TestPostgres},
};
use tempfile::TempDir;
use ticket_server::{
    clock::Clock,
    ids::{ReservationId, SeatId, TicketTypeId},
    ledger::{Booking, Decision, Ledger, LedgerUrl, Ordered, StoredEvent, Tickets},
};

/// Where a case finds its database.
pub enum Place {
    Sqlite(TempDir),
    Postgres(TestPostgres),
    MariaDb(TestMariaDb),
}

impl Place {
    /// An empty database for each case.
    pub async fn fresh(&self) -> Bench {
        let url = self.address();
        Bench { ledger: open(&url).await, url }
    }

    /// Of a database that nobody has opened yet.
    pub fn address(&self) -> LedgerUrl {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("case{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match self {
            Self::Sqlite(folder) => LedgerUrl::file(folder.path().join(name)),
            Self::Postgres(server) => server.create_database(&name).parse().unwrap(),
            Self::MariaDb(server) => server.create_database(&name).parse().unwrap(),
        }
    }
}

pub struct Bench {
    pub ledger: Ledger,
    pub url: LedgerUrl,
}

impl Bench {
    pub async fn book(&self, booking: Booking) -> Decision {
        self.ledger.book(booking).await.unwrap()
    }

    /// Another server on the same database.
    pub async fn another(&self) -> Ledger {
        open(&self.url).await
    }
}

pub async fn open(url: &LedgerUrl) -> Ledger {
    Ledger::open(url, Clock::Real).await.unwrap()
}

pub fn event() -> EventId {
    EventId::new("hall").unwrap()
}

pub fn jti(n: u64) -> Jti {
    Jti { generation: Generation(1), seq: Seq(n + 1) }
}

pub fn booking(id: &str, who: u64, ordered: Ordered) -> Booking {
    let (kind, count) = match &ordered {
        Ordered::Seats(seats) => (TicketTypeId::new("std").unwrap(), seats.len() as u64),
        Ordered::Quantity { kind, quantity } => (kind.clone(), *quantity),
    };
    Booking {
        reservation: ReservationId::new(id).unwrap(),
        event: event(),
        visitor: VisitorId::new(&format!("a_{who}")).unwrap(),
        jti: jti(who),
        tickets: Tickets(vec![(kind, count)]),
        ordered,
        total_minor: 5_000,
        currency: "EUR".into(),
        admitted_at: Some(Millis(1_000_u64.saturating_sub(who))),
        held_at: Some(Millis(500)),
        hold_end: Millis(2_000),
        at: Millis(1_000),
    }
}

pub fn seats(id: &str, who: u64, names: &[&str]) -> Booking {
    booking(id, who, Ordered::Seats(names.iter().map(|name| SeatId::new(name).unwrap()).collect()))
}

pub fn tickets(id: &str, who: u64, quantity: u64) -> Booking {
    booking(id, who, Ordered::Quantity { kind: standing(), quantity })
}

pub fn standing() -> TicketTypeId {
    TicketTypeId::new("standing").unwrap()
}

pub fn stored(revision: u64, slots: &str, blocked: &str, quantity: u64) -> StoredEvent {
    StoredEvent {
        event: event(),
        revision,
        body: "{}".into(),
        slots: slots.into(),
        blocked: blocked.into(),
        quantities: vec![(standing(), quantity)],
    }
}
