//! Whether the process can serve: ready while no reason against it stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The reason of a server that goes away; it is never taken back.
pub const DRAINING: &str = "draining";

/// The reasons against readiness. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

impl Readiness {
    /// Ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready, for this reason, until it is taken back.
    pub fn fail(&self, reason: &'static str) {
        if self.0.lock().insert(reason) {
            tracing::warn!(reason, "not ready");
        }
    }

    /// Takes a reason back.
    pub fn pass(&self, reason: &'static str) {
        if reason != DRAINING && self.0.lock().remove(reason) {
            tracing::info!(reason, "no longer in the way of readiness");
        }
    }

    /// [`Readiness::pass`] or [`Readiness::fail`].
    pub fn set(&self, reason: &'static str, ready: bool) {
        if ready { self.pass(reason) } else { self.fail(reason) }
    }

    /// Whether no reason stands.
    pub fn is_ready(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// The reasons that stand.
    pub fn reasons(&self) -> Vec<&'static str> {
        self.0.lock().iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_while_nothing_is_in_the_way() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        readiness.fail("store");
        readiness.clone().fail(DRAINING);
        assert_eq!(readiness.reasons(), ["draining", "store"]);
        readiness.set("store", true);
        readiness.pass(DRAINING);
        assert_eq!(readiness.reasons(), ["draining"], "draining is for ever");
    }
}
