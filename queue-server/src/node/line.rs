//! What this node knows of one event's line.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use queue_core::{
    estimate::RateMeter,
    ids::{EventId, Generation, Millis, Rank, Seq, VisitorId},
    line::{Description, Snapshot, Summary},
    policy::Policy,
    positions::PositionIndex,
    token::place::PlaceClaims,
    wire::Eta,
};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Node,
    heard::Heard,
    joins::{self, Joins},
    metrics::LineMetrics,
    push::{Inner, Slot},
    slots::Slots,
};

/// A view is told from until it is this old.
pub const VIEW_AGE_MS_MAX: u64 = 2_000;

/// What stays the same until somebody changes the event.
#[derive(Clone, Debug)]
pub struct Known {
    pub generation: Generation,
    pub policy: Policy,
    /// The summary's `version` that this belongs to.
    pub version: u64,
    pub paused: bool,
}

/// The line at one instant.
#[derive(Debug)]
pub struct View {
    pub generation: Generation,
    pub as_of: Millis,
    pub summary: Summary,
    pub index: PositionIndex,
}

impl View {
    /// Whether somebody waits and a slot was free for them: otherwise asking the store would change nothing.
    pub fn may_admit(&self, capacity: u32) -> bool {
        let summary = &self.summary;
        let open = !summary.paused && !summary.sold_out && self.as_of >= summary.admit_not_before;
        open && summary.waiting > 0 && summary.active < u64::from(capacity)
    }
}

/// One event on this node.
pub struct LocalLine {
    pub event: EventId,
    pub known: ArcSwap<Known>,
    pub view: ArcSwap<View>,
    /// The generation that last answered; `known` follows it.
    generation: AtomicU64,
    /// The highest number seen: the store may forget numbers in a failover, this node does not.
    pub seq_floor: AtomicU64,
    pub meter: Mutex<RateMeter>,
    pub heard: Mutex<Heard>,
    pub slots: Mutex<Slots>,
    pub metrics: LineMetrics,
    /// Joins on their way to the store.
    pub joins: Arc<Joins>,
    /// Ends the task that sends them.
    _gathering: DropGuard,
    /// Who left the line after the view was read, and when this node heard of it.
    left: Mutex<HashMap<VisitorId, Millis>>,
    /// Nothing is told from views before this: an operator changed the line.
    changed: AtomicU64,
    /// When somebody last asked here, by the store's clock.
    asked: AtomicU64,
    /// Messages may have been lost: the next look asks about the sessions that have a socket here.
    pub doubtful: AtomicBool,
    /// Look at the line now.
    pub look: Notify,
    /// Somebody may be let in.
    pub admit: Notify,
    /// The event was removed.
    pub gone: CancellationToken,
}

impl LocalLine {
    pub(super) fn new(
        event: EventId,
        generation: Generation,
        described: Description,
        now: Millis,
        node: &Arc<Node>,
    ) -> Self {
        let Description { policy, summary } = described;
        let (joins, over) = (Arc::new(Joins::new(node.options.join_batch)), CancellationToken::new());
        node.spawn(joins::gather(node, event.clone(), joins.clone(), over.clone()));
        let metrics = LineMetrics::new(node.labels.label(event.as_str()));
        metrics.capacity(policy.capacity);
        Self {
            event,
            known: ArcSwap::from_pointee(Known {
                generation,
                policy,
                version: summary.version,
                paused: summary.paused,
            }),
            seq_floor: summary.seq.0.into(),
            // Nothing is told from the first view: it is of no time at all.
            view: ArcSwap::from_pointee(View {
                generation,
                as_of: Millis(0),
                summary,
                index: PositionIndex::default(),
            }),
            generation: generation.0.into(),
            meter: Mutex::default(),
            heard: Mutex::default(),
            slots: Mutex::default(),
            metrics,
            joins,
            _gathering: over.drop_guard(),
            left: Mutex::default(),
            changed: 0.into(),
            asked: now.0.into(),
            doubtful: false.into(),
            look: Notify::new(),
            admit: Notify::new(),
            gone: CancellationToken::new(),
        }
    }

    /// The generation that last answered.
    pub fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// A generation answered. If it is a new one, the line is looked at at once.
    pub fn heard_generation(&self, generation: Generation) {
        if self.generation.swap(generation.0, Ordering::AcqRel) != generation.0 {
            self.kick();
        }
    }

    /// The rank of a place.
    pub fn rank(&self, seq: Seq) -> Rank {
        self.known.load().policy.order.rank(seq)
    }

