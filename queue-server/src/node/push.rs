//! What a socket that follows a place is told, and what it was told before. The words go out through its
//! [`Outlet`] at once; no queue, no channel.

use std::sync::Arc;

use parking_lot::Mutex;
use queue_core::{
    close::CloseCode,
    ids::{Generation, Seq, VisitorId},
    wire::{Eta, ServerMessage},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::outlet::{Outlet, text_frame, uptime_ms};

/// What the person behind a socket saw last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub position: u64,
    pub waiting: u64,
    pub paused: bool,
    pub eta: SeenEta,
}

/// A wait as precisely as a person is told it: what differs by less is the same to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenEta {
    Unknown,
    Seconds,
    Minutes(u32, u32),
    Hours(u32, u32),
}

/// Waits of less are told in minutes, of more in hours, as the page does.
const MINUTES_BELOW_SECONDS: u64 = 5_400;

impl From<Option<Eta>> for SeenEta {
    fn from(eta: Option<Eta>) -> Self {
        let Some(Eta { low_seconds, high_seconds }) = eta else { return Self::Unknown };
        // A wait of more hours than that is one wait.
        let short = |units: u64| u32::try_from(units.max(1)).unwrap_or(u32::MAX);
        let range = |unit: u64| (short(low_seconds / unit), short(high_seconds.div_ceil(unit)));
        match high_seconds {
            0..60 => Self::Seconds,
            60..MINUTES_BELOW_SECONDS => {
                let (low, high) = range(60);
                Self::Minutes(low, high)
            }
            _ => {
                let (low, high) = range(3_600);
                Self::Hours(low, high)
            }
        }
    }
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
    /// By [`uptime_ms`].
    pub shown_ms: u64,
    /// The own message of the take-over came back: others that come now are newer.
    pub confirmed: bool,
    /// The end of the session may have been missed: it is to be asked about.
    pub doubt: bool,
    outlet: Arc<Outlet>,
}

/// One socket that follows a place.
#[derive(Debug)]
pub struct Slot {
    pub id: u64,
    pub visitor: VisitorId,
    /// When it began to follow, by [`uptime_ms`].
    pub since_ms: u64,
    inner: Mutex<Inner>,
}

/// There are as many as waiters with open sockets.
const _: () = assert!(size_of::<Slot>() <= 112);

impl Slot {
    /// A slot of somebody who was just heard.
    pub fn new(
        id: u64,
        visitor: VisitorId,
        seq: Seq,
        generation: Generation,
        phase: Phase,
        outlet: Arc<Outlet>,
    ) -> Self {
        let now = uptime_ms();
        let inner =
            Inner { seq, generation, phase, shown: None, shown_ms: now, confirmed: false, doubt: false, outlet };
        Self { id, visitor, since_ms: now, inner: Mutex::new(inner) }
    }

    /// Looks at or changes the slot. What is said meanwhile is in order: whoever comes next waits.
    pub fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock())
    }

    /// For how long the peer was silent.
    pub fn silent_ms(&self) -> u64 {
        uptime_ms().saturating_sub(self.with(|inner| inner.outlet.heard_ms()))
    }
}

/// A message as a text.
pub fn text(message: &ServerMessage) -> Utf8Bytes {
    // Wire types have string keys only: they always serialize.
    serde_json::to_string(message).unwrap_or_default().into()
}

impl Inner {
    /// Says something in place of whatever was not sent yet.
    pub fn say(&mut self, message: &ServerMessage) {
        let mut frame = Vec::new();
        text_frame(text(message).as_bytes(), &mut frame);
        self.outlet.show(&frame);
    }

    /// Shows what is a whole frame already.
    pub fn show(&mut self, frame: &[u8]) {
        self.outlet.show(frame);
    }

    /// When the peer was last heard, by [`uptime_ms`].
    pub fn heard_ms(&self) -> u64 {
        self.outlet.heard_ms()
    }

    /// The peer gave a sign of life.
    pub fn hear(&self) {
        self.outlet.hear();
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self) {
        self.outlet.ping();
    }

    /// Says that it is over.
    pub fn finish(&mut self, text: Option<Utf8Bytes>, code: CloseCode) {
        self.phase = Phase::Over;
        self.outlet.finish(text, code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(low_seconds: u64, high_seconds: u64) -> SeenEta {
        Some(Eta { low_seconds, high_seconds }).into()
    }

    #[test]
    fn a_wait_that_reads_the_same_is_the_same() {
        assert_eq!(SeenEta::from(None), SeenEta::Unknown);
        assert_eq!(seen(3, 9), seen(40, 59));
        assert_eq!(seen(130, 290), seen(170, 250));
        assert_ne!(seen(130, 290), seen(130, 310));
        assert_ne!(seen(59, 5_399), seen(59, 5_400));
        assert_eq!(seen(4_000, 7_300), SeenEta::Hours(1, 3));
        assert_eq!(seen(30, 60), SeenEta::Minutes(1, 1));
    }
}
