//! The feed as a Redis stream of bounded length, and on a channel of the same name.
//!
//! An entry's id in the stream is its number in the feed, so that each is there once, in order, however often and by
//! however many servers it is sent; and a stream that has lost entries with its server shows it by its last id.
//! Messages are appended by one script for a batch: all of them or none.

use async_trait::async_trait;
use queue_core::service::redis::{Arg, Options, Script, Store, StoreError, StoreUrl};

use super::{
    SendError,
    sink::{Position, Receiver, Sink, SinkError},
};
use crate::ledger::Message;

/// A stream.
pub struct Stream {
    store: Store,
    script: Script,
    name: String,
    length: u64,
}

impl Stream {
    /// The stream of that name, which keeps about so many entries. Connects in the background.
    pub fn connect(url: &StoreUrl, name: String, length: u64) -> Self {
        let script = Script::new("feed/append", include_str!("../../../lua/feed/append.lua"));
        Self { store: Store::connect(url, Options::default()), script, name, length }
    }
}

#[async_trait]
impl Receiver for Stream {
    fn name(&self) -> &'static str {
        "redis"
    }

    /// Never called: a stream refuses no message for what it says, so there are no letters for it.
    async fn take(&self, _message: &Message) -> Result<(), SendError> {
        Err(SendError::Away("a stream takes messages in their order only".into()))
    }
}

#[async_trait]
impl Sink for Stream {
    fn keeps_order(&self) -> bool {
        true
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }

    async fn take_all(&self, position: &Position, messages: &[Message]) -> Result<Vec<Option<String>>, SinkError> {
        // The mark of what was numbered may have been read before the last entries were.
        let newest = messages.last().map_or(0, |message| message.place).max(position.after).max(position.newest);
        let head: [Arg; 5] = [
            self.length.to_string().into(),
            self.name.clone().into(),
            position.generation.clone().into(),
            position.after.to_string().into(),
            newest.to_string().into(),
        ];
        let entries = messages.iter().flat_map(|message| [message.place.to_string(), message.body.clone()]);
        let args = head.into_iter().chain(entries.map(Arg::from));
        let away = |error: StoreError| SinkError::Away(error.to_string());
        let mut reply = self.store.run_list(&self.script, [self.name.clone()], args).await.map_err(away)?;
        match reply.text().map_err(away)?.as_str() {
            "OK" => Ok(vec![None; messages.len()]),
            "BEHIND" => match reply.text().map_err(away)?.parse() {
                Ok(last) => Err(SinkError::Behind(last)),
                Err(_) => Err(SinkError::Away("an unreadable reply".into())),
            },
            "AHEAD" => Err(SinkError::Away(format!(
                "the stream {} has entries that the ledger does not know: if the ledger was restored, delete the stream",
                self.name
            ))),
            "FOREIGN" => {
                Err(SinkError::Away(format!("the stream {} is not of this ledger's feed: name another", self.name)))
            }
            _ => Err(SinkError::Away("an unknown reply".into())),
        }
    }
}
