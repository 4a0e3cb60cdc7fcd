//! Random command sequences over a small event, and what resolves them against a model.
//!
//! Steps name holds by how many steps ago they were taken, so that shrinking keeps them meaningful.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::redis::Options,
};
use ticket_server::{
    ids::{Epoch, ReservationId, TicketTypeId},
    limits::{HOLD_LIFE_MS_MAX, PAST_KEPT_MS, SESSION_KEPT_MS},
    model::{
        Command, EventBody, Hall, Outcome, Sale, Shape, Sold, Taking, Wanted, What, Wish,
        best::{Floor, Plan},
    },
};

pub const START: u64 = 1_700_000_000_000;
const SEATS: u32 = 9;

/// One step, not yet resolved.
#[derive(Clone, Debug)]
pub enum Step {
    Wait(u64),
    Configure { stale: bool, seats: u32, blocked: Vec<u32>, quantity: Option<u64> },
    Restore { ahead: u64, seats: u32, blocked: Vec<u32> },
    Open,
    Hold { wishes: Vec<WishStep>, stale: bool },
    Look { seats: Vec<u32>, who: Vec<(u8, u8)>, stale: bool },
    Extend { hold: usize, other: bool, add_ms: u64, at_least_ms: u64 },
    Cancel { hold: usize, other: bool },
    Pin { hold: usize, other: bool },
    Unpin { hold: usize },
    Book { hold: usize },
    BookLost { visitor: u8, session: u8, seats: Vec<u32>, kind: Option<u8> },
    Unbook { hold: usize },
    Abort { hold: usize },
    Expire { batch: usize },
    Forget { batch: usize },
    EndSession { visitor: u8, session: u8, let_go: bool },
    Close { visitor: u8, session: u8 },
    Find { hold: usize },
    HoldsOf { visitor: u8 },
    Holds { skip: usize, batch: usize },
    Pinned { for_ms: u64, batch: usize },
    Version,
    Snapshot,
    Changes { back: u64, batch: usize },
}

/// One wish of a step.
#[derive(Clone, Debug)]
pub struct WishStep {
    visitor: u8,
    session: u8,
    hold_ms: u64,
    what: WishFor,
}

#[derive(Clone, Debug)]
pub enum WishFor {
    Seats(Vec<u32>),
    /// The same call again, whose first answer was lost.
    Again(usize),
    Quantity {
        kind: u8,
        quantity: u64,
    },
    Best {
        count: usize,
        together: bool,
    },
}

fn wish() -> impl Strategy<Value = WishStep> {
    let what = prop_oneof![
        10 => seats().prop_map(WishFor::Seats),
        1 => (0..6_usize).prop_map(WishFor::Again),
        5 => (0..2_u8, 1..4_u64).prop_map(|(kind, quantity)| WishFor::Quantity { kind, quantity }),
        3 => (1..4_usize, any::<bool>()).prop_map(|(count, together)| WishFor::Best { count, together }),
    ];
    (0..3_u8, 0..2_u8, 10_000..60_000_u64, what).prop_map(|(visitor, session, hold_ms, what)| WishStep {
        visitor,
        session,
        hold_ms,
        what,
    })
}

fn seats() -> impl Strategy<Value = Vec<u32>> {
    proptest::sample::subsequence((0..SEATS).collect::<Vec<_>>(), 1..=3).prop_shuffle()
}

/// Some twice, and some far from the others or where no seat is.
fn looked_at() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(prop_oneof![5 => 0..SEATS, 1 => 1_000..2_200_u32], 0..6)
}

/// How many seats there are, and which are taken out: a few, and sometimes a block that is larger than what
/// the script handles at once.
fn hall() -> impl Strategy<Value = (u32, Vec<u32>)> {
    let few = proptest::sample::subsequence((0..SEATS).collect::<Vec<_>>(), 0..=2);
    let block = prop_oneof![4 => Just(0..0_u32), 1 => Just(1024..2048), 1 => Just(1030..2060)];
    (SEATS - 1..SEATS + 6, few, block).prop_map(|(seats, mut blocked, block)| {
        let seats = if block.is_empty() { seats } else { 2100 };
        blocked.extend(block);
        (seats, blocked)
    })
}

