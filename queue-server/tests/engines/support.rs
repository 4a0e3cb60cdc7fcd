//! An engine with a clock that the test sets, and short ways to ask it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use queue_core::{
    ids::{EventId, Generation, Millis, Seq, VisitorId},
    line::{
        Admitted, Applied, Command, Configure, Description, Joined, Outcome, Place, SessionState, Snapshot, Standing,
    },
    policy::Policy,
    service::{
        redis::{Options as StoreOptions, StoreUrl},
        testing::TestRedis,
    },
};
use queue_server::engine::{
    Engine, EngineError, Signal,
    memory::MemoryEngine,
    redis::{Options, RedisEngine},
};
use tokio::sync::broadcast;

/// When tests begin.
pub const START: u64 = 1_760_000_010_000;
/// Whoever waits for longer waits for nothing.
pub const WITHIN: Duration = Duration::from_secs(20);

/// A clock that goes when it is told to.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }
    pub fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
    pub fn reader(&self) -> Arc<dyn Fn() -> Millis + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// An engine on the store at `url`, by `clock` if there is one. It is patient: a busy machine is no fault.
pub fn start(url: &str, clock: Option<&TestClock>) -> RedisEngine {
    let store = StoreOptions { command_timeout: WITHIN, connect_timeout: WITHIN, ..StoreOptions::default() };
    let options = Options { store, virtual_clock: clock.map(TestClock::reader) };
    RedisEngine::connect(&StoreUrl::parse(url).unwrap(), options)
}

/// As [`start`], once it is connected.
pub async fn connect(url: &str, clock: Option<&TestClock>) -> RedisEngine {
    let engine = start(url, clock);
    engine.wait_ready(WITHIN).await.unwrap();
    engine
}

/// An engine under test.
pub struct World {
    pub engine: Arc<dyn Engine>,
    pub clock: TestClock,
    pub event: EventId,
    signals: broadcast::Receiver<Signal>,
    _redis: Option<TestRedis>,
}

impl World {
    pub fn memory() -> Self {
        let clock = TestClock::new();
        Self::new(Arc::new(MemoryEngine::new(clock.reader())), clock, None)
    }

    pub async fn redis() -> Self {
        let (redis, clock) = (TestRedis::start(), TestClock::new());
        let engine = Arc::new(start(&redis.url(), Some(&clock)));
        let mut world = Self::new(Arc::clone(&engine) as Arc<dyn Engine>, clock, Some(redis));
        engine.wait_ready(WITHIN).await.unwrap();
        // Nothing is heard before the channels are subscribed to.
        world.signal(|signal| matches!(signal, Signal::Resync)).await;
        world
    }

    fn new(engine: Arc<dyn Engine>, clock: TestClock, redis: Option<TestRedis>) -> Self {
        let signals = engine.signals();
        Self { engine, clock, event: EventId::new("faults").unwrap(), signals, _redis: redis }
    }

    /// The next signal that `wanted` is.
    pub async fn signal(&mut self, wanted: impl Fn(&Signal) -> bool) -> Signal {
        let search = async {
            loop {
                let signal = self.signals.recv().await.unwrap();
                if wanted(&signal) {
                    return signal;
                }
            }
        };
        tokio::time::timeout(WITHIN, search).await.expect("a signal within the bound")
    }

    /// Creates the event, or replaces its policy.
    pub async fn configure(&self, policy: Policy) -> Applied {
        let configure = Configure::new(policy, Generation(7));
        self.apply(Command::Configure(configure)).await
    }

    pub async fn try_apply(&self, command: Command) -> Result<Applied, EngineError> {
        self.engine.apply(&self.event, None, command).await
    }

    pub async fn apply(&self, command: Command) -> Applied {
        self.try_apply(command).await.unwrap()
    }

    pub async fn outcome(&self, command: Command) -> Outcome {
        self.apply(command).await.outcome
    }

    pub async fn join(&self, names: &[&str]) -> Joined {
        self.join_all(names.iter().map(|name| visitor(name)).collect()).await
    }

    pub async fn join_all(&self, visitors: Vec<VisitorId>) -> Joined {
        match self.outcome(Command::Join { visitors, floor: Seq(0) }).await {
            Outcome::Joined(joined) => joined,
            other => panic!("{other:?}"),
        }
    }

    pub async fn admit(&self) -> Admitted {
        match self.outcome(Command::Admit { max: usize::MAX }).await {
            Outcome::Admitted(admitted) => admitted,
            other => panic!("{other:?}"),
        }
    }

    /// The names of those admitted now.
    pub async fn admit_names(&self) -> Vec<String> {
        self.admit().await.sessions.into_iter().map(|session| session.visitor.to_string()).collect()
    }

    pub async fn status(&self, name: &str) -> Standing {
        self.standing(Command::Status(visitor(name))).await
    }

    pub async fn lookup(&self, name: &str) -> Standing {
        self.standing(Command::Lookup(visitor(name))).await
    }

    async fn standing(&self, command: Command) -> Standing {
        match self.outcome(command).await {
            Outcome::Standing(standing) => standing,
            other => panic!("{other:?}"),
        }
    }

    pub async fn session(&self, seq: u64) -> SessionState {
        match self.outcome(Command::Session(Seq(seq))).await {
            Outcome::Session(session) => session,
            other => panic!("{other:?}"),
        }
    }

    pub async fn release(&self, sessions: &[(&str, u64)]) -> Vec<bool> {
        let sessions = sessions.iter().map(|(name, seq)| (visitor(name), Seq(*seq))).collect();
        match self.outcome(Command::Release(sessions)).await {
            Outcome::Released(released) => released,
            other => panic!("{other:?}"),
        }
    }

    pub async fn abandon(&self) -> Vec<String> {
        match self.outcome(Command::Abandon { first_byte: 0, len: 16_384 }).await {
            Outcome::Abandoned(gone) => gone.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn describe(&self) -> Description {
        match self.outcome(Command::Describe).await {
            Outcome::Described(description) => *description,
            other => panic!("{other:?}"),
        }
    }

    pub async fn snapshot(&self) -> Snapshot {
        match self.outcome(Command::Snapshot).await {
            Outcome::Snapshot(snapshot) => *snapshot,
            other => panic!("{other:?}"),
        }
    }

    /// Looks for the gone each ten seconds, as nodes do, for `ms`. Who was removed.
    pub async fn sweep_for(&self, ms: u64) -> Vec<String> {
        let mut gone = Vec::new();
        for _ in 0..ms / 10_000 {
            self.clock.advance(10_000);
            gone.extend(self.abandon().await);
        }
        gone
    }
}

pub fn visitor(name: &str) -> VisitorId {
    VisitorId::new(name).unwrap()
}

pub fn visitors(prefix: &str, count: usize) -> Vec<VisitorId> {
    (0..count).map(|i| visitor(&format!("{prefix}{i}"))).collect()
}

pub const fn waiting(seq: u64, position: u64, fresh: bool) -> Place {
    Place::Waiting { seq: Seq(seq), position, fresh }
}
