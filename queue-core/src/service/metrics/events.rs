//! Counters and gauges with the label `event`: they live as long as their event does.
//!
//! The exporter never forgets a series. A process that meets new events for months would show all of them, so these
//! series are kept here and rendered beside the exporter's. Invariants: a label is the name of one event, or `other`
//! for all that came when there was no label left; a series is gone with the last who holds its label.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use parking_lot::Mutex;

/// Events with a label of their own at a time, at most; what comes beyond is `other`.
pub const EVENT_LABELS_MAX: usize = 1_000;

/// The label.
const EVENT: &str = "event";
/// Its value for all events without one of their own.
const OTHER: &str = "other";

/// All series with the label `event`.
#[derive(Default)]
pub struct EventSeries(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Who has a label of their own, and how many hold it.
    events: HashMap<Arc<str>, usize>,
    help: HashMap<KeyName, SharedString>,
    families: BTreeMap<String, Family>,
}

/// All series of one name.
struct Family {
    kind: Kind,
    help: SharedString,
    /// By their labels, as they are rendered.
    series: BTreeMap<String, Series>,
}

struct Series {
    event: Box<str>,
    value: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// An event's value of the label, for as long as this lives.
pub struct EventLabel {
    series: Arc<EventSeries>,
    /// `None`: `other`.
    event: Option<Arc<str>>,
}

impl EventSeries {
    /// The label of an event: the same for all who hold it at a time.
    pub fn label(self: &Arc<Self>, event: &str) -> EventLabel {
        let event = self.0.lock().hold(event);
        EventLabel { series: self.clone(), event }
    }

    /// Adds them to the Prometheus text format.
    pub fn render(&self, text: &mut String) {
        for (name, family) in &self.0.lock().families {
            family.render(name, text);
        }
    }

    fn describe(&self, name: KeyName, help: SharedString) {
        self.0.lock().help.insert(name, help);
    }

    /// Where the value of a series is; `None` for a series without the label.
    fn value(&self, kind: Kind, key: &Key) -> Option<Arc<AtomicU64>> {
        let event = key.labels().find(|label| label.key() == EVENT)?.value();
        Some(self.0.lock().value(kind, key, event))
    }
}

impl Inner {
    fn hold(&mut self, event: &str) -> Option<Arc<str>> {
        if let Some((name, _)) = self.events.get_key_value(event) {
            let name = name.clone();
            self.events.entry(name.clone()).and_modify(|holders| *holders += 1);
            return Some(name);
        }
        // An event of that name is one of the others.
        if event == OTHER || self.events.len() >= EVENT_LABELS_MAX {
            return None;
        }
        let name: Arc<str> = event.into();
        self.events.insert(name.clone(), 1);
        Some(name)
    }

    fn let_go(&mut self, event: &str) {
        let Some(holders) = self.events.get_mut(event) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.events.remove(event);
            self.families.values_mut().for_each(|family| family.series.retain(|_, series| *series.event != *event));
        }
    }

    fn value(&mut self, kind: Kind, key: &Key, event: &str) -> Arc<AtomicU64> {
        // Nobody holds the label, so that nobody would take the series away again.
        if event != OTHER && !self.events.contains_key(event) {
            return Arc::default();
        }
        let help = || self.help.get(key.name()).cloned().unwrap_or_default();
        let family = || Family { kind, help: help(), series: BTreeMap::new() };
        let family = self.families.entry(key.name().to_owned()).or_insert_with(family);
        let series = || Series { event: event.into(), value: Arc::default() };
        family.series.entry(labels(key)).or_insert_with(series).value.clone()
    }
}

impl Family {
    fn render(&self, name: &str, text: &mut String) {
        if self.series.is_empty() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", self.help, self.kind.name());
        for (labels, series) in &self.series {
            let bits = series.value.load(Ordering::Acquire);
            let _ = match self.kind {
                Kind::Counter => writeln!(text, "{name}{{{labels}}} {bits}"),
                Kind::Gauge => writeln!(text, "{name}{{{labels}}} {}", f64::from_bits(bits)),
            };
        }
        text.push('\n');
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Labels in the text format. Event names and all of ours need no escaping.
fn labels(key: &Key) -> String {
    let labels: Vec<_> = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value())).collect();
    labels.join(",")
}

