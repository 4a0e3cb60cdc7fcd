//! Metrics: the Prometheus recorder of the process, and labels of bounded size.
//!
//! The recorder has no listener of its own: the operations listener serves what
//! [`MetricsHandle::render`] gives. Histograms grow until somebody drains them, so
//! [`MetricsHandle::upkeep`] must run as long as the process does ([`run`](super::run) sees to it).

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::SharedString;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;

/// How often histograms are drained.
pub const UPKEEP_PERIOD: Duration = Duration::from_secs(1);
/// Distinct values of the label `event`, at most; what comes later is `other`.
pub const EVENT_LABELS_MAX: usize = 1_000;

/// Buckets of all other histograms: 100 µs to 10 s.
const LATENCY_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets of histograms whose name ends in `_wait_duration_seconds`: what people wait, 1 s to 8 h.
const WAIT_BUCKETS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0];
/// Buckets of histograms whose name ends in `_size`: things in a batch.
const SIZE_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// What renders the metrics of this process.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

/// Installs the recorder; the same one again when it is there already.
pub fn install() -> MetricsHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let bounds = "the bounds are there";
        PrometheusBuilder::new()
            .set_buckets(LATENCY_BUCKETS)
            .expect(bounds)
            .set_buckets_for_metric(Matcher::Suffix("_wait_duration_seconds".into()), WAIT_BUCKETS)
            .expect(bounds)
            .set_buckets_for_metric(Matcher::Suffix("_size".into()), SIZE_BUCKETS)
            .expect(bounds)
            .install_recorder()
            .expect("nobody else in this process installs a recorder")
    });
    MetricsHandle(handle.clone())
}

impl MetricsHandle {
    /// The Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
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

/// Values of the label `event`: the first thousand events by name, the rest as `other`.
#[derive(Debug, Default)]
pub struct EventLabels {
    known: RwLock<HashSet<Arc<str>>>,
}

impl EventLabels {
    /// The label's value for an event. Cheap once the event is known; keep the metric's handle
    /// where it is hot.
    pub fn label(&self, event: &str) -> SharedString {
        if let Some(known) = self.known.read().get(event) {
            return known.clone().into();
        }
        let mut known = self.known.write();
        if let Some(known) = known.get(event) {
            return known.clone().into();
        }
        if known.len() >= EVENT_LABELS_MAX {
            return SharedString::const_str("other");
        }
        let event: Arc<str> = event.into();
        known.insert(event.clone());
        event.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_thousandth_are_other() {
        let labels = EventLabels::default();
        for i in 0..EVENT_LABELS_MAX {
            assert_eq!(&*labels.label(&format!("e{i}")), format!("e{i}"));
        }
        assert_eq!(&*labels.label("one-more"), "other");
        assert_eq!(&*labels.label("e0"), "e0");
        assert_eq!(labels.known.read().len(), EVENT_LABELS_MAX);
    }

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
}
