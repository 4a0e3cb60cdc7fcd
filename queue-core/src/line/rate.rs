//! The generic cell rate algorithm (ITU-T I.371, annex A) in whole microseconds, many cells at a time.
//!
//! The bucket is one number: the theoretical arrival time (TAT) of the next cell. A cell may come up to
//! (burst - 1) intervals before it. All products stay below 2^53, so that Lua computes the same.

const MINUTE_US: u64 = 60_000_000;

/// The burst that goes with a rate per minute: one second's worth, at least 1.
pub const fn burst(per_minute: u32) -> u64 {
    let burst = (per_minute as u64).div_ceil(60);
    if burst == 0 { 1 } else { burst }
}

/// The bucket as it counts now. No rate puts it further ahead than this: the clock was set back, and the bucket
/// starts anew, or nobody would be admitted until the clock has caught up.
const fn current(tat_us: u64, now_us: u64) -> u64 {
    if tat_us > now_us + 2 * MINUTE_US { now_us } else { tat_us }
}

/// How many may be admitted now.
pub fn available(tat_us: u64, now_us: u64, per_minute: u32) -> u64 {
    let ahead = current(tat_us, now_us).saturating_sub(now_us) * u64::from(per_minute);
    burst(per_minute).saturating_sub(ahead.div_ceil(MINUTE_US))
}

/// The bucket after `count` were admitted.
pub fn take(tat_us: u64, now_us: u64, per_minute: u32, count: u64) -> u64 {
    current(tat_us, now_us).max(now_us) + (count * MINUTE_US).div_ceil(u64::from(per_minute))
}

/// When the next one may be admitted, if not now: the first microsecond at which [`available`] is above 0.
pub fn next_at_us(tat_us: u64, per_minute: u32) -> u64 {
    tat_us.saturating_sub((burst(per_minute) - 1) * MINUTE_US / u64::from(per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_lets_in_the_rate_and_one_burst() {
        for per_minute in [1, 7, 59, 60, 61, 600, 5_999_999, 6_000_000] {
            let (mut tat, mut admitted) = (0, 0);
            for now in (0..=60_000).map(|ms| 1_000_000_000_000 + ms * 1000) {
                let count = available(tat, now, per_minute);
                if count > 0 {
                    tat = take(tat, now, per_minute, count);
                    admitted += count;
                }
            }
            let most = u64::from(per_minute) + burst(per_minute);
            assert!(admitted <= most, "{admitted} of {per_minute}");
            assert!(admitted >= u64::from(per_minute) * 99 / 100, "{admitted} of {per_minute}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody() {
        let now = 10_000_000_000;
        let tat = take(0, now, 600, burst(600));
        assert_eq!(available(tat, now, 600), 0);
        let back = now - 3_600_000_000;
        assert_eq!(available(tat, back, 600), burst(600));
        assert_eq!(available(take(tat, back, 600, burst(600)), back, 600), 0);
    }

    #[test]
    fn next_is_when_one_is_available() {
        for (rate, now) in [(1, 5_000_000_000), (600, 5_000_000_000), (90, 1)] {
            let mut tat = 0;
            while available(tat, now, rate) > 0 {
                tat = take(tat, now, rate, 1);
            }
            let at = next_at_us(tat, rate);
            assert!(at > now && available(tat, at - 1, rate) == 0 && available(tat, at + 1, rate) == 1);
        }
    }
}
