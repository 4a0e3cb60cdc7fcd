//! One suite over both engines: each scenario runs on the memory engine and on a real Redis, on the
//! test's own clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use queue_core::{
    ids::{EventId, Jti},
    service::{
        redis::{Store, StoreUrl},
        testing::TestRedis,
    },
};
use ticket_server::{
    clock::Clock,
    engine::{Engine, MemoryEngine, RedisEngine},
    ids::{Epoch, ReservationId},
    limits::{HOLD_LIFE_MS_MAX, PAST_KEPT_MS, SESSION_KEPT_MS},
    model::{
        Change, Command, Counts, Hold, Outcome, PastState, Refusal, SeatState, Shape, Snapshot, Sold, Taking, Version,
        Wanted, What, Wish,
    },
};

use crate::steps::{START, jti, kind, patient, visitor};

/// An engine under test, its clock and an event that is open.
struct Bench {
    engine: Box<dyn Engine>,
    time: Arc<AtomicU64>,
    event: EventId,
    _redis: Option<TestRedis>,
}

fn shape(revision: u64, seats: u32, blocked: &[u32], quantity: u64) -> Shape {
    let quantities = BTreeMap::from([(kind(0), quantity)]);
    Shape { revision, epoch: Epoch(revision), seats, blocked: blocked.into(), quantities: Arc::new(quantities) }
}

impl Bench {
    async fn new(redis: bool) -> Self {
        let time = Arc::new(AtomicU64::new(START));
        let clock = Clock::Virtual(Arc::clone(&time));
        let server = redis.then(TestRedis::start);
        let engine: Box<dyn Engine> = match &server {
            Some(server) => {
                let store = Store::connect(&StoreUrl::parse(&server.url()).unwrap(), patient());
                store.wait_ready(Duration::from_secs(5)).await.unwrap();
                Box::new(RedisEngine::with_clock(store, clock))
            }
            None => Box::new(MemoryEngine::new(clock)),
        };
        let bench = Self { engine, time, event: EventId::new("hall").unwrap(), _redis: server };
        assert_eq!(bench.ask(Command::Configure { expected: 0, shape: shape(1, 10, &[], 5) }).await, Outcome::Done);
        assert_eq!(bench.ask(Command::Open).await, Outcome::Done);
        bench
    }

    async fn ask(&self, command: Command) -> Outcome {
        self.engine.apply(&self.event, command).await.unwrap()
    }

    fn wait(&self, ms: u64) {
        self.time.fetch_add(ms, Ordering::SeqCst);
    }

    async fn hold(&self, id: &str, who: u8, seats: &[u32]) -> Outcome {
        let taking = taking(id, who, jti(who, 0));
        self.hold_as(taking, Wanted::Seats(seats.to_vec())).await
    }

    async fn hold_as(&self, taking: Taking, wanted: Wanted) -> Outcome {
        match self.ask(hold_all(vec![Wish { taking, wanted }])).await {
            Outcome::Each(mut answers) => answers.remove(0).map_or_else(Outcome::Refused, Outcome::Hold),
            other => other,
        }
    }

    async fn take(&self, id: &str, who: u8, quantity: u64) -> Outcome {
        let taking = taking(id, who, jti(who, 0));
        self.hold_as(taking, Wanted::Quantity { kind: kind(0), quantity, total: 5 }).await
    }

    async fn pin(&self, id: &str, who: u8) -> Outcome {
        self.ask(Command::Pin { reservation: r(id), visitor: visitor(who) }).await
    }

    async fn cancel(&self, id: &str, who: u8) -> Outcome {
        self.ask(Command::Cancel { reservation: r(id), visitor: visitor(who) }).await
    }

    async fn extend(&self, id: &str, who: u8, add_ms: u64, at_least_ms: u64) -> Outcome {
        self.ask(Command::Extend { reservation: r(id), visitor: visitor(who), add_ms, at_least_ms }).await
    }

    async fn book(&self, id: &str, who: u8, what: What) -> Outcome {
        let sold = Sold { reservation: r(id), visitor: visitor(who), jti: jti(who, 0), what };
        self.ask(Command::Book { bookings: vec![sold] }).await
    }

    async fn close(&self, who: u8) -> Outcome {
        self.ask(Command::Close { visitor: visitor(who), jti: jti(who, 0) }).await
    }

