//! One node of the waiting room: what it knows of each event's line, and everything it does about it.
//!
//! The store is the truth; a node keeps the latest snapshot of each line, its own sockets, and whom it heard
//! from. Nodes are alike: any of them may admit, expire or sweep at any moment, and two at once change nothing.

mod admission;
mod answer;
mod audit;
mod backlog;
mod errands;
mod following;
pub mod frames;
mod heard;
mod joins;
mod keys;
mod line;
mod lost;
mod metrics;
mod operator;
mod outlet;
mod outlets;
mod places;
mod push;
mod randomness;
mod ring;
mod sessions;
mod show;
mod signals;
mod slots;
mod sweep;
mod tick;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::Mutex;
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Millis},
    limits::JOIN_BATCH_MAX,
    line::{Applied, Command, Refusal},
    service::{
        context,
        http::ApiError,
        metrics::EventLabels,
        spans::{self, Kind},
        trace::random_u64,
    },
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use following::Following;
pub use keys::{KeyParts, Keys};
pub use line::LocalLine;
pub use operator::{Overview, VisitorView};
pub use outlet::{Gone, Last, Outlet, Turn, Word, text_frame, uptime_ms};
pub use outlets::Outlets;
pub use places::{Begun, Joining, Who};
pub use push::text;
pub use ring::Found;
pub use sweep::stretch_bytes as sweep_stretch_bytes;

use crate::engine::{Engine, EngineError, Health};

/// Unknown event names that are remembered, so that asking for them again costs the store nothing.
const UNKNOWN_EVENTS_MAX: usize = 4_096;
/// How long an unknown event is believed to be unknown.
const UNKNOWN_EVENT_FOR: Duration = Duration::from_secs(1);
/// A known event that the store does not have is looked into for so long before somebody who asks is told to
/// come again.
const FATE_WITHIN: Duration = Duration::from_millis(700);

/// A node that ends takes at most so long to tell whom it heard.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// What of a node can be set.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    /// A line somebody looks at is read this often.
    pub tick: Duration,
    /// A line nobody waits in is looked at about this often; one nobody is in, a third as often.
    pub idle_tick: Duration,
    /// WebSockets on this node, at most.
    pub sockets_max: usize,
    /// Whether a new place needs a user token; a place token only finds a place that is still there then.
    pub user_tokens: bool,
    /// Joins that go to the store in one call, at most; with 1 each goes by itself, at once.
    pub join_batch: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            idle_tick: Duration::from_secs(10),
            sockets_max: 500_000,
            user_tokens: false,
            join_batch: JOIN_BATCH_MAX,
        }
    }
}

/// One node.
pub struct Node {
    /// Names this process among the nodes.
    pub id: u64,
    engine: Arc<dyn Engine>,
    keys: Keys,
    options: NodeOptions,
    /// Names from outside are looked up here, but only events that an operator has made are in it.
    lines: DashMap<EventId, Arc<LocalLine>, foldhash::quality::RandomState>,
    unknown: Mutex<HashMap<EventId, Instant>>,
    sessions: sessions::SessionCache,
    /// Bounds what is asked of where people stand.
    questions: Semaphore,
    labels: EventLabels,
    metrics: metrics::NodeMetrics,
    outlets: Outlets,
    next_socket: AtomicU64,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Starts a node: it learns of the events there are and keeps their lines going until `stop`.
    pub fn start(engine: Arc<dyn Engine>, keys: Keys, options: NodeOptions, stop: CancellationToken) -> Arc<Self> {
        let node = Arc::new(Self {
            id: random_u64(),
            engine,
            keys,
            options,
            lines: DashMap::default(),
            unknown: Mutex::default(),
            sessions: sessions::SessionCache::default(),
            questions: Semaphore::new(places::QUESTIONS_AT_ONCE),
            labels: EventLabels::default(),
            metrics: metrics::NodeMetrics::new(),
            outlets: Outlets::default(),
            next_socket: 0.into(),
            stop,
            tasks: TaskTracker::new(),
        });
        // Subscribed before anything is read, so that nothing falls between.
        let signals = node.engine.signals();
        node.spawn(signals::follow(node.clone(), signals));
        node.spawn(signals::discover(node.clone()));
        node.spawn(outlets::keep(node.clone()));
        node
    }

    /// Runs a task until it ends or the node stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Tells the store whom this node heard since it last did, before it ends.
    pub async fn tell_heard(&self) {
        let tell = async {
            for line in self.all_lines() {
                // What cannot be told now is lost with the node: others hear these people soon.
                let _ = sweep::tell(self, &line).await;
            }
        };
        let _ = tokio::time::timeout(TELL_WITHIN, tell).await;
    }

    /// Fires when the node is to stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// The keys that sign and verify tokens.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What was set.
    pub(crate) const fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// WebSockets that are open on this node.
    pub const fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    pub(crate) fn socket_opened(&self) {
        self.metrics.socket_opened();
    }

    pub(crate) fn socket_closed(&self) {
        self.metrics.socket_closed();
    }

    /// The time by the store's clock.
    pub fn now(&self) -> Millis {
        self.engine.now()
    }

