//! Sequences of what visitors, nodes, operators and time do to a line. The invariants of `queue_core::line` hold after
//! every step, and answers say what the state says.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use queue_core::{
    ids::{EventId, Generation, Millis, Rank, Seq, VisitorId},
    limits::{ADMIT_BATCH_MAX, END_BATCH_MAX},
    line::{Applied, Command, Configure, Ended, Line, Lines, Outcome, Place, Refusal, SessionState, Standing, Stock},
    policy::Policy,
    wire::EndReason,
};

const START: u64 = 1_700_000_000_000;
const STEPS_MAX: usize = 200;
const POOL: u8 = 12;
/// Numbers stay where a bitmap of them is small.
const SEQ_MAX: u64 = 1 << 22;

fuzz_target!(|data: &[u8]| {
    // An input that ends early is a short sequence.
    let _ = run(&mut Unstructured::new(data));
});

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut world = World { event: EventId::new("e").expect("valid"), lines: Lines::default(), now: START, once: 0 };
    world.apply(None, configure(u)?);
    for _ in 0..STEPS_MAX {
        if u.is_empty() {
            break;
        }
        world.now = world.now.saturating_add_signed(jump(u)?);
        let expected = match u.int_in_range(0..=15)? {
            0 => Some(Generation(99)),
            1 => world.line().map(|line| line.generation),
            _ => None,
        };
        let command = world.command(u)?;
        world.apply(expected, command);
    }
    Ok(())
}

fn jump(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match u.int_in_range(0..=7)? {
        0..=2 => 0,
        3 => u.int_in_range(1..=50)?,
        4 => u.int_in_range(50..=3_000)?,
        5 => *u.choose(&[29_999, 30_000, 30_001, 60_000, 120_000, 300_000])?,
        6 => *u.choose(&[3_599_999, 3_600_000, 7_200_001])?,
        _ => u.int_in_range(-5_000..=0)?,
    })
}

fn configure(u: &mut Unstructured<'_>) -> Result<Command> {
    let rate = *u.choose(&[None, None, Some(1), Some(30), Some(61), Some(600), Some(6_000_000)])?;
    let ttl = u.int_in_range(10..=400)?;
    let policy = Policy {
        admit_per_minute: rate,
        active_ttl_seconds: ttl,
        claim_seconds: u.int_in_range(5..=400)?.min(ttl),
        grace_seconds: *u.choose(&[60, 61, 90, 120, 3_600])?,
        max_waiting: *u.choose(&[None, None, Some(1), Some(5)])?,
        ..Policy::with_capacity(u.int_in_range(1..=6)?)
    };
    let generation = Generation(u.int_in_range(1..=3)?);
    let floor = Seq(*u.choose(&[0, 0, 7, 4_000])?);
    let (closed_ms, stopped) = (*u.choose(&[0, 0, 40_000])?, u.ratio(1, 8)?);
    let (paused, draining) = (stopped && u.arbitrary()?, stopped && u.arbitrary()?);
    Ok(Command::Configure(Configure { policy, generation, floor, closed_ms, paused, draining }))
}

struct World {
    event: EventId,
    lines: Lines,
    now: u64,
    once: u64,
}

/// What is compared before and after a step.
struct Before {
    generation: Generation,
    seq: Seq,
    sessions: BTreeSet<VisitorId>,
    waiting: Vec<Rank>,
    admitted: u64,
}

impl World {
    fn line(&self) -> Option<&Line> {
        self.lines.line(&self.event)
    }