    async fn expire(&self) -> Vec<String> {
        match self.ask(Command::Expire { batch: 100 }).await {
            Outcome::Expired { holds, .. } => holds.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn snapshot(&self) -> Snapshot {
        match self.ask(Command::Snapshot).await {
            Outcome::Snapshot(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    async fn state(&self, seat: u32) -> SeatState {
        self.snapshot().await.seats.get(seat)
    }
}

fn taking(id: &str, who: u8, jti: Jti) -> Taking {
    Taking { reservation: r(id), visitor: visitor(who), jti, hold_ms: 60_000, total_minor: 100 }
}

fn hold_all(wishes: Vec<Wish>) -> Command {
    Command::Hold { revision: 1, limit: 4, wishes }
}

fn r(id: &str) -> ReservationId {
    ReservationId::new(id).unwrap()
}

fn held(outcome: Outcome) -> Hold {
    match outcome {
        Outcome::Hold(hold) => hold,
        other => panic!("{other:?}"),
    }
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

macro_rules! scenarios {
    ($($name:ident;)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::new(false).await).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::new(true).await).await; })*
        }
    };
}

scenarios! {
    seats_are_held_all_or_none;
    wishes_of_one_batch_are_served_in_order;
    whoever_expires_learns_when_the_next_one_ends;
    what_becomes_of_holds_is_counted;
    the_limit_counts_what_is_held_and_sold;
    tickets_without_seats_run_out;
    holds_expire_at_their_end;
    holds_are_extended_twice_and_live_fifteen_minutes;
    somebody_elses_hold_is_not_found;
    cancelling_again_is_answered_again;
    a_pinned_hold_does_not_expire;
    bookings_are_marked_whatever_the_store_believed;
    a_booking_that_was_taken_back_frees_its_seats_once;
    an_ended_session_takes_nothing;
    a_session_closes_when_nothing_is_open;
    what_is_held_or_sold_is_not_taken_away;
    seats_that_come_back_are_free;
    a_restored_sale_is_not_open;
    changes_are_logged;
    old_news_is_forgotten;
}

async fn seats_are_held_all_or_none(b: Bench) {
    let hold = held(b.hold("r1", 0, &[1, 2]).await);
    assert_eq!((hold.created.0, hold.end.0, hold.what), (START, START + 60_000, What::Seats(vec![1, 2])));
    assert_eq!(
        b.hold("r2", 1, &[0, 2, 1]).await,
        refused(Refusal::Taken(vec![(2, SeatState::Held), (1, SeatState::Held)]))
    );
    assert_eq!(b.state(0).await, SeatState::Free);
    assert_eq!(
        held(b.hold("r1", 0, &[1, 2]).await).reservation,
        r("r1"),
        "the same call again is answered as it stands"
    );
}

async fn wishes_of_one_batch_are_served_in_order(b: Bench) {
    let before = b.snapshot().await.version.version;
    let wish = |id: &str, who, seats: &[u32]| Wish {
        taking: taking(id, who, jti(who, 0)),
        wanted: Wanted::Seats(seats.to_vec()),
    };
    let tickets = |id: &str, who, quantity| Wish {
        taking: taking(id, who, jti(who, 0)),
        wanted: Wanted::Quantity { kind: kind(0), quantity, total: 5 },
    };
    b.ask(Command::EndSession { visitor: visitor(2), jti: jti(2, 0), let_go: true }).await;
    let wishes = vec![
        wish("r1", 0, &[1, 2, 4]),
        wish("r2", 1, &[0, 5, 4, 1]),
        wish("r3", 0, &[0, 5]),
        wish("r4", 1, &[5, 6]),
        wish("r5", 2, &[7]),
        tickets("r6", 3, 4),
        tickets("r7", 1, 2),
        tickets("r8", 0, 1),
    ];
    let Outcome::Each(answers) = b.ask(hold_all(wishes)).await else { panic!() };
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.map(|hold| hold.reservation.to_string())).collect();
    let held = |id: &str| Ok(id.to_owned());
    let expected = [
        held("r1"),
        Err(Refusal::Taken(vec![(4, SeatState::Held), (1, SeatState::Held)])),
        Err(Refusal::LimitExceeded { has: 3 }),
        held("r4"),
        Err(Refusal::SessionEnded),
        held("r6"),
        Err(Refusal::SoldOut { left: 1 }),
        held("r8"),
    ];
    assert_eq!(answers, expected);
    assert_eq!((b.state(0).await, b.state(6).await), (SeatState::Free, SeatState::Held));
    let change = |version, seats: &[u32]| Change { version, state: SeatState::Held, seats: seats.to_vec() };
    let expected = vec![change(before + 1, &[1, 2, 4, 5, 6]), change(before + 2, &[])];
    let Outcome::Changes(_, Some(changes)) = b.ask(Command::Changes { after: before, batch: 9 }).await else {
        panic!()
    };
    assert_eq!(changes, expected, "what was held together is one change");
}

