//! How long the wait will be, as a range, from the admissions that were measured.
//!
//! Admissions are counted over a sliding window. If n were seen in a window, a Poisson process of that rate
//! would show n ± √n: the range is the wait at both ends of two such deviations, so it narrows as more is known.

use std::collections::VecDeque;

use crate::{ids::Millis, wire::Eta};

/// The window over which the rate is measured.
pub const WINDOW_MS: u64 = 60_000;
/// A look that is behind the latest by no more was overtaken by it; by more, the store's clock was set back.
const OVERTAKEN_MS_MAX: u64 = 2_000;
/// Samples kept, at most.
const SAMPLES_MAX: usize = 128;

/// The measured admission rate of one event.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    samples: VecDeque<(Millis, u64)>,
}

impl RateMeter {
    /// `admitted_total` stood at this value at `at`. A total that fell starts the measurement anew.
    pub fn observe(&mut self, at: Millis, admitted_total: u64) {
        if let Some((last_at, last)) = self.samples.back() {
            // Several look at a line at once: an answer that comes late says nothing new.
            if (at, admitted_total) < (*last_at, *last) && last_at.since(at) <= OVERTAKEN_MS_MAX {
                return;
            }
            if *last > admitted_total || *last_at > at {
                self.samples.clear();
            }
        }
        // One sample a window/SAMPLES_MAX is enough; the newest always stands.
        let close = |(last_at, _): &(Millis, u64)| at.since(*last_at) < WINDOW_MS / SAMPLES_MAX as u64;
        if self.samples.len() > 1 && self.samples.iter().rev().nth(1).is_some_and(close) {
            self.samples.pop_back();
        }
        self.samples.push_back((at, admitted_total));
        // The oldest sample kept is the newest one at or before the start of the window.
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|(second, _)| at.since(*second) >= WINDOW_MS)
        {
            self.samples.pop_front();
        }
    }

    /// Admissions in the window, and its length in milliseconds.
    fn measured(&self) -> (u64, u64) {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, first)), Some((to, last))) => (last - first, to.since(*from)),
            _ => (0, 0),
        }
    }

    /// Admissions a minute, as measured; 0 while unknown.
    pub fn per_minute(&self) -> u64 {
        let (count, ms) = self.measured();
        if ms < 1000 { 0 } else { (count * 60_000 + ms / 2) / ms }
    }

    /// The wait of whoever stands at `position`; `None` while no admission was seen.
    pub fn eta(&self, position: u64) -> Option<Eta> {
        let (count, ms) = self.measured();
        if count == 0 || ms == 0 {
            return None;
        }
        let (count, ms) = (count as f64, ms as f64);
        let spread = 2.0 * count.sqrt();
        let wait = |rate_count: f64| position as f64 * ms / rate_count / 1000.0;
        // Below four admissions the slow end is not known: say four times the plain estimate.
        let slow = (count - spread).max(count / 4.0);
        Some(Eta { low_seconds: coarse(wait(count + spread)), high_seconds: coarse(wait(slow)).max(1) })
    }
}

/// Two leading digits: more would be false precision, and would change with each look.
fn coarse(seconds: f64) -> u64 {
    let step = 10f64.powf(seconds.max(1.0).log10().floor() - 1.0).max(1.0);
    ((seconds / step).round() * step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(per_second: u64, seconds: u64) -> RateMeter {
        let mut meter = RateMeter::default();
        (0..=seconds).for_each(|s| meter.observe(Millis(1_000_000 + s * 1000), s * per_second));
        meter
    }

    #[test]
    fn a_steady_rate_is_found_and_the_range_holds_it() {
        let meter = steady(10, 300);
        assert_eq!(meter.per_minute(), 600);
        let eta = meter.eta(1000).unwrap();
        assert!(eta.low_seconds <= 100 && eta.high_seconds >= 100 && eta.high_seconds < 140, "{eta:?}");
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(RateMeter::default().eta(5), None);
        assert_eq!(steady(0, 100).eta(5), None);
        assert_eq!(steady(0, 100).per_minute(), 0);
    }

    #[test]
    fn a_rate_that_stopped_is_forgotten() {
        let mut meter = steady(10, 100);
        (101..170).for_each(|s| meter.observe(Millis(1_000_000 + s * 1000), 1000));
        assert_eq!((meter.per_minute(), meter.eta(1)), (0, None));
    }

    #[test]
    fn a_late_answer_forgets_nothing() {
        let mut meter = steady(10, 300);
        meter.observe(Millis(1_299_900), 2999);
        meter.observe(Millis(1_300_000), 2999);
        assert_eq!(meter.per_minute(), 600);
        // A new line, or a clock that was set back, begins anew.
        meter.observe(Millis(1_301_000), 0);
        assert_eq!(meter.per_minute(), 0);
        let mut meter = steady(10, 300);
        meter.observe(Millis(1_000_000), 3000);
        assert_eq!(meter.per_minute(), 0);
    }

    #[test]
    fn the_number_of_samples_is_bounded() {
        let mut meter = RateMeter::default();
        (0..100_000).for_each(|ms| meter.observe(Millis(ms), ms));
        assert!(meter.samples.len() <= SAMPLES_MAX);
        assert!(meter.per_minute().abs_diff(60_000) < 600, "{}", meter.per_minute());
    }
}
