//! The Redis engine: the model's transitions as Lua scripts, for many nodes and for state that outlives a process.
//!
//! A command is one script call, sent once; what is larger than a script may take is cut. Periods are told to the
//! store by this node's estimate of the store's clock: where that is wrong the script changes nothing and says so,
//! and the call is made again. Admissions, ends and changes reach this node as they reach every other one, over the
//! store's channels: once each, and nothing depends on it.

mod call;
mod clock;
pub mod look;
pub mod messages;
pub mod reply;
pub mod scripts;
mod split;
mod tasks;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use queue_core::{
    ids::{EventId, Generation, Millis},
    keys::{self, AUDIT, EVENTS, TAKEN_OVER_CHANNEL},
    line::{Applied, Command, Outcome, Refusal},
    service::redis::{Options as StoreOptions, Store, StoreError, StoreUrl, StreamEntry},
};
use tokio::sync::{Notify, broadcast, watch};

use self::{
    call::{Call, Context, EventKeys},
    clock::StoreClock,
    messages::Inbox,
    reply::{Answer, Done},
    scripts::{Scripts, TimeSource},
    tasks::Tasks,
};
use super::{
    Engine, EngineError, Health, SIGNALS_MAX, Signal, TakenOver,
    audit::{AUDIT_MAX, AUDIT_PAGE_MAX, AuditEntry, AuditId, AuditRecord},
    memory::Clock,
};

/// The field of an entry of the audit log.
const AUDIT_FIELD: &str = "body";
/// A call is made again so often because period or grace were not what this node thought.
const TRIES_MAX: usize = 4;
/// Events whose keys are kept at hand. Beyond that all are forgotten and made again.
const EVENTS_AT_HAND_MAX: usize = 4_096;
/// The periods of the default grace: a first guess.
const GRACE_PERIODS_GUESS: u64 = 5;

/// How an engine uses its store.
#[derive(Clone, Default)]
pub struct Options {
    /// How the connection is used.
    pub store: StoreOptions,
    /// Under test: the time that the store goes by, in place of its own clock.
    pub virtual_clock: Option<Clock>,
}

/// Lines in a Redis.
pub struct RedisEngine {
    store: Store,
    scripts: Scripts,
    clock: Arc<StoreClock>,
    virtual_clock: Option<Clock>,
    events: Mutex<HashMap<EventId, AtHand>>,
    inbox: Arc<Inbox>,
    health: watch::Receiver<Health>,
    resync: Arc<Notify>,
    _tasks: Tasks,
}

/// What is kept of an event between calls.
#[derive(Clone)]
struct AtHand {
    keys: Arc<EventKeys>,
    grace_periods: u64,
    /// The byte of the presence bitmap, as the store has it, at which the last look found the head of the line.
    look_from: u64,
}

impl RedisEngine {
    /// An engine on the store at `url`. It begins to connect, and goes on trying; until there is a connection
    /// commands fail at once. Must be called within a tokio runtime.
    pub fn connect(url: &StoreUrl, options: Options) -> Self {
        let store = Store::connect(url, options.store);
        let inbox = Arc::new(Inbox::new(broadcast::channel(SIGNALS_MAX).0));
        let clock = Arc::new(StoreClock::new());
        let (sender, health) = watch::channel(Health::Down(format!("not connected to {url} yet")));
        let resync = Arc::new(Notify::new());
        let tasks = Tasks::start(&store, &inbox, &clock, sender, &resync);
        let time = if options.virtual_clock.is_some() { TimeSource::LastArgument } else { TimeSource::Store };
        Self {
            store,
            scripts: Scripts::new(time),
            clock,
            virtual_clock: options.virtual_clock,
            events: Mutex::default(),
            inbox,
            health,
            resync,
            _tasks: tasks,
        }
    }

