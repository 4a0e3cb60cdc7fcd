//! Both servers send their spans to a collector: what one visitor buys is one whole trace, from the caller's own span
//! through the ticket server, its stores, the payment provider and the relay to the queue server, which gives the slot
//! back.

mod support;

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as Any, trace::v1::Span,
};
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};
use support::Stage;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// The exporter sends every five seconds.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A span and the service that sent it.
type Received = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector on loopback.
async fn collector() -> Result<(String, Received)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let received = Received::default();
    let spans = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let spans = spans.clone();
            let take = service_fn(move |request: hyper::Request<Incoming>| {
                let spans = spans.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let body = request.into_body().collect().await.expect("the whole body").to_bytes();
                    keep(&spans, ExportTraceServiceRequest::decode(body).expect("OTLP"));
                    Ok::<_, Infallible>(hyper::Response::new(Full::<bytes::Bytes>::default()))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take));
        }
    });
    Ok((url, received))
}

fn keep(spans: &Received, sent: ExportTraceServiceRequest) {
    for resource in sent.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
        let Some(Any::StringValue(service)) = name.and_then(|name| name.value).and_then(|value| value.value) else {
            panic!("spans of an unnamed service");
        };
        let of_scope = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.lock().extend(of_scope.map(|span| (service.clone(), span)));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of the trace, by their ids, as soon as all of those are among them, and the queue's release, and whoever
/// is named as a parent.
async fn whole_trace(received: &Received, expected: &[&str]) -> Result<HashMap<String, (String, Span)>> {
    let until = Instant::now() + ARRIVES_WITHIN;
    loop {
        let spans: HashMap<_, _> = received
            .lock()
            .iter()
            .filter(|(_, span)| hex(&span.trace_id) == TRACE)
            .map(|sent| (hex(&sent.1.span_id), sent.clone()))
            .collect();
        let names = names(&spans);
        let missing: Vec<_> = expected.iter().filter(|expected| !names.iter().any(|name| name == *expected)).collect();
        let released = |(service, span): &(String, Span)| service == "queue-server" && is_release(span);
        let is_here = |parent: &str| parent == CALLER || spans.contains_key(parent);
        let alone = spans.values().filter(|(_, span)| !is_here(&hex(&span.parent_span_id))).count();
        if missing.is_empty() && alone == 0 && spans.values().any(released) {
            return Ok(spans);
        }
        ensure!(Instant::now() < until, "no whole trace: {missing:?} of {names:?}, {alone} without their parents");
        sleep(Duration::from_millis(100)).await;
    }
}

/// A BOOKING_DONE that arrived, by Redis or by HTTP.
fn is_release(span: &Span) -> bool {
    span.name == "BOOKING_DONE" || span.name == "POST /api/v1/queue/booking-done"
}

fn names(spans: &HashMap<String, (String, Span)>) -> Vec<String> {
    spans.values().map(|(service, span)| format!("{service}: {}", span.name)).collect()
}

/// How many spans are the caller's children.
fn heads(spans: &HashMap<String, (String, Span)>) -> usize {
    spans.values().filter(|(_, span)| hex(&span.parent_span_id) == CALLER).count()
}

async fn one_booking_is_one_trace(over_redis: bool) -> Result<()> {
    let (url, received) = collector().await?;
    let stage = Stage::start(over_redis, &[format!("--otlp-endpoint={url}")]).await?;
    let joined = stage.http.post(format!("{}/api/v1/queue/check/night", stage.queue.url)).send().await?;
    let trace_id = joined.headers()["x-trace-id"].to_str()?.to_owned();
    let joined: Value = joined.json().await?;
    let active = joined["activeToken"].as_str().context("admitted at once")?;
    let (status, held) = stage.reserve(active, "A-1-1").await?;
    ensure!(status == 201, "{status} {held}");
    let id = held["reservationId"].as_str().context("an id")?;
    let confirm =
        stage.http.post(format!("{}/api/v1/reservations/{id}/confirm", stage.tickets.url)).bearer_auth(active);
    let answer = confirm.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).json(&json!({})).send().await?;
    ensure!(answer.status() == 200 && answer.headers()["x-trace-id"] == TRACE, "{answer:?}");

    let expected = [
        "ticket-server: POST /api/v1/reservations/{id}/confirm",
        "ticket-server: ticket store",
        "ticket-server: ledger",
        "ticket-server: tell the queue",
        "queue-server: queue store",
    ];
    let spans = whole_trace(&received, &expected).await?;
    ensure!(heads(&spans) == 1, "one span is the caller's child: {:?}", names(&spans));
    let text = format!("{spans:?}");
    ensure!(!text.contains(active) && !text.contains("127.0.0.1"), "no token and no address in a span");

    let until = Instant::now() + ARRIVES_WITHIN;
    while !received.lock().iter().any(|(_, span)| hex(&span.trace_id) == trace_id && span.parent_span_id.is_empty()) {
        ensure!(Instant::now() < until, "the trace of an answer's x-trace-id");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The payment provider of the ticket server's own tests, in another process.
struct Provider {
    child: std::process::Child,
    url: String,
}

impl Provider {
    const SECRET: &str = "a-secret-of-both-long-enough-0123456789";

    fn start(folder: &Path) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ticket-server/tests/orders/provider.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(Self::SECRET).arg(folder.join("provider.log"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let url = format!("http://127.0.0.1:{}", line.trim());
        Ok(Self { child, url })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From joining to the release of the slot.
async fn one_order_is_one_trace(over_redis: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let provider = Provider::start(folder.path())?;
    let secret = folder.path().join("payment-secret");
    std::fs::write(&secret, Provider::SECRET)?;
    let (url, received) = collector().await?;
    let paying = [format!("--payments={}", provider.url), format!("--payment-secret-file={}", secret.display())];
    let stage = Stage::start_with(over_redis, &[format!("--otlp-endpoint={url}")], &paying).await?;
    let post = async |url: String, token: &str, body: Value| -> Result<Value> {
        let request = stage.http.post(url).header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
        let request = request.header("idempotency-key", "one").json(&body);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let answer = request.send().await?;
        ensure!(answer.status().is_success() && answer.headers()["x-trace-id"] == TRACE, "{answer:?}");
        Ok(answer.json().await?)
    };
    let joined = post(format!("{}/api/v1/queue/check/night", stage.queue.url), "", json!({})).await?;
    let active = joined["activeToken"].as_str().context("admitted at once")?;
    let wish = json!({"eventId": "night", "seatIds": ["A-1-1", "A-1-2"]});
    let held = post(format!("{}/api/v1/seats/reserve", stage.tickets.url), active, wish).await?;
    let order = json!({"reservationId": held["reservationId"], "payment": {"method": "card", "token": "tok_secret"}});
    let order = post(format!("{}/api/v1/orders", stage.tickets.url), active, order).await?;
    ensure!(order["state"] == "CONFIRMED", "{order}");

    let expected = [
        "queue-server: POST /api/v1/queue/check/{eventId}",
        "ticket-server: POST /api/v1/seats/reserve",
        "ticket-server: POST /api/v1/orders",
        "ticket-server: ticket store",
        "ticket-server: order: pin",
        "ticket-server: order: authorize",
        "ticket-server: order: book",
        "ticket-server: order: capture",
        "ticket-server: payment provider",
        "ticket-server: ledger",
        "ticket-server: tell the queue",
        "queue-server: queue store",
    ];
    let spans = whole_trace(&received, &expected).await?;
    ensure!(heads(&spans) == 3, "each request is the caller's child: {:?}", names(&spans));
    let parent_of = |name: &str| {
        let (_, span) = spans.values().find(|(_, span)| span.name == name)?;
        Some(spans.get(&hex(&span.parent_span_id))?.1.name.as_str())
    };
    ensure!(parent_of("order: book") == Some("POST /api/v1/orders"), "{:?}", parent_of("order: book"));
    ensure!(parent_of("payment provider").is_some_and(|name| name.starts_with("order: ")), "the provider is asked");
    ensure!(parent_of("tell the queue") == Some("order: book"), "{:?}", parent_of("tell the queue"));
    let text = format!("{spans:?}");
    ensure!(!text.contains(active) && !text.contains("tok_secret") && !text.contains("127.0.0.1"), "secrets in a span");
    Ok(())
}

#[tokio::test]
async fn an_order_over_redis() -> Result<()> {
    one_order_is_one_trace(true).await
}

#[tokio::test]
async fn an_order_over_http() -> Result<()> {
    one_order_is_one_trace(false).await
}

#[tokio::test]
async fn over_redis() -> Result<()> {
    one_booking_is_one_trace(true).await
}

#[tokio::test]
async fn over_http() -> Result<()> {
    one_booking_is_one_trace(false).await
}