async fn whoever_expires_learns_when_the_next_one_ends(b: Bench) {
    let expire = async |batch| match b.ask(Command::Expire { batch }).await {
        Outcome::Expired { holds, more, next_ms, .. } => (holds, more, next_ms),
        other => panic!("{other:?}"),
    };
    assert_eq!(expire(9).await, (vec![], false, None));
    held(b.hold("r1", 0, &[1]).await);
    b.wait(1_000);
    held(b.hold("r2", 0, &[2]).await);
    assert_eq!(expire(9).await, (vec![], false, Some(59_000)));
    b.wait(59_000);
    assert_eq!(expire(9).await, (vec![r("r1")], false, Some(1_000)));
    b.wait(1_000);
    assert_eq!(expire(1).await, (vec![r("r2")], true, None));
}

async fn what_becomes_of_holds_is_counted(b: Bench) {
    let counts = async || match b.ask(Command::Expire { batch: 100 }).await {
        Outcome::Expired { counts, .. } => counts,
        other => panic!("{other:?}"),
    };
    let first = Counts { origin: Some(Epoch(1)), ..Counts::default() };
    assert_eq!(counts().await, first);
    held(b.hold("r1", 0, &[1]).await);
    held(b.hold("r1", 0, &[1]).await);
    held(b.take("r2", 1, 1).await);
    held(b.hold("r3", 2, &[2]).await);
    held(b.hold("r4", 2, &[3]).await);
    held(b.hold("r5", 3, &[4]).await);
    assert_eq!(counts().await, Counts { taken: 5, ..first }, "the same call again is one hold");
    b.ask(Command::Cancel { reservation: r("r1"), visitor: visitor(0) }).await;
    b.ask(Command::Cancel { reservation: r("r1"), visitor: visitor(0) }).await;
    b.ask(Command::EndSession { visitor: visitor(2), jti: jti(2, 0), let_go: true }).await;
    assert_eq!(counts().await, Counts { taken: 5, given_up: 3, ..first });
    b.book("r5", 3, What::Seats(vec![4])).await;
    b.wait(60_000);
    assert_eq!(counts().await, Counts { taken: 5, expired: 1, given_up: 3, ..first });
    held(b.hold("r6", 0, &[5]).await);
    b.pin("r6", 0).await;
    b.ask(Command::Abort { reservation: r("r6") }).await;
    held(b.hold("r7", 0, &[6]).await);
    b.wait(60_000);
    b.pin("r7", 0).await;
    let last = Counts { taken: 7, expired: 3, given_up: 3, ..first };
    assert_eq!(counts().await, last);
    // Another definition of the event does not begin the counting anew.
    assert_eq!(b.ask(Command::Configure { expected: 1, shape: shape(2, 12, &[], 5) }).await, Outcome::Done);
    assert_eq!(counts().await, last);
}

async fn the_limit_counts_what_is_held_and_sold(b: Bench) {
    held(b.hold("r1", 0, &[0, 1]).await);
    b.pin("r1", 0).await;
    b.book("r1", 0, What::Seats(vec![0, 1])).await;
    held(b.take("r2", 0, 1).await);
    assert_eq!(b.hold("r3", 0, &[2, 3]).await, refused(Refusal::LimitExceeded { has: 3 }));
    assert_eq!(b.take("r3", 0, 2).await, refused(Refusal::LimitExceeded { has: 3 }));
    held(b.hold("r4", 0, &[2]).await);
    held(b.hold("r5", 1, &[3]).await);
}

async fn tickets_without_seats_run_out(b: Bench) {
    held(b.take("r1", 0, 3).await);
    assert_eq!(b.take("r2", 1, 3).await, refused(Refusal::SoldOut { left: 2 }));
    held(b.take("r3", 1, 2).await);
    b.cancel("r1", 0).await;
    b.book("r3", 1, What::Quantity { kind: kind(0), quantity: 2 }).await;
    let tally = b.snapshot().await.tallies[&kind(0)];
    assert_eq!((tally.held, tally.sold), (0, 2));
}