    fn command(&mut self, u: &mut Unstructured<'_>) -> Result<Command> {
        let head = self.line().and_then(|line| line.waiting.first_key_value()).map_or(0, |(rank, _)| rank.0);
        Ok(match u.int_in_range(0..=24)? {
            0..=4 => {
                let mut visitors: Vec<_> = (0..u.int_in_range(0..=6)?).map(|_| pooled(u)).collect::<Result<_>>()?;
                visitors.sort();
                visitors.dedup();
                let floor = if u.ratio(1, 12)? { self.line().map_or(0, |line| line.seq.0.min(SEQ_MAX) + 5) } else { 0 };
                Command::Join { visitors, floor: Seq(floor) }
            }
            5 => {
                let first = self.once;
                self.once += u.int_in_range(1..=40)?;
                let visitors = (first..self.once).map(|i| VisitorId::new(&format!("once-{i}")).expect("valid"));
                Command::Join { visitors: visitors.collect(), floor: Seq(0) }
            }
            6 => Command::Status(pooled(u)?),
            7 => Command::Lookup(pooled(u)?),
            8 => Command::Session(self.number(u)?),
            9 => Command::Leave(pooled(u)?),
            10 => Command::Revoke(pooled(u)?),
            11 => Command::Release(self.pairs(u)?),
            12 | 13 => Command::Admit { max: *u.choose(&[0, 1, 3, usize::MAX >> 1])? },
            14 => Command::Expire,
            15 => Command::Seen {
                period: Millis(self.now).period().saturating_add_signed(u.int_in_range(-4..=1)?),
                first_byte: (head / 8).saturating_sub(u.int_in_range(0..=2)?),
                bytes: u.arbitrary::<[u8; 4]>()?.to_vec(),
            },
            16 | 17 => Command::Abandon {
                first_byte: (head / 8).saturating_sub(u.int_in_range(0..=2)?),
                len: *u.choose(&[0, 1, 8, 16_384])?,
            },
            18 => Command::Restore(self.pairs(u)?),
            19 => u.choose(&[Command::Pause, Command::Drain])?.clone(),
            20 => Command::Resume,
            21 => Command::ClearWaiting { upto: Rank(head + u.int_in_range(0..=12)?), reason: EndReason::Cleared },
            22 => u.choose(&[Command::ClearActive, Command::Remove])?.clone(),
            23 if u.ratio(1, 2)? => Command::Stock(Stock {
                left: u.int_in_range(0..=1)?,
                held: u.int_in_range(0..=1)?,
                at: Millis(self.now.saturating_sub(u.int_in_range(0..=2_000)?)),
            }),
            23 => u.choose(&[Command::Describe, Command::Snapshot])?.clone(),
            _ => configure(u)?,
        })
    }

    fn pairs(&self, u: &mut Unstructured<'_>) -> Result<Vec<(VisitorId, Seq)>> {
        (0..u.int_in_range(0..=4)?).map(|_| Ok((pooled(u)?, self.number(u)?))).collect()
    }

    /// The number that a visitor has or had last, or any.
    fn number(&self, u: &mut Unstructured<'_>) -> Result<Seq> {
        if u.ratio(1, 6)? {
            return Ok(Seq(u.int_in_range(0..=30)?));
        }
        let visitor = pooled(u)?;
        let of = |line: &Line| {
            let waiting = line.ranks.get(&visitor).map(|rank| line.policy.order.seq(*rank));
            let session = || line.sessions.get(&visitor).map(|session| session.seq);
            waiting.or_else(session).or_else(|| line.ended.visitor(&visitor).map(|(seq, _)| seq))
        };
        Ok(self.line().and_then(of).unwrap_or(Seq(1)))
    }

    fn apply(&mut self, expected: Option<Generation>, command: Command) {
        let before = self.line().map(|line| Before {
            generation: line.generation,
            seq: line.seq,
            sessions: line.sessions.keys().cloned().collect(),
            waiting: line.waiting.keys().copied().collect(),
            admitted: line.totals.admitted,
        });
        let mut ended = Vec::new();
        let applied = self.lines.apply(&self.event, expected, command.clone(), Millis(self.now), &mut ended);
        match (&applied, &before) {
            (Err(Refusal::NoSuchEvent), before) => assert!(before.is_none()),
            (Err(Refusal::StaleGeneration(generation)), Some(before)) => {
                assert!(*generation == before.generation && expected != Some(*generation));
            }
            (Err(refusal), None) => panic!("{refusal} of no line"),
            (Ok(_), _) => {}
        }
        if let Some(line) = self.line() {
            consistent(line);
            if let Some(before) = before.filter(|before| before.generation == line.generation) {
                step(line, &before, &ended);
                if let Ok(applied) = &applied {
                    answered(line, &command, applied, &before);
                }
            }
        }
    }
}

fn pooled(u: &mut Unstructured<'_>) -> Result<VisitorId> {
    Ok(VisitorId::new(&format!("v{}", u.int_in_range(0..=POOL - 1)?)).expect("valid"))
}