    /// The latest view, if it is new enough to tell from.
    pub fn fresh_view(&self, now: Millis) -> Option<Arc<View>> {
        let view = self.view.load();
        let fresh = now.since(view.as_of) <= VIEW_AGE_MS_MAX
            && view.as_of.0 >= self.changed.load(Ordering::Relaxed)
            && view.generation == self.generation();
        fresh.then(|| view.clone())
    }

    /// A sign of life of the waiter at `rank`.
    pub fn hear(&self, rank: Rank, now: Millis) {
        self.heard.lock().mark(rank, now);
    }

    /// This visitor left the line: they are not told from a view that still has them.
    pub fn leave_view(&self, visitor: &VisitorId, now: Millis) {
        self.left.lock().insert(visitor.clone(), now);
    }

    /// The line changed for everybody: nothing is told from views before `now`.
    pub fn change_view(&self, now: Millis) {
        self.changed.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Whether this visitor left the line after the view was read.
    pub fn has_left(&self, visitor: &VisitorId) -> bool {
        self.left.lock().contains_key(visitor)
    }

    /// Whether the view still holds for this waiter.
    pub fn in_view(&self, view: &View, rank: Rank, visitor: &VisitorId) -> bool {
        view.index.contains(rank) && !self.has_left(visitor)
    }

    /// Somebody asks here: the line is looked at each tick for a while. Wakes it if it slept.
    pub fn ask(&self, now: Millis) {
        if now.since(Millis(self.asked.swap(now.0, Ordering::Relaxed))) > ASKED_FOR_MS {
            self.kick();
        }
    }

    /// Whether somebody asked lately.
    pub fn asked_lately(&self, now: Millis) -> bool {
        now.since(Millis(self.asked.load(Ordering::Relaxed))) <= ASKED_FOR_MS
    }

    /// Look at the line now.
    pub fn kick(&self) {
        self.look.notify_one();
    }

    /// Messages may have been lost: look at everything again.
    pub fn resync(&self) {
        self.doubtful.store(true, Ordering::Release);
        self.kick();
    }

    /// All sockets of the line.
    pub fn all_slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().iter().cloned().collect()
    }

    /// A socket follows its place. Gives back what its visitor had.
    pub fn add_slot(&self, slot: Arc<Slot>) -> Option<Arc<Slot>> {
        self.slots.lock().insert(slot, |slot| self.rank(slot.with(|inner| inner.seq)))
    }

    /// A socket has ended. A newer one of its visitor stays.
    pub fn remove_slot(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        slots.remove(slot, self.rank(slot.with(|inner| inner.seq)));
    }

    /// A socket follows this place from now on; `change` is what else changes with that.
    pub fn move_slot(&self, slot: &Arc<Slot>, place: (Seq, Generation), change: impl FnOnce(&mut Inner)) {
        let mut slots = self.slots.lock();
        let from = slot.with(|inner| {
            let from = inner.seq;
            (inner.seq, inner.generation) = place;
            change(inner);
            from
        });
        slots.moved(slot, self.rank(from), self.rank(place.0));
    }

    /// Takes note of a number that was handed out.
    pub fn saw_seq(&self, seq: Seq) {
        if seq > self.floor() {
            self.seq_floor.fetch_max(seq.0, Ordering::Relaxed);
        }
    }

    /// Takes note of a place that was shown: this line handed it out, though the store may have forgotten that.
    pub fn saw_place(&self, place: &PlaceClaims) {
        if place.generation == self.generation() {
            self.saw_seq(place.seq);
        }
    }

    /// The highest number seen.
    pub fn floor(&self) -> Seq {
        Seq(self.seq_floor.load(Ordering::Relaxed))
    }

    /// The wait of whoever stands at `position`; `None` when paused or unknown.
    pub fn eta(&self, position: u64, paused: bool) -> Option<Eta> {
        if paused { None } else { self.meter.lock().eta(position) }
    }

    pub(super) fn saw_snapshot(&self, generation: Generation, as_of: Millis, snapshot: Snapshot) -> Arc<View> {
        let Snapshot { summary, first_byte, present } = snapshot;
        self.saw_seq(summary.seq);
        self.meter.lock().observe(as_of, summary.totals.admitted);
        self.metrics.line(summary.waiting, summary.active);
        let view = Arc::new(View { generation, as_of, summary, index: PositionIndex::new(first_byte, present) });
        self.view.store(view.clone());
        // Left in the same millisecond or later: the next view knows.
        self.left.lock().retain(|_, at| *at >= as_of);
        view
    }
}

/// A line is looked at each tick for so long after somebody asked.
const ASKED_FOR_MS: u64 = 15_000;
