//! Who is told of the feed.

use async_trait::async_trait;

use super::SendError;
use crate::ledger::Message;

/// Takes messages one by one.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Its name in settings, tables and metrics.
    fn name(&self) -> &'static str;

    /// Takes a message; it has arrived when this returns. Taking one twice is harmless.
    async fn take(&self, message: &Message) -> Result<(), SendError>;
}

/// Where messages of the feed begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Names the feed among those of other ledgers.
    pub generation: String,
    /// The number of the last entry that the sink should have.
    pub after: u64,
    /// The last number that was given, or one that was a moment ago.
    pub newest: u64,
}

/// Why no message of a batch counts as arrived.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The sink cannot be told anything now. Some may have arrived.
    #[error("{0}")]
    Away(String),
    /// The sink has lost entries: the last that it has.
    #[error("it has lost what came after entry {0}")]
    Behind(u64),
}

/// Takes the feed.
#[async_trait]
pub trait Sink: Receiver {
    /// Whether messages of one visitor keep their order in one batch, whatever happens to some of them. If not, a
    /// batch never holds two of them.
    fn keeps_order(&self) -> bool;

    /// How many entries it keeps: what was lost before is not sent again.
    fn length(&self) -> Option<u64> {
        None
    }

    /// Takes a batch, or none to see whether it has lost anything; for each message why it was refused, if it was.
    async fn take_all(&self, position: &Position, messages: &[Message]) -> Result<Vec<Option<String>>, SinkError>;
}
