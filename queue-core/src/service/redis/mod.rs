//! The one place that talks to Redis. Both servers' engines build on [`Store`].
//!
//! Invariants: a call is sent at most once; it is answered or given up within
//! [`Options::command_timeout`] (a script unknown to the server: twice that); without a
//! connection it fails at once. Calls under way are bounded. Nothing outside of this module
//! sees the client library, and nothing in here knows what is stored.

mod commands;
mod connection;
mod error;
mod pubsub;
mod script;
mod supervisor;
mod together;
mod url;
mod value;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use fred::{
    clients::Client,
    error::Error as FredError,
    interfaces::ClientLike as _,
    types::{ClusterHash, CustomCommand, Value as FredValue},
    util::redis_keyslot,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::AbortHandle,
};

pub use commands::StreamEntry;
pub use error::StoreError;
pub use pubsub::{Event, Message, Subscription};
pub use script::Script;
pub use together::Beside;
pub use url::{STORE_URL_FORMS, StoreUrl, StoreUrlError};
pub use value::{Arg, Reply, Value};

/// Connections of one store, at most.
pub const CONNECTIONS_MAX: usize = 16;

/// How a store is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// A call without an answer is given up after this.
    pub command_timeout: Duration,
    /// Opening a connection is given up after this.
    pub connect_timeout: Duration,
    /// Connections that calls are spread over; one pipelines well.
    pub connections: usize,
    /// Calls under way at once; more are answered [`StoreError::Overloaded`].
    pub in_flight_max: usize,
    /// Messages that a subscriber may lag behind before it gets [`Event::Resync`] instead.
    pub subscription_buffer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_millis(1_000),
            connections: 1,
            in_flight_max: 8_192,
            subscription_buffer: 8_192,
        }
    }
}

/// Which server answers. Another run id or replication id means that writes may be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `run_id`: changes when the server process does. Empty for a cluster.
    pub run_id: String,
    /// `master_replid`: changes when the data's history does. Empty for a cluster.
    pub replication_id: String,
}

/// Whether the store can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether there is a connection.
    pub up: bool,
    /// Counts connections made, from 1. Whoever sees another one has to assume that messages
    /// and time have passed.
    pub epoch: u64,
    /// The server of the latest connection.
    pub server: ServerIdentity,
}

/// A handle on a Redis server, Sentinel group or cluster. Cheap to clone; the connection ends
/// with the last handle.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.supervisor.abort();
        self.shared.live.store(None);
    }
}

struct Shared {
    url: StoreUrl,
    options: Options,
    live: ArcSwapOption<Live>,
    health: watch::Sender<Health>,
    in_flight: Semaphore,
    commands: AtomicU64,
    errors: AtomicU64,
    /// Told when an answer shows that this is no longer the server to write to.
    misplaced: Notify,
}

/// The connections of one epoch.
struct Live {
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Live {
    fn client(&self) -> &Client {
        match self.clients.as_slice() {
            [only] => only,
            several => &several[self.next.fetch_add(1, Ordering::Relaxed) % several.len()],
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({}, {:?})", self.0.shared.url, *self.0.shared.health.borrow())
    }
}

impl Store {
    /// Begins to connect, and goes on trying for as long as the handle lives. Must be called
    /// within a tokio runtime. Whoever wants to wait calls [`Store::wait_ready`].
    pub fn connect(url: &StoreUrl, options: Options) -> Self {
        let shared = Arc::new(Shared {
            url: url.clone(),
            in_flight: Semaphore::new(options.in_flight_max.min(Semaphore::MAX_PERMITS)),
            options,
            live: ArcSwapOption::empty(),
            health: watch::Sender::new(Health::default()),
            commands: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            misplaced: Notify::new(),
        });
        let supervisor = tokio::spawn(supervisor::run(Arc::clone(&shared))).abort_handle();
        Self(Arc::new(Handle { shared, supervisor }))
    }

    /// Waits for a connection. Cancel-safe.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), StoreError> {
        let mut health = self.health();
        match tokio::time::timeout(timeout, health.wait_for(|health| health.up)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.not_connected()),
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.shared.live.load().is_some()
    }

    /// The store's state now and each change of it.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.shared.health.subscribe()
    }

    /// Where the store is, without credentials.
    pub fn url(&self) -> &StoreUrl {
        &self.0.shared.url
    }

    /// Calls sent so far.
    pub fn commands_total(&self) -> u64 {
        self.0.shared.commands.load(Ordering::Relaxed)
    }

    /// Calls that failed so far, refused ones included.
    pub fn errors_total(&self) -> u64 {
        self.0.shared.errors.load(Ordering::Relaxed)
    }

