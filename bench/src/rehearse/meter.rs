//! What requests take and how they end: by route, in all and outside of faults, and within each second.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::{
    record::{Counts, Latency, Route},
    windows::Windows,
};

/// The longest request that is told apart, in microseconds.
const LONGEST_US: u64 = 120_000_000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Refused as it may be.
    Refused,
    /// No answer, 5xx, an answer that breaks the contract.
    Failed,
}

/// One request that is over. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub route: &'static str,
    pub asked_at: u64,
    pub took_us: u64,
    pub status: u16,
    pub outcome: Outcome,
}

struct Tally {
    requests: u64,
    refused: u64,
    failed: u64,
    latency: Histogram<u64>,
}

struct RouteTally {
    all: Tally,
    calm: Tally,
    statuses: BTreeMap<u16, u64>,
}

struct State {
    routes: BTreeMap<&'static str, RouteTally>,
    second: Tally,
    joins: u64,
    failed: u64,
}

/// All requests of a run.
pub struct Meter {
    state: Mutex<State>,
    windows: Windows,
}

/// What was asked within a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    pub requests: u64,
    pub failed: u64,
    pub joins: u64,
    pub p50_ms: f64,
    pub p95_ms: f64,
}

impl Tally {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that fit each other");
        Self { requests: 0, refused: 0, failed: 0, latency }
    }

    fn add(&mut self, request: &Request) {
        self.requests += 1;
        self.refused += u64::from(request.outcome == Outcome::Refused);
        self.failed += u64::from(request.outcome == Outcome::Failed);
        self.latency.saturating_record(request.took_us.max(1));
    }

    fn counts(&self) -> Counts {
        let values = self.latency.iter_recorded();
        let latency = Latency(values.map(|at| (at.value_iterated_to(), at.count_at_value())).collect());
        Counts { requests: self.requests, refused: self.refused, failed: self.failed, latency }
    }
}

impl Meter {
    /// Of a run whose faults are told to `windows`.
    pub fn new(windows: Windows) -> Self {
        let state = State { routes: BTreeMap::new(), second: Tally::new(), joins: 0, failed: 0 };
        Self { state: Mutex::new(state), windows }
    }

    /// Takes note of a request that has just ended. Whether a fault was on at any moment of it.
    pub fn note(&self, request: &Request) -> bool {
        let in_fault = self.windows.meet(request.asked_at, request.asked_at + request.took_us / 1_000);
        let mut state = self.state.lock();
        let route = state.routes.entry(request.route).or_insert_with(|| RouteTally {
            all: Tally::new(),
            calm: Tally::new(),
            statuses: BTreeMap::new(),
        });
        route.all.add(request);
        if !in_fault {
            route.calm.add(request);
        }
        *route.statuses.entry(request.status).or_default() += 1;
        state.second.add(request);
        state.failed += u64::from(request.outcome == Outcome::Failed);
        in_fault
    }

    /// Somebody has a place now, or again.
    pub fn joined(&self) {
        self.state.lock().joins += 1;
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.state.lock().failed
    }

    /// What there was since this was last asked.
    pub fn second(&self) -> Second {
        let mut state = self.state.lock();
        let joins = std::mem::take(&mut state.joins);
        let Tally { requests, failed, latency, .. } = &state.second;
        let quantile = |share| if *requests == 0 { 0.0 } else { latency.value_at_quantile(share) as f64 / 1e3 };
        let (p50_ms, p95_ms) = (quantile(0.5), quantile(0.95));
        let second = Second { requests: *requests, failed: *failed, joins, p50_ms, p95_ms };
        let State { second: tally, .. } = &mut *state;
        (tally.requests, tally.refused, tally.failed) = (0, 0, 0);
        tally.latency.reset();
        second
    }

    /// By route.
    pub fn routes(&self) -> BTreeMap<String, Route> {
        let state = self.state.lock();
        let route = |tally: &RouteTally| Route {
            all: tally.all.counts(),
            calm: tally.calm.counts(),
            statuses: tally.statuses.clone(),
        };
        state.routes.iter().map(|(name, tally)| ((*name).to_owned(), route(tally))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_by_calm() {
        let windows = Windows::default();
        let meter = Meter::new(windows.clone());
        let request =
            |asked_at, took_us, status, outcome| Request { route: "hold", asked_at, took_us, status, outcome };
        assert!(!meter.note(&request(1_000, 2_000, 201, Outcome::Done)));
        let fault = windows.open(2_000, "ledger-paused");
        assert!(meter.note(&request(1_990, 500_000, 503, Outcome::Failed)));
        assert!(meter.note(&request(2_500, 1_000, 409, Outcome::Refused)));
        windows.close(fault, 3_000);
        assert!(!meter.note(&request(3_001, 2_000, 201, Outcome::Done)));
        let routes = meter.routes();
        let route = &routes["hold"];
        assert_eq!((route.all.requests, route.all.refused, route.all.failed), (4, 1, 1));
        assert_eq!((route.calm.requests, route.calm.failed), (2, 0));
        assert!((route.calm.latency.quantile_ms(0.95) - 2.0).abs() < 0.01);
        assert_eq!(route.statuses, BTreeMap::from([(201, 2), (409, 1), (503, 1)]));
        assert_eq!(meter.second().requests, 4);
        assert_eq!(meter.second().requests, 0);
    }
}
