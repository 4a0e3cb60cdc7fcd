//! What a node counts. Handles are made once, so that counting costs no look-up.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use queue_core::{
    ids::Millis,
    line::{Admission, Place},
    wire::EndReason,
};

use crate::engine::{Engine, Health};

/// Metrics of the whole node.
pub struct NodeMetrics {
    sockets: Gauge,
    push_lag: Histogram,
    store_commands: Counter,
    store_up: Gauge,
    joins_refused: Counter,
    join_batch: Histogram,
    malformed: Counter,
}

impl NodeMetrics {
    pub fn new() -> Self {
        describe();
        Self {
            sockets: gauge!("usher_queue_sockets"),
            push_lag: histogram!("usher_queue_push_lag_seconds"),
            store_commands: counter!("usher_queue_store_commands_total"),
            store_up: gauge!("usher_queue_store_up"),
            joins_refused: counter!("usher_queue_joins_refused_total"),
            join_batch: histogram!("usher_queue_join_batch_size"),
            malformed: counter!("usher_queue_malformed_messages_total"),
        }
    }

    /// One more open socket. Only steps are told: of two counts the later one may be told first.
    pub fn socket_opened(&self) {
        self.sockets.increment(1.0);
    }
    pub fn socket_closed(&self) {
        self.sockets.decrement(1.0);
    }
    /// So many were pushed to, so long after the line was read.
    pub fn pushed(&self, count: usize, lag_ms: u64) {
        self.push_lag.record_many(lag_ms as f64 / 1000.0, count);
    }
    pub fn join_refused(&self) {
        self.joins_refused.increment(1);
    }
    pub fn join_batch(&self, size: usize) {
        self.join_batch.record(size as f64);
    }
    pub fn store(&self, engine: &dyn Engine) {
        self.store_commands.absolute(engine.commands_total());
        self.malformed.absolute(engine.malformed_total());
        self.store_up.set(f64::from(u8::from(*engine.health().borrow() == Health::Up)));
    }
}

/// One event's part of a gauge. Events beyond those with a label of their own share one: their parts are added up.
struct Share {
    gauge: Gauge,
    part: AtomicU64,
}

impl Share {
    const fn new(gauge: Gauge) -> Self {
        Self { gauge, part: AtomicU64::new(0) }
    }

    fn set(&self, value: u64) {
        let before = self.part.swap(value, Ordering::Relaxed);
        self.gauge.increment(value as f64 - before as f64);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Metrics of one event on this node.
pub struct LineMetrics {
    event: SharedString,
    waiting: Share,
    active: Share,
    capacity: Share,
    joins: Counter,
    joins_waiting: Share,
    admissions: Counter,
    wait: Histogram,
}

impl LineMetrics {
    pub fn new(event: SharedString) -> Self {
        Self {
            waiting: Share::new(gauge!("usher_queue_waiting", "event" => event.clone())),
            active: Share::new(gauge!("usher_queue_active", "event" => event.clone())),
            capacity: Share::new(gauge!("usher_queue_capacity", "event" => event.clone())),
            joins: counter!("usher_queue_joins_total", "event" => event.clone()),
            joins_waiting: Share::new(gauge!("usher_queue_joins_waiting", "event" => event.clone())),
            admissions: counter!("usher_queue_admissions_total", "event" => event.clone()),
            wait: histogram!("usher_queue_wait_duration_seconds"),
            event,
        }
    }

    pub fn line(&self, waiting: u64, active: u64) {
        self.waiting.set(waiting);
        self.active.set(active);
    }

    /// So many joins wait for the store.
    pub fn joins_waiting(&self, count: usize) {
        self.joins_waiting.set(count as u64);
    }

    /// The event is no more.
    pub fn removed(&self) {
        self.line(0, 0);
        self.joins_waiting(0);
        self.capacity(0);
    }

    pub fn capacity(&self, capacity: u32) {
        self.capacity.set(capacity.into());
    }

    /// Counts what is new in a batch of joins.
    pub fn joined(&self, places: &[Place]) {
        let fresh =
            |place: &&Place| matches!(place, Place::Waiting { fresh: true, .. } | Place::Active { fresh: true, .. });
        self.joins.increment(places.iter().filter(fresh).count() as u64);
        for _ in places.iter().filter(|place| matches!(place, Place::Active { fresh: true, .. })) {
            self.admissions.increment(1);
            self.wait.record(0.0);
        }
    }

    pub fn admitted(&self, now: Millis, sessions: &[Admission]) {
        self.admissions.increment(sessions.len() as u64);
        for joined in sessions.iter().filter_map(|session| session.joined) {
            self.wait.record(now.since(joined) as f64 / 1000.0);
        }
    }

    pub fn released(&self, reason: EndReason, count: u64) {
        counter!("usher_queue_releases_total", "event" => self.event.clone(), "reason" => reason.as_str())
            .increment(count);
    }
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("usher_queue_waiting", "People waiting, by event.");
    describe_gauge!("usher_queue_active", "Sessions, by event.");
    describe_gauge!("usher_queue_capacity", "Sessions allowed at a time, by event.");
    describe_counter!("usher_queue_joins_total", "Places given out by this node, by event.");
    describe_counter!("usher_queue_admissions_total", "Sessions begun by this node, by event.");
    describe_counter!("usher_queue_releases_total", "Places and sessions ended by this node, by event and reason.");
    describe_histogram!(
        "usher_queue_wait_duration_seconds",
        Unit::Seconds,
        "Time from joining to admission, of those this node admitted."
    );
    describe_gauge!("usher_queue_sockets", "Open WebSockets on this node.");
    describe_histogram!(
        "usher_queue_push_lag_seconds",
        Unit::Seconds,
        "Time from reading the line to handing a position to its socket."
    );
    describe_counter!("usher_queue_store_commands_total", "Commands this node sent to the store.");
    describe_gauge!("usher_queue_store_up", "1 while the store can be asked, else 0.");
    describe_counter!("usher_queue_joins_refused_total", "Joins refused because too many waited for the store.");
    describe_gauge!("usher_queue_joins_waiting", "Joins that wait for the store on this node, by event.");
    describe_histogram!("usher_queue_join_batch_size", "Joins that went to the store in one call.");
    describe_counter!("usher_queue_malformed_messages_total", "Messages from other servers that could not be read.");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn parts_of_a_shared_gauge_are_added_up() {
        let value = Arc::new(AtomicU64::new(0));
        let share = || Share::new(Gauge::from_arc(value.clone()));
        let seen = || f64::from_bits(value.load(Ordering::Relaxed));
        let (one, other) = (share(), share());
        one.set(5);
        other.set(7);
        one.set(2);
        assert_eq!(seen(), 9.0);
        drop(one);
        assert_eq!(seen(), 7.0, "a line that is gone has no part");
        drop(other);
        assert_eq!(seen(), 0.0);
    }
}
