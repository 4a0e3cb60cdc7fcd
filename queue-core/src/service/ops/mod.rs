//! The operations listener: probes and metrics for everybody, the operator's routes for who names
//! the listener and holds the token.
//!
//! A server gives its operator routes as a [`GuardedApp`]; [`OpsApp`] puts the probes beside them and
//! stands guard in front of them. A page elsewhere cannot reach an operator's browser through a name
//! it controls (DNS rebinding), because such a name is no name of ours.

mod host;
mod readiness;

use std::net::SocketAddr;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde::Serialize;

pub use host::OpsHost;
pub use readiness::{DRAINING, Readiness};

use super::caps::FailedAttempts;
use super::http::{ApiError, App, Request, Response, Router, json, text};
use super::metrics::MetricsHandle;
use super::secret::SecretDigest;
use crate::codes::Code;

/// Connections of an operations listener.
pub const OPS_CONNECTIONS_MAX: usize = 256;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever names the listener by one of its names.
    Open,
    /// With the operator's token.
    Operator,
    /// With the token between the servers.
    Peer,
}

/// Operator routes: as an [`App`], and for each route who may use it.
pub trait GuardedApp: App {
    /// Who may use it.
    fn access(&self, route: Self::Route) -> Access;
}

/// What the guard knows.
pub struct Guard {
    /// The address that the listener has.
    pub address: SocketAddr,
    /// Its other names.
    pub hosts: Vec<OpsHost>,
    /// The operator's token.
    pub operator: SecretDigest,
    /// The token between the servers; nobody has it when there is none.
    pub peer: Option<SecretDigest>,
}

/// Probes, metrics and guarded operator routes.
pub struct OpsApp<A: GuardedApp> {
    app: A,
    guard: Guard,
    readiness: Readiness,
    metrics: MetricsHandle,
    operator_failures: FailedAttempts,
    peer_failures: FailedAttempts,
    router: Router<OpsRoute<A::Route>>,
}

/// A route of the operations listener.
#[derive(Clone, Copy)]
pub enum OpsRoute<R> {
    /// The process lives.
    Livez,
    /// The process can serve.
    Readyz,
    /// What it counts.
    Metrics,
    /// A guarded route.
    Guarded(R),
}

#[derive(Serialize)]
struct Probe {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

impl<A: GuardedApp> OpsApp<A> {
    /// Puts the probes beside `app`.
    pub fn new(app: A, guard: Guard, readiness: Readiness, metrics: MetricsHandle) -> Self {
        let router = Router::new()
            .route(Method::GET, "/livez", OpsRoute::Livez)
            .route(Method::GET, "/readyz", OpsRoute::Readyz)
            .route(Method::GET, "/metrics", OpsRoute::Metrics)
            .merge(app.router(), OpsRoute::Guarded);
        let (operator_failures, peer_failures) = Default::default();
        Self { app, guard, readiness, metrics, operator_failures, peer_failures, router }
    }

    fn readyz(&self) -> Response {
        let reasons = self.readiness.reasons();
        let (code, status) =
            if reasons.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
        let mut response = probe(code, Probe { status, reasons });
        if code == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn metrics(&self) -> Response {
        let mut response = text(StatusCode::OK, self.metrics.render());
        let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, format);
        response
    }
}

fn probe(code: StatusCode, body: Probe) -> Response {
    let mut response = json(code, &body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Guard {
    fn check(&self, access: Option<Access>, request: &Request, failures: &FailedAttempts) -> Result<(), ApiError> {
        let named = request.host().is_some_and(|host| host::names(host, self.address, request.local(), &self.hosts));
        if !named {
            return Err(Code::MisdirectedRequest.into());
        }
        let wanted = match access {
            None | Some(Access::Open) => return Ok(()),
            Some(Access::Operator) => Some(&self.operator),
            Some(Access::Peer) => self.peer.as_ref(),
        };
        let Some(token) = request.bearer() else {
            let challenge = HeaderValue::from_static("Bearer realm=\"usher operations\"");
            return Err(ApiError::new(Code::OperatorTokenRequired).header(WWW_AUTHENTICATE, challenge));
        };
        let address = request.client_ip().into();
        failures.admit(address)?;
        if wanted.is_some_and(|digest| digest.matches(token)) {
            return Ok(());
        }
        failures.failed(address);
        Err(Code::OperatorTokenInvalid.into())
    }
}

impl<A: GuardedApp> App for OpsApp<A> {
    type Route = OpsRoute<A::Route>;

    fn router(&self) -> &Router<Self::Route> {
        &self.router
    }

    fn before(&self, route: Option<Self::Route>, request: &Request) -> Result<(), ApiError> {
        let guarded = match route {
            Some(OpsRoute::Livez | OpsRoute::Readyz | OpsRoute::Metrics) => return Ok(()),
            Some(OpsRoute::Guarded(route)) => Some(route),
            None => None,
        };
        let access = guarded.map(|route| self.app.access(route));
        // Apart: whoever has a wrong token of the one kind keeps nobody with the other from working.
        let failures = if access == Some(Access::Peer) { &self.peer_failures } else { &self.operator_failures };
        self.guard.check(access, request, failures)?;
        self.app.before(guarded, request)
    }

    async fn handle(&self, route: Self::Route, request: Request) -> Result<Response, ApiError> {
        match route {
            OpsRoute::Livez => Ok(probe(StatusCode::OK, Probe { status: "ok", reasons: Vec::new() })),
            OpsRoute::Readyz => Ok(self.readyz()),
            OpsRoute::Metrics => Ok(self.metrics()),
            OpsRoute::Guarded(route) => self.app.handle(route, request).await,
        }
    }
}
