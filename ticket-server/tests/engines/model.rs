//! What must hold of the model after every step of any sequence of commands.

use std::collections::{BTreeMap, BTreeSet};

use crate::steps::{Step, World, sequence};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use queue_core::ids::{Generation, Jti, Seq, VisitorId};
use ticket_server::ids::ReservationId;
use ticket_server::limits::PAST_HOLDS_MAX;
use ticket_server::model::{Command, Outcome, Refusal, Taking, What};

/// What was handed out, noted apart from the model.
#[derive(Default)]
struct Auditor {
    /// Seat → the hold that has it.
    held: BTreeMap<u32, String>,
    sold: BTreeSet<u32>,
    seen: BTreeSet<ReservationId>,
}

impl Auditor {
    fn audit(&mut self, command: &Command, outcome: &Outcome) -> Result<(), TestCaseError> {
        match (command, outcome) {
            // A hold that was answered before is answered as it stands.
            (Command::HoldSeats { taking, seats }, Outcome::Hold(_))
                if self.seen.insert(taking.reservation.clone()) =>
            {
                for seat in seats {
                    let before = self.held.insert(*seat, taking.reservation.to_string());
                    prop_assert!(before.is_none(), "seat {seat} of {before:?} was held again");
                    prop_assert!(!self.sold.contains(seat), "seat {seat} was sold and then held");
                }
            }
            (Command::Book { bookings }, Outcome::Done) => {
                for sold in bookings {
                    self.held.retain(|_, id| *id != sold.reservation.to_string());
                    if let What::Seats(seats) = &sold.what {
                        self.sold.extend(seats);
                    }
                }
            }
            (_, Outcome::Freed { holds, .. }) => {
                for hold in holds {
                    self.held.retain(|_, id| *id != hold.to_string());
                }
            }
            (_, Outcome::Past(_, hold)) => self.held.retain(|_, id| *id != hold.reservation.to_string()),
            (Command::Abort { reservation }, _)
            | (Command::Pin { reservation, .. }, Outcome::Refused(Refusal::Expired))
            | (Command::Extend { reservation, .. }, Outcome::Refused(Refusal::Expired))
            | (Command::Cancel { reservation, .. }, Outcome::Refused(Refusal::Expired)) => {
                self.held.retain(|_, id| *id != reservation.to_string());
            }
            _ => {}
        }
        Ok(())
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::default();
    let mut auditor = Auditor::default();
    for command in world.begin() {
        prop_assert_eq!(world.model.apply(command, world.now), Outcome::Done);
    }
    for step in steps {
        let Some(command) = world.resolve(step) else { continue };
        let before = world.model.dump();
        let outcome = world.model.apply(command.clone(), world.now);
        if let Outcome::Refused(refusal) = &outcome
            && *refusal != Refusal::Expired
        {
            prop_assert_eq!(&world.model.dump(), &before, "{:?} was refused and changed something", command);
        }
        world.model.check().map_err(|problem| TestCaseError::fail(format!("after {command:?}: {problem}")))?;
        // An abort of what is not pinned does nothing, which the auditor cannot see.
        let untouched = matches!(command, Command::Abort { .. }) && world.model.dump() == before;
        if !untouched {
            auditor.audit(&command, &outcome)?;
        }
        let limit_kept = world.model.dump().visitors.values().all(|items| {
            let held: u64 = items.split(' ').filter(|item| item.starts_with("h,")).map(count).sum();
            held <= 5
        });
        prop_assert!(limit_kept, "a visitor holds more than the limit after {:?}", command);
    }
    Ok(())
}

fn count(item: &str) -> u64 {
    item.split(',').nth(2).unwrap().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/engines/model.proptest-regressions"))),
        ..ProptestConfig::with_cases(2_000)
    })]
    #[test]
    fn the_rules_hold_after_every_step(steps in sequence()) {
        run(steps)?;
    }
}

/// Somebody holds and gives up for ever.
#[test]
fn only_so_many_past_holds_are_remembered() {
    let mut world = World::default();
    for command in world.begin() {
        world.model.apply(command, world.now);
    }
    let id = |n: usize| ReservationId::new(&format!("r{n:06}")).unwrap();
    let visitor = VisitorId::new("a_1").unwrap();
    for n in 0..=PAST_HOLDS_MAX {
        let taking = Taking {
            revision: 1,
            reservation: id(n),
            visitor: visitor.clone(),
            jti: Jti { generation: Generation(1), seq: Seq(1) },
            hold_ms: 10_000,
            limit: 5,
            total_minor: 0,
        };
        let held = world.model.apply(Command::HoldSeats { taking, seats: vec![0] }, world.now);
        assert!(matches!(held, Outcome::Hold(_)), "{held:?}");
        world.model.apply(Command::Cancel { reservation: id(n), visitor: visitor.clone() }, world.now);
    }
    let mut find = |n| world.model.apply(Command::Find { reservation: id(n) }, world.now);
    assert_eq!(find(0), Outcome::Refused(Refusal::NotFound));
    assert!(matches!(find(1), Outcome::Past(..)) && matches!(find(PAST_HOLDS_MAX), Outcome::Past(..)));
    let dump = world.model.dump();
    assert_eq!((dump.past.len(), dump.past_until.len()), (PAST_HOLDS_MAX, PAST_HOLDS_MAX));
}
