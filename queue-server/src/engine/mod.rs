//! Where lines are kept: one trait, two engines of one behaviour.
//!
//! [`memory::MemoryEngine`] is the model behind a lock; `redis::RedisEngine` runs the same transitions as Lua
//! scripts. What an engine announces through [`Signal`]s may be lost: nothing depends on it but speed.

pub mod audit;
pub mod memory;
pub mod redis;

use async_trait::async_trait;
use audit::{AuditEntry, AuditId, AuditRecord};
use queue_core::{
    ids::{EventId, Generation, Millis, VisitorId},
    line::{Admission, Applied, Command, Refusal},
    wire::{BookingDone, Inventory, SessionEnded, SessionSeen},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

/// Signals that a slow listener may fall behind before it is told [`Signal::Resync`] in their place.
pub const SIGNALS_MAX: usize = 16_384;

/// Why an engine did not carry a command out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The line said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store cannot be asked. The command may have been carried out all the same.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store answered what it never should: a defect.
    #[error("the store answered nonsense to {what}: {problem}")]
    Broken { what: &'static str, problem: String },
}

/// What happened in the store, on this node or another.
#[derive(Clone, Debug)]
pub enum Signal {
    /// These were admitted.
    Admitted { event: EventId, generation: Generation, sessions: Vec<Admission> },
    /// A session ended.
    SessionEnded(SessionEnded),
    /// A socket took a place over: older sockets of that visitor close.
    TakenOver(TakenOver),
    /// An event was created, changed or removed.
    EventChanged(EventId),
    /// Somebody has finished with a visitor. May come more than once.
    BookingDone(BookingDone),
    /// A session was used for the first time.
    SessionSeen(SessionSeen),
    /// What is left of an event.
    Inventory(Inventory),
    /// Signals may have been lost: look at everything again.
    Resync,
}

/// A socket took a place over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenOver {
    pub event_id: EventId,
    pub visitor_id: VisitorId,
    /// The node of the new socket: random, one per process.
    pub node: u64,
    /// The socket on that node.
    pub socket: u64,
}

/// Whether the store can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// Why not.
    Down(String),
}

/// A store of lines.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Carries out one transition. `expected`: the generation the caller believes in; another one in the
    /// store answers [`Refusal::StaleGeneration`]. Dropping the future does not undo what was begun.
    async fn apply(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError>;

    /// [`Engine::apply`] without waiting; `None` from an engine that cannot.
    fn apply_at_once(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Option<Result<Applied, EngineError>> {
        let _ = (event, expected, command);
        None
    }

    /// All events there are.
    async fn events(&self) -> Result<Vec<EventId>, EngineError>;

    /// What happens from now on.
    fn signals(&self) -> broadcast::Receiver<Signal>;

    /// Tells every node, this one included, that a socket took a place over.
    async fn announce(&self, taken: TakenOver) -> Result<(), EngineError>;

    /// Whether the store can be asked, and every change of that.
    fn health(&self) -> watch::Receiver<Health>;

    /// The time by the store's clock, as well as this node knows it.
    fn now(&self) -> Millis;

    /// Commands sent to the store so far.
    fn commands_total(&self) -> u64;

    /// Writes down what an operator changed.
    async fn record(&self, entry: &AuditEntry) -> Result<(), EngineError>;

    /// What operators changed, newest first: up to `count` entries older than `before`.
    async fn audit(&self, before: Option<AuditId>, count: usize) -> Result<Vec<AuditRecord>, EngineError>;

    /// Whether an event that is gone was removed by an operator: else the store has lost it. May forget that after a
    /// month.
    async fn was_removed(&self, event: &EventId) -> Result<bool, EngineError>;

    /// The caller has missed signals: what can be told again is told again.
    fn fell_behind(&self) {}

    /// Messages from other processes that made no sense and were skipped.
    fn malformed_total(&self) -> u64 {
        0
    }

    /// Whether many joins in one call are cheaper than one call each.
    fn gathers(&self) -> bool;
}
