//! The scripts are held to the model: random sequences run against both, on the same virtual time. Reply and
//! complete state are compared after every step.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestCaseResult, TestRunner},
};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Rank, Seq, VisitorId},
    keys::{self, EVENTS, LineKeys},
    limits::{GRACE_MS_MAX, SEEN_PERIOD_MS},
    line::{Command, Ended, Line, Lines, Map, Refusal, Stock, bitmap::Bitmap},
    policy::OnReturn,
    service::{
        redis::{Arg, Reply, Script, StoreError},
        testing::TestRedis,
    },
    wire::{EndReason, MESSAGE_FIELD, Message, SessionEnded},
};
use queue_server::engine::{
    Engine as _, EngineError,
    redis::{RedisEngine, scripts::TEST_BASE_RANKS},
};

use crate::{
    sequences::{Expected, Resolver, Step, sequences},
    support::{TestClock, connect, visitor},
};

/// Sequences, if `USHER_MODEL_CASES` says nothing else.
const CASES: u32 = 2_000;
/// Failures that were shrunk, tried first from then on.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/model.proptest-regressions");

#[test]
fn scripts_do_what_the_model_does() {
    let cases = std::env::var("USHER_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let redis = TestRedis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = TestClock::new();
    let engine = runtime.block_on(connect(&format!("unix:{}", redis.socket().display()), Some(&clock)));
    let pair = Pair::new(engine, clock);
    runtime.block_on(pair.teach());
    let pair = RefCell::new(pair);
    let result = TestRunner::new(config)
        .run(&sequences(), |(start, steps)| runtime.block_on(run(&mut pair.borrow_mut(), start, &steps)));
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let moved = pair.into_inner().moved;
    assert!(moved > 0 || cases < CASES, "the bitmaps never began anywhere else");
}

async fn run(pair: &mut Pair, start: Millis, steps: &[Step]) -> TestCaseResult {
    pair.reset(start).await?;
    let mut resolver = Resolver::default();
    for step in steps {
        let now = step.jump.from(pair.clock.now(), pair.lines.line(&pair.event));
        pair.clock.set(now.0);
        let commands = resolver.commands(&step.action, &pair.lines, &pair.event, now);
        for (wait_ms, command) in commands {
            pair.clock.advance(wait_ms);
            pair.step(step.expected, command).await?;
        }
    }
    Ok(())
}

/// The model and the store side by side.
struct Pair {
    engine: RedisEngine,
    clock: TestClock,
    dump: Script,
    event: EventId,
    keys: LineKeys,
    lines: Lines,
    /// Periods whose bitmaps the model ever had.
    periods: BTreeSet<u64>,
    /// How often the bitmaps began beyond rank 0.
    moved: u64,
    /// The last entry of the stream that was read.
    read_to: String,
}

impl Pair {
    fn new(engine: RedisEngine, clock: TestClock) -> Self {
        let event = EventId::new("model").unwrap();
        Self {
            engine,
            clock,
            dump: Script::new("dump", include_str!("dump.lua")),
            keys: LineKeys::new(&event),
            event,
            lines: Lines::default(),
            periods: BTreeSet::new(),
            moved: 0,
            read_to: String::new(),
        }
    }

    /// Teaches the store all scripts, so that from now on each takes one call.
    async fn teach(&self) {
        let who = visitor("v");
        let commands = [
            Command::Join { visitors: Vec::new(), floor: Seq(0) },
            Command::Status(who.clone()),
            Command::Lookup(who.clone()),
            Command::Session(Seq(1)),
            Command::Leave(who),
            Command::Release(Vec::new()),
            Command::Admit { max: 0 },
            Command::Expire,
            Command::Seen { period: 0, first_byte: 0, bytes: Vec::new() },
            Command::Abandon { first_byte: 0, len: 0 },
            Command::Restore(Vec::new()),
            Command::Pause,
            Command::ClearWaiting { upto: Rank(0), reason: EndReason::Cleared },
            Command::ClearActive,
            Command::Remove,
            Command::Describe,
            Command::Trim,
            Command::Stock(Stock { left: 1, held: 0, at: Millis(0) }),
            Command::Snapshot,
        ];
        for command in commands {
            let refused = self.engine.apply(&self.event, None, command).await;
            assert!(matches!(refused, Err(EngineError::Refused(Refusal::NoSuchEvent))), "{refused:?}");
        }
    }

    async fn reset(&mut self, start: Millis) -> TestCaseResult {
        self.engine.store().command("FLUSHALL", ["SYNC"]).await.map_err(away)?;
        self.clock.set(start.0);
        self.lines = Lines::default();
        self.periods.clear();
        "0".clone_into(&mut self.read_to);
        Ok(())
    }

    async fn step(&mut self, expected: Expected, command: Command) -> TestCaseResult {
        let expected = match (expected, self.lines.line(&self.event)) {
            (Expected::Any, _) | (_, None) => None,
            (Expected::Current, Some(line)) => Some(line.generation),
            (Expected::Stale, Some(line)) => Some(Generation(line.generation.0 ^ 1)),
        };
        let now = self.clock.now();
        let mut ended = Vec::new();
        let generation = self.lines.line(&self.event).map(|line| line.generation);
        let ours = self.lines.apply(&self.event, expected, command.clone(), now, &mut ended);
        if let Some(line) = self.lines.line(&self.event) {
            self.periods.extend(line.seen.keys());
        }
        let apply = self.engine.apply(&self.event, expected, command.clone());
        // What is one call for certain is followed by the dump at once: calls arrive in the order they are made.
        let (theirs, dump) = match command {
            Command::Configure(_)
            | Command::Remove
            | Command::Join { .. }
            | Command::Abandon { .. }
            | Command::Trim => (apply.await, self.dump().await),
            _ => tokio::join!(biased; apply, self.dump()),
        };
        let theirs = match theirs {
            Ok(applied) => Ok(applied),
            Err(EngineError::Refused(refusal)) => Err(refusal),
            Err(EngineError::Unavailable(reason)) => return Err(away(reason)),
            Err(error) => return Err(TestCaseError::fail(format!("{command:?}: {error}"))),
        };
        prop_assert_eq!(&ours, &theirs, "model and reply differ after {:?}", &command);
        let (store, told, base) = self.read(dump.map_err(away)?);
        self.base_is_safe(base)?;
        self.moved += u64::from(base > 0 && matches!(command, Command::Trim));
        let model = self.lines.line(&self.event).map(|line| State::of(line, base)).unwrap_or_default();
        prop_assert_eq!(&model, &store, "model and store differ after {:?}", &command);
        let expected: Vec<_> = ended.iter().map(|ended| self.message(ended, generation, now)).collect();
        prop_assert_eq!(&expected, &told, "model and stream differ after {:?}", &command);
        Ok(())
    }

    fn message(&self, ended: &Ended, generation: Option<Generation>, at: Millis) -> String {
        let message = Message::SessionEnded(SessionEnded {
            event_id: self.event.clone(),
            visitor_id: ended.visitor.clone(),
            jti: Jti { generation: generation.unwrap(), seq: ended.seq },
            reason: ended.reason,
            at,
        });
        serde_json::to_string(&message).unwrap()
    }

    /// Asks for everything that the store knows.
    async fn dump(&self) -> Result<Reply, StoreError> {
        let keys = &self.keys;
        let fixed = [
            &keys.meta,
            &keys.waiting,
            &keys.present,
            &keys.active,
            &keys.sessions,
            &keys.ended,
            &keys.ended_old,
            &keys.joined,
            &keys.session_ended,
            &keys.scratch,
            &keys.scratch2,
        ];
        let mut names: Vec<Arg> = fixed.into_iter().map(Arg::from).collect();
        names.push(EVENTS.into());
        let mut args: Vec<Arg> = vec![self.read_to.as_str().into()];
        let (line, now) = (self.lines.line(&self.event), self.clock.now());
        for period in &self.periods {
            names.push(keys::seen(&self.event, *period).into());
            // What the model has forgotten; without a line, what no grace reaches: too old, or from before the
            // clock was set back.
            let reached = now.period().saturating_sub(GRACE_MS_MAX / SEEN_PERIOD_MS + 2)..=now.period();
            let out_of_reach = !reached.contains(period);
            args.push(line.map_or(out_of_reach, |line| !line.seen.contains_key(period)).into());
        }
        self.engine.store().run_list(&self.dump, names, args).await
    }

    /// Nobody is in line before the base, and nobody can be put back there.
    fn base_is_safe(&self, base: u64) -> TestCaseResult {
        let Some(line) = self.lines.line(&self.event) else { return Ok(()) };
        prop_assert!(base.is_multiple_of(TEST_BASE_RANKS), "base {}", base);
        let head = line.waiting.first_key_value().map(|(rank, _)| rank.0);
        let logs = [&line.ended.visitors, &line.ended.visitors_old];
        let ended = logs.into_iter().flatten().filter(|(_, (_, reason))| *reason == EndReason::Abandoned);
        let lowest = ended.map(|(_, (seq, _))| seq.0).chain(head).min();
        prop_assert!(lowest.is_none_or(|lowest| base <= lowest), "base {} is above {:?}", base, lowest);
        Ok(())
    }

    /// The state in the store, what was added to the stream since the last look, and where the bitmaps begin.
    fn read(&mut self, mut dump: Reply) -> (State, Vec<String>, u64) {
        let mut meta = pairs(dump.list().unwrap());
        // What the store knows of its bitmaps is its own affair.
        let base = meta.remove("base").map_or(0, |base| base.parse().unwrap());
        ["low", "low1", "low2", "low_rotated"].iter().for_each(|field| drop(meta.remove(*field)));
        let mut state = State {
            meta,
            waiting: scored(dump.list().unwrap()),
            present: from_base(base, &dump.bytes().unwrap()),
            active: scored(dump.list().unwrap()),
            sessions: pairs(dump.list().unwrap()),
            ended: pairs(dump.list().unwrap()),
            ended_old: pairs(dump.list().unwrap()),
            joined: scored(dump.list().unwrap()),
            ..State::default()
        };
        let told = self.told(dump.list().unwrap());
        state.stray_keys = dump.int().unwrap();
        let mut seen = dump.list().unwrap();
        for period in &self.periods {
            let bits = from_base(base, &seen.bytes().unwrap());
            if !bits.is_empty() {
                state.seen.insert(*period, bits);
            }
        }
        (state, told, base)
    }

    fn told(&mut self, mut stream: Reply) -> Vec<String> {
        let mut told = Vec::new();
        while !stream.is_empty() {
            let mut entry = stream.list().unwrap();
            self.read_to = entry.text().unwrap();
            let mut fields = entry.list().unwrap();
            assert_eq!(fields.text().unwrap(), MESSAGE_FIELD);
            told.push(fields.text().unwrap());
        }
        told
    }
}

/// A store that cannot be asked says nothing about the scripts, and is nothing to shrink.
fn away(reason: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::reject(format!("the store is away: {reason}"))
}

/// Everything that the store knows of a line.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    meta: BTreeMap<String, String>,
    waiting: Vec<(String, u64)>,
    present: Vec<u8>,
    active: Vec<(String, u64)>,
    sessions: BTreeMap<String, String>,
    ended: BTreeMap<String, String>,
    ended_old: BTreeMap<String, String>,
    joined: Vec<(String, u64)>,
    seen: BTreeMap<u64, Vec<u8>>,
    /// Keys that should not be there.
    stray_keys: i64,
}

