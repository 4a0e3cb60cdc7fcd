//! An answer on its way: what is made of a handler's result, at once or when it comes.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};
use opentelemetry::KeyValue;
use tokio::time::Instant;

use super::connection::{AnswerGuard, HyperResponse};
use super::cors;
use super::error::ApiError;
use super::pipeline::{App, Service};
use super::request::Request;
use super::request_metrics::UNMATCHED;
use super::response::Response;
use crate::codes::Code;
use crate::service::trace::TraceContext;
use crate::service::{context, spans};

const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// A correlation id is echoed up to this length.
const CORRELATION_ID_BYTES_MAX: usize = 128;

/// A handler at work.
pub(super) type Work = Pin<Box<dyn Future<Output = Handled> + Send>>;

/// What a handler came to, and whom it was about, where somebody wants to read of it.
pub(super) struct Handled {
    result: Result<Response, ApiError>,
    about: Option<Box<context::Context>>,
}

/// The answer to one request, as hyper waits for it. Small, since hyper moves it about: work that waits is
/// on the heap, and most hot requests have none.
pub(super) struct Answering<A: App>(State<A>);

enum State<A: App> {
    Done(Option<HyperResponse>),
    Later { service: Arc<Service<A>>, rest: Option<Rest>, work: Work },
}

impl<A: App> Answering<A> {
    pub(super) fn done(response: HyperResponse) -> Self {
        Self(State::Done(Some(response)))
    }

    pub(super) fn later(service: Arc<Service<A>>, rest: Rest, work: Work) -> Self {
        Self(State::Later { service, rest: Some(rest), work })
    }
}

impl<A: App> Future for Answering<A> {
    type Output = Result<HyperResponse, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const TWICE: &str = "an answer is not polled again";
        match &mut self.0 {
            State::Done(response) => Poll::Ready(Ok(response.take().expect(TWICE))),
            State::Later { service, rest, work } => {
                let handled = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(handled)) => handled,
                    Err(panic) => {
                        let trace = rest.as_ref().expect(TWICE).asked.trace;
                        context::sync_scope(trace, || logged(Err(panicked(&*panic))))
                    }
                };
                Poll::Ready(Ok(rest.take().expect(TWICE).finish(service, handled)))
            }
        }
    }
}

/// What stays of a request while it is answered.
pub(super) struct Rest {
    pub(super) asked: Asked,
    pub(super) endpoint: Option<usize>,
    pub(super) started: Instant,
    pub(super) guard: AnswerGuard,
}

impl Rest {
    /// The same work as a span of the request's trace.
    pub(super) fn in_span<A: App>(&self, service: &Service<A>, work: Work) -> Work {
        let (method, trace) = (self.asked.method.clone(), self.asked.trace);
        let route = self.route(service);
        let named = move || {
            let attributes =
                [KeyValue::new("http.request.method", method.to_string()), KeyValue::new("http.route", route)];
            (format!("{method} {route}"), attributes.into())
        };
        let status = |handled: &Handled| match &handled.result {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.info().status,
        };
        // What panics is caught within, so that its span says so.
        let work = AssertUnwindSafe(work).catch_unwind();
        let work = async move { work.await.unwrap_or_else(|panic| logged(Err(panicked(&*panic)))) };
        Box::pin(context::scope(trace, async move { spans::serve(&trace, named, status, work).await }))
    }

    /// The route's pattern: an address may hold anything, a token pasted into it included.
    fn route<A: App>(&self, service: &Service<A>) -> &'static str {
        self.endpoint.map_or(UNMATCHED, |endpoint| service.app.router().endpoints()[endpoint].pattern)
    }

    /// The answer as it is sent.
    pub(super) fn finish<A: App>(self, service: &Service<A>, handled: Handled) -> HyperResponse {
        let Handled { result, about } = handled;
        let route = self.route(service);
        let Self { asked, endpoint, started, mut guard } = self;
        let mut response = result.unwrap_or_else(|error| error.into_response(asked.trace.id));
        let now = Instant::now();
        let took = now.saturating_duration_since(started);
        service.metrics.record(endpoint, response.status(), took);
        if let Some(about) = about {
            let (status, took_us) = (response.status().as_u16(), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            context::sync_within(*about, || {
                tracing::debug!(method = %asked.method, route, status, took_us, "answered");
            });
        }
        asked.finish(response.headers_mut());
        guard.sent_at(now);
        response.body_mut().guard = Some(guard);
        response
    }
}

/// What the answer needs of a request that its handler has taken.
pub(super) struct Asked {
    trace: TraceContext,
    method: Method,
    correlation: Option<HeaderValue>,
    /// The `Origin`, and whether it is allowed.
    origin: Option<(HeaderValue, bool)>,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let headers = request.headers();
        let correlation = headers.get(&X_CORRELATION_ID).filter(|value| {
            (1..=CORRELATION_ID_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(|c| (0x20..=0x7e).contains(c))
        });
        let origin = headers.get(ORIGIN).map(|origin| (origin.clone(), request.origin_allowed()));
        Self { trace: request.trace, method: request.method().clone(), correlation: correlation.cloned(), origin }
    }

    pub(super) fn origin_allowed(&self) -> bool {
        self.origin.as_ref().is_some_and(|(_, allowed)| *allowed)
    }

    fn finish(self, headers: &mut HeaderMap) {
        headers.insert(X_TRACE_ID, self.trace.id.header());
        if let Some(correlation) = self.correlation {
            headers.insert(X_CORRELATION_ID, correlation);
        }
        if self.origin.is_some() || matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            cors::vary(headers);
        }
        if let Some((origin, true)) = self.origin {
            cors::allow(headers, origin);
        }
    }
}

/// Says in the log what went wrong, while it is known whom it concerns.
pub(super) fn logged(result: Result<Response, ApiError>) -> Handled {
    let about = tracing::enabled!(tracing::Level::DEBUG).then(context::current).flatten().map(Box::new);
    let Err(error) = &result else { return Handled { result, about } };
    let info = error.info();
    let internal = error.internal_message().unwrap_or_default();
    // Overload and an absent store are told by metrics; a line per request would make them worse.
    if error.code() == Code::Internal {
        tracing::error!(code = info.name, internal, "request failed");
    } else {
        tracing::debug!(code = info.name, internal, "request refused");
    }
    Handled { result, about }
}

/// What a panic is answered with.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> ApiError {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    ApiError::internal(format_args!("panic: {said}"))
}
