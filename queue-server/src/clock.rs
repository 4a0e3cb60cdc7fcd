//! The one place that reads the wall clock.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use queue_core::ids::Millis;

use crate::engine::memory::Clock;

/// The time of this machine.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// [`now`], as the memory engine wants it.
pub fn system() -> Clock {
    Arc::new(now)
}
