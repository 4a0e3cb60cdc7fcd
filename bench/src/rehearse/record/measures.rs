//! What was measured, and what was done to the servers meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Requests of one route.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// All of them; those that failed, too.
    pub all: Counts,
    /// Those that neither began nor ended within the window of a fault.
    pub calm: Counts,
    /// Answers by status; `0` for none.
    pub statuses: BTreeMap<u16, u64>,
}

/// Requests, and how long they took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub requests: u64,
    /// Refused as they may be.
    pub refused: u64,
    /// No answer, 5xx, an answer that breaks the contract.
    pub failed: u64,
    pub latency: Latency,
}

/// An HDR histogram of microseconds with three digits, as value and count, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latency(pub Vec<(u64, u64)>);

impl Latency {
    /// Milliseconds that `share` (0 to 1) of all took at most; 0 if there were none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let all: u64 = self.0.iter().map(|(_, count)| count).sum();
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        let found = self.0.iter().find(|(_, count)| {
            passed += count;
            passed >= wanted
        });
        found.or(self.0.last()).map_or(0.0, |(us, _)| *us as f64 / 1_000.0)
    }

    /// Both together.
    pub fn merged<'l>(all: impl IntoIterator<Item = &'l Self>) -> Self {
        let mut counts = BTreeMap::new();
        for (us, count) in all.into_iter().flat_map(|latency| &latency.0) {
            *counts.entry(*us).or_insert(0) += count;
        }
        Self(counts.into_iter().collect())
    }
}

/// Something that was done to the servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// As the scenario calls it: `node-killed`, `redis-paused`, …
    pub fault: String,
    /// To whom: `queue-1`, `redis-tickets`, `ledger`, …
    pub target: String,
    pub from: u64,
    /// When it was taken back.
    pub to: u64,
    /// When every server said again that it is ready; the window of the fault ends a little later.
    pub ready_at: u64,
    /// End of the window: requests that begin later count as calm.
    pub window_to: u64,
    /// What was seen, for people: `killed with 2 payments under way`.
    pub note: String,
}

/// Once a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub at: u64,
    /// Visitors that have come so far.
    pub arrived: u64,
    /// Visitors in line, by their own knowledge.
    pub waiting: u64,
    pub active: u64,
    /// Holds that their holders believe to have.
    pub holding: u64,
    /// Visitors that have gone.
    pub gone: u64,
    /// Seats and tickets that were acknowledged as booked so far.
    pub booked: u64,
    /// By the store; `None` while it cannot be asked.
    pub line: Option<Line>,
    /// Requests answered within this second, and of these failed.
    pub requests: u64,
    pub failed: u64,
    /// First answers to a join or return within this second.
    pub joins: u64,
    /// Latency of this second, in milliseconds; 0 without requests.
    pub p50_ms: f64,
    pub p95_ms: f64,
    /// Resident memory by process, in bytes.
    pub memory: BTreeMap<String, u64>,
    /// Processor time by process so far, in milliseconds; begins anew where a process does.
    pub cpu_ms: BTreeMap<String, u64>,
}

/// The stores' own numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub waiting: u64,
    pub active: u64,
    /// Holds in the ticket store, pinned ones too.
    pub held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values() {
        let fast = Latency(vec![(1_000, 90), (2_000, 5)]);
        let slow = Latency(vec![(2_000, 4), (500_000, 1)]);
        let both = Latency::merged([&fast, &slow]);
        assert_eq!(both.0, [(1_000, 90), (2_000, 9), (500_000, 1)]);
        assert_eq!((both.quantile_ms(0.5), both.quantile_ms(0.95), both.quantile_ms(1.0)), (1.0, 2.0, 500.0));
        assert_eq!(Latency::default().quantile_ms(0.95), 0.0);
    }
}
