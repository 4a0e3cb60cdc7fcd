//! Both servers send their spans to a collector: what one visitor buys is one whole trace, from the caller's own span
//! through the ticket server, its stores and the relay to the queue server, which gives the slot back.

mod support;

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

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

/// The spans of the trace, by their ids, as soon as the queue's release is among them.
async fn whole_trace(received: &Received) -> Result<HashMap<String, (String, Span)>> {
    let until = Instant::now() + ARRIVES_WITHIN;
    loop {
        let spans: HashMap<_, _> = received
            .lock()
            .iter()
            .filter(|(_, span)| hex(&span.trace_id) == TRACE)
            .map(|sent| (hex(&sent.1.span_id), sent.clone()))
            .collect();
        let released = |(service, span): &(String, Span)| service == "queue-server" && is_release(span);
        let parents_are_here = spans.values().all(|(_, span)| {
            let parent = hex(&span.parent_span_id);
            parent == CALLER || spans.contains_key(&parent)
        });
        if parents_are_here && spans.values().any(released) {
            return Ok(spans);
        }
        ensure!(Instant::now() < until, "no whole trace: {:?}", names(&spans));
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

    let spans = whole_trace(&received).await?;
    let heads = spans.values().filter(|(_, span)| hex(&span.parent_span_id) == CALLER).count();
    ensure!(heads == 1, "one span is the caller's child: {:?}", names(&spans));
    for expected in [
        "ticket-server: POST /api/v1/reservations/{id}/confirm",
        "ticket-server: ticket store",
        "ticket-server: ledger",
        "ticket-server: tell the queue",
        "queue-server: queue store",
    ] {
        ensure!(names(&spans).iter().any(|name| name == expected), "{expected} is not in {:?}", names(&spans));
    }
    let text = format!("{spans:?}");
    ensure!(!text.contains(active) && !text.contains("127.0.0.1"), "no token and no address in a span");

    let until = Instant::now() + ARRIVES_WITHIN;
    while !received.lock().iter().any(|(_, span)| hex(&span.trace_id) == trace_id && span.parent_span_id.is_empty()) {
        ensure!(Instant::now() < until, "the trace of an answer's x-trace-id");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test]
async fn over_redis() -> Result<()> {
    one_booking_is_one_trace(true).await
}

#[tokio::test]
async fn over_http() -> Result<()> {
    one_booking_is_one_trace(false).await
}