pub fn step() -> impl Strategy<Value = Step> {
    let who = || (0..3_u8, 0..2_u8);
    let time = prop_oneof![
        6 => 0..5_000_u64,
        3 => 5_000..120_000_u64,
        1 => Just(HOLD_LIFE_MS_MAX),
        1 => Just(PAST_KEPT_MS),
        1 => Just(SESSION_KEPT_MS),
    ];
    let hold = || 0..6_usize;
    prop_oneof![
        12 => time.prop_map(Step::Wait),
        2 => (any::<bool>(), hall(), proptest::option::of(0..7_u64)).prop_map(
            |(stale, (seats, blocked), quantity)| Step::Configure { stale, seats, blocked, quantity }),
        1 => (0..2_u64, hall())
            .prop_map(|(ahead, (seats, blocked))| Step::Restore { ahead, seats, blocked }),
        1 => Just(Step::Open),
        16 => (wish(), proptest::bool::weighted(0.05))
            .prop_map(|(wish, stale)| Step::Hold { wishes: vec![wish], stale }),
        8 => proptest::collection::vec(wish(), 2..6).prop_map(|wishes| Step::Hold { wishes, stale: false }),
        4 => (looked_at(), proptest::collection::vec(who(), 0..4), proptest::bool::weighted(0.05))
            .prop_map(|(seats, who, stale)| Step::Look { seats, who, stale }),
        4 => (hold(), proptest::bool::weighted(0.1), 1..600_000_u64, 1..1_000_u64)
            .prop_map(|(hold, other, add_ms, at_least_ms)| Step::Extend { hold, other, add_ms, at_least_ms }),
        4 => (hold(), proptest::bool::weighted(0.1)).prop_map(|(hold, other)| Step::Cancel { hold, other }),
        6 => (hold(), proptest::bool::weighted(0.1)).prop_map(|(hold, other)| Step::Pin { hold, other }),
        1 => hold().prop_map(|hold| Step::Unpin { hold }),
        5 => hold().prop_map(|hold| Step::Book { hold }),
        1 => (who(), seats(), proptest::option::of(0..2_u8)).prop_map(|((visitor, session), seats, kind)| {
            Step::BookLost { visitor, session, seats, kind }
        }),
        2 => hold().prop_map(|hold| Step::Unbook { hold }),
        2 => hold().prop_map(|hold| Step::Abort { hold }),
        5 => (1..4_usize).prop_map(|batch| Step::Expire { batch }),
        2 => (1..4_usize).prop_map(|batch| Step::Forget { batch }),
        3 => (who(), any::<bool>())
            .prop_map(|((visitor, session), let_go)| Step::EndSession { visitor, session, let_go }),
        5 => who().prop_map(|(visitor, session)| Step::Close { visitor, session }),
        2 => hold().prop_map(|hold| Step::Find { hold }),
        1 => (0..3_u8).prop_map(|visitor| Step::HoldsOf { visitor }),
        1 => (0..3_usize, 1..4_usize).prop_map(|(skip, batch)| Step::Holds { skip, batch }),
        1 => (0..60_000_u64, 1..3_usize).prop_map(|(for_ms, batch)| Step::Pinned { for_ms, batch }),
        1 => Just(Step::Version),
        1 => Just(Step::Snapshot),
        2 => (0..12_u64, 1..5_usize).prop_map(|(back, batch)| Step::Changes { back, batch }),
    ]
}

pub fn sequence() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..60)
}

/// The model, the time, and what the steps refer to.
pub struct World {
    pub model: Sale,
    pub now: Millis,
    taken: Vec<Taken>,
    made: u64,
    plan: Arc<Plan>,
    quantities: BTreeMap<TicketTypeId, u64>,
}

#[derive(Clone)]
struct Taken {
    reservation: ReservationId,
    visitor: VisitorId,
    jti: Jti,
    what: What,
}

impl Default for World {
    fn default() -> Self {
        let quantities = [(kind(0), 5), (kind(1), 3)].into();
        let (model, plan) = (Sale::default(), Arc::new(Plan::new(&grid(&[(3, 3)]))));
        Self { model, now: Millis(START), taken: Vec::new(), made: 0, plan, quantities }
    }
}

/// A hall of sections with so many rows and seats in each, all of type `std`.
pub fn grid(sections: &[(u32, u32)]) -> Hall {
    let sections: Vec<_> = sections
        .iter()
        .zip(b'A'..)
        .map(|((rows, seats), name)| {
            let section = char::from(name).to_string();
            serde_json::json!({"section": section, "ticketTypeId": "std", "rows": rows, "seatsPerRow": seats})
        })
        .collect();
    let body = serde_json::json!({
        "name": "Grid", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "maxSeatsPerVisitor": 8,
        "ticketTypes": [{"ticketTypeId": "std", "name": "Seat", "priceMinor": 100}], "sections": sections,
    });
    Hall::new(EventId::new("hall").unwrap(), EventBody::from_json(body).unwrap()).unwrap()
}

