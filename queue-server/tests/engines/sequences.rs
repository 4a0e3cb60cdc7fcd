//! Random sequences of commands and times. Steps name visitors and places by small numbers, and become commands
//! only when the state they meet is known: so that they hit what is there, and shrink well.

use proptest::{collection::vec, option, prelude::*, sample::select};
use queue_core::{
    ids::{EventId, Generation, Millis, Rank, Seq, VisitorId},
    limits::ENDED_KEPT_MS,
    line::{Command, Configure, Line, Lines, Stock},
    policy::{OnReturn, Policy},
    wire::EndReason,
};

use crate::support::{START, visitor};

/// Visitors that take part again and again.
const POOL: u8 = 10;

#[derive(Clone, Debug)]
pub struct Step {
    /// How far the clock goes before.
    pub jump: Jump,
    pub expected: Expected,
    pub action: Action,
}

#[derive(Clone, Copy, Debug)]
pub enum Jump {
    /// Sometimes backward.
    Ms(i64),
    /// To when the next session ends, and so much beyond.
    ToNextEnd(i64),
    /// To when the log of the ended is begun anew, and so much beyond.
    ToRotation(i64),
}

impl Jump {
    /// The time after it.
    pub fn from(self, now: Millis, line: Option<&Line>) -> Millis {
        let (to, ms) = match self {
            Self::Ms(ms) => (now, ms),
            Self::ToNextEnd(ms) => (line.and_then(|line| line.by_end.first()).map_or(now, |(ends, _)| *ends), ms),
            Self::ToRotation(ms) => (line.map_or(now, |line| line.ended.rotated.plus(ENDED_KEPT_MS)), ms),
        };
        Millis(to.0.saturating_add_signed(ms))
    }
}

/// The generation that the caller believes in.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Any,
    Current,
    Stale,
}

#[derive(Clone, Debug)]
pub enum Action {
    Configure {
        policy: Policy,
        generation: u64,
        floor: u64,
        closed_ms: u64,
        paused: bool,
        draining: bool,
    },
    Join {
        who: Vec<u8>,
        ahead: u64,
    },
    /// Visitors who come once, and behind them some who come again and again.
    JoinMany(u16, Vec<u8>),
    Status(u8),
    Lookup(u8),
    Session(Number),
    Leave(u8),
    Revoke(u8),
    Release(Vec<(u8, Number)>),
    Admit(usize),
    Expire,
    Seen {
        age: i64,
        back: u64,
        bytes: Vec<u8>,
    },
    Abandon {
        back: u64,
        len: usize,
    },
    Restore(Vec<(u8, Number)>),
    Pause,
    Resume,
    Drain,
    ClearWaiting {
        beyond_head: u64,
        sold_out: bool,
    },
    Stock {
        left: u64,
        held: u64,
        ago: i64,
    },
    ClearActive,
    Remove,
    Describe,
    Snapshot,
    Trim,
    /// Hours pass in which now and then somebody leaves and the first are let in; each hour the store may let go of
    /// old ranks.
    Hours {
        times: u8,
        admit: usize,
    },
    /// Time passes in which nodes look for the gone; some of those in line are heard of.
    Sweeps {
        times: u8,
        each_ms: u64,
        heard: u8,
    },
}

/// A sequence number.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// The one that this visitor has or had last.
    Of(u8),
    Plain(u64),
}

/// When a sequence begins, and its steps.
pub fn sequences() -> impl Strategy<Value = (Millis, Vec<Step>)> {
    // Ordinary times, turns of years and leap days, and any.
    let start = prop_oneof![
        4 => Just(START),
        1 => select(vec![1_709_164_795_000, 1_735_689_590_000, 1_767_225_599_999, 4_107_542_390_000_u64]),
        1 => 1_500_000_000_000..4_100_000_000_000_u64,
    ];
    // Most sequences begin with an event that is there.
    (start, configure(), vec(step(), 1..40), any::<bool>()).prop_map(|(start, first, mut steps, bare)| {
        if !(bare && steps.len() % 8 == 0) {
            steps.insert(0, Step { jump: Jump::Ms(0), expected: Expected::Any, action: first });
        }
        (Millis(start), steps)
    })
}

fn step() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![
        8 => Just(0),
        6 => 1..50_i64,
        5 => 50..3_000_i64,
        3 => 3_000..40_000_i64,
        2 => select(vec![29_999, 30_000, 30_001, 60_000, 300_000]),
        1 => 40_000..4_000_000_i64,
        1 => select(vec![3_599_999, 3_600_000, 7_200_001]),
        1 => prop_oneof![3 => -5_000..0_i64, 1 => -200_000..0_i64],
    ];
    let jump = prop_oneof![
        24 => ms.prop_map(Jump::Ms),
        2 => (-1..2_i64).prop_map(Jump::ToNextEnd),
        1 => (-1..2_i64).prop_map(Jump::ToRotation),
    ];
    let expected = prop_oneof![6 => Just(Expected::Any), 6 => Just(Expected::Current), 1 => Just(Expected::Stale)];
    (jump, expected, action()).prop_map(|(jump, expected, action)| Step { jump, expected, action })
}

