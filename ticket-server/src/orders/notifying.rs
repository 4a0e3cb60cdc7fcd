//! Telling the buyers' system, at least once: signed, with growing pauses between attempts.

use std::time::Duration;

use queue_core::{
    ids::Millis,
    service::{
        secret::Secret,
        spans::{self, Kind},
    },
};
use serde_json::json;

use super::{Order, Orders};
use crate::{
    clock::Clock,
    ledger::Notification,
    payments::signature::Signer,
    peer::{chain, client},
};

/// One attempt.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts at one message; with the pauses they take about a day.
const ATTEMPTS_MAX: u64 = 40;
/// The first pause, which doubles, and the longest.
const PAUSE_MS_MIN: u64 = 1_000;
const PAUSE_MS_MAX: u64 = 3_600_000;
/// Whoever takes messages has so long to tell them.
const TAKEN_MS: u64 = 60_000;
/// Messages taken at once.
const BATCH_MAX: u32 = 8;

const _: () = assert!(CALL_TIMEOUT.as_millis() as u64 * (BATCH_MAX as u64) < TAKEN_MS);

/// Tells the buyers' system.
pub struct Notifier {
    http: reqwest::Client,
    url: String,
    signer: Signer,
    clock: Clock,
}

impl Notifier {
    /// Tells that address, with the secret that both know.
    pub fn new(url: String, secret: &Secret, clock: Clock) -> Result<Self, String> {
        Ok(Self { http: client(CALL_TIMEOUT)?, url, signer: Signer::new(secret), clock })
    }

    /// What is told of an order: id and body.
    pub(super) fn message(&self, order: &Order, at: Millis) -> (String, String) {
        let state = order.saga.state().name();
        let id = format!("n_{}_{}", order.id, state.to_ascii_lowercase());
        let body = json!({
            "id": id, "type": format!("order.{}", state.to_ascii_lowercase()), "at": at,
            "visitorId": order.visitor, "order": order.shown(None),
        });
        (id, body.to_string())
    }

    async fn tell(&self, notification: &Notification) -> Result<(), String> {
        let mut request = self.http.post(&self.url).header("content-type", "application/json");
        for (name, value) in self.signer.sign(self.clock.now(), notification.body.as_bytes()) {
            request = request.header(name, value);
        }
        let response = request.body(notification.body.clone()).send().await;
        let response = response.map_err(|error| chain(&error.without_url()))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

impl Orders {
    /// Tells what is due. Whether there may be more.
    pub(super) async fn notify(&self) -> bool {
        let Some(notifier) = &self.notifier else { return false };
        let ledger = &self.office.ledger;
        let now = self.office.now();
        let taken = match ledger.take_notifications(now, now.plus(TAKEN_MS), BATCH_MAX).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "messages to the buyers' system cannot be read");
                return false;
            }
        };
        for notification in &taken {
            let trace = notification.traceparent.as_deref();
            let telling = notifier.tell(notification);
            let result = spans::resume(trace, Kind::Client, "tell the buyers' system", telling).await;
            let now = self.office.now();
            let (outcome, sent_at, due_at) = match result {
                Ok(()) => ("sent", Some(now), None),
                Err(error) => {
                    let last = notification.attempts + 1 >= ATTEMPTS_MAX;
                    tracing::warn!(notification = %notification.id, %error, last, "the buyers' system was not told");
                    let pause = (PAUSE_MS_MIN << notification.attempts.min(20)).min(PAUSE_MS_MAX);
                    if last { ("given_up", None, None) } else { ("failed", None, Some(now.plus(pause))) }
                }
            };
            metrics::counter!("usher_ticket_notifications_total", "outcome" => outcome).increment(1);
            if let Err(error) = ledger.settle_notification(&notification.id, sent_at, due_at).await {
                // It is told again, which its id says.
                tracing::warn!(%error, "a message that was tried could not be marked");
            }
        }
        taken.len() == BATCH_MAX as usize
    }
}