/// A store that may take its time: what is tested is what it answers, on a machine that may be busy.
pub fn patient() -> Options {
    Options { command_timeout: Duration::from_secs(20), ..Options::default() }
}

pub fn visitor(n: u8) -> VisitorId {
    VisitorId::new(&format!("a_{n}")).unwrap()
}

pub fn jti(visitor: u8, session: u8) -> Jti {
    Jti { generation: Generation(0xabc), seq: Seq(u64::from(visitor) * 10 + u64::from(session) + 1) }
}

pub fn kind(n: u8) -> TicketTypeId {
    TicketTypeId::new(&format!("ga{n}")).unwrap()
}

impl World {
    /// The commands with which every sequence begins.
    pub fn begin(&mut self) -> Vec<Command> {
        let shape = self.shape(1, SEATS, vec![]);
        vec![Command::Configure { expected: 0, shape }, Command::Open]
    }

    fn shape(&mut self, revision: u64, seats: u32, blocked: Vec<u32>) -> Shape {
        self.made += 1;
        Shape {
            revision,
            epoch: Epoch(0xe000_0000_0000_0000 + self.made),
            seats,
            blocked: blocked.into(),
            quantities: Arc::new(self.quantities.clone()),
        }
    }

    fn revision(&mut self) -> u64 {
        match self.model.apply(Command::Version, self.now) {
            Outcome::Version(version) => version.revision,
            _ => 0,
        }
    }

    fn reservation(&mut self) -> ReservationId {
        self.made += 1;
        ReservationId::new(&format!("r_{}", self.made)).unwrap()
    }

    fn back(&self, steps: usize) -> Option<Taken> {
        self.taken.iter().rev().nth(steps).cloned()
    }

    fn live(&mut self, steps: usize) -> Option<Taken> {
        let taken = self.back(steps)?;
        let find = Command::Find { reservation: taken.reservation.clone() };
        matches!(self.model.apply(find, self.now), Outcome::Hold(_)).then_some(taken)
    }

    /// A hold or booking whose seats no other one names: the ledger sells no seat twice, so a booking that is taken
    /// back had them alone.
    fn sole_owner(&self, steps: usize) -> Option<Taken> {
        let taken = self.back(steps)?;
        let names = |what: &What| match (what, &taken.what) {
            (What::Seats(theirs), What::Seats(own)) => theirs.iter().any(|seat| own.contains(seat)),
            _ => false,
        };
        let dump = self.model.dump();
        let has = |id: &ReservationId| {
            let item = format!(",{id},");
            dump.visitors.values().any(|items| items.contains(&item))
        };
        let mut others = self.taken.iter().filter(|other| other.reservation != taken.reservation);
        (!others.any(|other| names(&other.what) && has(&other.reservation))).then_some(taken)
    }

    fn wish(&mut self, step: WishStep, before: &[Wish]) -> Option<Wish> {
        let WishStep { visitor: n, session, hold_ms, what } = step;
        let reservation = self.reservation();
        let mut taking = Taking { reservation, visitor: visitor(n), jti: jti(n, session), hold_ms, total_minor: 1_999 };
        let wanted = match what {
            WishFor::Seats(seats) => Wanted::Seats(seats),
            WishFor::Quantity { kind: n, quantity } => Wanted::Quantity { kind: kind(n), quantity, total: 5 },
            WishFor::Again(steps) => {
                let first = self.live(steps)?;
                if before.iter().any(|wish| wish.taking.reservation == first.reservation) {
                    return None;
                }
                let What::Seats(seats) = first.what else { return None };
                taking.reservation = first.reservation;
                return Some(Wish { taking, wanted: Wanted::Seats(seats) });
            }
            WishFor::Best { count, together } => {
                let Outcome::Snapshot(snapshot) = self.model.apply(Command::Snapshot, self.now) else { return None };
                let mut floor = Floor::new(Arc::clone(&self.plan), &snapshot.seats);
                Wanted::Seats(floor.choose(&TicketTypeId::new("std").unwrap(), count, together)?)
            }
        };
        let what = match &wanted {
            Wanted::Seats(seats) => What::Seats(seats.clone()),
            Wanted::Quantity { kind, quantity, .. } => What::Quantity { kind: kind.clone(), quantity: *quantity },
        };
        self.note(&taking, what);
        Some(Wish { taking, wanted })
    }

