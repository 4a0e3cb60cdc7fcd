//! Spans for an OpenTelemetry collector: off unless an endpoint is set, and then they cost one
//! look at a flag each.
//!
//! A trace id is made for every request anyway ([`TraceContext`]); here it becomes the trace of the
//! spans, so that what a log line, an error body and a collector say is the same id. Spans are
//! handed to a thread of the exporter through a bounded queue: a collector that is away costs spans,
//! never requests.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::Either;
use opentelemetry::trace::{
    FutureExt as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceId as OtelTraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, Sampler, SdkTracer, SdkTracerProvider};

use super::context;
use super::trace::{TraceContext, random_u64};

/// What a collector's answer may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// What the last spans may take when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanConfig {
    /// The collector's address for OTLP over HTTP, without `/v1/traces`.
    pub endpoint: String,
    /// The part of traces begun here that is recorded, 0 to 1. Who calls with a recorded trace decides for it.
    pub ratio: f64,
}

/// What a span is in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work of this process.
    Internal,
    /// A call to another process.
    Client,
    /// A message sent.
    Producer,
    /// A message received.
    Consumer,
}

/// Sends what is left when it is dropped.
#[must_use]
pub struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Starts to record, for the whole process and once. Not to be called on a runtime's thread.
pub fn init(service: &'static str, config: &SpanConfig) -> Result<Exporting, String> {
    // Like every other call between servers: no proxy, no redirects, bounded in time.
    let client = reqwest::blocking::Client::builder()
        .timeout(EXPORT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}/v1/traces", config.endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio))))
        .with_id_generator(Ids)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build();
    TRACER.set(provider.tracer("usher")).map_err(|_| "spans are recorded already".to_owned())?;
    Ok(Exporting(provider))
}

/// Whether spans are recorded at all.
pub fn enabled() -> bool {
    TRACER.get().is_some()
}

/// The work of one HTTP request; `name` is its method and route, `status` reads the answer's code.
pub fn serve<F: Future>(
    trace: &TraceContext,
    name: impl FnOnce() -> (String, Vec<KeyValue>),
    status: impl FnOnce(&F::Output) -> u16,
    work: F,
) -> impl Future<Output = F::Output> {
    let Some(tracer) = TRACER.get() else { return Either::Left(work) };
    let (name, attributes) = name();
    let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let cx = Context::new().with_span(tracer.build_with_context(builder, &remote(trace)));
    Either::Right(async move {
        let output = work.with_context(cx.clone()).await;
        let status = status(&output);
        let span = cx.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        output
    })
}

/// A step of the work at hand. Outside of any recorded trace nothing is recorded.
pub fn step<T, E, F>(kind: Kind, name: &'static str, work: F) -> impl Future<Output = Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let Some(tracer) = TRACER.get().filter(|_| Context::current().span().span_context().is_sampled()) else {
        return Either::Left(work);
    };
    Either::Right(record(tracer, kind, name, Context::current(), work))
}

/// Work that another request or process asked for, some time ago: `traceparent` is what it left.
/// Log lines of the work bear its trace.
pub fn resume<T, E, F>(
    traceparent: Option<&str>,
    kind: Kind,
    name: &'static str,
    work: F,
) -> impl Future<Output = Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let Some(trace) = traceparent.and_then(|text| TraceContext::parse(text.as_bytes())) else {
        return Either::Left(work);
    };
    let work = match TRACER.get() {
        Some(tracer) => Either::Left(record(tracer, kind, name, remote(&trace), work)),
        None => Either::Right(work),
    };
    Either::Right(context::scope(trace, work))
}

/// The `traceparent` of the work at hand, if it is recorded: for whoever goes on with it later, by [`resume`].
pub fn recorded() -> Option<String> {
    traceparent().filter(|_| Context::current().span().span_context().is_sampled())
}

/// The header for whoever continues the work at hand, if there are spans at all.
pub(super) fn traceparent() -> Option<String> {
    if !enabled() {
        return None;
    }
    let cx = Context::current();
    let span = cx.span();
    let at = span.span_context();
    at.is_valid().then(|| format!("00-{}-{}-{:02x}", at.trace_id(), at.span_id(), at.trace_flags()))
}

/// Takes the span at hand along with a future that another task is to run.
pub(super) fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    if enabled() { Either::Left(future.with_current_context()) } else { Either::Right(future) }
}

async fn record<T, E: std::fmt::Display>(
    tracer: &SdkTracer,
    kind: Kind,
    name: &'static str,
    parent: Context,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let kind = match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    };
    let builder = SpanBuilder::from_name(name).with_kind(kind);
    let cx = Context::new().with_span(tracer.build_with_context(builder, &parent));
    let result = work.with_context(cx.clone()).await;
    if let Err(error) = &result {
        cx.span().set_status(Status::error(error.to_string()));
    }
    result
}

/// The caller's span as a parent; none for a trace that begins here.
fn remote(trace: &TraceContext) -> Context {
    if trace.parent == 0 {
        return Context::new();
    }
    let flags = TraceFlags::default().with_sampled(trace.sampled);
    let id = OtelTraceId::from_bytes(trace.id.to_bytes());
    let parent = SpanContext::new(id, SpanId::from(trace.parent), flags, true, TraceState::NONE);
    Context::new().with_remote_span_context(parent)
}

/// A trace that begins here has the id that the request at hand was given.
#[derive(Debug)]
struct Ids;

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> OtelTraceId {
        let trace = context::current().map_or_else(TraceContext::new, |context| context.trace);
        OtelTraceId::from_bytes(trace.id.to_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(random_u64().max(1))
    }
}
