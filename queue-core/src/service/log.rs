//! Log lines: JSON for machines, text for people, on standard error, filtered as `RUST_LOG` has it.
//!
//! Every line of a task that serves a request or a socket says which: trace, event and visitor come from
//! the [`context`], whoever writes the line and wherever. What must stay secret has types that do not
//! show it, and addresses are never logged, only the patterns of routes.

use std::fmt;
use std::io::{IsTerminal, stderr};

use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::context;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text, coloured on a terminal.
    Text,
}

impl std::str::FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("not one of them"),
        }
    }
}

/// Whether a filter can be used, for the check of the settings.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::builder().parse(filter).map(drop).map_err(|e| e.to_string())
}

/// Starts logging for the whole process. Does nothing when that was done before (in tests).
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::builder().parse_lossy(filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let _ = if json {
        builder.event_format(Json).try_init()
    } else {
        builder.fmt_fields(TextFields(DefaultFields::new())).with_ansi(stderr().is_terminal()).try_init()
    };
}

/// What a line says, in its order.
#[derive(Default)]
struct Said(Vec<(&'static str, Value)>);

impl Said {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name(), value.into()));
    }

    /// Adds what the context knows and the line does not say itself.
    fn add_context(&mut self) {
        let Some(context) = context::current() else { return };
        let known = [
            ("trace_id", Some(context.trace.id.to_string())),
            ("event", context.event.map(|event| event.to_string())),
            ("visitor", context.visitor.map(|visitor| visitor.to_string())),
        ];
        for (name, value) in known {
            if let Some(value) = value.filter(|_| !self.has(name)) {
                self.0.push((name, value.into()));
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// One JSON object a line: `timestamp`, `level`, the line's own fields, the context's, `target`.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        said.add_context();
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let line = to_json(event, &timestamp, &said).map_err(|_| fmt::Error)?;
        writer.write_str(&line)?;
        writer.write_char('\n')
    }
}

fn to_json(event: &Event<'_>, timestamp: &str, said: &Said) -> Result<String, Box<dyn std::error::Error>> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", timestamp)?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
    for (name, value) in &said.0 {
        map.serialize_entry(name, value)?;
    }
    map.serialize_entry("target", event.metadata().target())?;
    map.end()?;
    Ok(String::from_utf8(line)?)
}

/// The fields of a text line, and behind them the context's.
struct TextFields(DefaultFields);

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut said = Said::default();
        fields.record(&mut said);
        let own = said.0.len();
        said.add_context();
        let added: String = said.0[own..]
            .iter()
            .map(|(name, value)| format!(" {name}={}", value.as_str().unwrap_or_default()))
            .collect();
        let mut formatted = FormattedFields::<Self>::new(String::new());
        self.0.format_fields(formatted.as_writer(), fields)?;
        writer.write_str(&formatted.fields)?;
        writer.write_str(&added)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::ids::{EventId, VisitorId};
    use crate::service::trace::{TraceContext, TraceId};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a subscriber writes while `work` logs, in and out of a request.
    fn written(subscriber: impl Subscriber + Send + Sync, lines: &Lines) -> (String, TraceId) {
        let trace = TraceId::random();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(count = 3, ratio = 0.5, ok = true, "outside");
            let work = context::scope(TraceContext { id: trace, parent: 0, sampled: false }, async {
                context::note_event(&EventId::new("faults").unwrap());
                context::note_visitor(&VisitorId::new("a_x").unwrap());
                tracing::warn!(event = "other", problem = %"line\nbreak \"quoted\"", "inside");
            });
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        (text, trace)
    }

    #[test]
    fn json_lines_say_whom_they_concern() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        let (text, trace) = written(subscriber, &lines);
        let parsed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [outside, inside] = &parsed[..] else { panic!("{text}") };
        assert_eq!((&outside["count"], &outside["ratio"], &outside["ok"]), (&3.into(), &0.5.into(), &true.into()));
        assert!(outside.get("trace_id").is_none() && outside["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!((&inside["level"], &inside["message"]), (&"WARN".into(), &"inside".into()));
        assert_eq!(inside["trace_id"], trace.to_string());
        assert_eq!(inside["visitor"], "a_x");
        // What the line says itself is not said twice.
        assert_eq!((&inside["event"], text.matches("\"event\"").count()), (&"other".into(), 1));
    }

    #[test]
    fn text_lines_do_too() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(TextFields(DefaultFields::new()))
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let (text, trace) = written(subscriber, &lines);
        assert!(text.contains("outside count=3 ratio=0.5 ok=true\n"), "{text}");
        assert!(text.contains(&format!("trace_id={trace} visitor=a_x\n")), "{text}");
    }

    #[test]
    fn filters_are_checked() {
        assert!(check_filter("info").is_ok());
        assert!(check_filter("info,queue_core=debug,hyper=off").is_ok());
        assert!(check_filter("queue_core=loud").is_err());
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
