//! What a socket is told: one slot per socket, in which the last word wins. No queue, no channel.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use queue_core::{
    close::CloseCode,
    ids::{Generation, Seq, VisitorId},
    wire::Eta,
};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// What a socket's task is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Push {
    /// Send this.
    Text(Utf8Bytes),
    /// Send a ping.
    Ping,
    /// Send this, if anything, then close.
    Last(Option<Utf8Bytes>, CloseCode),
    /// The peer is gone: drop it.
    Drop,
}

/// What the person behind a socket saw last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub position: u64,
    pub waiting: u64,
    pub paused: bool,
    pub eta: Option<Eta>,
}

/// What the visitor behind a socket is, as far as the socket was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Waiting,
    Active,
    /// Told that it is over.
    Over,
}

/// The mutable part of a slot.
#[derive(Debug)]
pub struct Inner {
    pub seq: Seq,
    pub generation: Generation,
    pub phase: Phase,
    pub shown: Option<Shown>,
    pub shown_at: Instant,
    pub pinged_at: Instant,
    /// The own message of the take-over came back: others that come now are newer.
    pub confirmed: bool,
    /// The end of the session may have been missed: it is to be asked about.
    pub doubt: bool,
    pending: Option<Push>,
    ping: bool,
    waker: Option<Waker>,
}

/// One socket that follows a place.
#[derive(Debug)]
pub struct Slot {
    pub id: u64,
    pub visitor: VisitorId,
    pub opened: Instant,
    heard_ms: AtomicU64,
    inner: Mutex<Inner>,
}

impl Slot {
    /// A slot of somebody who was just heard.
    pub fn new(id: u64, visitor: VisitorId, seq: Seq, generation: Generation, phase: Phase) -> Self {
        let now = Instant::now();
        let inner = Inner {
            seq,
            generation,
            phase,
            shown: None,
            shown_at: now,
            pinged_at: now,
            confirmed: false,
            doubt: false,
            pending: None,
            ping: false,
            waker: None,
        };
        Self { id, visitor, opened: now, heard_ms: 0.into(), inner: Mutex::new(inner) }
    }

    /// Looks at or changes the slot; if it has something to say then, its task is woken.
    pub fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = change(&mut inner);
        let waker = if inner.pending.is_some() || inner.ping { inner.waker.take() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// The next thing to do; the last word only.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Push> {
        let mut inner = self.inner.lock();
        if let Some(push) = inner.pending.take() {
            return Poll::Ready(push);
        }
        if std::mem::take(&mut inner.ping) {
            return Poll::Ready(Push::Ping);
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The peer gave a sign of life.
    pub fn hear(&self) {
        self.heard_ms.store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// For how long the peer was silent.
    pub fn silent_ms(&self) -> u64 {
        let open_ms = self.opened.elapsed().as_millis() as u64;
        open_ms.saturating_sub(self.heard_ms.load(Ordering::Relaxed))
    }
}

impl Inner {
    /// Says something, unless the last word is said.
    pub fn say(&mut self, push: Push) {
        if !matches!(self.pending, Some(Push::Last(..) | Push::Drop)) {
            self.pending = Some(push);
        }
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self) {
        self.pinged_at = Instant::now();
        self.ping = true;
    }

    /// Says that it is over.
    pub fn finish(&mut self, text: Option<Utf8Bytes>, code: CloseCode) {
        self.phase = Phase::Over;
        self.say(Push::Last(text, code));
    }
}