/// What must hold of any line at any time.
fn consistent(line: &Line) {
    assert_eq!(line.waiting.len(), line.ranks.len());
    for (rank, visitor) in &line.waiting {
        assert_eq!(line.ranks.get(visitor), Some(rank));
        assert!(!line.sessions.contains_key(visitor), "{visitor} is in line and in a session");
        assert!(line.present.get(rank.0), "the bit of {visitor} is not set");
        assert!(*rank <= line.policy.order.rank(line.seq));
    }
    assert_eq!(line.present.count_below(u64::from(u32::MAX)), line.waiting.len() as u64, "bits of nobody are set");
    assert_eq!((line.by_end.len(), line.by_seq.len()), (line.sessions.len(), line.sessions.len()));
    for (visitor, session) in &line.sessions {
        assert!(line.by_end.contains(&(session.ends, visitor.clone())));
        assert_eq!(line.by_seq.get(&session.seq), Some(visitor));
        assert!(session.ends <= session.expires && session.seq <= line.seq);
    }
}

/// What may change in one step.
fn step(line: &Line, before: &Before, ended: &[Ended]) {
    assert!(line.seq >= before.seq, "numbers only rise");
    let most = before.sessions.len().max(line.policy.capacity as usize);
    assert!(line.sessions.len() <= most, "more sessions than capacity");
    assert!(ended.len() <= END_BATCH_MAX);
    for end in ended {
        assert!(before.sessions.contains(&end.visitor), "{} had no session to end", end.visitor);
    }
    // Whoever begins a session counts as admitted.
    let begun = line.sessions.keys().filter(|visitor| !before.sessions.contains(*visitor)).count() as u64;
    assert!(line.totals.admitted >= before.admitted + begun);
}

/// Answers say what the state says.
fn answered(line: &Line, command: &Command, applied: &Applied, before: &Before) {
    let before_rank = |rank: Rank| line.waiting.range(..rank).count() as u64;
    match (&applied.outcome, command) {
        (Outcome::Joined(joined), Command::Join { visitors, .. }) => {
            assert_eq!(joined.places.len(), visitors.len());
            assert_eq!(joined.waiting, line.waiting.len() as u64);
            let mut last = before.seq;
            for (place, visitor) in joined.places.iter().zip(visitors) {
                match *place {
                    Place::Waiting { seq, position, fresh } => {
                        assert_eq!(line.ranks.get(visitor), Some(&line.policy.order.rank(seq)));
                        assert_eq!(position, before_rank(line.policy.order.rank(seq)) + 1);
                        assert!(!fresh || seq > std::mem::replace(&mut last, seq), "a number was handed out twice");
                    }
                    Place::Active { seq, fresh, .. } => {
                        assert_eq!(line.sessions.get(visitor).map(|session| session.seq), Some(seq));
                        assert!(!fresh || seq > std::mem::replace(&mut last, seq), "a number was handed out twice");
                    }
                    Place::Closed => assert!(line.draining || line.sold_out),
                    Place::Full => {
                        assert!(line.policy.max_waiting.is_some_and(|max| line.waiting.len() >= max as usize))
                    }
                }
            }
        }
        (Outcome::Admitted(admitted), _) => {
            assert!(admitted.sessions.len() <= ADMIT_BATCH_MAX && (!line.paused || admitted.sessions.is_empty()));
            let ranks: Vec<_> = admitted.sessions.iter().map(|session| line.policy.order.rank(session.seq)).collect();
            assert_eq!(ranks, before.waiting[..ranks.len()], "somebody was passed over");
        }
        (Outcome::Standing(standing), Command::Status(visitor) | Command::Lookup(visitor)) => match *standing {
            Standing::Waiting { seq, position, waiting } => {
                let rank = line.policy.order.rank(seq);
                assert_eq!(line.ranks.get(visitor), Some(&rank));
                assert_eq!((position, waiting), (before_rank(rank) + 1, line.waiting.len() as u64));
            }
            Standing::Active { seq, .. } => assert_eq!(line.sessions[visitor].seq, seq),
            Standing::Ended { .. } | Standing::Unknown => assert!(!line.ranks.contains_key(visitor)),
        },
        (Outcome::Session(SessionState::Live { visitor, .. }), Command::Session(seq)) => {
            assert_eq!(line.by_seq.get(seq), Some(visitor));
        }
        (Outcome::Abandoned(gone), _) => {
            assert!(gone.len() <= END_BATCH_MAX && gone.iter().all(|visitor| !line.ranks.contains_key(visitor)));
        }
        (Outcome::Snapshot(snapshot), _) => {
            let bits: u64 = snapshot.present.iter().map(|byte| u64::from(byte.count_ones())).sum();
            assert_eq!((bits, snapshot.summary.waiting), (line.waiting.len() as u64, line.waiting.len() as u64));
        }
        _ => {}
    }
}
