//! Channels: messages as they are published, and a word whenever some may have been missed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use fred::{
    interfaces::{EventInterface as _, PubsubInterface as _},
    types::{Message as FredMessage, RespVersion, Value as FredValue},
};
use parking_lot::Mutex;
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    task::AbortHandle,
};
use tracing::{debug, warn};

use super::{Shared, Store, StoreError, connection::Connection, supervisor::Pauses};

/// Channels of one subscription, at most.
pub const CHANNELS_MAX: usize = 4_096;

/// A subscription that is not there after this never will be.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(2);

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub channel: String,
    /// What was published.
    pub payload: Bytes,
}

/// What a subscription yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Message),
    /// Messages may have been missed: just subscribed (the first time, after a new connection, to
    /// more channels), or too slow. Whoever keeps a copy of something reads it again now.
    Resync,
}

/// A subscription on a connection of its own, kept up until it is dropped. [`Event::Resync`]
/// comes first, once the channels are subscribed to.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Event>,
    channels: Arc<Channels>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Channels {
    names: Mutex<BTreeSet<String>>,
    changed: Notify,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    /// Subscribes to channels.
    pub fn subscribe<C: Into<String>>(&self, channels: impl IntoIterator<Item = C>) -> Subscription {
        let channels = Arc::new(Channels {
            names: Mutex::new(channels.into_iter().take(CHANNELS_MAX).map(Into::into).collect()),
            changed: Notify::new(),
        });
        let shared = Arc::clone(&self.0.shared);
        let (sender, events) = broadcast::channel(shared.options.subscription_buffer.max(1));
        let task = tokio::spawn(keep_subscribed(shared, Arc::clone(&channels), sender)).abort_handle();
        Subscription { events, channels, task }
    }
}

impl Subscription {
    /// The next event; waits for ever if there is none. Cancel-safe.
    pub async fn recv(&mut self) -> Event {
        match self.events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => Event::Resync,
            // The sender lives as long as the task, which lives as long as this: only a runtime
            // that is shutting down gets here.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Subscribes to more channels; [`Event::Resync`] comes when they are. More than
    /// [`CHANNELS_MAX`] in all are refused.
    pub fn add<C: Into<String>>(&self, channels: impl IntoIterator<Item = C>) -> Result<(), StoreError> {
        let mut names = self.channels.names.lock();
        let before = names.len();
        for channel in channels {
            if names.len() >= CHANNELS_MAX {
                return Err(StoreError::Overloaded);
            }
            names.insert(channel.into());
        }
        if names.len() > before {
            self.channels.changed.notify_one();
        }
        Ok(())
    }
}

async fn keep_subscribed(shared: Arc<Shared>, channels: Arc<Channels>, events: broadcast::Sender<Event>) {
    let mut pauses = Pauses::default();
    loop {
        // Protocol version 3: there a subscribed connection can also be asked for signs of life.
        match Connection::open(&shared.url, &shared.options, RespVersion::RESP3).await {
            Ok(connection) => {
                pauses = Pauses::default();
                let reason = pump(connection, &channels, &events).await;
                warn!(store = %shared.url, reason, "lost the subscription");
            }
            Err(reason) => debug!(store = %shared.url, reason, "cannot subscribe, trying on"),
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Passes messages on until the connection is lost, and says why it was.
async fn pump(mut connection: Connection, channels: &Channels, events: &broadcast::Sender<Event>) -> String {
    let mut messages = connection.client.message_rx();
    let mut subscribed = BTreeSet::new();
    if let Err(reason) = subscribe(&connection, channels, &mut subscribed).await {
        return reason;
    }
    // Nobody listening is no error: the subscription is about to be dropped.
    let _ = events.send(Event::Resync);
    let client = connection.client.clone();
    let lost = connection.lost();
    tokio::pin!(lost);
    loop {
        let event = tokio::select! {
            reason = &mut lost => return reason,
            message = messages.recv() => match message {
                Ok(message) => Event::Message(convert(message)),
                Err(RecvError::Lagged(_)) => Event::Resync,
                Err(RecvError::Closed) => return "the connection was closed".to_owned(),
            },
            () = channels.changed.notified() => match add(&client, channels, &mut subscribed).await {
                Ok(()) => Event::Resync,
                Err(reason) => return reason,
            },
        };
        let _ = events.send(event);
    }
}

/// Subscribes, and makes sure that the server has heard: answers come in the order of questions.
async fn subscribe(
    connection: &Connection,
    channels: &Channels,
    subscribed: &mut BTreeSet<String>,
) -> Result<(), String> {
    add(&connection.client, channels, subscribed).await?;
    connection.ping().await
}

async fn add(
    client: &fred::clients::Client,
    channels: &Channels,
    subscribed: &mut BTreeSet<String>,
) -> Result<(), String> {
    let missing: Vec<String> = channels.names.lock().difference(subscribed).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let subscribed_to = tokio::time::timeout(SUBSCRIBE_WITHIN, client.subscribe(missing.clone())).await;
    subscribed_to.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.details().to_owned())?;
    subscribed.extend(missing);
    Ok(())
}

fn convert(message: FredMessage) -> Message {
    let payload = match message.value {
        FredValue::Bytes(bytes) => bytes,
        FredValue::String(text) => text.into_inner(),
        FredValue::Integer(number) => number.to_string().into(),
        _ => Bytes::new(),
    };
    Message { channel: message.channel.to_string(), payload }
}
