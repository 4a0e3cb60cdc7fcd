//! Metrics: the Prometheus recorder of the process, and labels of bounded size.
//!
//! The recorder has no listener of its own: the operations listener serves what
//! [`MetricsHandle::render`] gives. Histograms grow until somebody drains them, so
//! [`MetricsHandle::upkeep`] must run as long as the process does ([`run`](super::run) sees to it).

mod events;

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use events::{EVENT_LABELS_MAX, EventLabel};
use events::{EventSeries, SplitRecorder};

/// How often histograms are drained.
pub const UPKEEP_PERIOD: Duration = Duration::from_secs(1);

/// Buckets of all other histograms: 100 µs to 10 s.
const LATENCY_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets of histograms whose name ends in `_wait_duration_seconds`: what people wait, 1 s to 8 h.
const WAIT_BUCKETS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0];
/// Buckets of histograms whose name ends in `_size`: things in a batch.
const SIZE_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The series of events of this process.
static EVENTS: LazyLock<Arc<EventSeries>> = LazyLock::new(Arc::default);

/// What renders the metrics of this process.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

/// Installs the recorder; the same one again when it is there already.
pub fn install() -> MetricsHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let bounds = "the bounds are there";
        let exporter = PrometheusBuilder::new()
            .set_buckets(LATENCY_BUCKETS)
            .expect(bounds)
            .set_buckets_for_metric(Matcher::Suffix("_wait_duration_seconds".into()), WAIT_BUCKETS)
            .expect(bounds)
            .set_buckets_for_metric(Matcher::Suffix("_size".into()), SIZE_BUCKETS)
            .expect(bounds)
            .build_recorder();
        let handle = exporter.handle();
        let installed = metrics::set_global_recorder(SplitRecorder { events: EVENTS.clone(), exporter });
        assert!(installed.is_ok(), "nobody else in this process installs a recorder");
        handle
    });
    MetricsHandle(handle.clone())
}

/// The value of the label `event` for this one. Its series are shown for as long as somebody holds it.
pub fn event_label(event: &str) -> EventLabel {
    EVENTS.label(event)
}

impl MetricsHandle {
    /// The Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        EVENTS.render(&mut text);
        text
    }

    /// Drains histograms for as long as it is polled.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_buckets_of_their_kind() {
        let handle = install();
        metrics::histogram!("svc_test_wait_duration_seconds").record(100.0);
        metrics::histogram!("svc_test_seconds").record(0.002);
        metrics::histogram!("svc_test_batch_size").record(3.0);
        let text = handle.render();
        assert!(text.contains("svc_test_wait_duration_seconds_bucket{le=\"120\"} 1"), "{text}");
        assert!(text.contains("svc_test_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        assert!(text.contains("svc_test_batch_size_bucket{le=\"4\"} 1"), "{text}");
    }

    #[test]
    fn series_of_events_are_shown_beside_the_others() {
        let handle = install();
        let label = event_label("svc-test-event");
        metrics::gauge!("svc_test_people", "event" => label.value(), "where" => "line").set(2.5);
        metrics::counter!("svc_test_total").increment(1);
        let line = "svc_test_people{event=\"svc-test-event\",where=\"line\"} 2.5\n";
        let text = handle.render();
        assert!(text.contains(line) && text.contains("\nsvc_test_total 1\n"), "{text}");
        drop(label);
        assert!(!handle.render().contains("svc_test_people"));
    }
}
