//! What several servers on one store tell each other: that an event was made or changed. A message may be lost; whoever
//! may have missed one reads all events again, and who asks for an event that is not known here has it looked up.

use std::sync::Arc;

use queue_core::{
    ids::EventId,
    service::redis::{Event, Store},
};
use tokio_util::sync::CancellationToken;

use super::{Office, RETRY_PAUSE};

/// Names the event that was made or changed.
pub const EVENTS_CHANGED: &str = "usher:ticket-events-changed";

impl Office {
    /// Follows what other servers change, until told to stop.
    pub async fn follow_news(self: Arc<Self>, store: Store, stop: CancellationToken) {
        let mut news = store.subscribe([EVENTS_CHANGED]);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = news.recv() => event,
            };
            let heard = match event {
                Event::Resync => self.read_catalog().await.map_err(|error| error.to_string()),
                Event::Message(message) => {
                    let name = std::str::from_utf8(&message.payload).ok().and_then(|text| EventId::new(text).ok());
                    match name {
                        Some(event) => self.refresh(&event).await.map(drop).map_err(|error| error.to_string()),
                        None => {
                            metrics::counter!("usher_ticket_messages_malformed_total", "place" => "events-changed")
                                .increment(1);
                            Ok(())
                        }
                    }
                }
            };
            if let Err(error) = heard {
                // Who asks for the event has it looked up; what has another revision is read again then.
                tracing::warn!(error, "news of an event could not be followed");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Tells the other servers of an event that was made or changed here.
    pub(super) async fn spread(&self, event: &EventId) {
        if let Some(store) = &self.news
            && let Err(error) = store.command("PUBLISH", [EVENTS_CHANGED, event.as_str()]).await
        {
            tracing::warn!(%event, %error, "other servers were not told of an event");
        }
    }
}
