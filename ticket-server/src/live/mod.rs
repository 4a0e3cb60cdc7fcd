//! Seats as they change, told to everybody who looks: over server-sent events ([`sse`]) and WebSocket
//! ([`sockets`](crate::sockets)).
//!
//! A [`Feed`](feed::Feed) reads one event; a [`Follower`] is told what it needs to catch up and then every [`Frame`],
//! without a gap or a repeat. Each change is written once, however many follow. Nothing in here decides who gets a seat.

mod feed;
mod log;
mod place;
mod selections;
pub mod shown;
pub mod sse;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dashmap::{DashMap, Entry};
use queue_core::{
    codes::Code,
    ids::EventId,
    service::{
        caps::{AddressCount, ClientAddress, Counted},
        http::ApiError,
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{feed::Feed, log::Next, shown::Told};
pub use self::{
    log::{Frame, State},
    place::Place,
    selections::Selection,
};
use crate::{model::Command, office::Office};

/// How many may follow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams and sockets of this server, at most.
    pub most: usize,
    /// Those of one client address; 0 means no limit.
    pub of_address: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { most: 16_384, of_address: 0 }
    }
}

/// Everything that is followed.
#[derive(Debug)]
pub struct Live {
    feeds: DashMap<EventId, Arc<Feed>>,
    open: Arc<AtomicUsize>,
    limits: Limits,
    addresses: Option<AddressCount>,
    stop: CancellationToken,
}

/// One of the streams and sockets that may be open, until it is dropped.
#[derive(Debug)]
pub struct Admission {
    open: Arc<AtomicUsize>,
    transport: &'static str,
    _address: Option<Counted>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("usher_ticket_live_followers", "transport" => self.transport).decrement(1);
    }
}

impl Live {
    /// Nobody follows anything.
    pub fn new(limits: Limits) -> Self {
        Self {
            feeds: DashMap::new(),
            open: Arc::default(),
            limits,
            addresses: AddressCount::new(limits.of_address),
            stop: CancellationToken::new(),
        }
    }

    /// One more stream or socket, or why not.
    pub fn admit(&self, transport: &'static str, from: ClientAddress) -> Result<Admission, ApiError> {
        let address = self.addresses.as_ref().map(|addresses| addresses.admit(from)).transpose()?;
        let number = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("usher_ticket_live_followers", "transport" => transport).increment(1);
        let admission = Admission { open: Arc::clone(&self.open), transport, _address: address };
        if number > self.limits.most || self.stop.is_cancelled() {
            return Err(Code::Overloaded.into());
        }
        Ok(admission)
    }

    /// This server has changed something of an event.
    pub fn touch(&self, event: &EventId) {
        if let Some(feed) = self.feeds.get(event) {
            feed.touch();
        }
    }

    /// Ends all that is followed, as soon as `draining` fires.
    pub async fn end_with(&self, draining: CancellationToken) {
        draining.cancelled().await;
        self.stop.cancel();
        for feed in &self.feeds {
            feed.finish();
        }
    }

    /// Whether a feed that nobody follows is gone now.
    fn forget(&self, feed: &Arc<Feed>) -> bool {
        let unused = |_: &EventId, known: &Arc<Feed>| known.followers.load(Ordering::Relaxed) == 0;
        self.feeds.remove_if(feed.event(), unused).is_some()
    }
}

/// Whether a command may change what followers are told of. One that is not known here is taken to do so: a read too
/// many costs little.
pub fn may_change(command: &Command) -> bool {
    use Command::{
        Changes, Close, Extend, Find, Forget, Holds, HoldsOf, Look, Open, Pin, Pinned, Snapshot, Unpin, Version,
    };
    !matches!(
        command,
        Changes { .. }
            | Close { .. }
            | Extend { .. }
            | Find { .. }
            | Forget { .. }
            | Holds { .. }
            | HoldsOf { .. }
            | Look { .. }
            | Open
            | Pin { .. }
            | Pinned { .. }
            | Snapshot
            | Unpin { .. }
            | Version
    )
}

