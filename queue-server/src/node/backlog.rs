//! How many joins may wait for the store: so many as it answers within [`WAIT_TARGET`].
//!
//! A store that falls behind is not helped by a longer queue; whoever would have to wait too long is told so at
//! once, which costs little. How deep that is depends on the store and the hour, so it is measured: a full batch
//! says how many the store answers in a second, and where batches are not full, by Little's law, a join that found
//! `ahead` before it and was answered after `waited` allows `ahead × target / waited`.
//!
//! Who shows a place already is refused only when [`WAITING_JOINS_MAX`] wait: after a node has died, thousands come
//! back at once, and they go before whoever is new.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use queue_core::limits::JOIN_BATCH_MAX;

/// Joins of one event that wait for the store on this node, at most, however quick it is.
pub const WAITING_JOINS_MAX: usize = 8_192;
/// So many may always wait.
const WAITING_JOINS_MIN: usize = JOIN_BATCH_MAX;
/// A join should be answered within this.
pub const WAIT_TARGET: Duration = Duration::from_millis(100);

/// The joins of one event that wait for the store on this node.
#[derive(Debug)]
pub struct Backlog {
    depth: AtomicUsize,
    limit: AtomicUsize,
    /// Somebody was refused since the limit was last looked at: so it is the limit that holds them back.
    refused: AtomicBool,
    /// So many may always wait.
    least: usize,
    /// The store's pace was measured.
    measured: AtomicBool,
}

/// What one batch taught.
#[derive(Clone, Copy, Debug)]
pub struct Lesson {
    /// How long the store took for it.
    pub took: Duration,
    /// The batch's size, if no more would have fitted.
    pub full: Option<usize>,
    /// How long its first join had waited, and how many it had found before it.
    pub waited: Duration,
    pub ahead: usize,
}

impl Backlog {
    /// Nobody waits yet, for batches of so many at most.
    pub fn new(batch: usize) -> Self {
        Self {
            depth: 0.into(),
            limit: WAITING_JOINS_MAX.into(),
            refused: false.into(),
            // Those of the batch under way count as well: with fewer the next one would not be full.
            least: (2 * batch).max(WAITING_JOINS_MIN),
            measured: false.into(),
        }
    }

    /// One more, if it may wait: how many are before it. `holds`: they have a place, and want to find it.
    pub fn enter(&self, holds: bool) -> Option<usize> {
        let ahead = self.depth.fetch_add(1, Ordering::Relaxed);
        let limit = if holds { WAITING_JOINS_MAX } else { self.limit.load(Ordering::Relaxed) };
        if ahead < limit {
            return Some(ahead);
        }
        self.leave(1);
        self.refused.store(true, Ordering::Relaxed);
        None
    }

    /// Whether one more who is new would be refused; if so, that counts as one who was.
    pub fn refuses(&self) -> bool {
        let full = self.depth.load(Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed);
        if full {
            self.refused.store(true, Ordering::Relaxed);
        }
        full
    }

    /// So many were answered.
    pub fn leave(&self, count: usize) {
        self.depth.fetch_sub(count, Ordering::Relaxed);
    }

    /// How many wait.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// A batch was answered. Told by one task at a time.
    pub fn learn(&self, lesson: Lesson) {
        let limit = self.limit.load(Ordering::Relaxed);
        let refused = self.refused.swap(false, Ordering::Relaxed);
        let Lesson { took, full, waited, ahead } = lesson;
        let allowed = match full {
            Some(count) => within_target(count, took),
            None if waited > WAIT_TARGET => within_target(ahead, waited),
            None if refused && waited < WAIT_TARGET * 3 / 4 => limit + limit / 4 + 1,
            None => return,
        };
        let first = full.is_some() && !self.measured.swap(true, Ordering::Relaxed);
        // A quarter of the way: one stop of the store is not yet a slow store.
        let next = if first { allowed } else { limit - limit / 4 + allowed / 4 };
        self.limit.store(next.clamp(self.least, WAITING_JOINS_MAX), Ordering::Relaxed);
    }
}