async fn holds_expire_at_their_end(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    b.wait(59_999);
    assert!(b.expire().await.is_empty());
    b.wait(1);
    assert_eq!(b.expire().await, ["r1"]);
    assert_eq!(b.state(1).await, SeatState::Free);
    assert_eq!(b.pin("r1", 0).await, refused(Refusal::Expired));
    assert!(matches!(b.ask(Command::Find { reservation: r("r1") }).await, Outcome::Past(PastState::Expired, _)));
    held(b.hold("r2", 0, &[2]).await);
    b.wait(60_000);
    assert_eq!(b.pin("r2", 0).await, refused(Refusal::Expired), "before anybody has looked");
    assert_eq!(b.state(2).await, SeatState::Free);
}

async fn holds_are_extended_twice_and_live_fifteen_minutes(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    assert_eq!(held(b.extend("r1", 0, 60_000, 60_000).await).end.0, START + 120_000);
    assert_eq!(held(b.extend("r1", 0, 1_000, 1_000).await).extensions, 2);
    let limit = |extensions, left_ms| refused(Refusal::ExtensionLimit { extensions, left_ms });
    assert_eq!(b.extend("r1", 0, 1_000, 1).await, limit(2, HOLD_LIFE_MS_MAX - 121_000));
    held(b.hold("r2", 0, &[2]).await);
    assert_eq!(b.extend("r2", 0, HOLD_LIFE_MS_MAX, HOLD_LIFE_MS_MAX).await, limit(0, HOLD_LIFE_MS_MAX - 60_000));
    assert_eq!(held(b.extend("r2", 0, HOLD_LIFE_MS_MAX, 1).await).end.0, START + HOLD_LIFE_MS_MAX);
    assert_eq!(b.extend("r2", 0, 1_000, 1).await, limit(1, 0));
}

async fn somebody_elses_hold_is_not_found(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    for outcome in [b.pin("r1", 1).await, b.cancel("r1", 1).await, b.extend("r1", 1, 1, 1).await, b.pin("r9", 0).await]
    {
        assert_eq!(outcome, refused(Refusal::NotFound));
    }
    b.cancel("r1", 0).await;
    assert_eq!(b.cancel("r1", 1).await, refused(Refusal::NotFound));
}

async fn cancelling_again_is_answered_again(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    let first = b.cancel("r1", 0).await;
    assert!(matches!(first, Outcome::Past(PastState::Cancelled, _)));
    assert_eq!(b.cancel("r1", 0).await, first);
    assert_eq!(b.state(1).await, SeatState::Free);
}

async fn a_pinned_hold_does_not_expire(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    held(b.pin("r1", 0).await);
    b.wait(120_000);
    assert!(b.expire().await.is_empty());
    assert_eq!(b.cancel("r1", 0).await, refused(Refusal::NotHeld));
    assert_eq!(b.extend("r1", 0, 1, 1).await, refused(Refusal::NotHeld));
    let Outcome::Holds(old) = b.ask(Command::Pinned { for_ms: 120_000, batch: 9 }).await else { panic!() };
    assert_eq!(old.len(), 1);
    held(b.pin("r1", 0).await);
    assert_eq!(b.ask(Command::Pinned { for_ms: 120_000, batch: 9 }).await, Outcome::Holds(vec![]));
    b.ask(Command::Unpin { reservation: r("r1") }).await;
    assert_eq!(b.expire().await, ["r1"]);
    held(b.hold("r2", 0, &[1]).await);
    b.ask(Command::Abort { reservation: r("r2") }).await;
    assert_eq!(b.state(1).await, SeatState::Held, "a hold that is not being booked is left alone");
    held(b.pin("r2", 0).await);
    b.ask(Command::Abort { reservation: r("r2") }).await;
    assert_eq!(b.state(1).await, SeatState::Free);
}

