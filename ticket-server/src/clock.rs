//! The one place that reads the wall clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use queue_core::ids::Millis;

/// What time it is.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// By the machine; the Redis engine goes by its store's clock instead.
    #[default]
    Real,
    /// As the test says, in milliseconds.
    Virtual(Arc<AtomicU64>),
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Millis {
        match self {
            Self::Real => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Virtual(now) => Millis(now.load(Ordering::SeqCst)),
        }
    }
}