/// Ends a feed with its reader, however that ends.
struct Reading {
    office: Arc<Office>,
    feed: Arc<Feed>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.office.live.feeds.remove_if(self.feed.event(), |_, known| Arc::ptr_eq(known, &self.feed));
        self.feed.finish();
    }
}

/// Counts among those who follow a feed, until it is dropped.
#[derive(Debug)]
struct Following(Arc<Feed>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody who hears of every change.
#[derive(Debug)]
pub struct Follower {
    feed: Following,
    told: watch::Receiver<u64>,
    first: Option<Arc<Told>>,
    next: u64,
}

/// What a follower hears.
#[derive(Debug)]
pub enum Heard {
    /// What it has missed, or the whole map: only at the beginning.
    First(Arc<Told>),
    /// What is new.
    Frame(Arc<Frame>),
    /// It was too slow, and would have to begin anew.
    Lagged,
    /// The server ends.
    Ended,
}

impl Follower {
    /// What comes next; waits until there is something. Cancel-safe.
    pub async fn hear(&mut self) -> Heard {
        if let Some(first) = self.first.take() {
            return Heard::First(first);
        }
        loop {
            match self.feed.0.next(self.next) {
                Next::Frame(frame) => {
                    self.next += 1;
                    return Heard::Frame(frame);
                }
                Next::Lagged => {
                    metrics::counter!("usher_ticket_live_dropped_total").increment(1);
                    return Heard::Lagged;
                }
                Next::Ended => return Heard::Ended,
                Next::Wait => {
                    if self.told.changed().await.is_err() {
                        return Heard::Ended;
                    }
                }
            }
        }
    }

    /// The event.
    pub fn event(&self) -> &EventId {
        self.feed.0.event()
    }

    /// A selection of seats of this event.
    pub fn selection(&self) -> Selection {
        Selection::new(Arc::clone(&self.feed.0))
    }

    /// What people look at now.
    pub fn selected(&self) -> Option<tokio_tungstenite::tungstenite::Utf8Bytes> {
        let hall = self.with_state(|state| Arc::clone(&state.hall))?;
        self.feed.0.selections().now(&hall)
    }

    /// How many follow the event on this server.
    pub fn followers(&self) -> usize {
        self.feed.0.followers.load(Ordering::Relaxed)
    }

    /// The sale as it is known now.
    pub fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> Option<T> {
        self.feed.0.with_state(read)
    }
}

impl Office {
    /// Follows the seats of an event, from what the follower was told last on.
    pub async fn follow(self: &Arc<Self>, event: &EventId, after: Option<Place>) -> Result<Follower, ApiError> {
        let following = self.feed(event)?;
        // Before anything is read, so that nothing is missed in between.
        let told = following.0.listen();
        let first = following.0.first(self, after).await?;
        Ok(Follower { feed: following, told, first: first.told, next: first.next })
    }

    /// Follows an event from now on: nothing is told that was before.
    pub async fn follow_from_now(self: &Arc<Self>, event: &EventId) -> Result<Follower, ApiError> {
        let following = self.feed(event)?;
        let told = following.0.listen();
        let first = following.0.now(self).await?;
        Ok(Follower { feed: following, told, first: None, next: first.next })
    }

    fn feed(self: &Arc<Self>, event: &EventId) -> Result<Following, ApiError> {
        if self.live.stop.is_cancelled() {
            return Err(Code::Overloaded.into());
        }
        let (feed, new) = match self.live.feeds.entry(event.clone()) {
            Entry::Occupied(entry) => {
                let feed = Arc::clone(entry.get());
                feed.followers.fetch_add(1, Ordering::Relaxed);
                (feed, false)
            }
            Entry::Vacant(entry) => {
                let feed = Arc::new(Feed::new(event.clone()));
                feed.followers.fetch_add(1, Ordering::Relaxed);
                entry.insert(Arc::clone(&feed));
                (feed, true)
            }
        };
        if new {
            let reading = Reading { office: Arc::clone(self), feed: Arc::clone(&feed) };
            let stop = self.live.stop.clone();
            tokio::spawn(async move { reading.feed.run(&reading.office, &stop).await });
        }
        Ok(Following(feed))
    }
}