    /// Turns a step into a command; `None` when there is nothing it could refer to.
    pub fn resolve(&mut self, step: Step) -> Option<Command> {
        let owner = |taken: &Taken, other: bool| if other { visitor(9) } else { taken.visitor.clone() };
        Some(match step {
            Step::Wait(ms) => {
                self.now = self.now.plus(ms);
                return None;
            }
            Step::Configure { stale, seats, blocked, quantity } => {
                let revision = self.revision();
                match quantity {
                    Some(quantity) => self.quantities.insert(kind(0), quantity),
                    None => self.quantities.remove(&kind(0)),
                };
                let shape = self.shape(revision + 1, seats, blocked);
                Command::Configure { expected: revision + 7 * u64::from(stale), shape }
            }
            Step::Restore { ahead, seats, blocked } => {
                let revision = self.revision() + ahead;
                Command::Restore { shape: self.shape(revision, seats, blocked) }
            }
            Step::Open => Command::Open,
            Step::Hold { wishes, stale } => {
                let revision = self.revision() + u64::from(stale);
                let mut all = Vec::new();
                for step in wishes {
                    all.extend(self.wish(step, &all));
                }
                if all.is_empty() {
                    return None;
                }
                Command::Hold { revision, limit: 5, wishes: all }
            }
            Step::Look { seats, who, stale } => {
                let revision = self.revision() + u64::from(stale);
                let sessions = who.into_iter().map(|(visitor, session)| jti(visitor, session)).collect();
                Command::Look { revision, seats, sessions }
            }
            Step::Extend { hold, other, add_ms, at_least_ms } => {
                let taken = self.back(hold)?;
                let visitor = owner(&taken, other);
                Command::Extend { reservation: taken.reservation, visitor, add_ms, at_least_ms }
            }
            Step::Cancel { hold, other } => {
                let taken = self.back(hold)?;
                Command::Cancel { visitor: owner(&taken, other), reservation: taken.reservation }
            }
            Step::Pin { hold, other } => {
                let taken = self.back(hold)?;
                Command::Pin { visitor: owner(&taken, other), reservation: taken.reservation }
            }
            Step::Unpin { hold } => Command::Unpin { reservation: self.back(hold)?.reservation },
            Step::Book { hold } => Command::Book { bookings: vec![sold(self.back(hold)?)] },
            Step::BookLost { visitor: n, session, seats, kind: quantity } => {
                let what = quantity.map_or(What::Seats(seats), |n| What::Quantity { kind: kind(n), quantity: 1 });
                let taken = Taken { reservation: self.reservation(), visitor: visitor(n), jti: jti(n, session), what };
                let bookings = self.back(0).into_iter().chain([taken.clone()]).map(sold).collect();
                self.taken.push(taken);
                Command::Book { bookings }
            }
            Step::Unbook { hold } => Command::Unbook { booking: sold(self.sole_owner(hold)?) },
            Step::Abort { hold } => Command::Abort { reservation: self.back(hold)?.reservation },
            Step::Expire { batch } => Command::Expire { batch },
            Step::Forget { batch } => Command::Forget { batch },
            Step::EndSession { visitor: n, session, let_go } => {
                Command::EndSession { visitor: visitor(n), jti: jti(n, session), let_go }
            }
            Step::Close { visitor: n, session } => Command::Close { visitor: visitor(n), jti: jti(n, session) },
            Step::Find { hold } => Command::Find { reservation: self.back(hold)?.reservation },
            Step::HoldsOf { visitor: n } => Command::HoldsOf { visitor: visitor(n) },
            Step::Holds { skip, batch } => Command::Holds { skip, batch },
            Step::Pinned { for_ms, batch } => Command::Pinned { for_ms, batch },
            Step::Version => Command::Version,
            Step::Snapshot => Command::Snapshot,
            Step::Changes { back, batch } => {
                let version = match self.model.apply(Command::Version, self.now) {
                    Outcome::Version(version) => version.version,
                    _ => 0,
                };
                Command::Changes { after: (version + 2).saturating_sub(back), batch }
            }
        })
    }

    fn note(&mut self, taking: &Taking, what: What) {
        let Taking { reservation, visitor, jti, .. } = taking.clone();
        self.taken.push(Taken { reservation, visitor, jti, what });
    }
}

fn sold(taken: Taken) -> Sold {
    let Taken { reservation, visitor, jti, what } = taken;
    Sold { reservation, visitor, jti, what }
}
