//! How often a peer may speak.

use crate::limits::{WS_RATE_MESSAGES_MAX, WS_RATE_WINDOW_MS};
use tokio::time::Instant;

const MESSAGES_MAX: usize = WS_RATE_MESSAGES_MAX as usize;

/// Remembers when the last messages came: of any stretch as long as the window, not only of some.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    /// Milliseconds after `began`; the oldest at `next`. A peer's count wraps only after 49 days.
    came: [u32; MESSAGES_MAX],
    next: usize,
    full: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self { began: Instant::now(), came: [0; MESSAGES_MAX], next: 0, full: false }
    }

    /// One more message; whether that is still allowed.
    pub fn allow(&mut self) -> bool {
        let now = self.began.elapsed().as_millis() as u32;
        let oldest = std::mem::replace(&mut self.came[self.next], now);
        let allowed = !self.full || u64::from(now.wrapping_sub(oldest)) > WS_RATE_WINDOW_MS;
        self.next = (self.next + 1) % MESSAGES_MAX;
        self.full |= self.next == 0;
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn twenty_in_ten_seconds_and_no_more() {
        let mut window = Window::new();
        assert!((0..20).all(|_| window.allow()));
        assert!(!window.allow());
        tokio::time::advance(Duration::from_millis(10_001)).await;
        assert!(window.allow());
    }

    #[tokio::test(start_paused = true)]
    async fn any_ten_seconds_count() {
        let mut window = Window::new();
        assert!(window.allow());
        tokio::time::advance(Duration::from_millis(9_900)).await;
        assert!((0..19).all(|_| window.allow()));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(window.allow(), "the first one was more than ten seconds ago");
        assert!(!window.allow(), "the others were not");
    }
}