impl State {
    /// The model's state, as the store should have it whose bitmaps begin at `base`.
    fn of(line: &Line, base: u64) -> Self {
        let mut sessions = BTreeMap::new();
        for (visitor, session) in &line.sessions {
            sessions.insert(visitor.to_string(), format!("{}:{}", session.seq.0, session.expires.0));
        }
        for (seq, visitor) in &line.by_seq {
            sessions.insert(format!("#{}", seq.0), visitor.to_string());
        }
        let log = &line.ended;
        let ended = |visitors: &Map<_, _>, sessions: &Map<_, _>| {
            let visitors = visitors.iter().map(|(v, (seq, reason))| log_entry(v, *seq, *reason));
            visitors.chain(sessions.iter().map(|(seq, reason)| session_entry(*seq, *reason))).collect()
        };
        // That somebody was heard who cannot be in line any more is forgotten.
        let since_base = |map: &Bitmap| from_base(base, &map.bytes(base / 8, usize::MAX));
        let seen = line.seen.iter().map(|(period, map)| (*period, since_base(map)));
        Self {
            meta: meta(line),
            waiting: line.waiting.iter().map(|(rank, visitor)| (visitor.to_string(), rank.0)).collect(),
            present: line.present.bytes(0, usize::MAX),
            active: line.by_end.iter().map(|(ends, visitor)| (visitor.to_string(), ends.0)).collect(),
            sessions,
            ended: ended(&log.visitors, &log.sessions),
            ended_old: ended(&log.visitors_old, &log.sessions_old),
            joined: line.timeline.firsts.iter().map(|(seq, at)| (format!("{}:{}", seq.0, at.0), seq.0)).collect(),
            seen: seen.filter(|(_, bits)| !bits.is_empty()).collect(),
            stray_keys: 0,
        }
    }
}