    /// Waits until the store can be asked.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), EngineError> {
        let mut health = self.health.clone();
        let ready = tokio::time::timeout(timeout, health.wait_for(|health| *health == Health::Up)).await;
        match ready {
            Ok(Ok(_)) => Ok(()),
            _ => Err(EngineError::Unavailable(format!("no connection to {}", self.store.url()))),
        }
    }

    /// The store itself.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    fn at_hand(&self, event: &EventId) -> AtHand {
        let mut events = self.events.lock();
        if let Some(known) = events.get(event) {
            return known.clone();
        }
        if events.len() >= EVENTS_AT_HAND_MAX {
            events.clear();
        }
        let known = AtHand { keys: Arc::new(EventKeys::new(event)), grace_periods: GRACE_PERIODS_GUESS, look_from: 0 };
        events.insert(event.clone(), known.clone());
        known
    }

    /// Notes what was learnt of an event, if its keys are at hand.
    fn note(&self, event: &EventId, note: impl FnOnce(&mut AtHand)) {
        if let Some(known) = self.events.lock().get_mut(event) {
            note(known);
        }
    }

    fn call(&self, keys: &EventKeys, context: Context, command: &Command) -> Call {
        let mut call = Call::new(keys, context, command);
        if let Some(clock) = &self.virtual_clock {
            call.args.push(clock().0.into());
        }
        call
    }

    /// Takes note of an answer. `Ok(Err(now))`: the call is to be made again, for the period of that time.
    fn heard<O>(
        &self,
        event: &EventId,
        answer: Result<Answer<O>, StoreError>,
    ) -> Result<Result<Done<O>, Millis>, EngineError> {
        match answer.map_err(failed)? {
            Answer::Done(done) => {
                self.clock.heard(done.now);
                Ok(Ok(done))
            }
            Answer::Refused { now, refusal } => {
                self.clock.heard(now);
                Err(refusal.into())
            }
            Answer::StalePeriod { now, grace_periods } => {
                self.clock.heard(now);
                if grace_periods > 0 {
                    self.note(event, |known| known.grace_periods = grace_periods);
                }
                Ok(Err(now))
            }
        }
    }

    async fn apply_one(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: &Command,
    ) -> Result<Applied, EngineError> {
        if let Command::Snapshot = command {
            return self.look(event, expected).await;
        }
        let mut period = self.now().period();
        for _ in 0..TRIES_MAX {
            let AtHand { keys, grace_periods, .. } = self.at_hand(event);
            let call = self.call(&keys, Context { expected, period, grace_periods }, command);
            let script = self.scripts.get(call.transition);
            let mut reply = self.store.run_list(script, call.keys, call.args).await.map_err(failed)?;
            match self.heard(event, reply::read(&mut reply, |reply| reply::outcome(command, reply)))? {
                Ok(Done { now, generation, outcome }) => return Ok(Applied { now, generation, outcome }),
                // What the store just said, whatever this node reckons: its clock may go a little faster.
                Err(now) => period = now.period(),
            }
        }
        let problem = "the period changes faster than it can be told".to_owned();
        Err(EngineError::Broken { what: "a command", problem })
    }

    /// Puts a new event on the list before it is there, and again after: whoever removed it a moment ago may
    /// have taken it off in between.
    async fn configure(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: &Command,
    ) -> Result<Applied, EngineError> {
        self.list(event, "SADD").await?;
        let applied = self.apply_one(event, expected, command).await?;
        if applied.outcome == (Outcome::Configured { created: true }) {
            self.list(event, "SADD").await?;
        }
        Ok(applied)
    }

    /// Takes a removed event off the list; back on it if somebody has created it anew meanwhile.
    async fn unlist(&self, event: &EventId) -> Result<(), EngineError> {
        self.list(event, "SREM").await?;
        match self.apply_one(event, None, &Command::Describe).await {
            Ok(_) => self.list(event, "SADD").await,
            Err(EngineError::Refused(Refusal::NoSuchEvent)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, event: &EventId, how: &'static str) -> Result<(), EngineError> {
        self.store.command(how, [EVENTS, event.as_str()]).await.map(drop).map_err(failed)
    }
}

#[async_trait]
impl Engine for RedisEngine {
    async fn apply(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError> {
        if let Command::Configure(_) = &command {
            return self.configure(event, expected, &command).await;
        }
        let mut parts = split::split(command).into_iter();
        let Some(first) = parts.next() else {
            return Err(EngineError::Broken { what: "a command", problem: "cut into nothing".to_owned() });
        };
        let mut whole = self.apply_one(event, expected, &first).await?;
        for part in parts {
            if split::is_enough(&whole.outcome) {
                break;
            }
            // All of a command happens to one incarnation of the line.
            let part = self.apply_one(event, Some(whole.generation), &part).await?;
            whole.now = part.now;
            split::append(&mut whole.outcome, part.outcome);
        }
        if whole.outcome == Outcome::Removed(true) {
            self.unlist(event).await?;
        }
        Ok(whole)
    }

    async fn events(&self) -> Result<Vec<EventId>, EngineError> {
        let names = self.store.smembers(EVENTS).await.map_err(failed)?;
        let mut events: Vec<_> = names.iter().filter_map(|name| EventId::new(name).ok()).collect();
        events.sort_unstable();
        Ok(events)
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.inbox.subscribe()
    }

    async fn announce(&self, taken: TakenOver) -> Result<(), EngineError> {
        // Plain data: turning it into JSON cannot fail.
        let body = serde_json::to_string(&taken).unwrap_or_default();
        self.store.publish(TAKEN_OVER_CHANNEL, body).await.map(drop).map_err(failed)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    fn now(&self) -> Millis {
        self.virtual_clock.as_ref().map_or_else(|| self.clock.now(), |clock| clock())
    }

    fn commands_total(&self) -> u64 {
        self.store.commands_total()
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), EngineError> {
        // Plain data: turning it into JSON cannot fail.
        let body = serde_json::to_string(entry).unwrap_or_default();
        self.store.append_stream(AUDIT, AUDIT_MAX, AUDIT_FIELD, body).await.map(drop).map_err(failed)
    }

    async fn audit(&self, before: Option<AuditId>, count: usize) -> Result<Vec<AuditRecord>, EngineError> {
        let before = before.map(|id| id.to_string());
        let entries = self.store.read_stream_back(AUDIT, before.as_deref(), count.min(AUDIT_PAGE_MAX)).await;
        // An entry that makes no sense, of another version perhaps, is passed over.
        let read = |entry: StreamEntry| {
            let body = serde_json::from_slice(entry.field(AUDIT_FIELD)?).ok()?;
            Some(AuditRecord { id: entry.id.parse().ok()?, entry: body })
        };
        Ok(entries.map_err(failed)?.into_iter().filter_map(read).collect())
    }

    async fn was_removed(&self, event: &EventId) -> Result<bool, EngineError> {
        let found = self.store.command("EXISTS", [keys::removed(event)]).await.map_err(failed)?;
        Ok(found.into_int("EXISTS").map_err(failed)? > 0)
    }

    fn fell_behind(&self) {
        self.inbox.forget();
        self.resync.notify_one();
    }

    fn malformed_total(&self) -> u64 {
        self.inbox.malformed_total()
    }

    fn gathers(&self) -> bool {
        true
    }
}

fn failed(error: StoreError) -> EngineError {
    match error {
        StoreError::Unavailable(_) | StoreError::Overloaded => EngineError::Unavailable(error.to_string()),
        StoreError::Script { name, message } => EngineError::Broken { what: name, problem: message },
        StoreError::Reply { name, problem } => EngineError::Broken { what: name, problem },
    }
}
