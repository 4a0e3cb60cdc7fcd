//! When faults were on: what happened meanwhile does not count as calm.

use std::sync::Arc;

use parking_lot::Mutex;

/// The windows of a run, shared by who makes faults and who judges requests.
#[derive(Clone, Default)]
pub struct Windows(Arc<Mutex<Vec<Window>>>);

/// Milliseconds since the epoch.
struct Window {
    from: u64,
    to: Option<u64>,
    why: String,
}

impl Windows {
    /// A fault begins; the number of its window.
    pub fn open(&self, from: u64, why: &str) -> usize {
        let mut windows = self.0.lock();
        windows.push(Window { from, to: None, why: why.to_owned() });
        windows.len() - 1
    }

    /// It is over, with its consequences.
    pub fn close(&self, number: usize, to: u64) {
        if let Some(window) = self.0.lock().get_mut(number) {
            window.to = Some(to);
        }
    }

    /// Whether a stretch of time meets one.
    pub fn meet(&self, from: u64, to: u64) -> bool {
        self.0.lock().iter().any(|window| window.from <= to && window.to.is_none_or(|end| from <= end))
    }

    /// What is wrong just now.
    pub fn reasons(&self) -> Vec<String> {
        let windows = self.0.lock();
        windows.iter().filter(|window| window.to.is_none()).map(|window| window.why.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_meets_a_window_or_not() {
        let windows = Windows::default();
        assert!(!windows.meet(0, u64::MAX));
        let first = windows.open(10, "node-killed");
        assert_eq!(windows.reasons(), ["node-killed"]);
        assert!(!windows.meet(5, 9));
        assert!(windows.meet(5, 10) && windows.meet(50, 60));
        windows.close(first, 20);
        assert!(windows.reasons().is_empty());
        assert!(windows.meet(20, 30) && windows.meet(0, 100));
        assert!(!windows.meet(21, 30));
    }
}
