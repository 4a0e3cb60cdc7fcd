//! Where messages for the queue go: to its operations listener, or to its Redis.

use queue_core::{
    service::redis::Store,
    wire::{BOOKING_DONE_CHANNEL, BOOKING_DONE_LOG, MESSAGE_FIELD, Message},
};

use crate::peer::Peer;

/// Messages that the queue's log keeps, about.
const LOG_LENGTH: usize = 10_000;

/// The queue.
pub enum Target {
    /// Its operations listener.
    Http(Peer),
    /// Its Redis.
    Redis(Store),
}

impl Target {
    /// Sends a message; it has arrived when this returns.
    pub async fn send(&self, message: &Message) -> Result<(), String> {
        let body = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        match self {
            Self::Http(peer) => match peer.post("/api/v1/queue/booking-done", body).await? {
                (200..=299, _) => Ok(()),
                (status, answer) => {
                    Err(format!("{status} {}", String::from_utf8_lossy(&answer[..answer.len().min(200)])))
                }
            },
            Self::Redis(store) => store
                .append_and_publish(BOOKING_DONE_LOG, LOG_LENGTH, MESSAGE_FIELD, BOOKING_DONE_CHANNEL, body)
                .await
                .map(drop)
                .map_err(|error| error.to_string()),
        }
    }
}
