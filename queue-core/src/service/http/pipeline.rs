//! What happens around every handler: trace, routing, panics, errors, CORS, metrics.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answering::{Answering, Asked, Rest, Work, logged, panicked};
use super::connection::{AnswerGuard, Connection, HEADERS_MAX};
use super::cors;
use super::error::ApiError;
use super::request::Request;
use super::request_metrics::RequestMetrics;
use super::response::{Response, empty};
use super::router::{Matched, Params, Router};
use super::server::HttpOptions;
use crate::codes::Code;
use crate::service::trace::TraceContext;
use crate::service::{context, spans};

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

    /// Answers without waiting for anything, where that can be done: a hot request then makes no future.
    /// What it gives [`Quick::No`] goes to [`App::handle`], untouched.
    fn quick(&self, route: Self::Route, request: &Request) -> Quick {
        let _ = (route, request);
        Quick::No
    }

    /// Answers a request. Dropped at any await when the client goes away.
    fn handle(&self, route: Self::Route, request: Request) -> impl Future<Output = Result<Response, ApiError>> + Send;
}

/// What [`App::quick`] makes of a request.
pub enum Quick {
    /// The answer.
    Done(Result<Response, ApiError>),
    /// The answer is waited for, and needs the request no more.
    Later(Later),
    /// This one takes its time: [`App::handle`].
    No,
}

/// An answer that is waited for.
pub struct Later(pub(super) Work);

impl Quick {
    /// An answer that is waited for; with what the logs know of the request so far.
    pub fn later(work: impl Future<Output = Result<Response, ApiError>> + Send + 'static) -> Self {
        Self::Later(Later(Box::pin(context::carried(async move { logged(work.await) }))))
    }
}

/// An app with what its listener adds.
pub(super) struct Service<A: App> {
    pub(super) app: Arc<A>,
    pub(super) http1: http1::Builder,
    pub(super) metrics: RequestMetrics,
    pub(super) shared: Arc<Shared>,
}

/// What all requests of a listener share.
pub(super) struct Shared {
    pub(super) options: HttpOptions,
    pub(super) draining: CancellationToken,
}

/// How an answer comes about.
enum Begun {
    Done(Result<Response, ApiError>),
    Later(Work),
}

impl Begun {
    fn into_work(self) -> Work {
        match self {
            Self::Done(result) => Box::pin(ready(logged(result))),
            Self::Later(work) => work,
        }
    }
}

/// Answers one request; it never fails.
pub(super) fn answer<A: App>(
    service: &Arc<Service<A>>,
    connection: &Arc<Connection>,
    inner: http::Request<Incoming>,
) -> Answering<A> {
    let trace = TraceContext::of(inner.headers());
    let started = Instant::now();
    connection.begin(started);
    let found = service.app.router().find(inner.method(), inner.uri().path());
    let endpoint = found.as_ref().map(|matched| matched.endpoint);
    let params = found.as_ref().map(|matched| matched.params).unwrap_or_default();
    let request = Request { params, inner, trace, connection: connection.clone() };
    let rest = Rest { asked: Asked::of(&request), endpoint, started, guard: AnswerGuard::new(connection.clone()) };
    context::sync_scope(trace, || {
        let begun = catch_unwind(AssertUnwindSafe(|| begin(service, found, request, rest.asked.origin_allowed())));
        match begun.unwrap_or_else(|panic| Begun::Done(Err(panicked(&*panic)))) {
            begun if spans::enabled() => {
                let work = rest.in_span(service, begun.into_work());
                Answering::later(service.clone(), rest, work)
            }
            Begun::Done(result) => Answering::done(rest.finish(service, logged(result))),
            Begun::Later(work) => Answering::later(service.clone(), rest, work),
        }
    })
}

fn begin<A: App>(
    service: &Arc<Service<A>>,
    found: Option<Matched<A::Route>>,
    request: Request,
    origin_allowed: bool,
) -> Begun {
    let route = match admit(service, found.as_ref(), &request, origin_allowed) {
        Ok(Admitted::To(route)) => route,
        Ok(Admitted::Answered(response)) => return Begun::Done(Ok(response)),
        Err(error) => return Begun::Done(Err(error)),
    };
    // A span holds the steps of its request, and those only where they are waited for in it.
    let quick = if spans::enabled() { Quick::No } else { service.app.quick(route, &request) };
    match quick {
        Quick::Done(result) => Begun::Done(result),
        Quick::Later(Later(work)) => Begun::Later(work),
        Quick::No => {
            let (app, trace) = (service.app.clone(), request.trace);
            Begun::Later(Box::pin(context::scope(trace, async move { logged(app.handle(route, request).await) })))
        }
    }
}

/// A request that may go on to its route, or whose answer needs none.
enum Admitted<R> {
    To(R),
    Answered(Response),
}

fn admit<A: App>(
    service: &Service<A>,
    found: Option<&Matched<A::Route>>,
    request: &Request,
    origin_allowed: bool,
) -> Result<Admitted<A::Route>, ApiError> {
    if request.headers().len() > HEADERS_MAX {
        return Err(Code::HeadTooLarge.into());
    }
    if !names_one_host(request) {
        return Err(Code::MalformedRequest.into());
    }
    if let Some(limit) = &service.shared.options.address_requests {
        limit.admit(request.client_ip().into())?;
    }
    let route = found.and_then(|matched| matched.route);
    let options = route.is_none() && request.method() == Method::OPTIONS;
    if options && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) && request.origin().is_some() {
        if !origin_allowed {
            return Err(Code::OriginNotAllowed.into());
        }
        let allow = allow_of(service, found).ok_or(Code::NotFound)?;
        let mut response = empty(StatusCode::NO_CONTENT);
        cors::preflight(response.headers_mut(), allow);
        return Ok(Admitted::Answered(response));
    }
    service.app.before(route, request)?;
    if let Some(route) = route {
        return Ok(Admitted::To(route));
    }
    let allow = allow_of(service, found).ok_or(Code::NotFound)?;
    if options {
        let mut response = empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(ALLOW, allow);
        return Ok(Admitted::Answered(response));
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

/// Kept small: it is moved into each request.
const _: () = assert!(size_of::<Params>() <= 32);
