//! How often a peer may speak.

use std::num::NonZeroU64;

use crate::{
    limits::{WS_RATE_MESSAGES_MAX, WS_RATE_WINDOW_MS},
    service::uptime::uptime_ms,
};

const MESSAGES_MAX: usize = WS_RATE_MESSAGES_MAX as usize;

/// Remembers when the last messages came: of any stretch as long as the window, not only of some. Who speaks less
/// than once in a window is remembered by one number.
#[derive(Debug, Default)]
pub struct Window {
    /// Never 0, see below.
    last_ms: Option<NonZeroU64>,
    recent: Option<Box<Recent>>,
}

#[derive(Debug)]
struct Recent {
    /// When they came; the oldest at `next`.
    came_ms: [u64; MESSAGES_MAX],
    next: usize,
    full: bool,
}

impl Window {
    /// One more message; whether that is still allowed.
    pub fn allow(&mut self) -> bool {
        self.allow_at(uptime_ms())
    }

    fn allow_at(&mut self, now_ms: u64) -> bool {
        // That it is the first millisecond of all changes nothing.
        let now = NonZeroU64::new(now_ms).unwrap_or(NonZeroU64::MIN);
        let last = self.last_ms.replace(now).map(NonZeroU64::get);
        let Some(last) = last.filter(|last| now_ms.saturating_sub(*last) <= WS_RATE_WINDOW_MS) else {
            self.recent = None;
            return true;
        };
        self.recent.get_or_insert_with(|| Box::new(Recent::of(last))).allow(now_ms)
    }
}

impl Recent {
    fn of(first_ms: u64) -> Self {
        let mut recent = Self { came_ms: [0; MESSAGES_MAX], next: 0, full: false };
        recent.allow(first_ms);
        recent
    }

    fn allow(&mut self, now_ms: u64) -> bool {
        let oldest = std::mem::replace(&mut self.came_ms[self.next], now_ms);
        let allowed = !self.full || now_ms.saturating_sub(oldest) > WS_RATE_WINDOW_MS;
        self.next = (self.next + 1) % MESSAGES_MAX;
        self.full |= self.next == 0;
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_in_ten_seconds_and_no_more() {
        let mut window = Window::default();
        assert!((0..20).all(|n| window.allow_at(n)));
        assert!(!window.allow_at(20));
        assert!(window.allow_at(20 + 10_001));
        assert!(window.recent.is_none(), "all of it is long ago");
    }

    #[test]
    fn any_ten_seconds_count() {
        let mut window = Window::default();
        assert!(window.allow_at(0));
        assert!((0..19).all(|_| window.allow_at(9_900)));
        assert!(window.allow_at(10_100), "the first one was more than ten seconds ago");
        assert!(!window.allow_at(10_100), "the others were not");
    }

    #[test]
    fn who_speaks_seldom_is_remembered_by_one_number() {
        let mut window = Window::default();
        for n in 0..100 {
            assert!(window.allow_at(n * 25_000));
            assert!(window.recent.is_none());
        }
    }
}
