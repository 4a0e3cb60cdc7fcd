//! What happens around every handler: trace, routing, panics, errors, CORS, metrics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Method, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{AnswerGuard, Connection, HEADERS_MAX, HyperResponse};
use super::cors;
use super::error::ApiError;
use super::request::Request;
use super::request_metrics::{RequestMetrics, UNMATCHED};
use super::response::{Response, empty};
use super::router::{Matched, Params, Router};
use super::server::HttpOptions;
use crate::codes::Code;
use crate::service::trace::{TraceContext, TraceId};
use crate::service::{context, spans};

const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// A correlation id is echoed up to this length.
const CORRELATION_ID_BYTES_MAX: usize = 128;

/// What a listener serves.
pub trait App: Send + Sync + 'static {
    /// The names of the routes: usually an enum.
    type Route: Copy + Send + Sync + 'static;

    /// The routes; asked once per request, so keep it in a field.
    fn router(&self) -> &Router<Self::Route>;

    /// What holds for every request before it is routed anywhere, 404 and 405 included; `route` is
    /// `None` for those. Preflights are answered before it is asked.
    fn before(&self, route: Option<Self::Route>, request: &Request) -> Result<(), ApiError> {
        let _ = (route, request);
        Ok(())
    }

    /// Answers a request. Dropped at any await when the client goes away.
    fn handle(&self, route: Self::Route, request: Request) -> impl Future<Output = Result<Response, ApiError>> + Send;
}

/// An app with what its listener adds.
pub(super) struct Service<A: App> {
    pub(super) app: Arc<A>,
    pub(super) options: Arc<HttpOptions>,
    pub(super) http1: http1::Builder,
    pub(super) metrics: RequestMetrics,
    pub(super) draining: CancellationToken,
}

/// What the answer needs of a request that its handler has taken.
struct Asked {
    trace: TraceId,
    correlation: Option<HeaderValue>,
    /// The `Origin`, and whether it is allowed.
    origin: Option<(HeaderValue, bool)>,
    cacheable: bool,
}

/// Answers one request; it never fails.
pub(super) async fn answer<A: App>(
    service: Arc<Service<A>>,
    connection: Arc<Connection>,
    inner: http::Request<Incoming>,
) -> Result<HyperResponse, Infallible> {
    let trace = TraceContext::of(inner.headers());
    context::scope(trace, answer_traced(service, connection, inner, trace)).await
}

async fn answer_traced<A: App>(
    service: Arc<Service<A>>,
    connection: Arc<Connection>,
    inner: http::Request<Incoming>,
    trace: TraceContext,
) -> Result<HyperResponse, Infallible> {
    let started = Instant::now();
    connection.begin(started);
    let guard = AnswerGuard(connection.clone());
    let method = inner.method().clone();
    let found = service.app.router().find(inner.method(), inner.uri().path());
    let endpoint = found.as_ref().map(|matched| matched.endpoint);
    let request = Request {
        params: found.as_ref().map(|matched| matched.params).unwrap_or_default(),
        inner,
        trace,
        connection,
        options: service.options.clone(),
        draining: service.draining.clone(),
    };
    let asked = Asked::of(&request);
    let allowed = asked.origin.as_ref().is_some_and(|(_, allowed)| *allowed);
    let named = || {
        let route = endpoint.map_or(UNMATCHED, |endpoint| service.app.router().endpoints()[endpoint].pattern);
        let attributes = [KeyValue::new("http.request.method", method.to_string()), KeyValue::new("http.route", route)];
        (format!("{method} {route}"), attributes.into())
    };
    let status = |handled: &std::thread::Result<Result<Response, ApiError>>| match handled {
        Ok(Ok(response)) => response.status().as_u16(),
        Ok(Err(error)) => error.info().status,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
    };
    let work = AssertUnwindSafe(dispatch(&service, found, request, allowed)).catch_unwind();
    let handled = spans::serve(&trace, named, status, work).await;
    let result = handled.unwrap_or_else(|panic| Err(ApiError::internal(format_args!("panic: {}", text_of(&*panic)))));
    let mut response = result.unwrap_or_else(|error| {
        log_error(&error);
        error.into_response(trace.id)
    });
    asked.finish(response.headers_mut());
    let took = started.elapsed();
    service.metrics.record(endpoint, response.status(), took);
    // The route's pattern: an address may hold anything, a token pasted into it included.
    let route = endpoint.map_or(UNMATCHED, |endpoint| service.app.router().endpoints()[endpoint].pattern);
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(%method, route, status = response.status().as_u16(), took_us, "answered");
    response.body_mut().guard = Some(guard);
    Ok(response)
}

