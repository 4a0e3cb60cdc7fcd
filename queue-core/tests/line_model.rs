//! What must hold of a line whatever is asked of it: random commands and times against the pure model.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::{collection::vec, option, prelude::*, sample::select};
use queue_core::{
    ids::{EventId, Generation, Millis, Rank, Seq, VisitorId},
    limits::{SEEN_PERIOD_MS, SEEN_SETTLE_MS},
    line::{Applied, Command, Configure, Ended, Line, Lines, Outcome, Place, rate},
    policy::Policy,
};

const START: u64 = 1_760_000_010_000;

fn event() -> EventId {
    EventId::new("e").unwrap()
}

fn visitor(i: u8) -> VisitorId {
    VisitorId::new(&format!("v{i}")).unwrap()
}

fn policy() -> impl Strategy<Value = Policy> {
    let rate = option::weighted(0.4, select(vec![1, 30, 60, 61, 600]));
    (1..6_u32, rate, 10..200_u32, 5..200_u32, select(vec![60, 61, 90, 120]), option::weighted(0.3, 1..8_u32)).prop_map(
        |(capacity, admit_per_minute, ttl, claim, grace_seconds, max_waiting)| Policy {
            admit_per_minute,
            active_ttl_seconds: ttl,
            claim_seconds: claim.min(ttl),
            grace_seconds,
            max_waiting,
            ..Policy::with_capacity(capacity)
        },
    )
}

fn configure(policy: Policy) -> Command {
    Command::Configure(Configure::new(policy, Generation(1)))
}

/// Any command of a line in use. Numbers are plain: sequences are long enough to hit what is there.
fn command() -> impl Strategy<Value = Command> {
    let who = || (0..8_u8).prop_map(visitor);
    let pairs = || vec((who(), (1..30_u64).prop_map(Seq)), 1..6);
    prop_oneof![
        1 => policy().prop_map(configure),
        // A floor above what was handed out takes the line far away: seldom.
        10 => (vec(who(), 1..5), prop_oneof![59 => Just(0), 1 => 0..40_u64])
            .prop_map(|(visitors, floor)| Command::Join { visitors, floor: Seq(floor) }),
        3 => who().prop_map(Command::Status),
        1 => who().prop_map(Command::Lookup),
        2 => (1..30_u64).prop_map(|seq| Command::Session(Seq(seq))),
        3 => who().prop_map(Command::Leave),
        1 => who().prop_map(Command::Revoke),
        5 => pairs().prop_map(Command::Release),
        7 => (0..4_usize).prop_map(|max| Command::Admit { max }),
        4 => Just(Command::Expire),
        3 => Just(Command::Abandon { first_byte: 0, len: 16 }),
        3 => pairs().prop_map(Command::Restore),
        1 => Just(Command::Pause),
        2 => Just(Command::Resume),
        1 => Just(Command::Drain),
        1 => (0..30_u64).prop_map(|upto| Command::ClearWaiting {
            upto: Rank(upto),
            reason: queue_core::wire::EndReason::Cleared,
        }),
        1 => Just(Command::ClearActive),
        2 => Just(Command::Snapshot),
    ]
}

fn history() -> impl Strategy<Value = (Policy, Vec<(u64, Command)>)> {
    let jump = prop_oneof![
        6 => Just(0_u64), 6 => 1..2_000_u64, 3 => 2_000..40_000_u64, 1 => 40_000..4_000_000_u64,
    ];
    (policy(), vec((jump, command()), 1..120))
}

/// A line, and what happened to it last.
struct World {
    lines: Lines,
    now: Millis,
    ended: Vec<Ended>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let mut world = Self { lines: Lines::default(), now: Millis(START), ended: Vec::new() };
        world.apply(configure(policy));
        world
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.ended.clear();
        self.lines.apply(&event(), None, command, self.now, &mut self.ended).unwrap()
    }

    fn line(&self) -> &Line {
        self.lines.line(&event()).unwrap()
    }
}

