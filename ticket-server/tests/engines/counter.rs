//! Holds that many ask for at once, on both engines: the batches of one server, and several servers on one store.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use queue_core::{
    ids::{Generation, Jti, Seq, VisitorId},
    service::{
        redis::{Store, StoreUrl},
        testing::TestRedis,
    },
};
use ticket_server::{
    clock::Clock,
    counter::{Counter, NoHold, Want},
    engine::{Engine, MemoryEngine, RedisEngine},
    ids::{Epoch, ReservationId, TicketTypeId},
    model::{Command, Hall, Hold, Outcome, Refusal, SeatState, Sold, Taking, Wanted, What},
};

use crate::steps::{grid, patient};

struct House {
    engine: Arc<dyn Engine>,
    hall: Arc<Hall>,
    servers: Vec<Arc<Counter>>,
    _redis: Option<TestRedis>,
}

impl House {
    async fn open(redis: bool, servers: usize, hall: Hall) -> Self {
        let server = redis.then(TestRedis::start);
        let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
        let memory = Arc::new(MemoryEngine::new(Clock::Real));
        for _ in 0..servers {
            engines.push(match &server {
                Some(server) => {
                    let store = Store::connect(&StoreUrl::parse(&server.url()).unwrap(), patient());
                    store.wait_ready(Duration::from_secs(10)).await.unwrap();
                    Arc::new(RedisEngine::new(store))
                }
                None => Arc::clone(&memory) as Arc<dyn Engine>,
            });
        }
        let engine = Arc::clone(&engines[0]);
        let servers = engines.into_iter().map(|engine| Arc::new(Counter::new(engine))).collect();
        let house = Self { engine, hall: Arc::new(hall), servers, _redis: server };
        let shape = house.hall.shape(Epoch(1));
        assert_eq!(house.ask(Command::Configure { expected: 0, shape }).await, Outcome::Done);
        assert_eq!(house.ask(Command::Open).await, Outcome::Done);
        house
    }

    async fn ask(&self, command: Command) -> Outcome {
        self.engine.apply(&self.hall.event, command).await.unwrap()
    }

    async fn take(&self, n: u64, want: Want) -> Result<Hold, NoHold> {
        let taking = Taking {
            reservation: reservation(n),
            visitor: visitor_of(n),
            jti: session(n),
            hold_ms: 600_000,
            total_minor: 0,
        };
        self.server(n).take(&self.hall, taking, want, Instant::now()).await
    }

    /// As a request does: looks first, and takes if nothing is in the way.
    async fn wish(&self, n: u64, seats: &[u32]) -> Result<Hold, NoHold> {
        let want = Want::This(Wanted::Seats(seats.to_vec()));
        if self.server(n).doubts(&self.hall, &want) {
            self.server(n).look(&self.hall, session(n), &want, Instant::now()).await?;
        }
        self.take(n, want).await
    }

    fn server(&self, n: u64) -> &Counter {
        &self.servers[n as usize % self.servers.len()]
    }

    async fn let_go(&self, n: u64) {
        let (reservation, visitor) = (reservation(n), visitor_of(n));
        let outcome = self.ask(Command::Cancel { reservation, visitor }).await;
        assert!(matches!(outcome, Outcome::Past(..)), "{outcome:?}");
    }

    async fn best(&self, n: u64, count: usize, together: bool) -> Result<Hold, NoHold> {
        self.take(n, Want::Best { kind: TicketTypeId::new("std").unwrap(), count, together }).await
    }

    /// What all of these have, each seat once and as the store has it.
    async fn seats_of(&self, holds: &[Hold]) -> Vec<Vec<u32>> {
        let Outcome::Snapshot(snapshot) = self.ask(Command::Snapshot).await else { panic!() };
        let mut all = BTreeSet::new();
        let mut groups = Vec::new();
        for hold in holds {
            let What::Seats(seats) = &hold.what else { panic!("{hold:?}") };
            for &seat in seats {
                assert!(all.insert(seat), "seat {seat} was given away twice");
                assert_eq!(snapshot.seats.get(seat), SeatState::Held);
            }
            groups.push(seats.clone());
        }
        groups
    }
}

fn reservation(n: u64) -> ReservationId {
    ReservationId::new(&format!("r{n}")).unwrap()
}

fn visitor_of(n: u64) -> VisitorId {
    VisitorId::new(&format!("a_{n}")).unwrap()
}

fn session(n: u64) -> Jti {
    Jti { generation: Generation(1), seq: Seq(n + 1) }
}

