//! Every Redis key of the queue's store: the one place that builds them.
//!
//! All keys of one event share the hash tag `{event}`, so that a script touches one slot of a cluster.

use crate::ids::EventId;

/// The set of all events, outside the hash tags.
pub const EVENTS: &str = "usher:events";
/// The stream of what operators changed, outside the hash tags.
pub const AUDIT: &str = "usher:audit";
/// Pub/Sub channel between nodes: who was admitted.
pub const ADMITTED_CHANNEL: &str = "usher:admitted";
/// Pub/Sub channel between nodes: which socket took a place over.
pub const TAKEN_OVER_CHANNEL: &str = "usher:taken-over";
/// Pub/Sub channel between nodes: an event was created, changed or removed.
pub const EVENTS_CHANNEL: &str = "usher:events-changed";

fn key(event: &EventId, what: &str) -> String {
    format!("usher:{{{event}}}:{what}")
}

/// The stream of the sessions of `event` that ended on the queue's side.
pub fn session_ended_log(event: &EventId) -> String {
    key(event, "session-ended")
}

/// A string: `event` was removed by an operator. Goes by itself after a month, or when the event is made anew.
pub fn removed(event: &EventId) -> String {
    key(event, "removed")
}

/// The bitmap of who was heard of in one period.
pub fn seen(event: &EventId, period: u64) -> String {
    key(event, &format!("seen:{period}"))
}

/// The keys of one event's line that do not depend on the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineKeys {
    /// HASH: policy, phase, counters, rate bucket, generation.
    pub meta: String,
    /// ZSET visitor → rank: the line.
    pub waiting: String,
    /// String: bit rank = in line.
    pub present: String,
    /// ZSET visitor → when the slot is taken back (ms).
    pub active: String,
    /// HASH visitor → `seq:expires`, and `#seq` → visitor.
    pub sessions: String,
    /// HASH visitor → `seq:REASON`, and `#seq` → `REASON` for sessions.
    pub ended: String,
    /// The same, of the hour before.
    pub ended_old: String,
    /// ZSET `seq:ms` → seq: the first number of each second.
    pub joined: String,
    /// Stream: the sessions that ended.
    pub session_ended: String,
    /// A string that scripts use and remove within one call.
    pub scratch: String,
    /// Another.
    pub scratch2: String,
}

impl LineKeys {
    /// The keys of `event`.
    pub fn new(event: &EventId) -> Self {
        Self {
            meta: key(event, "meta"),
            waiting: key(event, "waiting"),
            present: key(event, "present"),
            active: key(event, "active"),
            sessions: key(event, "sessions"),
            ended: key(event, "ended"),
            ended_old: key(event, "ended:old"),
            joined: key(event, "joined"),
            session_ended: session_ended_log(event),
            scratch: key(event, "scratch"),
            scratch2: key(event, "scratch2"),
        }
    }
}
