//! The state machine against a model of everything around it, with a failure, a lost answer or a crash at any point.
//!
//! The world is honest and unreliable: what it is asked it does, or not, or does and does not say so. A run may end
//! at any moment; what it had written down is all that the next one knows. An authorization may arrive long after
//! everybody has given it up.

use proptest::prelude::*;
use queue_core::ids::Millis;
use ticket_server::{
    orders::{
        Failure, Kind, OrderState, Saga, Stage,
        saga::{Answer, Move, Run, Task},
    },
    payments::{Operation, PaymentStatus as P, Trouble},
};

/// What goes wrong with one task.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Well,
    /// It is done, and nobody hears of it.
    Lost,
    /// It is not done, and nobody knows.
    Dropped,
    /// Nothing is sent.
    NotSent,
    /// It is done, and the run ends before it is written down.
    CrashAfter,
    /// The run ends before it is done.
    CrashBefore,
    /// It is written down, and the run ends.
    CrashWritten,
}

fn luck() -> impl Strategy<Value = (Luck, u64, u8)> {
    let luck = prop_oneof![
        6 => Just(Luck::Well),
        1 => Just(Luck::Lost),
        1 => Just(Luck::Dropped),
        1 => Just(Luck::NotSent),
        1 => Just(Luck::CrashAfter),
        1 => Just(Luck::CrashBefore),
        1 => Just(Luck::CrashWritten),
    ];
    (luck, prop_oneof![5 => 0..2_000_u64, 1 => 0..70_000_u64, 1 => Just(1_000_000)], 0..8_u8)
}

/// What goes on outside while the order runs.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Quiet,
    /// The provider declines.
    Declines,
    /// It does not decide at once.
    Pends,
    /// The hold is gone before it is pinned.
    HoldGone,
    /// The ledger has sold the seat.
    SeatSold,
    /// The settler's fence stands in the ledger.
    Fenced,
    /// The provider takes its promise back before the money is taken.
    Reneges,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Quiet),
        1 => Just(Fate::Declines),
        1 => Just(Fate::Pends),
        1 => Just(Fate::HoldGone),
        1 => Just(Fate::SeatSold),
        1 => Just(Fate::Fenced),
        1 => Just(Fate::Reneges),
    ]
}

const DEADLINE: u64 = 60_000;

struct World {
    now: Millis,
    fate: Fate,
    payment: P,
    /// An authorization that is still on its way.
    on_its_way: bool,
    pinned: bool,
    booked: bool,
    credited: u32,
    written: Saga,
}

impl World {
    fn provider(&mut self, operation: Operation) -> P {
        let before = self.payment;
        self.payment = match (self.fate, before, operation) {
            (Fate::Declines, P::NotKnown, Operation::Authorize) => P::Declined,
            (Fate::Pends, P::NotKnown, Operation::Authorize) => P::Pending,
            (Fate::Pends, P::Pending, Operation::Authorize) => P::Pending,
            (Fate::Reneges, P::Authorized, Operation::Capture) => P::Voided,
            (_, before, operation) => before.after(operation),
        };
        self.payment
    }

    /// Does the task; booking and the like are written down in the same step.
    fn perform(&mut self, task: Task) -> Answer {
        let operation = match task {
            Task::Authorize => Operation::Authorize,
            Task::Lookup => Operation::Lookup,
            Task::Capture => Operation::Capture,
            Task::Void => Operation::Void,
            Task::Refund => Operation::Refund,
            Task::Pin => {
                if matches!(self.fate, Fate::HoldGone) && !self.pinned {
                    return Answer::HoldGone;
                }
                self.pinned = true;
                return Answer::Done;
            }
            Task::Unpin | Task::Abort => {
                self.pinned = false;
                return Answer::Done;
            }
            Task::Book => {
                return match self.fate {
                    Fate::SeatSold => Answer::NotBookable(Failure::SeatTaken),
                    Fate::Fenced => Answer::NotBookable(Failure::HoldGone),
                    _ => Answer::Done,
                };
            }
            Task::Unbook | Task::Credit => return Answer::Done,
        };
        Answer::Payment(self.provider(operation))
    }

    fn effect(&mut self, task: Task) {
        match task {
            Task::Book => self.booked = true,
            Task::Unbook => self.booked = false,
            Task::Credit => self.credited += 1,
            _ => {}
        }
    }
}

/// Tasks that are done by being written down.
fn is_written(task: Task) -> bool {
    matches!(task, Task::Book | Task::Unbook | Task::Credit)
}

/// One step of a run, with that luck. Whether the run goes on.
fn step(world: &mut World, saga: &mut Saga, run: &mut Run, luck: Luck) -> bool {
    let Some(task) = saga.task(*run) else { return false };
    let is_payment = matches!(task, Task::Authorize | Task::Lookup | Task::Capture | Task::Void | Task::Refund);
    let answer = match luck {
        Luck::CrashBefore => return false,
        Luck::NotSent if is_payment => Answer::Trouble(Trouble::NotSent),
        Luck::Dropped | Luck::NotSent => {
            if task == Task::Authorize && luck_is_dropped(luck) {
                world.on_its_way = true;
            }
            Answer::Trouble(Trouble::Unknown)
        }
        Luck::Lost => {
            if !is_written(task) {
                world.perform(task);
            }
            Answer::Trouble(Trouble::Unknown)
        }
        Luck::CrashAfter => {
            if !is_written(task) {
                world.perform(task);
            }
            return false;
        }
        Luck::Well | Luck::CrashWritten => world.perform(task),
    };
    let moved = saga.advance(answer, run, world.now);
    if moved == Move::On {
        world.written = *saga;
        if answer == Answer::Done {
            world.effect(task);
        }
    }
    !matches!(luck, Luck::CrashWritten)
}