async fn bookings_are_marked_whatever_the_store_believed(b: Bench) {
    held(b.hold("r1", 0, &[1, 2]).await);
    // The ledger sold seat 2 to somebody whose hold was lost.
    b.book("r9", 1, What::Seats(vec![2])).await;
    b.book("r9", 1, What::Seats(vec![2])).await;
    b.book("g9", 1, What::Quantity { kind: kind(0), quantity: 2 }).await;
    b.book("g9", 1, What::Quantity { kind: kind(0), quantity: 2 }).await;
    assert_eq!(b.snapshot().await.tallies[&kind(0)].sold, 2);
    b.cancel("r1", 0).await;
    assert_eq!((b.state(1).await, b.state(2).await), (SeatState::Free, SeatState::Sold));
    assert_eq!(b.take("r3", 1, 2).await, refused(Refusal::LimitExceeded { has: 3 }), "bookings count once");
    held(b.take("r3", 1, 1).await);
}

async fn a_booking_that_was_taken_back_frees_its_seats_once(b: Bench) {
    let unbook = |id: &str, what| {
        let booking = Sold { reservation: r(id), visitor: visitor(0), jti: jti(0, 0), what };
        b.ask(Command::Unbook { booking })
    };
    let seats = || What::Seats(vec![1, 2]);
    let standing = || What::Quantity { kind: kind(0), quantity: 2 };
    assert_eq!(unbook("r1", seats()).await, Outcome::Done);
    b.book("r1", 0, seats()).await;
    b.book("r2", 0, standing()).await;
    assert_eq!(unbook("r1", seats()).await, Outcome::Done);
    assert_eq!(unbook("r2", standing()).await, Outcome::Done);
    assert_eq!(b.state(1).await, SeatState::Free);
    assert!(b.snapshot().await.tallies.is_empty());
    assert_eq!(b.close(0).await, Outcome::NotDone, "nothing is booked any more");
    // Sold again meanwhile: the second time leaves it alone.
    held(b.hold("r3", 1, &[1]).await);
    b.book("r3", 1, What::Seats(vec![1])).await;
    assert_eq!(unbook("r1", seats()).await, Outcome::Done);
    assert_eq!(b.state(1).await, SeatState::Sold);
}

async fn an_ended_session_takes_nothing(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    held(b.hold("r2", 0, &[2]).await);
    held(b.pin("r2", 0).await);
    let other = Taking { reservation: r("r3"), ..taking("r3", 0, jti(0, 1)) };
    held(b.hold_as(other, Wanted::Seats(vec![3])).await);
    let end = |let_go| Command::EndSession { visitor: visitor(0), jti: jti(0, 0), let_go };
    assert_eq!(b.ask(end(false)).await, Outcome::Freed { holds: vec![], more: false });
    assert_eq!(b.hold("r4", 0, &[4]).await, refused(Refusal::SessionEnded));
    assert_eq!(b.ask(end(true)).await, Outcome::Freed { holds: vec![r("r1")], more: false });
    let states = [b.state(1).await, b.state(2).await, b.state(3).await];
    assert_eq!(states, [SeatState::Free, SeatState::Held, SeatState::Held], "pinned and other sessions' holds stay");
}

async fn a_session_closes_when_nothing_is_open(b: Bench) {
    assert_eq!(b.close(0).await, Outcome::NotDone);
    held(b.hold("r1", 0, &[1]).await);
    held(b.hold("r2", 0, &[2]).await);
    held(b.pin("r1", 0).await);
    b.book("r1", 0, What::Seats(vec![1])).await;
    assert_eq!(b.close(0).await, Outcome::NotDone, "a second hold is open");
    b.cancel("r2", 0).await;
    assert_eq!(b.close(0).await, Outcome::Closed);
    assert_eq!(b.close(0).await, Outcome::Closed);
    assert_eq!(b.hold("r3", 0, &[3]).await, refused(Refusal::SessionEnded));
    let other = taking("r4", 0, jti(0, 1));
    held(b.hold_as(other, Wanted::Seats(vec![3])).await);
    b.ask(Command::Cancel { reservation: r("r4"), visitor: visitor(0) }).await;
    let close = Command::Close { visitor: visitor(0), jti: jti(0, 1) };
    assert_eq!(b.ask(close).await, Outcome::NotDone, "a later session has no booking of its own yet");
}

