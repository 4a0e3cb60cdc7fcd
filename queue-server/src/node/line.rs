//! What this node knows of one event's line.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
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
    wire::Eta,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Node, heard::Heard, joins, metrics::LineMetrics, push::Slot};

/// A view is told from until it is this old.
pub const VIEW_AGE_MS_MAX: u64 = 2_000;

/// What stays the same until somebody changes the event.
#[derive(Clone, Debug)]
pub struct Known {
    pub generation: Generation,
    pub policy: Policy,
    /// The summary's `version` that this policy belongs to.
    pub version: u64,
}

/// The line at one instant.
#[derive(Debug)]
pub struct View {
    pub generation: Generation,
    pub as_of: Millis,
    pub summary: Summary,
    pub index: PositionIndex,
}

/// The sockets of one line on this node, by visitor.
pub type Slots = HashMap<VisitorId, Arc<Slot>>;

/// One event on this node.
pub struct LocalLine {
    pub event: EventId,
    pub known: ArcSwap<Known>,
    pub view: ArcSwap<View>,
    /// The store's data in which the event was found.
    pub incarnation: Mutex<String>,
    /// The generation that last answered; `known` follows it.
    generation: AtomicU64,
    /// The highest number seen: the store may forget numbers in a failover, this node does not.
    pub seq_floor: AtomicU64,
    pub meter: Mutex<RateMeter>,
    pub heard: Mutex<Heard>,
    pub slots: Mutex<Slots>,
    pub metrics: LineMetrics,
    /// Joins on their way to the store.
    pub joins: mpsc::Sender<joins::Job>,
    /// When somebody last asked here, by the store's clock.
    asked: AtomicU64,
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
        incarnation: String,
        node: &Arc<Node>,
    ) -> Self {
        let Description { policy, summary } = described;
        let (joins, jobs) = mpsc::channel(joins::WAITING_JOINS_MAX);
        node.spawn(joins::gather(node.clone(), event.clone(), jobs));
        let metrics = LineMetrics::new(node.labels.label(event.as_str()));
        metrics.capacity(policy.capacity);
        Self {
            event,
            known: ArcSwap::from_pointee(Known { generation, policy, version: summary.version }),
            seq_floor: summary.seq.0.into(),
            // Nothing is told from the first view: it is of no time at all.
            view: ArcSwap::from_pointee(View {
                generation,
                as_of: Millis(0),
                summary,
                index: PositionIndex::default(),
            }),
            incarnation: Mutex::new(incarnation),
            generation: generation.0.into(),
            meter: Mutex::default(),
            heard: Mutex::default(),
            slots: Mutex::default(),
            metrics,
            joins,
            asked: now.0.into(),
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
        let fresh = now.since(view.as_of) <= VIEW_AGE_MS_MAX && view.generation == self.generation();
        fresh.then(|| view.clone())
    }

    /// A sign of life of the waiter at `rank`.
    pub fn hear(&self, rank: Rank, now: Millis) {
        self.heard.lock().mark(rank, now);
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

    /// Takes note of a number that was handed out.
    pub fn saw_seq(&self, seq: Seq) {
        self.seq_floor.fetch_max(seq.0, Ordering::Relaxed);
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
        let view = Arc::new(View { generation, as_of, summary, index: PositionIndex::new(first_byte, &present) });
        self.view.store(view.clone());
        view
    }
}

/// A line is looked at each tick for so long after somebody asked.
const ASKED_FOR_MS: u64 = 15_000;