/// What ties the parts of the state together.
fn consistent(line: &Line) -> Result<(), TestCaseError> {
    let ranks: BTreeMap<Rank, VisitorId> = line.ranks.iter().map(|(visitor, rank)| (*rank, visitor.clone())).collect();
    prop_assert_eq!(&ranks, &line.waiting, "each waiter has one rank");
    for rank in 0..line.seq.0 + 64 {
        prop_assert_eq!(line.present.get(rank), line.waiting.contains_key(&Rank(rank)), "bit {}", rank);
    }
    for visitor in line.ranks.keys() {
        prop_assert!(!line.sessions.contains_key(visitor), "{} waits and is in", visitor);
    }
    let by_end: BTreeSet<_> = line.sessions.iter().map(|(visitor, session)| (session.ends, visitor.clone())).collect();
    prop_assert_eq!(&by_end, &line.by_end);
    let by_seq: queue_core::line::Map<_, _> =
        line.sessions.iter().map(|(visitor, session)| (session.seq, visitor.clone())).collect();
    prop_assert_eq!(&by_seq, &line.by_seq);
    for session in line.sessions.values() {
        prop_assert!(session.ends <= session.expires && session.seq <= line.seq);
    }
    prop_assert!(line.waiting.keys().all(|rank| rank.0 <= line.seq.0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_hangs_together((policy, history) in history()) {
        let mut world = World::new(policy);
        for (jump, command) in history {
            world.now = world.now.plus(jump);
            let (seq, active) = (world.line().seq, world.line().sessions.len());
            let lowered = matches!(command, Command::Configure(_));
            world.apply(command);
            consistent(world.line())?;
            prop_assert!(world.line().seq >= seq, "numbers only rise");
            let capacity = world.line().policy.capacity as usize;
            let now_active = world.line().sessions.len();
            prop_assert!(lowered || now_active <= capacity.max(active), "{} in, {} allowed", now_active, capacity);
            prop_assert!(now_active <= capacity || now_active <= active, "nobody is let in above a lowered capacity");
        }
    }

    #[test]
    fn numbers_are_handed_out_once_and_order_is_kept((policy, history) in history()) {
        let mut world = World::new(policy);
        let mut highest = Seq(0);
        for (jump, command) in history {
            world.now = world.now.plus(jump);
            let before: Vec<_> = world.line().waiting.iter().map(|(rank, visitor)| (*rank, visitor.clone())).collect();
            let restored = matches!(command, Command::Restore(_));
            let outcome = world.apply(command).outcome;
            if let Outcome::Joined(joined) = &outcome {
                for place in &joined.places {
                    let (Place::Waiting { seq, fresh: true, .. } | Place::Active { seq, fresh: true, .. }) = place else {
                        continue;
                    };
                    prop_assert!(*seq > highest, "{:?} after {:?}", seq, highest);
                    highest = *seq;
                }
            }
            if let Outcome::Admitted(admitted) = &outcome {
                let first: Vec<_> = before.iter().take(admitted.sessions.len()).map(|(_, visitor)| visitor).collect();
                let let_in: Vec<_> = admitted.sessions.iter().map(|session| &session.visitor).collect();
                prop_assert_eq!(first, let_in, "who is first is let in first");
            }
            // Who still waits has the rank of before, so that nobody overtakes anybody.
            let ranks: HashMap<_, _> = before.into_iter().map(|(rank, visitor)| (visitor, rank)).collect();
            for (visitor, rank) in &world.line().ranks {
                let fresh = rank.0 > 0 && !ranks.contains_key(visitor);
                prop_assert!(fresh || ranks.get(visitor) == Some(rank), "{} moved", visitor);
                prop_assert!(!fresh || restored || ranks.values().all(|old| old < rank), "{} came in between", visitor);
            }
        }
    }

    #[test]
    fn positions_are_those_of_the_line((policy, history) in history()) {
        let mut world = World::new(policy);
        for (jump, command) in history {
            world.now = world.now.plus(jump);
            world.apply(command);
            let Outcome::Snapshot(snapshot) = world.apply(Command::Snapshot).outcome else { unreachable!() };
            let index = queue_core::positions::PositionIndex::new(snapshot.first_byte, snapshot.present);
            prop_assert_eq!(index.waiting(), snapshot.summary.waiting);
            for (rank, position) in world.line().waiting.keys().zip(1..) {
                prop_assert_eq!(index.position(*rank), position);
            }
        }
    }

    #[test]
    fn a_release_ends_exactly_what_it_names((policy, history) in history()) {
        let mut world = World::new(policy);
        for (jump, command) in history {
            world.now = world.now.plus(jump);
            let before: HashMap<_, _> = world.line().sessions.iter().map(|(v, s)| (v.clone(), s.seq)).collect();
            let asked = if let Command::Release(asked) = &command { asked.clone() } else { Vec::new() };
            let outcome = world.apply(command).outcome;
            let ended: BTreeSet<_> = world.ended.iter().map(|ended| (ended.visitor.clone(), ended.seq)).collect();
            prop_assert_eq!(ended.len(), world.ended.len(), "each ends once");
            for (visitor, seq) in &ended {
                prop_assert_eq!(before.get(visitor), Some(seq), "only what was there ends");
            }
            if let Outcome::Released(released) = outcome {
                let named: BTreeSet<_> =
                    asked.iter().filter(|(visitor, seq)| before.get(visitor) == Some(seq)).cloned().collect();
                prop_assert_eq!(&named, &ended);
                prop_assert_eq!(released.iter().filter(|released| **released).count(), named.len());
            }
            // Whoever was in a session and is not, ended, and was told of.
            for (visitor, seq) in &before {
                let live = world.line().sessions.get(visitor).is_some_and(|session| session.seq == *seq);
                prop_assert!(live != ended.contains(&(visitor.clone(), *seq)));
            }
        }
    }

    #[test]
    fn the_rate_is_never_passed(
        per_minute in select(vec![1_u32, 30, 60, 90, 600]),
        history in vec((prop_oneof![0..50_u64, 50..5_000_u64, 5_000..90_000_u64], 0..6_u8, any::<bool>()), 1..80),
    ) {
        let policy = Policy { admit_per_minute: Some(per_minute), ..Policy::with_capacity(1_000_000) };
        let mut world = World::new(policy);
        let mut admissions: Vec<u64> = Vec::new();
        for (i, (jump, joins, admit)) in history.into_iter().enumerate() {
            world.now = world.now.plus(jump);
            let before = world.line().totals.admitted;
            let visitors = (0..joins).map(|j| VisitorId::new(&format!("v{i}-{j}")).unwrap()).collect();
            world.apply(Command::Join { visitors, floor: Seq(0) });
            if admit {
                world.apply(Command::Admit { max: 256 });
            }
            for _ in before..world.line().totals.admitted {
                admissions.push(world.now.0);
            }
        }
        // In no span are more let in than the rate gives for it, and one burst.
        for (i, from) in admissions.iter().enumerate() {
            for (j, to) in admissions.iter().enumerate().skip(i) {
                let most = rate::burst(per_minute) + (to - from) * u64::from(per_minute) / 60_000 + 1;
                prop_assert!((j - i + 1) as u64 <= most, "{} in {} ms", j - i + 1, to - from);
            }
        }
    }

    #[test]
    fn who_is_heard_stays_and_who_is_not_goes_in_time(
        grace_seconds in select(vec![60_u32, 61, 75, 90, 120, 300]),
        sweep_ms in 1_000..20_000_u64,
        ticks in vec(vec(any::<bool>(), 6), 40..120),
    ) {
        let policy = Policy { grace_seconds, ..Policy::with_capacity(1) };
        let grace_ms = policy.grace_ms();
        let mut world = World::new(policy);
        world.apply(Command::Pause);
        world.apply(Command::Join { visitors: (0..6).map(visitor).collect(), floor: Seq(0) });
        let (mut heard, mut known) = ([world.now; 6], [world.now; 6]);
        let mut pending: BTreeMap<u64, u8> = BTreeMap::new();
        for tick in ticks {
            world.now = world.now.plus(sweep_ms);
            // What is heard is told with the next tick, where that is soon enough; else at once.
            let late = sweep_ms < SEEN_SETTLE_MS;
            let told = if late { std::mem::take(&mut pending) } else { BTreeMap::new() };
            if late {
                known = heard;
            }
            for (i, _) in tick.iter().enumerate().filter(|(i, alive)| **alive && *i > 0) {
                // Nodes hear each rank at most once a period; visitor 0 is never heard of.
                if world.line().ranks.contains_key(&visitor(i as u8)) {
                    heard[i] = world.now;
                    *pending.entry(world.now.period()).or_default() |= 0x80 >> (i + 1);
                }
            }
            let told = if late { told } else { std::mem::take(&mut pending) };
            for (period, byte) in told {
                world.apply(Command::Seen { period, first_byte: 0, bytes: vec![byte] });
            }
            let Outcome::Abandoned(gone) = world.apply(Command::Abandon { first_byte: 0, len: 16 }).outcome else {
                unreachable!()
            };
            if !late {
                known = heard;
            }
            for (i, heard) in heard.iter().enumerate() {
                let silent_ms = world.now.since(*heard);
                if gone.contains(&visitor(i as u8)) {
                    // Who comes back after the grace, at the very moment of the sweep, comes too late.
                    let gap_ms = world.now.since(known[i]);
                    prop_assert!(gap_ms >= grace_ms, "{} was gone for {} ms", i, gap_ms);
                }
                if world.line().ranks.contains_key(&visitor(i as u8)) {
                    let latest = grace_ms + 2 * SEEN_PERIOD_MS;
                    prop_assert!(silent_ms < latest + sweep_ms, "{} is still there after {} ms", i, silent_ms);
                }
            }
        }
    }
}

#[test]
fn a_removed_line_leaves_nothing() {
    let mut world = World::new(Policy::with_capacity(1));
    world.apply(Command::Join { visitors: vec![visitor(1)], floor: Seq(0) });
    assert_eq!(world.apply(Command::Remove).outcome, Outcome::Removed(false));
    world.apply(Command::Leave(visitor(1)));
    assert_eq!(world.apply(Command::Remove).outcome, Outcome::Removed(true));
    assert!(world.lines.line(&event()).is_none());
}
