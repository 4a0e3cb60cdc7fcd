//! Where messages for the queue go: to its operations listener, or to its Redis.

use async_trait::async_trait;
use queue_core::{
    service::{
        redis::Store,
        spans::{self, Kind},
    },
    wire::{BOOKING_DONE_CHANNEL, BOOKING_DONE_LOG, INVENTORY_CHANNEL, MESSAGE_FIELD, Message},
};

use super::{QUEUE, Receiver};
use crate::{ledger::Message as Kept, peer::Peer};

/// Messages that the queue's log keeps, about.
const LOG_LENGTH: usize = 10_000;

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The queue cannot be told anything now.
    #[error("{0}")]
    Away(String),
    /// It does not want this message.
    #[error("{0}")]
    Refused(String),
}

/// The queue.
pub enum Target {
    /// Its operations listener.
    Http(Peer),
    /// Its Redis.
    Redis(Store),
}

impl Target {
    /// Sends a message; it has arrived when this returns.
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        let body = serde_json::to_vec(message).map_err(|error| SendError::Refused(error.to_string()))?;
        match (self, message) {
            (Self::Http(peer), Message::Inventory(_)) => post(peer, "/api/v1/queue/inventory", body).await,
            // It is said again and again: who does not hear it needs no log.
            (Self::Redis(store), Message::Inventory(_)) => {
                let published = store.publish(INVENTORY_CHANNEL, body).await;
                published.map(drop).map_err(|error| SendError::Away(error.to_string()))
            }
            _ => self.send_done(body).await,
        }
    }

    /// Sends a BOOKING_DONE.
    async fn send_done(&self, body: Vec<u8>) -> Result<(), SendError> {
        match self {
            Self::Http(peer) => post(peer, "/api/v1/queue/booking-done", body).await,
            Self::Redis(store) => store
                .append_and_publish(BOOKING_DONE_LOG, LOG_LENGTH, MESSAGE_FIELD, BOOKING_DONE_CHANNEL, body)
                .await
                .map(drop)
                .map_err(|error| SendError::Away(error.to_string())),
        }
    }
}

#[async_trait]
impl Receiver for Target {
    fn name(&self) -> &'static str {
        QUEUE
    }

    async fn take(&self, message: &Kept) -> Result<(), SendError> {
        let telling = self.send_done(message.body.clone().into_bytes());
        spans::resume(message.traceparent.as_deref(), Kind::Producer, "tell the queue", telling).await
    }
}

async fn post(peer: &Peer, path: &str, body: Vec<u8>) -> Result<(), SendError> {
    let (status, answer) = peer.post(path, body).await.map_err(SendError::Away)?;
    let said = || format!("{status} {}", String::from_utf8_lossy(&answer[..answer.len().min(200)]));
    match status {
        200..=299 => Ok(()),
        400 | 404 | 409..=422 => Err(SendError::Refused(said())),
        // A wrong token or a server in trouble: the next message would fare no better.
        _ => Err(SendError::Away(said())),
    }
}