fn neighbours(seats: &[u32], per_row: u32) -> bool {
    seats.windows(2).all(|pair| pair[1] == pair[0] + 1 && pair[1] / per_row == pair[0] / per_row)
}

/// A rush for the best seats: everybody gets some, next to each other, in the first rows, and nobody is left alone.
async fn a_rush_for_the_best(redis: bool, servers: usize) {
    let house = House::open(redis, servers, grid(&[(40, 12)])).await;
    let answers = join_all((0..64).map(|n| house.best(n, 1 + n as usize % 4, true))).await;
    let holds: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let groups = house.seats_of(&holds).await;
    assert!(groups.iter().all(|seats| neighbours(seats, 12)));
    if servers == 1 {
        // 160 seats are 13.3 rows: what single seats cost is made up for by those who want one.
        let last = groups.concat().into_iter().max().unwrap();
        assert!(last / 12 < 15, "row {}", last / 12);
    }
}

#[tokio::test]
async fn a_rush_on_memory() {
    a_rush_for_the_best(false, 1).await;
}

#[tokio::test]
async fn a_rush_on_redis() {
    a_rush_for_the_best(true, 1).await;
}

#[tokio::test]
async fn a_rush_on_three_servers() {
    a_rush_for_the_best(true, 3).await;
}

/// More want seats than there are: all seats go, and whoever gets none is told what is left.
async fn the_last_seats(redis: bool, servers: usize) {
    let house = House::open(redis, servers, grid(&[(4, 6)])).await;
    let answers = join_all((0..64).map(|n| house.best(n, 3, true))).await;
    let (holds, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let holds: Vec<_> = holds.into_iter().map(Result::unwrap).collect();
    let groups = house.seats_of(&holds).await;
    assert_eq!(groups.len(), 8, "three and three in each of four rows");
    assert!(groups.iter().all(|seats| neighbours(seats, 6)));
    for refusal in refused {
        assert!(matches!(refusal, Err(NoHold::Refused(Refusal::SoldOut { left: 0 }))), "{refusal:?}");
    }
}

#[tokio::test]
async fn the_last_seats_on_memory() {
    the_last_seats(false, 1).await;
}

#[tokio::test]
async fn the_last_seats_on_redis() {
    the_last_seats(true, 1).await;
}

#[tokio::test]
async fn the_last_seats_on_two_servers() {
    the_last_seats(true, 2).await;
}

/// Enough seats, but apart; then fewer than wanted; and what is given back is found again.
async fn enough_but_not_together(redis: bool) {
    let house = House::open(redis, 1, grid(&[(2, 5)])).await;
    let taken = [1, 3, 6, 8].into_iter().zip(1..);
    for (seat, n) in taken {
        house.take(n, Want::This(Wanted::Seats(vec![seat]))).await.unwrap();
    }
    let refused = house.best(10, 2, true).await;
    assert!(matches!(refused, Err(NoHold::NotTogether { left: 6, together: 1 })), "{refused:?}");
    let apart = house.best(11, 2, false).await.unwrap();
    assert_eq!(apart.what, What::Seats(vec![0, 2]));
    let refused = house.best(12, 5, false).await;
    assert!(matches!(refused, Err(NoHold::Refused(Refusal::SoldOut { left: 4 }))), "{refused:?}");
    house.let_go(2).await;
    assert_eq!(house.best(13, 2, true).await.unwrap().what, What::Seats(vec![3, 4]));
    let other = house.take(14, Want::This(Wanted::Seats(vec![3, 5]))).await;
    let Err(NoHold::Refused(Refusal::Taken(seats))) = other else { panic!("{other:?}") };
    assert_eq!(seats, [(3, SeatState::Held)]);
}

#[tokio::test]
async fn enough_but_not_together_on_memory() {
    enough_but_not_together(false).await;
}

#[tokio::test]
async fn enough_but_not_together_on_redis() {
    enough_but_not_together(true).await;
}

/// Named seats and best seats in one rush, on two servers: each seat goes to one, whatever it was asked for as.
#[tokio::test]
async fn named_and_best_seats_at_once() {
    let house = House::open(true, 2, grid(&[(16, 10)])).await;
    let wishes = (0..96_u64).map(|n| {
        let house = &house;
        async move {
            match n % 3 {
                0 => house.take(n, Want::This(Wanted::Seats(vec![n as u32 % 50, n as u32 % 50 + 1]))).await,
                1 => house.best(n, 2, true).await,
                _ => house.best(n, 1, false).await,
            }
        }
    });
    let answers = join_all(wishes).await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    let holds: Vec<_> = answers.into_iter().flatten().collect();
    let seats: usize = house.seats_of(&holds).await.iter().map(Vec::len).sum();
    assert!(seats <= 160 && holds.len() + refused == 96);
    let best = holds.iter().filter(|hold| matches!(&hold.what, What::Seats(seats) if seats.len() == 1)).count();
    assert_eq!(best, 32, "there is a seat for each who wants just one");
}

/// Who is refused by a look hears the same as from a hold: all seats that are taken, what they are, and before that
/// whether the session goes on.
async fn a_look_refuses_as_a_hold_does(redis: bool) {
    let house = House::open(redis, 1, grid(&[(4, 10)])).await;
    house.wish(0, &[3, 4]).await.unwrap();
    let sold =
        Sold { reservation: reservation(1), visitor: visitor_of(1), jti: session(1), what: What::Seats(vec![9]) };
    house.wish(1, &[9]).await.unwrap();
    assert_eq!(house.ask(Command::Book { bookings: vec![sold] }).await, Outcome::Done);
    let want = Want::This(Wanted::Seats(vec![9, 8, 3]));
    for n in [2, 3] {
        let refused = match n {
            2 => house.take(n, want.clone()).await.map(drop),
            _ => house.server(n).look(&house.hall, session(n), &want, Instant::now()).await,
        };
        // In memory nobody has to: a hold costs no more.
        let Err(NoHold::Refused(Refusal::Taken(seats))) = refused else {
            assert!(n == 3 && !redis, "{refused:?}");
            continue;
        };
        assert_eq!(house.server(n).doubts(&house.hall, &want), redis);
        assert_eq!(seats, [(9, SeatState::Sold), (3, SeatState::Held)]);
    }
    let ended = Command::EndSession { visitor: visitor_of(4), jti: session(4), let_go: false };
    assert!(matches!(house.ask(ended).await, Outcome::Freed { .. }));
    let refused = house.wish(4, &[3]).await;
    assert!(matches!(refused, Err(NoHold::Refused(Refusal::SessionEnded))), "{refused:?}");
    let Outcome::Snapshot(snapshot) = house.ask(Command::Snapshot).await else { panic!() };
    assert_eq!(snapshot.seats.get(8), SeatState::Free, "nothing is held unless all are");
}

#[tokio::test]
async fn a_look_refuses_as_a_hold_does_on_memory() {
    a_look_refuses_as_a_hold_does(false).await;
}

#[tokio::test]
async fn a_look_refuses_as_a_hold_does_on_redis() {
    a_look_refuses_as_a_hold_does(true).await;
}

/// A seat that was given back before it was asked for is there, however often it was seen taken, and on whichever
/// server: nobody is refused by what was known before they asked.
#[tokio::test]
async fn a_seat_that_was_freed_is_held_at_once() {
    let house = House::open(true, 3, grid(&[(4, 10)])).await;
    for round in 0..60_u64 {
        let (first, others) = (round * 10, (1..8).map(|n| round * 10 + n));
        house.wish(first, &[5, 6]).await.unwrap();
        let refused = join_all(others.map(|n| house.wish(n, &[6, 7]))).await;
        for refusal in refused {
            let Err(NoHold::Refused(Refusal::Taken(seats))) = refusal else { panic!("{refusal:?}") };
            assert_eq!(seats, [(6, SeatState::Held)]);
        }
        house.let_go(first).await;
        house.wish(first + 8, &[6, 7]).await.unwrap();
        house.let_go(first + 8).await;
    }
}

/// Many want a few seats that come back again and again: each is held by one at a time, and nobody waits for ever.
#[tokio::test]
async fn a_rush_for_seats_that_come_back() {
    let house = House::open(true, 2, grid(&[(1, 4)])).await;
    let served = join_all((0..32_u64).map(|n| {
        let house = &house;
        async move {
            for attempt in 0.. {
                let id = n * 10_000 + attempt;
                match house.wish(id, &[n as u32 % 4]).await {
                    Ok(_) => return house.let_go(id).await,
                    Err(NoHold::Refused(Refusal::Taken(_))) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }));
    tokio::time::timeout(Duration::from_secs(60), served).await.expect("everybody is served in the end");
    let Outcome::Snapshot(snapshot) = house.ask(Command::Snapshot).await else { panic!() };
    assert!((0..4).all(|seat| snapshot.seats.get(seat) == SeatState::Free));
}
