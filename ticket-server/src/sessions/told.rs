//! Sessions of a queue whose Redis is read: it tells what ends, and is told what was seen.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use moka::sync::Cache;
use parking_lot::Mutex;
use queue_core::{
    ids::{EventId, Generation, Jti, Millis},
    keys::{LineKeys, session_ended_log},
    service::redis::{Arg, Event, Message as Published, Store, StoreError},
    wire::{MESSAGE_FIELD, Message, SESSION_ENDED_CHANNEL, SESSION_SEEN_CHANNEL, SessionEnded, SessionSeen},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::end_session;
use crate::{
    engine::Engine,
    office::{Caller, Office, RETRY_PAUSE},
};

/// Sessions that were seen and are remembered, at most; telling twice is harmless.
const SEEN_MAX: u64 = 200_000;
/// Entries of the log read in one call, at most.
const LOG_PAGE_MAX: usize = 500;

/// From where the log of an event is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// All of it: the store has been loaded anew.
    Start,
    /// What came after the last time.
    LastTime,
}

/// Sessions that were seen and wait to be told of, at most.
const NEWS_MAX: usize = 8_192;
/// Sessions that are told of at the same time, at most.
const TELLING_MAX: usize = 64;

type Seen = Cache<(EventId, Jti), ()>;

/// Reads and writes the queue's Redis.
pub struct Told {
    store: Store,
    seen: Seen,
    /// What the queue is to be told of them.
    news: mpsc::Sender<SessionSeen>,
    /// The last entry of each event's log that was read.
    read: Mutex<HashMap<EventId, String>>,
}

impl Told {
    /// By that store. Needs a runtime.
    pub fn new(store: Store) -> Self {
        let (news, telling) = mpsc::channel(NEWS_MAX);
        let seen = Cache::new(SEEN_MAX);
        tokio::spawn(tell(store.clone(), seen.clone(), telling));
        Self { store, seen, news, read: Mutex::default() }
    }

    pub(super) fn seen(&self, caller: &Caller, now: Millis) {
        let key = (caller.event.clone(), caller.jti);
        if self.seen.contains_key(&key) {
            return;
        }
        self.seen.insert(key, ());
        let seen = SessionSeen {
            event_id: caller.event.clone(),
            visitor_id: caller.visitor.clone(),
            jti: caller.jti,
            at: now,
        };
        if let Err(refused) = self.news.try_send(seen) {
            // The next token of the session says it again.
            let (TrySendError::Full(seen) | TrySendError::Closed(seen)) = refused;
            self.seen.invalidate(&(seen.event_id, seen.jti));
        }
    }

    pub(super) async fn admitted(&self, event: &EventId) -> Result<Option<(Generation, u64)>, String> {
        let read = async {
            let args = [LineKeys::new(event).meta.as_str(), "generation", "admitted"].map(Arg::from);
            let mut line = self.store.command("HMGET", args).await?.into_reply("HMGET")?;
            Ok::<_, StoreError>((line.optional_parse()?, line.optional_u64()?))
        };
        match read.await {
            Ok((generation, admitted)) => Ok(generation.map(|generation| (generation, admitted.unwrap_or(0)))),
            Err(error @ (StoreError::Unavailable(_) | StoreError::Overloaded)) => Err(error.to_string()),
            // An account without that right, or a line of another version.
            Err(error) => {
                tracing::debug!(%event, %error, "the queue's store does not say how many were admitted");
                Ok(None)
            }
        }
    }

    /// Marks what the log says; whether all of it could be marked. What cannot be read now is read after the
    /// connection is back. What the store did not take is read again the next time.
    pub(super) async fn replay(&self, event: &EventId, engine: &dyn Engine, from: From) -> bool {
        let start = || "0".to_owned();
        let mut after = match from {
            From::Start => start(),
            From::LastTime => self.read.lock().get(event).cloned().unwrap_or_else(start),
        };
        loop {
            let entries = match self.store.read_stream(session_ended_log(event), &after, LOG_PAGE_MAX).await {
                Ok(entries) => entries,
                Err(error) => {
                    tracing::warn!(%event, %error, "the log of ended sessions cannot be read now");
                    return false;
                }
            };
            let Some(last) = entries.last() else { break };
            for entry in &entries {
                match entry.field(MESSAGE_FIELD).map(|body| parse(body)) {
                    Some(Some(ended)) if ended.event_id == *event => {
                        if !end_session(engine, event, &ended.visitor_id, ended.jti, ended.reason).await {
                            return false;
                        }
                    }
                    _ => malformed("log"),
                }
            }
            after.clone_from(&last.id);
        }
        self.read.lock().insert(event.clone(), after);
        true
    }

    /// Marks what ends as it is told, until told to stop.
    pub async fn run(&self, office: Arc<Office>, stop: CancellationToken) {
        let mut subscription = self.store.subscribe([SESSION_ENDED_CHANNEL]);
        // The store did not take everything, although it is there: nobody else will say when it does again.
        let mut behind = false;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = subscription.recv() => event,
                () = tokio::time::sleep(RETRY_PAUSE), if behind => Event::Resync,
            };
            match event {
                Event::Message(message) => behind |= !self.take(&office, &message).await,
                Event::Resync => {
                    // The other connection may be back a moment later than this one.
                    let _ = self.store.wait_ready(RETRY_PAUSE).await;
                    behind = false;
                    for event in office.catalog.ids() {
                        behind |= !self.replay(&event, office.engine.as_ref(), From::LastTime).await;
                    }
                    office.outbox.notify_one();
                }
            }
        }
    }

    /// Whether nothing is left to do.
    async fn take(&self, office: &Office, message: &Published) -> bool {
        let Some(ended) = parse(&message.payload) else {
            malformed("channel");
            return true;
        };
        office.catalog.get(ended.event_id.as_str()).is_none()
            || office.session_ended(&ended.event_id, &ended.visitor_id, ended.jti, ended.reason).await
    }
}

/// Tells the queue of sessions that were seen, those that gather meanwhile together: in a rush they come by the
/// thousand, and a trip to Redis for each would cost more than the rest of what it takes to know them.
async fn tell(store: Store, seen: Seen, mut news: mpsc::Receiver<SessionSeen>) {
    let mut batch = Vec::with_capacity(TELLING_MAX);
    while news.recv_many(&mut batch, TELLING_MAX).await > 0 {
        // They are pipelined.
        join_all(batch.drain(..).map(|session| tell_one(&store, &seen, session))).await;
    }
}

async fn tell_one(store: &Store, seen: &Seen, session: SessionSeen) {
    let key = (session.event_id.clone(), session.jti);
    let body = serde_json::to_vec(&Message::SessionSeen(session)).expect("a message is plain data");
    if let Err(error) = store.publish(SESSION_SEEN_CHANNEL, body).await {
        tracing::info!(%error, "the queue was not told that a session was seen");
        // The next token of the session says it again.
        seen.invalidate(&key);
    }
}

fn parse(body: &[u8]) -> Option<SessionEnded> {
    match serde_json::from_slice(body) {
        Ok(Message::SessionEnded(ended)) => Some(ended),
        _ => None,
    }
}

fn malformed(place: &'static str) {
    metrics::counter!("usher_ticket_messages_malformed_total", "place" => place).increment(1);
    tracing::warn!(place, "a message that is no SESSION_ENDED was skipped");
}
