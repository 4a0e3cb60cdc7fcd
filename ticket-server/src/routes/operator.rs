//! What an operator asks for on the operations listener. The guard in front of it has checked the
//! token.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::LOCATION};
use queue_core::{
    ids::{EventId, InvalidId},
    service::{
        http::{ApiError, App, Method, Request, Response, Router, json},
        ops::{Access, GuardedApp},
    },
};
use serde_json::Value;

use super::{bodies, catalog::ShownEvent, event_id};
use crate::{model::EventBody, office::Office};

/// The largest definition: 200,000 seats named one by one.
const BODY_BYTES_MAX: usize = 48 * 1024 * 1024;

/// The operator's routes of an office.
pub struct OperatorApp {
    pub(super) office: Arc<Office>,
    router: Router<OperatorRoute>,
}

/// A route of the operations listener, probes and metrics apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorRoute {
    PutEvent,
    Event,
    Completed,
    Feed,
    DeadLetters,
    RetryLetter,
    DiscardLetter,
}

impl OperatorApp {
    /// The operator's routes of an office.
    pub fn new(office: Arc<Office>) -> Self {
        Self { office, router: Self::routes() }
    }

    /// All operator routes.
    pub fn routes() -> Router<OperatorRoute> {
        Router::new()
            .route(Method::PUT, "/api/v1/admin/events/{id}", OperatorRoute::PutEvent)
            .route(Method::GET, "/api/v1/admin/events/{id}", OperatorRoute::Event)
            .route(Method::GET, "/api/v1/admin/reservations/completed", OperatorRoute::Completed)
            .route(Method::GET, "/api/v1/admin/feed", OperatorRoute::Feed)
            .route(Method::GET, "/api/v1/admin/dead-letters", OperatorRoute::DeadLetters)
            .route(Method::DELETE, "/api/v1/admin/dead-letters/{id}", OperatorRoute::DiscardLetter)
            .route(Method::POST, "/api/v1/admin/dead-letters/{id}/retry", OperatorRoute::RetryLetter)
    }

    async fn put_event(&self, mut request: Request) -> Result<Response, ApiError> {
        let id = request.param("id").and_then(|id| EventId::new(&id).ok());
        let event = id.ok_or_else(|| ApiError::invalid("id", InvalidId))?;
        let body = request.read_json::<Value>(BODY_BYTES_MAX).await?;
        // The largest definitions take longer than a thread that serves others should be away.
        let body = tokio::task::spawn_blocking(|| EventBody::from_json(body)).await.map_err(ApiError::internal)?;
        let body = body.map_err(bodies::refused)?;
        let (created, hall) = self.office.put_event(&event, body).await?;
        let status = if created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = json(status, &ShownEvent::of(&hall));
        if created {
            let location = HeaderValue::try_from(format!("/api/v1/admin/events/{event}"));
            response.headers_mut().insert(LOCATION, location.expect("an identifier is plain ASCII"));
        }
        Ok(response)
    }

    async fn event(&self, request: &Request) -> Result<Response, ApiError> {
        let event = event_id(request, "id")?;
        let hall = self.office.hall(event.as_str()).await?;
        Ok(json(StatusCode::OK, &ShownEvent::of(&hall)))
    }
}

impl App for OperatorApp {
    type Route = OperatorRoute;

    fn router(&self) -> &Router<OperatorRoute> {
        &self.router
    }

    async fn handle(&self, route: OperatorRoute, request: Request) -> Result<Response, ApiError> {
        match route {
            // Boxed: a rare and deep call that would make every handler's future large.
            OperatorRoute::PutEvent => Box::pin(self.put_event(request)).await,
            OperatorRoute::Event => self.event(&request).await,
            OperatorRoute::Completed => self.completed(&request).await,
            OperatorRoute::Feed => self.feed(&request).await,
            OperatorRoute::DeadLetters => self.dead_letters(&request).await,
            OperatorRoute::RetryLetter => self.retry_letter(request).await,
            OperatorRoute::DiscardLetter => self.discard_letter(&request).await,
        }
    }
}

impl GuardedApp for OperatorApp {
    fn access(&self, _route: OperatorRoute) -> Access {
        Access::Operator
    }
}