fn log_entry(visitor: &VisitorId, seq: Seq, reason: EndReason) -> (String, String) {
    (visitor.to_string(), format!("{}:{}", seq.0, reason.as_str()))
}

fn session_entry(seq: Seq, reason: EndReason) -> (String, String) {
    (format!("#{}", seq.0), reason.as_str().to_owned())
}

fn meta(line: &Line) -> BTreeMap<String, String> {
    let policy = &line.policy;
    let optional = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    let fields = [
        ("generation", line.generation.to_string()),
        ("policy", serde_json::to_string(policy).unwrap()),
        ("capacity", policy.capacity.to_string()),
        ("rate", optional(policy.admit_per_minute)),
        ("ttl_ms", policy.active_ttl_ms().to_string()),
        ("claim_ms", policy.claim_ms().to_string()),
        ("grace_ms", policy.grace_ms().to_string()),
        ("grace_periods", policy.grace_periods().to_string()),
        ("max_waiting", optional(policy.max_waiting)),
        ("version", line.version.to_string()),
        ("paused", u8::from(line.paused).to_string()),
        ("draining", u8::from(line.draining).to_string()),
        ("sold_out", u8::from(line.sold_out).to_string()),
        ("left", line.stock.map(|stock| stock.left.to_string()).unwrap_or_default()),
        ("held", line.stock.map(|stock| stock.held.to_string()).unwrap_or_default()),
        ("stock_at", line.stock.map(|stock| stock.at.0.to_string()).unwrap_or_default()),
        ("reopens", u8::from(policy.on_return == OnReturn::Reopen).to_string()),
        ("seq", line.seq.0.to_string()),
        ("tat_us", line.tat_us.to_string()),
        ("admit_not_before", line.admit_not_before.0.to_string()),
        ("sweep_not_before", line.sweep_not_before.0.to_string()),
        ("swept", line.swept.0.to_string()),
        ("admitted", line.totals.admitted.to_string()),
        ("abandoned", line.totals.abandoned.to_string()),
        ("released", line.totals.released.to_string()),
        ("expired", line.totals.expired.to_string()),
        ("rotated", line.ended.rotated.0.to_string()),
        ("last_sec", line.timeline.last_sec.to_string()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn pairs(mut reply: Reply) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    while !reply.is_empty() {
        pairs.insert(reply.text().unwrap(), reply.text().unwrap());
    }
    pairs
}

fn scored(mut reply: Reply) -> Vec<(String, u64)> {
    let mut pairs = Vec::new();
    while !reply.is_empty() {
        pairs.push((reply.text().unwrap(), reply.u64().unwrap()));
    }
    pairs
}

/// The bytes of a bitmap that begins at `base` as those of one that begins at 0, without zero bytes at the end.
fn from_base(base: u64, bytes: &[u8]) -> Vec<u8> {
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Vec::new() };
    let mut whole = vec![0; (base / 8) as usize];
    whole.extend_from_slice(&bytes[..=last]);
    whole
}