fn action() -> impl Strategy<Value = Action> {
    let who = || 0..POOL;
    // Mostly visitors with numbers of their own.
    let own = || who().prop_map(|v| (v, Number::Of(v)));
    let pairs = move || vec(prop_oneof![3 => own(), 1 => (who(), number())], 0..5);
    prop_oneof![
        3 => configure(),
        14 => (vec(who(), 0..8), ahead()).prop_map(|(who, ahead)| Action::Join { who, ahead }),
        3 => (prop_oneof![30 => 1..12_u16, 10 => 12..40_u16, 1 => 250..300_u16], vec(who(), 0..3))
            .prop_map(|(count, also)| Action::JoinMany(count, also)),
        4 => who().prop_map(Action::Status),
        3 => who().prop_map(Action::Lookup),
        4 => number().prop_map(Action::Session),
        4 => who().prop_map(Action::Leave),
        2 => who().prop_map(Action::Revoke),
        5 => pairs().prop_map(Action::Release),
        8 => prop_oneof![0..4_usize, Just(usize::MAX >> 1)].prop_map(Action::Admit),
        5 => Just(Action::Expire),
        4 => (-1..5_i64, 0..3_u64, vec(any::<u8>(), 0..6))
            .prop_map(|(age, back, bytes)| Action::Seen { age, back, bytes }),
        3 => (0..3_u64, prop_oneof![0..8_usize, Just(16_384), Just(20_000)])
            .prop_map(|(back, len)| Action::Abandon { back, len }),
        4 => pairs().prop_map(Action::Restore),
        2 => Just(Action::Pause),
        3 => Just(Action::Resume),
        1 => Just(Action::Drain),
        1 => prop_oneof![0..12_u64, Just(1 << 40)].prop_flat_map(|beyond_head| any::<bool>().prop_map(move |sold_out| Action::ClearWaiting { beyond_head, sold_out })),
        4 => (0..2_u64, 0..2_u64, -2_000..1_000_i64).prop_map(|(left, held, ago)| Action::Stock { left, held, ago }),
        1 => Just(Action::ClearActive),
        2 => Just(Action::Remove),
        2 => Just(Action::Describe),
        3 => Just(Action::Snapshot),
        1 => Just(Action::Trim),
        2 => (1..6_u8, prop_oneof![0..3_usize, Just(usize::MAX >> 1)])
            .prop_map(|(times, admit)| Action::Hours { times, admit }),
        3 => (1..20_u8, select(vec![7_000, 15_000, 29_000, 30_000, 31_000]), any::<u8>())
            .prop_map(|(times, each_ms, heard)| Action::Sweeps { times, each_ms, heard }),
    ]
}

fn configure() -> impl Strategy<Value = Action> {
    let policy = (
        prop_oneof![4 => 1..6_u32, 1 => 6..400_u32],
        option::weighted(0.4, select(vec![1, 30, 60, 61, 90, 600, 6_000_000])),
        10..400_u32,
        5..400_u32,
        select(vec![60, 61, 89, 90, 120, 300, 3_600]),
        option::weighted(0.3, 1..10_u32),
        select(vec![OnReturn::Close, OnReturn::Reopen]),
    );
    let policy =
        policy.prop_map(|(capacity, admit_per_minute, ttl, claim, grace_seconds, max_waiting, on_return)| Policy {
            admit_per_minute,
            active_ttl_seconds: ttl,
            claim_seconds: claim.min(ttl),
            grace_seconds,
            max_waiting,
            on_return,
            ..Policy::with_capacity(capacity)
        });
    let generation = prop_oneof![1..4_u64, Just(u64::MAX)];
    let floor = prop_oneof![4 => Just(0), 1 => 1..20_u64, 1 => Just(1 << 14)];
    let closed_ms = prop_oneof![4 => Just(0), 1 => 1..100_000_u64];
    let stopped = prop_oneof![4 => Just((false, false)), 1 => any::<(bool, bool)>()];
    let all = (policy, generation, floor, closed_ms, stopped);
    all.prop_map(|(policy, generation, floor, closed_ms, (paused, draining))| Action::Configure {
        policy,
        generation,
        floor,
        closed_ms,
        paused,
        draining,
    })
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![6 => (0..POOL).prop_map(Number::Of), 1 => (0..20_u64).prop_map(Number::Plain)]
}

fn ahead() -> impl Strategy<Value = u64> {
    // Rarely so far that two neighbours in line are further apart than a script clears in one go.
    prop_oneof![48 => Just(0), 4 => 1..20_u64, 1 => Just(1 << 18)]
}

/// Turns steps into commands on what `lines` holds.
#[derive(Debug, Default)]
pub struct Resolver {
    once: u64,
}