async fn what_is_held_or_sold_is_not_taken_away(b: Bench) {
    held(b.hold("r1", 0, &[3]).await);
    b.book("r2", 1, What::Seats(vec![9])).await;
    held(b.take("r3", 1, 2).await);
    for (blocked, quantity) in [(vec![3], 5), (vec![0, 9], 5), (vec![], 1)] {
        let change = Command::Configure { expected: 1, shape: shape(2, 10, &blocked, quantity) };
        assert_eq!(b.ask(change).await, refused(Refusal::InUse), "{blocked:?} {quantity}");
    }
    let change = Command::Configure { expected: 1, shape: shape(2, 12, &[0, 8], 2) };
    assert_eq!(b.ask(change.clone()).await, Outcome::Done);
    assert_eq!(b.ask(change).await, refused(Refusal::Stale));
    assert_eq!(b.state(8).await, SeatState::Blocked);
    assert_eq!(b.hold("r4", 2, &[1]).await, refused(Refusal::Stale), "checked against the old definition");
}

async fn seats_that_come_back_are_free(b: Bench) {
    b.ask(Command::Configure { expected: 1, shape: shape(2, 10, &[4, 5], 5) }).await;
    b.ask(Command::Configure { expected: 2, shape: shape(3, 10, &[5], 5) }).await;
    assert_eq!((b.state(4).await, b.state(5).await), (SeatState::Free, SeatState::Blocked));
}

async fn a_restored_sale_is_not_open(b: Bench) {
    let other = EventId::new("other").unwrap();
    let ask = |command| b.engine.apply(&other, command);
    assert_eq!(ask(Command::Snapshot).await.unwrap(), refused(Refusal::NoEvent));
    assert_eq!(ask(Command::Open).await.unwrap(), refused(Refusal::NoEvent));
    assert_eq!(ask(Command::Restore { shape: shape(1, 4, &[], 5) }).await.unwrap(), Outcome::Done);
    let hold = || hold_all(vec![Wish { taking: taking("r1", 0, jti(0, 0)), wanted: Wanted::Seats(vec![1]) }]);
    assert_eq!(ask(hold()).await.unwrap(), refused(Refusal::NotOpen));
    assert_eq!(ask(Command::Open).await.unwrap(), Outcome::Done);
    assert!(matches!(ask(hold()).await.unwrap(), Outcome::Each(answers) if answers[0].is_ok()));
    assert_eq!(ask(Command::Restore { shape: shape(1, 4, &[], 5) }).await.unwrap(), Outcome::Done);
    let Outcome::Version(Version { open, .. }) = ask(Command::Version).await.unwrap() else { panic!() };
    assert!(open, "a sale that is there goes on");
}

async fn changes_are_logged(b: Bench) {
    let before = b.snapshot().await.version;
    held(b.hold("r1", 0, &[1, 2]).await);
    b.cancel("r1", 0).await;
    held(b.take("r2", 0, 1).await);
    let changes = |after| b.ask(Command::Changes { after, batch: 10 });
    let change = |n, state, seats: &[u32]| Change { version: before.version + n, state, seats: seats.to_vec() };
    let all =
        vec![change(1, SeatState::Held, &[1, 2]), change(2, SeatState::Free, &[1, 2]), change(3, SeatState::Held, &[])];
    assert_eq!(changes(before.version).await, Outcome::Changes(before.epoch, Some(all.clone())));
    assert_eq!(changes(before.version + 2).await, Outcome::Changes(before.epoch, Some(all[2..].to_vec())));
    assert_eq!(changes(before.version + 3).await, Outcome::Changes(before.epoch, Some(vec![])));
    assert_eq!(changes(before.version + 4).await, Outcome::Changes(before.epoch, None));
    assert_eq!(changes(0).await, Outcome::Changes(before.epoch, None));
}

async fn old_news_is_forgotten(b: Bench) {
    held(b.hold("r1", 0, &[1]).await);
    b.cancel("r1", 0).await;
    b.ask(Command::EndSession { visitor: visitor(0), jti: jti(0, 0), let_go: true }).await;
    b.wait(PAST_KEPT_MS);
    assert_eq!(b.ask(Command::Forget { batch: 9 }).await, Outcome::Freed { holds: vec![], more: true });
    assert_eq!(b.ask(Command::Find { reservation: r("r1") }).await, refused(Refusal::NotFound));
    assert_eq!(b.hold("r2", 0, &[1]).await, refused(Refusal::SessionEnded));
    b.wait(SESSION_KEPT_MS - PAST_KEPT_MS);
    assert_eq!(b.ask(Command::Forget { batch: 9 }).await, Outcome::Freed { holds: vec![], more: true });
    assert_eq!(b.ask(Command::Forget { batch: 9 }).await, Outcome::Freed { holds: vec![], more: false });
    held(b.hold("r2", 0, &[1]).await);
}
