//! What this node knows of the store's clock: the time of the last reply, and the time since by its own
//! steady clock. The node's wall clock plays no part but before the first reply, when there is no other: tokens
//! are judged then too, and must not be called bad because the store is away.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use queue_core::ids::Millis;

use crate::clock;

/// A reply that is behind by no more was overtaken by another one; by more, the store's clock was set back.
const OVERTAKEN_MS_MAX: u64 = 2_000;
/// It was overtaken by one that came a moment ago: if there was none, the store's clock goes slower, or was set back a
/// little.
const OVERTAKEN_WITHIN: Duration = Duration::from_secs(1);

/// An estimate of the store's time, never ahead of it. `None`: it has told nothing yet.
#[derive(Debug)]
pub struct StoreClock(Mutex<Option<(Instant, Millis)>>);

impl StoreClock {
    /// A clock that has heard nothing yet.
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The store has told its time.
    pub fn heard(&self, told: Millis) {
        self.heard_at(told, Instant::now());
    }

    fn heard_at(&self, told: Millis, at: Instant) {
        let mut known = self.0.lock();
        let overtaken = known.is_some_and(|known| {
            let estimate = reckon(known, at);
            let lately = at.saturating_duration_since(known.0) < OVERTAKEN_WITHIN;
            lately && told < estimate && estimate.since(told) <= OVERTAKEN_MS_MAX
        });
        if !overtaken {
            *known = Some((at, told));
        }
    }

    /// The store's time.
    pub fn now(&self) -> Millis {
        let known = *self.0.lock();
        known.map_or_else(clock::now, |known| reckon(known, Instant::now()))
    }
}

fn reckon((at, told): (Instant, Millis), now: Instant) -> Millis {
    told.plus(now.saturating_duration_since(at).as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_the_store_tells_its_time_the_own_clock_serves() {
        let clock = StoreClock::new();
        assert!(clock.now().since(clock::now()) == 0 && clock::now().since(clock.now()) < 60_000);
        // However far the two are apart, the store is believed at once.
        clock.heard(Millis(clock::now().0 - 1_000));
        assert!(clock::now().since(clock.now()) >= 1_000);
    }

    #[test]
    fn a_clock_that_was_set_back_a_little_is_believed_after_a_moment() {
        let (clock, at) = (StoreClock::new(), Instant::now());
        let later = |ms| at + Duration::from_millis(ms);
        clock.heard_at(Millis(1_000_000), at);
        // All replies are a second and a half behind what this node reckons.
        for ms in (100..=900).step_by(100) {
            clock.heard_at(Millis(998_500 + ms), later(ms));
            assert_eq!(reckon(clock.0.lock().unwrap(), later(ms)), Millis(1_000_000 + ms), "perhaps overtaken");
        }
        for ms in (1_000..=3_000).step_by(100) {
            clock.heard_at(Millis(998_500 + ms), later(ms));
            assert_eq!(reckon(clock.0.lock().unwrap(), later(ms)), Millis(998_500 + ms));
        }
    }

    #[test]
    fn late_replies_do_not_turn_it_back_but_a_clock_set_back_does() {
        let clock = StoreClock::new();
        clock.heard(Millis(1_000_000));
        clock.heard(Millis(999_990));
        assert!(clock.now() >= Millis(1_000_000));
        clock.heard(Millis(900_000));
        assert!(clock.now() < Millis(950_000));
        clock.heard(Millis(2_000_000));
        assert!(clock.now() >= Millis(2_000_000));
    }
}