    /// Runs `script` with `keys` and `args`, sent exactly once. A server that does not know the
    /// script is told it. Dropping the future does not stop what was sent.
    pub async fn run<K: Into<Arg>, A: Into<Arg>>(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Value, StoreError> {
        let call = script_args(script, keys, args);
        // Values are reference-counted: a second copy of the list costs no copy of the bytes.
        match self.send("EVALSHA", self.hash(&call, 2), call.clone()).await? {
            Err(message) if message.starts_with("NOSCRIPT") => {
                // It did not run, so this is not a second attempt at running it.
                let mut call = call;
                call[0] = FredValue::Bytes(script.source().clone());
                let answer = self.send("EVAL", self.hash(&call, 2), call).await?;
                self.judge(script.name(), answer)
            }
            answer => self.judge(script.name(), answer),
        }
    }

    /// As [`Store::run`], for a script that answers with a list.
    pub async fn run_list<K: Into<Arg>, A: Into<Arg>>(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Reply, StoreError> {
        self.run(script, keys, args).await?.into_reply(script.name())
    }

    /// Sends any command. In a cluster it goes to where its first argument belongs.
    pub async fn command<A: Into<Arg>>(
        &self,
        name: &'static str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Value, StoreError> {
        let args: Vec<FredValue> = args.into_iter().map(|arg| arg.into().into()).collect();
        let answer = self.send(name, self.hash(&args, 0), args).await?;
        self.judge(name, answer)
    }

    /// Where in a cluster a command goes whose key is the argument at `index`. Computed here, for
    /// the client knows no other position than the first for commands that are not its own.
    fn hash(&self, args: &[FredValue], index: usize) -> ClusterHash {
        match args.get(index) {
            Some(FredValue::Bytes(key)) if self.0.shared.url.is_cluster() => ClusterHash::Custom(redis_keyslot(key)),
            _ => ClusterHash::Random,
        }
    }

    /// Sends a command once. The inner error is the server's answer.
    async fn send(
        &self,
        name: &'static str,
        hash: ClusterHash,
        args: Vec<FredValue>,
    ) -> Result<Result<Value, String>, StoreError> {
        let command = CustomCommand::new_static(name, hash, false);
        let frame = self.ask(async |client| client.custom_raw(command, args).await).await?;
        Ok(Value::from_frame(frame))
    }

    /// Asks the server something, if it can be asked, within the bounds of a call.
    async fn ask<T>(&self, call: impl AsyncFnOnce(&Client) -> Result<T, FredError>) -> Result<T, StoreError> {
        let shared = &*self.0.shared;
        let asked = async {
            let _permit = shared.in_flight.try_acquire().map_err(|_| StoreError::Overloaded)?;
            let live = shared.live.load_full().ok_or_else(|| self.not_connected())?;
            shared.commands.fetch_add(1, Ordering::Relaxed);
            // The client forgets its own time-out for what it had sent on a connection that ends.
            let within = shared.options.command_timeout * 5 / 4;
            let answer = tokio::time::timeout(within, call(live.client())).await;
            Ok(answer.map_err(|_| StoreError::Unavailable("no answer in time".to_owned()))??)
        };
        let answer = asked.await;
        if answer.is_err() {
            shared.errors.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn judge(&self, name: &'static str, answer: Result<Value, String>) -> Result<Value, StoreError> {
        answer.map_err(|message| {
            self.0.shared.errors.fetch_add(1, Ordering::Relaxed);
            if message.starts_with("READONLY") || message.starts_with("NOAUTH") {
                self.0.shared.misplaced.notify_waiters();
            }
            StoreError::from_server(name, &message)
        })
    }

    fn not_connected(&self) -> StoreError {
        StoreError::Unavailable(format!("not connected to {}", self.0.shared.url))
    }
}

fn script_args<K: Into<Arg>, A: Into<Arg>>(
    script: &Script,
    keys: impl IntoIterator<Item = K>,
    args: impl IntoIterator<Item = A>,
) -> Vec<FredValue> {
    let (keys, args) = (keys.into_iter(), args.into_iter());
    let mut call = Vec::with_capacity(2 + keys.size_hint().0 + args.size_hint().0);
    call.push(FredValue::Bytes(script.sha().clone()));
    call.push(FredValue::Integer(0));
    call.extend(keys.map(|key| FredValue::from(key.into())));
    call[1] = FredValue::Integer(call.len() as i64 - 2);
    call.extend(args.map(|arg| FredValue::from(arg.into())));
    call
}
