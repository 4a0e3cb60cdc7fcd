//! What must hold of the model after every step of any sequence of commands.

use std::collections::{BTreeMap, BTreeSet};

use crate::steps::{Step, World, sequence};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use queue_core::ids::{Generation, Jti, Seq, VisitorId};
use ticket_server::ids::ReservationId;
use ticket_server::limits::{PAST_HOLDS_MAX, SESSIONS_ENDED_MAX};
use ticket_server::model::{Command, Outcome, Refusal, Taking, Wanted, What, Wish};

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
            (Command::Hold { wishes, .. }, Outcome::Each(answers)) => {
                prop_assert_eq!(wishes.len(), answers.len());
                for hold in answers.iter().flatten() {
                    // A hold that was answered before is answered as it stands.
                    let What::Seats(seats) = &hold.what else { continue };
                    if !self.seen.insert(hold.reservation.clone()) {
                        continue;
                    }
                    for seat in seats {
                        let before = self.held.insert(*seat, hold.reservation.to_string());
                        prop_assert!(before.is_none(), "seat {seat} of {before:?} was held again");
                        prop_assert!(!self.sold.contains(seat), "seat {seat} was sold and then held");
                    }
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
            (Command::Unbook { booking }, Outcome::Done) => {
                if let What::Seats(seats) = &booking.what {
                    self.sold.retain(|seat| !seats.contains(seat));
                }
            }
            (_, Outcome::Freed { holds, .. } | Outcome::Expired { holds, .. }) => {
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
        let refused = match &outcome {
            Outcome::Refused(refusal) => *refusal != Refusal::Expired,
            Outcome::Each(answers) => answers.iter().all(Result::is_err),
            _ => false,
        };
        if refused {
            prop_assert_eq!(&world.model.dump(), &before, "{:?} was refused and changed something", command);
        }
        world.model.check().map_err(|problem| TestCaseError::fail(format!("after {command:?}: {problem}")))?;
        // An abort of what is not pinned does nothing, nor does taking back what is not booked; the auditor cannot
        // see that.
        let unclear = matches!(command, Command::Abort { .. } | Command::Unbook { .. });
        let untouched = unclear && world.model.dump() == before;
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
            reservation: id(n),
            visitor: visitor.clone(),
            jti: Jti { generation: Generation(1), seq: Seq(1) },
            hold_ms: 10_000,
            total_minor: 0,
        };
        let wishes = vec![Wish { taking, wanted: Wanted::Seats(vec![0]) }];
        let held = world.model.apply(Command::Hold { revision: 1, limit: 5, wishes }, world.now);
        assert!(matches!(&held, Outcome::Each(answers) if answers[0].is_ok()), "{held:?}");
        world.model.apply(Command::Cancel { reservation: id(n), visitor: visitor.clone() }, world.now);
    }
    let mut find = |n| world.model.apply(Command::Find { reservation: id(n) }, world.now);
    assert_eq!(find(0), Outcome::Refused(Refusal::NotFound));
    assert!(matches!(find(1), Outcome::Past(..)) && matches!(find(PAST_HOLDS_MAX), Outcome::Past(..)));
    let dump = world.model.dump();
    assert_eq!((dump.past.len(), dump.past_until.len()), (PAST_HOLDS_MAX, PAST_HOLDS_MAX));
}

/// Sessions end for ever, within the time for which their ends are remembered.
#[test]
fn only_so_many_ended_sessions_are_remembered() {
    let mut world = World::default();
    for command in world.begin() {
        world.model.apply(command, world.now);
    }
    let visitor = VisitorId::new("a_1").unwrap();
    for n in 0..=SESSIONS_ENDED_MAX {
        // All ends differ in time, so that the first is the first to go.
        let jti = Jti { generation: Generation(1), seq: Seq(n as u64 + 1) };
        let end = Command::EndSession { visitor: visitor.clone(), jti, let_go: false };
        world.model.apply(end, world.now.plus(n as u64));
    }
    let ended = world.model.dump().ended;
    assert_eq!(ended.len(), SESSIONS_ENDED_MAX);
    assert!(!ended.contains_key(&Jti { generation: Generation(1), seq: Seq(1) }.to_string()));
}
