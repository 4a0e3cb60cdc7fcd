//! A clock that is never set, for how long ago something was.

use std::{sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// Well before anybody asks: in tests several clocks of their own share this process.
static BEGAN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(30 * 86_400)).unwrap_or(now)
});

/// Milliseconds since some instant.
pub fn uptime_ms() -> u64 {
    BEGAN.elapsed().as_millis() as u64
}
