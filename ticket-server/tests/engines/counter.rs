//! Holds that many ask for at once, on both engines: the batches of one server, and several servers on one store.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
    model::{Command, Hall, Hold, Outcome, Refusal, SeatState, Taking, Wanted, What},
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
            reservation: ReservationId::new(&format!("r{n}")).unwrap(),
            visitor: VisitorId::new(&format!("a_{n}")).unwrap(),
            jti: Jti { generation: Generation(1), seq: Seq(n + 1) },
            hold_ms: 600_000,
            total_minor: 0,
        };
        self.servers[n as usize % self.servers.len()].take(&self.hall, taking, want).await
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
    let cancel =
        Command::Cancel { reservation: ReservationId::new("r2").unwrap(), visitor: VisitorId::new("a_2").unwrap() };
    assert!(matches!(house.ask(cancel).await, Outcome::Past(..)));
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
