//! Requests counted and timed by route. Handles are made at first use and kept, so that a hot
//! request looks nothing up.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram, Unit};

/// The statuses our servers answer with; any other counts as its class.
const STATUSES: &[(u16, &str)] = &[
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (101, "101"),
    (302, "302"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (413, "413"),
    (415, "415"),
    (421, "421"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (503, "503"),
    (0, "other"),
];

/// The label of requests whose address leads nowhere.
pub(super) const UNMATCHED: &str = "unmatched";

pub(super) struct RequestMetrics {
    counter: String,
    histogram: String,
    routes: Vec<RouteMetrics>,
}

struct RouteMetrics {
    label: &'static str,
    duration: OnceLock<Histogram>,
    statuses: [OnceLock<Counter>; STATUSES.len()],
}

impl RouteMetrics {
    fn new(label: &'static str) -> Self {
        Self { label, duration: OnceLock::new(), statuses: [const { OnceLock::new() }; STATUSES.len()] }
    }
}

impl RequestMetrics {
    /// For routes with these labels, and one more for what leads nowhere.
    pub(super) fn new(prefix: &str, labels: impl Iterator<Item = &'static str>) -> Self {
        let counter = format!("{prefix}http_requests_total");
        let histogram = format!("{prefix}http_request_duration_seconds");
        metrics::describe_counter!(counter.clone(), "Requests answered, by route and status.");
        let help = "Time from the end of a request's head to its answer's head, by route.";
        metrics::describe_histogram!(histogram.clone(), Unit::Seconds, help);
        let routes = labels.chain([UNMATCHED]).map(RouteMetrics::new).collect();
        Self { counter, histogram, routes }
    }

    pub(super) fn record(&self, route: Option<usize>, status: StatusCode, took: Duration) {
        let Some(route) = self.routes.get(route.unwrap_or(self.routes.len() - 1)) else { return };
        let index = STATUSES.iter().position(|(known, _)| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        route.statuses[index]
            .get_or_init(
                || metrics::counter!(self.counter.clone(), "route" => route.label, "status" => STATUSES[index].1),
            )
            .increment(1);
        route
            .duration
            .get_or_init(|| metrics::histogram!(self.histogram.clone(), "route" => route.label))
            .record(took.as_secs_f64());
    }
}
