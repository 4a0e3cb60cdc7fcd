//! How often a peer may speak.

use std::time::Duration;

use queue_core::limits::{WS_RATE_MESSAGES_MAX, WS_RATE_WINDOW_MS};
use tokio::time::Instant;

/// Counts messages in windows that start with the first message after the last one ended.
#[derive(Debug)]
pub struct Window {
    began: Instant,
    count: u32,
}

impl Window {
    pub fn new() -> Self {
        Self { began: Instant::now(), count: 0 }
    }

    /// One more message; whether that is still allowed.
    pub fn allow(&mut self) -> bool {
        let now = Instant::now();
        if now - self.began > Duration::from_millis(WS_RATE_WINDOW_MS) {
            *self = Self { began: now, count: 0 };
        }
        self.count += 1;
        self.count <= WS_RATE_MESSAGES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn twenty_in_ten_seconds_and_no_more() {
        let mut window = Window::new();
        assert!((0..20).all(|_| window.allow()));
        assert!(!window.allow());
        tokio::time::advance(Duration::from_millis(10_001)).await;
        assert!(window.allow());
    }
}