impl EventLabel {
    /// What the label says.
    pub fn value(&self) -> SharedString {
        self.event.clone().map_or(SharedString::const_str(OTHER), SharedString::from)
    }
}

impl Drop for EventLabel {
    fn drop(&mut self) {
        if let Some(event) = &self.event {
            self.series.0.lock().let_go(event);
        }
    }
}

/// Keeps the series of events itself, and leaves all others to the exporter.
pub struct SplitRecorder {
    pub events: Arc<EventSeries>,
    pub exporter: PrometheusRecorder,
}

impl Recorder for SplitRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.events.describe(name.clone(), help.clone());
        self.exporter.describe_counter(name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.events.describe(name.clone(), help.clone());
        self.exporter.describe_gauge(name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.exporter.describe_histogram(name, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        match self.events.value(Kind::Counter, key) {
            Some(value) => Counter::from_arc(value),
            None => self.exporter.register_counter(key, metadata),
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        match self.events.value(Kind::Gauge, key) {
            Some(value) => Gauge::from_arc(value),
            None => self.exporter.register_gauge(key, metadata),
        }
    }

    /// None has the label.
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.exporter.register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    fn counter(series: &EventSeries, label: &EventLabel) -> Counter {
        let key = Key::from_parts("svc_events_total", vec![Label::new(EVENT, label.value())]);
        Counter::from_arc(series.value(Kind::Counter, &key).unwrap())
    }

    fn text(series: &EventSeries) -> String {
        let mut text = String::new();
        series.render(&mut text);
        text
    }

    #[test]
    fn events_beyond_the_thousandth_are_other() {
        let series = Arc::<EventSeries>::default();
        let mut labels: Vec<_> = (0..EVENT_LABELS_MAX).map(|i| series.label(&format!("e{i}"))).collect();
        assert!(labels.iter().enumerate().all(|(i, label)| *label.value() == *format!("e{i}")));
        assert_eq!(&*series.label("one-more").value(), OTHER);
        assert_eq!(&*series.label("e0").value(), "e0");
        labels.remove(0);
        assert_eq!(&*series.label("one-more").value(), "one-more", "what was given back is another's");
    }

    #[test]
    fn an_event_of_the_name_of_the_others_is_one_of_them() {
        assert!(Arc::<EventSeries>::default().label(OTHER).event.is_none());
    }

    #[test]
    fn a_series_is_gone_with_the_last_who_holds_its_label() {
        let series = Arc::<EventSeries>::default();
        series.describe("svc_events_total".into(), "Of a test.".into());
        let (one, again, other) = (series.label("one"), series.label("one"), series.label("two"));
        counter(&series, &one).increment(3);
        counter(&series, &again).increment(4);
        counter(&series, &other).increment(5);
        drop(one);
        let head = "# HELP svc_events_total Of a test.\n# TYPE svc_events_total counter\n";
        let two = "svc_events_total{event=\"two\"} 5\n\n";
        assert_eq!(text(&series), format!("{head}svc_events_total{{event=\"one\"}} 7\n{two}"));
        let late = counter(&series, &again);
        drop(again);
        late.increment(1);
        assert_eq!(text(&series), format!("{head}{two}"));
        let anew = series.label("one");
        counter(&series, &anew).increment(1);
        assert!(text(&series).contains("{event=\"one\"} 1\n"), "it begins anew");
    }

    #[test]
    fn a_label_that_nobody_holds_has_no_series() {
        let series = EventSeries::default();
        let key = Key::from_parts("svc_events", vec![Label::new(EVENT, "gone")]);
        Gauge::from_arc(series.value(Kind::Gauge, &key).unwrap()).set(1.0);
        assert_eq!(text(&series), "");
        assert!(series.value(Kind::Gauge, &Key::from_name("svc_events")).is_none());
    }
}