async fn dispatch<A: App>(
    service: &Service<A>,
    found: Option<Matched<A::Route>>,
    request: Request,
    origin_allowed: bool,
) -> Result<Response, ApiError> {
    if request.headers().len() > HEADERS_MAX {
        return Err(Code::HeadTooLarge.into());
    }
    if !names_one_host(&request) {
        return Err(Code::MalformedRequest.into());
    }
    if let Some(limit) = &service.options.address_requests {
        limit.admit(request.client_ip().into())?;
    }
    let route = found.as_ref().and_then(|matched| matched.route);
    let options = route.is_none() && request.method() == Method::OPTIONS;
    if options && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) && request.origin().is_some() {
        if !origin_allowed {
            return Err(Code::OriginNotAllowed.into());
        }
        let allow = allow_of(service, found.as_ref()).ok_or(Code::NotFound)?;
        let mut response = empty(StatusCode::NO_CONTENT);
        cors::preflight(response.headers_mut(), allow);
        return Ok(response);
    }
    service.app.before(route, &request)?;
    if let Some(route) = route {
        return service.app.handle(route, request).await;
    }
    let allow = allow_of(service, found.as_ref()).ok_or(Code::NotFound)?;
    if options {
        let mut response = empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(ALLOW, allow);
        return Ok(response);
    }
    Err(ApiError::new(Code::MethodNotAllowed).header(ALLOW, allow))
}

/// RFC 9112, section 3.2: with none, or with several, a proxy in front may mean another host than we do.
fn names_one_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let named = hosts.next().is_some() || request.version() < Version::HTTP_11;
    named && hosts.next().is_none()
}

fn allow_of<A: App>(service: &Service<A>, found: Option<&Matched<A::Route>>) -> Option<HeaderValue> {
    found.map(|matched| service.app.router().endpoints()[matched.endpoint].allow())
}

impl Asked {
    fn of(request: &Request) -> Self {
        let headers = request.headers();
        let correlation = headers.get(&X_CORRELATION_ID).filter(|value| {
            (1..=CORRELATION_ID_BYTES_MAX).contains(&value.len())
                && value.as_bytes().iter().all(|c| (0x20..=0x7e).contains(c))
        });
        let origin = headers.get(ORIGIN).map(|origin| (origin.clone(), request.origin_allowed()));
        let cacheable = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        Self { trace: request.trace.id, correlation: correlation.cloned(), origin, cacheable }
    }

    fn finish(self, headers: &mut HeaderMap) {
        headers.insert(X_TRACE_ID, self.trace.header());
        if let Some(correlation) = self.correlation {
            headers.insert(X_CORRELATION_ID, correlation);
        }
        if self.cacheable || self.origin.is_some() {
            cors::vary(headers);
        }
        if let Some((origin, true)) = self.origin {
            cors::allow(headers, origin);
        }
    }
}

fn log_error(error: &ApiError) {
    let info = error.info();
    let internal = error.internal_message().unwrap_or_default();
    // Overload and an absent store are told by metrics; a line per request would make them worse.
    if error.code() == Code::Internal {
        tracing::error!(code = info.name, internal, "request failed");
    } else {
        tracing::debug!(code = info.name, internal, "request refused");
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Kept small: it is moved into each request.
const _: () = assert!(size_of::<Params>() <= 32);
