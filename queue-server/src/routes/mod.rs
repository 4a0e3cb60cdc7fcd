//! What the server answers over HTTP: visitors' routes on the public listener ([`PublicApp`]), those
//! of operators and of the ticket server on the operations listener ([`OperatorApp`]).
//!
//! Routes read tokens, identifiers and bodies and hand over to the [`Node`]; nothing in here decides
//! anything about a line.

mod audit;
mod gate;
mod operator;
mod pages;
mod plain;
mod site;
mod tokens;
mod visitor;

use std::sync::Arc;

use http::StatusCode;
use queue_core::{
    codes::Code,
    ids::EventId,
    service::checked::CheckedActive,
    service::http::{ApiError, App, Method, Quick, Request, Response, Router, empty},
};
use serde::Deserialize;
use tokio_util::task::TaskTracker;

pub use operator::{OperatorApp, OperatorRoute};
pub use site::{EVENT_PLACEHOLDER, Site};
pub(crate) use tokens::explicit_place;

use crate::{entrance::Entrance, node::Node, sockets};

/// Bodies of all routes are at most so large.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// What visitors, gates and browsers ask for.
pub struct PublicApp {
    node: Arc<Node>,
    site: Site,
    /// The tasks of open sockets.
    sockets: TaskTracker,
    entrance: Arc<Entrance>,
    verified: CheckedActive,
    router: Router<PublicRoute>,
}

/// A route of the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicRoute {
    Check,
    Status,
    Leave,
    Release,
    Verify,
    Socket,
    WaitingPage,
    PlainPage,
    PlainJoin,
    PlainLeave,
    Asset,
    Jwks,
    Health,
    OpenApi,
}

impl PublicApp {
    /// The public routes of a node.
    pub fn new(node: Arc<Node>, site: Site, entrance: Entrance, sockets: TaskTracker) -> Self {
        let (entrance, verified) = (Arc::new(entrance), CheckedActive::default());
        Self { node, site, sockets, entrance, verified, router: Self::routes() }
    }

    /// All public routes.
    pub fn routes() -> Router<PublicRoute> {
        Router::new()
            .route(Method::POST, "/api/v1/queue/check/{eventId}", PublicRoute::Check)
            .route(Method::GET, "/api/v1/queue/status/{eventId}", PublicRoute::Status)
            .route(Method::POST, "/api/v1/queue/leave/{eventId}", PublicRoute::Leave)
            .route(Method::POST, "/api/v1/queue/release/{eventId}", PublicRoute::Release)
            .route(Method::GET, "/api/v1/queue/verify", PublicRoute::Verify)
            // Envoy asks with the method of the request that it guards.
            .route(Method::POST, "/api/v1/queue/verify", PublicRoute::Verify)
            .route(Method::PUT, "/api/v1/queue/verify", PublicRoute::Verify)
            .route(Method::PATCH, "/api/v1/queue/verify", PublicRoute::Verify)
            .route(Method::DELETE, "/api/v1/queue/verify", PublicRoute::Verify)
            .route(Method::GET, "/ws", PublicRoute::Socket)
            .route(Method::GET, "/wait/{eventId}", PublicRoute::WaitingPage)
            .route(Method::GET, "/wait/{eventId}/plain", PublicRoute::PlainPage)
            .route(Method::POST, "/wait/{eventId}/plain/join", PublicRoute::PlainJoin)
            .route(Method::POST, "/wait/{eventId}/plain/leave", PublicRoute::PlainLeave)
            .route(Method::GET, "/assets/{name}", PublicRoute::Asset)
            .route(Method::GET, "/.well-known/jwks.json", PublicRoute::Jwks)
            .route(Method::GET, "/health", PublicRoute::Health)
            .route(Method::GET, "/openapi.json", PublicRoute::OpenApi)
    }

    fn waiting_page(&self, request: &Request) -> Result<Response, ApiError> {
        match event(request) {
            Ok(event) => Ok(pages::waiting_page(request, &self.site, &event)),
            Err(_) => pages::missing_page(request, &self.site),
        }
    }
}

impl App for PublicApp {
    type Route = PublicRoute;

    fn router(&self) -> &Router<PublicRoute> {
        &self.router
    }

    fn quick(&self, route: PublicRoute, request: &Request) -> Quick {
        match route {
            PublicRoute::Check => visitor::check_quickly(&self.node, &self.entrance, request),
            PublicRoute::Status => visitor::status_quickly(&self.node, &self.entrance, request),
            PublicRoute::Verify => gate::verify_quickly(&self.node, &self.verified, request),
            _ => Quick::No,
        }
    }

    async fn handle(&self, route: PublicRoute, request: Request) -> Result<Response, ApiError> {
        match route {
            PublicRoute::Check => visitor::check(&self.node, &self.entrance, request).await,
            PublicRoute::Status => visitor::status(&self.node, &self.entrance, &request).await,
            PublicRoute::Leave => visitor::leave(&self.node, &self.entrance, request).await,
            PublicRoute::Release => visitor::release(&self.node, &self.verified, request).await,
            PublicRoute::Verify => gate::verify(&self.node, &self.verified, &self.site, &request).await,
            PublicRoute::Socket => sockets::upgrade(&self.node, &self.entrance, &self.sockets, request).await,
            PublicRoute::WaitingPage => self.waiting_page(&request),
            PublicRoute::PlainPage => plain::show(&self.node, &self.entrance, &self.site, request).await,
            PublicRoute::PlainJoin => plain::join(&self.node, &self.entrance, &self.site, request).await,
            PublicRoute::PlainLeave => plain::leave(&self.node, &self.entrance, &self.site, request).await,
            PublicRoute::Asset => pages::file(request.headers(), &request.param("name").unwrap_or_default()),
            PublicRoute::Jwks => Ok(pages::jwks(self.node.keys().jwks_json())),
            PublicRoute::Health => Ok(pages::health()),
            PublicRoute::OpenApi => pages::openapi(request.headers()),
        }
    }
}

/// The event that the path names. What cannot be one is not found.
fn event(request: &Request) -> Result<EventId, ApiError> {
    let text = request.param("eventId").ok_or(Code::EventNotFound)?;
    EventId::new(&text).map_err(|_| Code::EventNotFound.into())
}

/// The body of a route that needs none: nothing, or an empty object.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn expect_nothing(request: &mut Request) -> Result<(), ApiError> {
    let Nothing {} = request.read_json_or_default(BODY_BYTES_MAX).await?;
    Ok(())
}

fn no_content() -> Response {
    empty(StatusCode::NO_CONTENT)
}
