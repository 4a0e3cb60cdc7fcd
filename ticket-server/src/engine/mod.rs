//! Where the sales of all events live: one trait, two engines, one behaviour.
//!
//! `memory` is the model behind a lock; `redis` runs the same transitions as scripts. One suite
//! runs over both (`tests/engines.rs`), and a second drives random commands through the model and
//! a real Redis and compares replies and complete state (`tests/model_redis.rs`).

mod holding;
mod list;
mod looking;
mod memory;
mod redis;
pub mod script;

use async_trait::async_trait;
use queue_core::ids::EventId;

pub use self::{
    memory::MemoryEngine,
    redis::{RedisEngine, decode},
};
use crate::model::{Command, Outcome};

/// Why an engine could not even refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The store cannot be reached; what was asked may or may not have been done.
    #[error("{0}")]
    Unavailable(String),
    /// The store has more work than it can take; nothing was done.
    #[error("the store has too much work")]
    Overloaded,
    /// The store answered what no script of ours answers.
    #[error("{0}")]
    Broken(String),
}

/// Does what is asked of an event's sale, in one atomic step each.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Does what is asked, by the store's clock. Cancelling does not undo what was sent.
    async fn apply(&self, event: &EventId, command: Command) -> Result<Outcome, EngineError>;

    /// Whether several holds in one call cost less than one each.
    fn gathers(&self) -> bool {
        false
    }

    /// Whether the store can be reached.
    fn is_up(&self) -> bool {
        true
    }

    /// Names the history of the store's data: another number once another server answers, or the same one after a
    /// restart. It may have lost the last writes, and versions are counted again then.
    fn history(&self) -> u64 {
        0
    }
}
