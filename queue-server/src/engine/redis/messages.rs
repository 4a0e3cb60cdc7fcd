//! Messages of the store's channels as signals.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    keys::{ADMITTED_CHANNEL, EVENTS_CHANNEL, TAKEN_OVER_CHANNEL},
    line::Admission,
    wire::{
        BOOKING_DONE_CHANNEL, BookingDone, INVENTORY_CHANNEL, Message, SESSION_ENDED_CHANNEL, SESSION_SEEN_CHANNEL,
    },
};
use serde::Deserialize;
use tokio::sync::broadcast;
use tracing::warn;

use super::super::{Signal, TakenOver};

/// The channels a node listens to.
pub const CHANNELS: [&str; 7] = [
    ADMITTED_CHANNEL,
    TAKEN_OVER_CHANNEL,
    EVENTS_CHANNEL,
    BOOKING_DONE_CHANNEL,
    SESSION_ENDED_CHANNEL,
    SESSION_SEEN_CHANNEL,
    INVENTORY_CHANNEL,
];

/// Signals from the log that are ahead of those from channels, about.
const LOG_AHEAD_MAX: usize = 256;
/// Releases that are remembered so that what came over the channel does not come again from the log.
const RECENT_MAX: usize = 16_384;

/// What `admit` publishes: compact, since it is one message for a whole batch.
#[derive(Debug, Deserialize)]
struct AdmittedMessage {
    event: EventId,
    generation: Generation,
    /// The end of all these sessions.
    expires: u64,
    /// Visitor, number, when it joined.
    sessions: Vec<(VisitorId, Seq, Option<u64>)>,
}

/// Turns messages into signals, and counts those that make no sense.
#[derive(Debug)]
pub struct Inbox {
    signals: broadcast::Sender<Signal>,
    recent: Mutex<Recent>,
    malformed: AtomicU64,
}

impl Inbox {
    /// An inbox that passes signals on to `signals`.
    pub fn new(signals: broadcast::Sender<Signal>) -> Self {
        Self { signals, recent: Mutex::default(), malformed: AtomicU64::new(0) }
    }

    /// Those who hear the signals from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Messages that made no sense.
    pub fn malformed_total(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// A message has come over a channel.
    pub fn message(&self, channel: &str, payload: &[u8]) {
        match read(channel, payload) {
            Ok(signal) => self.pass(signal),
            Err(problem) => self.malformed(channel, &problem),
        }
    }

    /// An entry of the log of BOOKING_DONE has been read.
    pub fn logged(&self, payload: Option<&[u8]>) {
        let signal = payload.ok_or_else(|| "no body".to_owned()).and_then(|body| read(BOOKING_DONE_CHANNEL, body));
        match signal {
            Ok(Signal::BookingDone(done)) if self.recent.lock().contains(&session(&done)) => {}
            Ok(signal) => self.pass(signal),
            Err(problem) => self.malformed("the log of BOOKING_DONE", &problem),
        }
    }

    /// Whether somebody who hears the signals has so much before them that a long log has to wait: what happens
    /// now is told the same way, and must not wait for what happened before.
    pub fn is_behind(&self) -> bool {
        self.signals.len() > LOG_AHEAD_MAX
    }

    /// What came may have been missed: it is passed on again if it comes again.
    pub fn forget(&self) {
        self.recent.lock().clear();
    }

    /// Signals may have been lost.
    pub fn resync(&self) {
        self.forget();
        self.pass(Signal::Resync);
    }

    fn pass(&self, signal: Signal) {
        if let Signal::BookingDone(done) = &signal {
            self.recent.lock().insert(session(done));
        }
        // Nobody listening is no fault.
        let _ = self.signals.send(signal);
    }

    fn malformed(&self, from: &str, problem: &str) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
        warn!(from, problem, "skipped a malformed message");
    }
}

/// Who was admitted, in the words of `admit`.
#[derive(Debug)]
pub struct AdmittedBatch {
    pub event: EventId,
    pub generation: Generation,
    pub sessions: Vec<Admission>,
}

/// Reads what `admit` publishes, and answers.
pub fn admitted(payload: &[u8]) -> Result<AdmittedBatch, String> {
    let message: AdmittedMessage = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let admission = |(visitor, seq, joined): (VisitorId, Seq, Option<u64>)| Admission {
        visitor,
        seq,
        expires: Millis(message.expires),
        joined: joined.map(Millis),
    };
    let sessions = message.sessions.into_iter().map(admission).collect();
    Ok(AdmittedBatch { event: message.event, generation: message.generation, sessions })
}

fn read(channel: &str, payload: &[u8]) -> Result<Signal, String> {
    let wrong = |error: serde_json::Error| error.to_string();
    match channel {
        ADMITTED_CHANNEL => {
            let AdmittedBatch { event, generation, sessions } = admitted(payload)?;
            Ok(Signal::Admitted { event, generation, sessions })
        }
        TAKEN_OVER_CHANNEL => serde_json::from_slice::<TakenOver>(payload).map(Signal::TakenOver).map_err(wrong),
        EVENTS_CHANNEL => {
            let event = std::str::from_utf8(payload).ok().and_then(|text| EventId::new(text).ok());
            event.map(Signal::EventChanged).ok_or_else(|| "not an event id".to_owned())
        }
        _ => match (channel, serde_json::from_slice::<Message>(payload).map_err(wrong)?) {
            (BOOKING_DONE_CHANNEL, Message::BookingDone(done)) => Ok(Signal::BookingDone(done)),
            (SESSION_ENDED_CHANNEL, Message::SessionEnded(ended)) => Ok(Signal::SessionEnded(ended)),
            (SESSION_SEEN_CHANNEL, Message::SessionSeen(seen)) => Ok(Signal::SessionSeen(seen)),
            (INVENTORY_CHANNEL, Message::Inventory(inventory)) if inventory.left.max(inventory.held) < 1 << 53 => {
                Ok(Signal::Inventory(inventory))
            }
            _ => Err("a message of another channel".to_owned()),
        },
    }
}

/// Whose session a message says is done with: one that names another visitor is another message.
type Session = (EventId, VisitorId, Jti);

fn session(done: &BookingDone) -> Session {
    (done.event_id.clone(), done.visitor_id.clone(), done.jti)
}

/// The sessions released last.
#[derive(Debug, Default)]
struct Recent {
    known: HashSet<Session>,
    order: VecDeque<Session>,
}

impl Recent {
    fn contains(&self, session: &Session) -> bool {
        self.known.contains(session)
    }

    fn insert(&mut self, session: Session) {
        if !self.known.insert(session.clone()) {
            return;
        }
        self.order.push_back(session);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}