/// How many are answered within the target, when `count` are within `took`.
fn within_target(count: usize, took: Duration) -> usize {
    (count as f64 * WAIT_TARGET.as_secs_f64() / took.as_secs_f64().max(1e-6)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A store that takes `batch_ms` for a batch of up to `batch`, and is offered `per_ms` joins a millisecond, on
    /// virtual time. Gives joins answered and refused, and the waits in milliseconds, of the last half.
    fn simulate(batch: usize, batch_ms: u64, per_ms: usize, total_ms: u64) -> (usize, usize, Vec<u64>) {
        let backlog = Backlog::new(batch);
        let (mut queue, mut flying, mut free_at) = (VecDeque::new(), Vec::new(), 0);
        let (mut refused, mut waits) = (0, Vec::new());
        for now in 0..total_ms {
            if now >= free_at && !flying.is_empty() {
                backlog.leave(flying.len());
                let (at, ahead): (u64, usize) = flying[0];
                let full = (flying.len() == batch).then_some(batch);
                let took = Duration::from_millis(batch_ms);
                backlog.learn(Lesson { took, full, waited: Duration::from_millis(now - at), ahead });
                let late = now > total_ms / 2;
                waits.extend(flying.drain(..).filter(|_| late).map(|(at, _)| now - at));
            }
            for _ in 0..per_ms {
                match backlog.enter(false) {
                    Some(ahead) => queue.push_back((now, ahead)),
                    None => refused += usize::from(now > total_ms / 2),
                }
            }
            if flying.is_empty() && !queue.is_empty() {
                flying.extend(queue.drain(..batch.min(queue.len())));
                free_at = now + batch_ms;
            }
        }
        (waits.len(), refused, waits)
    }

    #[test]
    fn three_times_too_many_lose_no_throughput_and_wait_no_longer() {
        // One join to 64 joins a millisecond.
        for (batch, batch_ms) in [(16, 16), (16, 4), (112, 80), (128, 20), (128, 2)] {
            let per_ms = (3 * batch / batch_ms as usize).max(1);
            let (answered, refused, mut waits) = simulate(batch, batch_ms, per_ms, 20_000);
            let most = batch * 10_000 / batch_ms as usize;
            assert!(answered * 100 >= most * 97, "{batch}/{batch_ms}: {answered} of {most}");
            assert!(refused > answered, "{batch}/{batch_ms}: {refused} refused");
            waits.sort_unstable();
            let p99 = waits[waits.len() * 99 / 100];
            assert!(p99 <= 200, "{batch}/{batch_ms}: p99 {p99} ms");
        }
    }

    #[test]
    fn whom_the_store_can_take_is_refused_to_nobody() {
        let (answered, refused, waits) = simulate(128, 2, 50, 5_000);
        assert_eq!(refused, 0);
        assert!(answered > 120_000 && waits.iter().all(|wait| *wait <= 10));
    }

    #[test]
    fn a_stop_of_the_store_is_forgiven() {
        let backlog = Backlog::new(JOIN_BATCH_MAX);
        let limit = || backlog.limit.load(Ordering::Relaxed);
        let full = |ms| {
            let took = Duration::from_millis(ms);
            backlog.learn(Lesson { took, full: Some(256), waited: took, ahead: 0 });
        };
        assert!(backlog.enter(true).is_some());
        full(20);
        assert_eq!(limit(), 1_280, "the first full batch is believed");
        full(2_000);
        assert!((900..1_280).contains(&limit()), "{}", limit());
        (0..30).for_each(|_| full(1));
        assert_eq!(limit(), WAITING_JOINS_MAX);
    }

    #[test]
    fn whoever_has_a_place_goes_before_whoever_is_new() {
        let backlog = Backlog::new(JOIN_BATCH_MAX);
        let slow = Duration::from_secs(1);
        backlog.learn(Lesson { took: slow, full: Some(JOIN_BATCH_MAX), waited: slow, ahead: 0 });
        let newcomers = (0..1_000).filter(|_| backlog.enter(false).is_some()).count();
        assert_eq!(newcomers, 2 * JOIN_BATCH_MAX);
        assert!(backlog.refuses());
        let holders = (0..10_000).filter(|_| backlog.enter(true).is_some()).count();
        assert_eq!(newcomers + holders, WAITING_JOINS_MAX);
        assert_eq!(backlog.depth(), WAITING_JOINS_MAX);
    }

    #[test]
    fn a_limit_below_a_batch_rises_again() {
        let backlog = Backlog::new(1);
        let limit = || backlog.limit.load(Ordering::Relaxed);
        let slow = Lesson { took: Duration::from_secs(1), full: None, waited: Duration::from_secs(1), ahead: 50 };
        (0..60).for_each(|_| backlog.learn(slow));
        assert_eq!(limit(), WAITING_JOINS_MIN);
        let quick = Lesson { took: Duration::from_millis(2), full: None, waited: Duration::from_millis(2), ahead: 60 };
        backlog.learn(quick);
        assert_eq!(limit(), WAITING_JOINS_MIN, "nobody was held back");
        for _ in 0..200 {
            backlog.refused.store(true, Ordering::Relaxed);
            backlog.learn(quick);
        }
        assert_eq!(limit(), WAITING_JOINS_MAX);
    }
}