    /// Whether the store can be asked, and why not.
    pub fn health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.engine.health()
    }

    /// Carries out a command on a line, and takes note of the generation that answered.
    async fn apply(
        &self,
        line: &LocalLine,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError> {
        let answer = spans::step(Kind::Client, "queue store", self.engine.apply(&line.event, expected, command)).await;
        match &answer {
            Ok(applied) => line.heard_generation(applied.generation),
            Err(EngineError::Refused(Refusal::StaleGeneration(found))) => line.heard_generation(*found),
            Err(EngineError::Refused(Refusal::NoSuchEvent)) => line.kick(),
            Err(_) => {}
        }
        answer
    }

    /// [`Node::apply`], with what a client is told if it fails.
    async fn ask(&self, line: &LocalLine, expected: Option<Generation>, command: Command) -> Result<Applied, ApiError> {
        match self.apply(line, expected, command).await {
            Ok(applied) => Ok(applied),
            Err(error) => Err(self.refused(line, error).await),
        }
    }

    /// What a client is told. An event that this node knows and the store does not have was removed, or lost and
    /// is about to be there again: the look that was asked for decides which.
    async fn refused(&self, line: &LocalLine, error: EngineError) -> ApiError {
        if !matches!(error, EngineError::Refused(Refusal::NoSuchEvent)) {
            return api_error(error);
        }
        match tokio::time::timeout(FATE_WITHIN, line.gone.cancelled()).await {
            Ok(()) => ApiError::new(Code::EventNotFound),
            Err(_) => ApiError::new(Code::StoreUnavailable).log("the store has lost the event"),
        }
    }

    /// The line of this name, if this node knows it.
    pub fn known_line(&self, event: &str) -> Option<Arc<LocalLine>> {
        let line = self.lines.get(event)?.clone();
        context::note_event(&line.event);
        Some(line)
    }

    /// The line of `event`; one look at the store if this node does not know it.
    pub(crate) async fn line(self: &Arc<Self>, event: &EventId) -> Result<Arc<LocalLine>, ApiError> {
        if let Some(line) = self.lines.get(event) {
            // Noted only now: before, it is whatever somebody wrote into an address.
            context::note_event(event);
            return Ok(line.clone());
        }
        if self.unknown.lock().get(event).is_some_and(|at| at.elapsed() < UNKNOWN_EVENT_FOR) {
            return Err(ApiError::new(Code::EventNotFound));
        }
        match self.learn(event).await {
            Ok(line) => {
                context::note_event(event);
                Ok(line)
            }
            Err(EngineError::Refused(Refusal::NoSuchEvent)) => {
                let mut unknown = self.unknown.lock();
                if unknown.len() >= UNKNOWN_EVENTS_MAX {
                    unknown.clear();
                }
                unknown.insert(event.clone(), Instant::now());
                Err(ApiError::new(Code::EventNotFound))
            }
            Err(other) => Err(api_error(other)),
        }
    }

    /// Reads an event from the store and keeps its line from now on.
    async fn learn(self: &Arc<Self>, event: &EventId) -> Result<Arc<LocalLine>, EngineError> {
        let applied = self.engine.apply(event, None, Command::Describe).await?;
        let queue_core::line::Outcome::Described(described) = applied.outcome else {
            return Err(broken("describe"));
        };
        self.unknown.lock().remove(event);
        let line = LocalLine::new(event.clone(), applied.generation, *described, applied.now, self);
        let (line, new) = match self.lines.entry(event.clone()) {
            dashmap::Entry::Occupied(known) => (known.get().clone(), false),
            dashmap::Entry::Vacant(vacant) => (vacant.insert(Arc::new(line)).clone(), true),
        };
        if new {
            self.spawn(tick::keep(self.clone(), line.clone()));
            self.spawn(admission::keep(self.clone(), line.clone()));
        }
        Ok(line)
    }

    /// Forgets an event that was removed.
    fn forget(&self, line: &LocalLine) {
        self.lines.remove_if(&line.event, |_, known| std::ptr::eq(Arc::as_ptr(known), line));
        line.gone.cancel();
        line.metrics.removed();
        let now = self.now();
        for slot in line.all_slots() {
            slot.with(|inner| following::over(line, inner, now));
        }
    }

    fn all_lines(&self) -> Vec<Arc<LocalLine>> {
        self.lines.iter().map(|entry| entry.value().clone()).collect()
    }
}

/// An answer of another kind than was asked for.
fn broken(what: &'static str) -> EngineError {
    EngineError::Broken { what, problem: "an outcome of another command".into() }
}

/// The one place where what an engine says becomes what a client is told.
pub(crate) fn api_error(error: EngineError) -> ApiError {
    match error {
        EngineError::Refused(Refusal::NoSuchEvent) => ApiError::new(Code::EventNotFound),
        EngineError::Refused(stale @ Refusal::StaleGeneration(_)) => ApiError::new(Code::StoreUnavailable).log(stale),
        EngineError::Unavailable(why) => ApiError::new(Code::StoreUnavailable).log(why),
        broken @ EngineError::Broken { .. } => ApiError::internal(broken),
    }
}