fn luck_is_dropped(luck: Luck) -> bool {
    matches!(luck, Luck::Dropped)
}

fn check(world: &World, kind: Kind) -> Result<(), TestCaseError> {
    let saga = &world.written;
    // At every moment: a booking is paid for or about to be; nobody has what nobody pays.
    if world.booked {
        let taking = matches!(saga.stage, Stage::Capturing | Stage::Unbooking);
        let stands = saga.stage == Stage::Done && saga.failure.is_none();
        prop_assert!(taking || stands, "booked at {saga:?}");
    }
    if saga.stage == Stage::Done && saga.failure.is_none() && !saga.cancelled {
        prop_assert_eq!(world.payment, P::Captured);
        prop_assert!(world.booked || kind == Kind::Charge);
    }
    prop_assert!(world.credited <= 1);
    Ok(())
}

fn run(kind: Kind, fate: Fate, steps: Vec<(Luck, u64, u8)>, cancels: bool) -> Result<(), TestCaseError> {
    let start = Millis(1_000_000);
    let deadline = start.plus(DEADLINE);
    let first = Saga::new(kind, deadline);
    let mut world = World {
        now: start,
        fate,
        payment: P::NotKnown,
        on_its_way: false,
        pinned: false,
        booked: false,
        credited: 0,
        written: first,
    };
    let (mut saga, mut state) = (first, Run { began: true, ..Run::default() });
    // Rough times first, and then everything is well until nothing is left to do.
    let well = std::iter::repeat_n((Luck::Well, 5_000, 7), 200);
    for (luck, ms, outside) in steps.into_iter().chain(well) {
        world.now = world.now.plus(ms);
        match outside {
            0 if world.on_its_way => {
                world.on_its_way = false;
                world.provider(Operation::Authorize);
            }
            1 | 7 if world.payment == P::Pending => world.payment = P::Authorized,
            2 if world.payment == P::Pending => world.payment = P::Declined,
            _ => {}
        }
        if !step(&mut world, &mut saga, &mut state, luck) {
            // Somebody else takes it up, with what is written down.
            (saga, state) = (world.written, Run::default());
            if saga.resume(world.now) == Move::On {
                world.written = saga;
            }
        }
        check(&world, kind)?;
    }
    let ended = world.written;
    prop_assert_eq!(ended.stage, Stage::Done, "{:?}", ended);
    // What was on its way arrives at last.
    if world.on_its_way {
        world.provider(Operation::Authorize);
    }
    let taken = world.payment == P::Captured;
    let promised = matches!(world.payment, P::Authorized | P::Pending);
    prop_assert!(!promised, "money is still promised: {:?} {:?}", world.payment, ended);
    prop_assert!(ended.failure.is_some() || !world.pinned || world.booked, "a slot leaked: {ended:?}");
    prop_assert!(!(ended.failure.is_some() && world.pinned), "a slot leaked: {ended:?}");
    match kind {
        Kind::Order => prop_assert_eq!(taken, world.booked, "{:?}", ended),
        Kind::Charge => prop_assert_eq!(taken, world.credited == 1, "{:?}", ended),
    }
    if cancels && kind == Kind::Order && ended.state() == OrderState::Confirmed {
        let mut saga = ended;
        prop_assert!(saga.cancel());
        world.booked = false;
        world.written = saga;
        let mut state = Run::default();
        for _ in 0..5 {
            step(&mut world, &mut saga, &mut state, Luck::Well);
        }
        prop_assert_eq!((world.written.state(), world.payment), (OrderState::Refunded, P::Refunded));
        prop_assert!(!saga.cancel(), "twice");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]
    #[test]
    fn whatever_happens_money_and_bookings_match(
        charges in any::<bool>(),
        fate in fate(),
        steps in proptest::collection::vec(luck(), 0..40),
        cancels in any::<bool>(),
    ) {
        run(if charges { Kind::Charge } else { Kind::Order }, fate, steps, cancels)?;
    }
}

#[test]
fn an_undisturbed_order_takes_five_steps() {
    let mut saga = Saga::new(Kind::Order, Millis(DEADLINE));
    let mut run = Run { began: true, ..Run::default() };
    let answers = [
        (Task::Pin, Answer::Done),
        (Task::Authorize, Answer::Payment(P::Authorized)),
        (Task::Book, Answer::Done),
        (Task::Capture, Answer::Payment(P::Captured)),
    ];
    for (task, answer) in answers {
        assert_eq!(saga.task(run), Some(task));
        assert!(saga.is_open() && !saga.is_settled());
        assert_eq!(saga.advance(answer, &mut run, Millis(0)), Move::On);
    }
    assert_eq!((saga.task(run), saga.state()), (None, OrderState::Confirmed));
    assert!(saga.is_settled() && !saga.is_open());
}