impl Resolver {
    /// The commands of one step, each with how far the clock goes before it.
    pub fn commands(&mut self, action: &Action, lines: &Lines, event: &EventId, now: Millis) -> Vec<(u64, Command)> {
        let line = lines.line(event);
        let head = line.and_then(|line| line.waiting.first_key_value()).map_or(0, |(rank, _)| rank.0);
        let pairs = |pairs: &[(u8, Number)]| pairs.iter().map(|(v, n)| (pooled(*v), resolve(*n, line))).collect();
        let command = match action {
            Action::Configure { policy, generation, floor, closed_ms, paused, draining } => {
                Command::Configure(Configure {
                    policy: policy.clone(),
                    generation: Generation(*generation),
                    floor: Seq(*floor),
                    closed_ms: *closed_ms,
                    paused: *paused,
                    draining: *draining,
                })
            }
            Action::Join { who, ahead } => {
                let floor = if *ahead == 0 { 0 } else { line.map_or(0, |line| line.seq.0) + ahead };
                Command::Join { visitors: who.iter().map(|v| pooled(*v)).collect(), floor: Seq(floor) }
            }
            Action::JoinMany(count, also) => {
                let first = self.once;
                self.once += u64::from(*count);
                let once = (first..self.once).map(|i| visitor(&format!("once-{i}")));
                let visitors = once.chain(also.iter().map(|v| pooled(*v))).collect();
                Command::Join { visitors, floor: Seq(0) }
            }
            Action::Status(v) => Command::Status(pooled(*v)),
            Action::Lookup(v) => Command::Lookup(pooled(*v)),
            Action::Session(number) => Command::Session(resolve(*number, line)),
            Action::Leave(v) => Command::Leave(pooled(*v)),
            Action::Revoke(v) => Command::Revoke(pooled(*v)),
            Action::Release(sessions) => Command::Release(pairs(sessions)),
            Action::Admit(max) => Command::Admit { max: *max },
            Action::Expire => Command::Expire,
            Action::Seen { age, back, bytes } => Command::Seen {
                period: now.period().saturating_add_signed(-age),
                first_byte: (head / 8).saturating_sub(*back),
                bytes: bytes.clone(),
            },
            Action::Abandon { back, len } => {
                Command::Abandon { first_byte: (head / 8).saturating_sub(*back), len: *len }
            }
            Action::Restore(places) => Command::Restore(pairs(places)),
            Action::Pause => Command::Pause,
            Action::Resume => Command::Resume,
            Action::Drain => Command::Drain,
            Action::ClearWaiting { beyond_head, sold_out } => {
                let reason = if *sold_out { EndReason::SoldOut } else { EndReason::Cleared };
                Command::ClearWaiting { upto: Rank(head + beyond_head), reason }
            }
            Action::Stock { left, held, ago } => {
                let at = Millis(now.0.saturating_add_signed(-ago));
                Command::Stock(Stock { left: *left, held: *held, at })
            }
            Action::ClearActive => Command::ClearActive,
            Action::Remove => Command::Remove,
            Action::Describe => Command::Describe,
            Action::Snapshot => Command::Snapshot,
            Action::Trim => Command::Trim,
            Action::Hours { times, admit } => return hours(*times, *admit),
            Action::Sweeps { times, each_ms, heard } => return sweeps(*times, *each_ms, *heard, line, now),
        };
        vec![(0, command)]
    }
}

fn hours(times: u8, admit: usize) -> Vec<(u64, Command)> {
    let hour = || {
        [
            (ENDED_KEPT_MS, Command::Join { visitors: vec![pooled(0)], floor: Seq(0) }),
            (0, Command::Leave(pooled(0))),
            (0, Command::Expire),
            (0, Command::Admit { max: admit }),
            (0, Command::Trim),
        ]
    };
    (0..times).flat_map(|_| hour()).collect()
}

fn sweeps(times: u8, each_ms: u64, heard: u8, line: Option<&Line>, mut now: Millis) -> Vec<(u64, Command)> {
    let first_byte = line.and_then(|line| line.waiting.first_key_value()).map_or(0, |(rank, _)| rank.0 / 8);
    let mut commands = Vec::new();
    for _ in 0..times {
        now = now.plus(each_ms);
        let bytes = vec![heard; 2];
        commands.push((each_ms, Command::Seen { period: now.period(), first_byte, bytes }));
        commands.push((0, Command::Abandon { first_byte, len: 16_384 }));
    }
    commands
}

fn pooled(index: u8) -> VisitorId {
    visitor(&format!("v{index}"))
}

fn resolve(number: Number, line: Option<&Line>) -> Seq {
    match number {
        Number::Plain(seq) => Seq(seq),
        Number::Of(index) => {
            let visitor = pooled(index);
            let of = |line: &Line| {
                let waiting = line.ranks.get(&visitor).map(|rank| Seq(rank.0));
                let session = || line.sessions.get(&visitor).map(|session| session.seq);
                waiting.or_else(session).or_else(|| line.ended.visitor(&visitor).map(|(seq, _)| seq))
            };
            line.and_then(of).unwrap_or(Seq(1))
        }
    }
}
