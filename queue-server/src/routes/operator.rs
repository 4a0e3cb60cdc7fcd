//! What operators and the ticket server ask for on the operations listener. Who may do what is
//! checked by the guard in front of these routes; here stands only which token each route wants.

use std::sync::Arc;

use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, LOCATION},
};
use queue_core::{
    codes::Code,
    ids::{EventId, Jti, Millis, VisitorId},
    line::SessionState,
    line::Stock,
    policy::{Policy, PolicyProblem},
    service::{
        context,
        http::{ApiError, App, Method, Request, Response, Router, json},
        ops::{Access, GuardedApp},
    },
    wire::{BookingDone, EndReason, Inventory, Outcome, QueueState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    BODY_BYTES_MAX,
    audit::{self, By},
    event, expect_nothing, no_content,
};
use crate::{
    engine::audit::AuditAction,
    node::{Node, Overview},
};

/// A reservation's name is at most this long.
const RESERVATION_ID_BYTES_MAX: usize = 128;

/// Operator and peer routes of a node.
pub struct OperatorApp {
    node: Arc<Node>,
    router: Router<OperatorRoute>,
}

/// A route of the operations listener, probes and metrics apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorRoute {
    List,
    Put,
    Get,
    Delete,
    Pause,
    Resume,
    Drain,
    Clear,
    Visitor,
    Revoke,
    Audit,
    Session,
    Totals,
    BookingDone,
    Inventory,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearBody {
    #[serde(default)]
    active: bool,
}

/// The message as it comes over HTTP; fields that are new to us are none of our business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookingDoneBody {
    #[serde(rename = "type")]
    _kind: BookingDoneType,
    event_id: EventId,
    visitor_id: VisitorId,
    jti: Jti,
    outcome: Outcome,
    #[serde(default)]
    reservation_id: Option<String>,
    at: Millis,
}

/// Larger counts could not be told exactly.
const STOCK_MAX: u64 = (1 << 53) - 1;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
enum InventoryBody {
    Inventory(Inventory),
}

#[derive(Deserialize)]
enum BookingDoneType {
    #[serde(rename = "BOOKING_DONE")]
    BookingDone,
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LiveSession<'a> {
    event_id: &'a EventId,
    jti: Jti,
    live: bool,
    visitor_id: VisitorId,
    expires_at: Millis,
}

impl OperatorApp {
    /// The operator and peer routes of a node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, router: Self::routes() }
    }

    /// All operator and peer routes.
    pub fn routes() -> Router<OperatorRoute> {
        Router::new()
            .route(Method::GET, "/api/v1/queue/admin", OperatorRoute::List)
            .route(Method::GET, "/api/v1/queue/admin/audit", OperatorRoute::Audit)
            .route(Method::PUT, "/api/v1/queue/admin/{eventId}", OperatorRoute::Put)
            .route(Method::GET, "/api/v1/queue/admin/{eventId}", OperatorRoute::Get)
            .route(Method::DELETE, "/api/v1/queue/admin/{eventId}", OperatorRoute::Delete)
            .route(Method::POST, "/api/v1/queue/admin/pause/{eventId}", OperatorRoute::Pause)
            .route(Method::POST, "/api/v1/queue/admin/resume/{eventId}", OperatorRoute::Resume)
            .route(Method::POST, "/api/v1/queue/admin/drain/{eventId}", OperatorRoute::Drain)
            .route(Method::POST, "/api/v1/queue/admin/clear/{eventId}", OperatorRoute::Clear)
            .route(Method::GET, "/api/v1/queue/admin/{eventId}/visitors/{visitorId}", OperatorRoute::Visitor)
            .route(Method::POST, "/api/v1/queue/admin/{eventId}/visitors/{visitorId}/revoke", OperatorRoute::Revoke)
            .route(Method::GET, "/api/v1/queue/sessions/{eventId}/{jti}", OperatorRoute::Session)
            .route(Method::GET, "/api/v1/queue/totals/{eventId}", OperatorRoute::Totals)
            .route(Method::POST, "/api/v1/queue/booking-done", OperatorRoute::BookingDone)
            .route(Method::POST, "/api/v1/queue/inventory", OperatorRoute::Inventory)
    }

    async fn list(&self) -> Result<Response, ApiError> {
        Ok(fresh(StatusCode::OK, &Items { items: self.node.overviews().await? }))
    }

    async fn put(&self, mut request: Request) -> Result<Response, ApiError> {
        let event = event(&request).map_err(|_| ApiError::new(Code::NotFound))?;
        // A body is required: nothing at all is no JSON.
        let body: Value = request.read_json(BODY_BYTES_MAX).await?;
        let policy = Policy::from_json(&body).map_err(refuse_policy)?;
        let by = By::of(&request);
        let before = match self.node.overview(&event).await {
            Ok(overview) => json!(overview.policy),
            Err(error) if error.code() == Code::EventNotFound => Value::Null,
            Err(error) => return Err(error),
        };
        context::note_event(&event);
        let (created, overview) = self.node.configure(&event, policy).await?;
        let action = if created { AuditAction::Created } else { AuditAction::Changed };
        by.did(&self.node, action, &event, before, json!(overview.policy)).await;
        if !created {
            return Ok(fresh(StatusCode::OK, &overview));
        }
        let mut response = fresh(StatusCode::CREATED, &overview);
        let location = format!("/api/v1/queue/admin/{event}");
        let location = HeaderValue::try_from(location).expect("identifiers are visible ASCII");
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }

    async fn delete(&self, request: &Request) -> Result<Response, ApiError> {
        let event = event(request)?;
        let before = self.node.overview(&event).await?;
        self.node.remove(&event).await?;
        By::of(request).did(&self.node, AuditAction::Removed, &event, json!(before.policy), Value::Null).await;
        Ok(no_content())
    }

    async fn order(&self, route: OperatorRoute, mut request: Request) -> Result<Response, ApiError> {
        let event = event(&request)?;
        let mut active = false;
        if route == OperatorRoute::Clear {
            ClearBody { active } = request.read_json_or_default(BODY_BYTES_MAX).await?;
        } else {
            expect_nothing(&mut request).await?;
        }
        let before = self.node.overview(&event).await?;
        let (action, overview) = match route {
            OperatorRoute::Clear => (AuditAction::Cleared, self.node.clear(&event, active).await?),
            OperatorRoute::Pause => (AuditAction::Paused, self.node.pause(&event).await?),
            OperatorRoute::Resume => (AuditAction::Resumed, self.node.resume(&event).await?),
            _ => (AuditAction::Drained, self.node.drain(&event).await?),
        };
        let changed = |overview: &Overview| match route {
            OperatorRoute::Clear => json!({"waiting": overview.waiting, "active": overview.active}),
            _ => json!({"phase": overview.phase}),
        };
        By::of(&request).did(&self.node, action, &event, changed(&before), changed(&overview)).await;
        Ok(fresh(StatusCode::OK, &overview))
    }

    async fn look_up(&self, request: &Request) -> Result<Response, ApiError> {
        let (event, visitor) = (event(request)?, visitor(request)?);
        Ok(fresh(StatusCode::OK, &self.node.look_up(&event, &visitor).await?))
    }

    async fn revoke(&self, mut request: Request) -> Result<Response, ApiError> {
        let (event, visitor) = (event(&request)?, visitor(&request)?);
        expect_nothing(&mut request).await?;
        let was = self.node.revoke(&event, &visitor).await?;
        let (before, after) = (json!({"status": was}), json!({"status": QueueState::Ended}));
        By::of(&request).did_to(&self.node, AuditAction::Revoked, &event, Some(visitor), before, after).await;
        Ok(no_content())
    }

    async fn session(&self, request: &Request) -> Result<Response, ApiError> {
        let jti = request.param("jti").and_then(|text| text.parse::<Jti>().ok());
        let (Ok(event), Some(jti)) = (event(request), jti) else { return Err(gone(EndReason::Gone)) };
        match self.node.session(&event, jti).await {
            Ok(SessionState::Live { visitor, expires }) => {
                let session =
                    LiveSession { event_id: &event, jti, live: true, visitor_id: visitor, expires_at: expires };
                Ok(fresh(StatusCode::OK, &session))
            }
            Ok(SessionState::Ended(reason)) => Err(gone(reason)),
            Ok(SessionState::Unknown) => Err(gone(EndReason::Gone)),
            Err(error) if error.code() == Code::EventNotFound => Err(gone(EndReason::Gone)),
            Err(error) => Err(error),
        }
    }

    async fn inventory(&self, mut request: Request) -> Result<Response, ApiError> {
        let InventoryBody::Inventory(Inventory { event_id, left, held, at }) =
            request.read_json(BODY_BYTES_MAX).await?;
        if left.max(held) > STOCK_MAX {
            return Err(ApiError::invalid("left", "must be at most 9007199254740991, as must be held"));
        }
        self.node.stock(&event_id, Stock { left, held, at }).await.map(|()| no_content())
    }

    async fn booking_done(&self, mut request: Request) -> Result<Response, ApiError> {
        let body: BookingDoneBody = request.read_json(BODY_BYTES_MAX).await?;
        if body.reservation_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > RESERVATION_ID_BYTES_MAX) {
            return Err(ApiError::invalid("reservationId", "must be 1 to 128 bytes"));
        }
        let done = BookingDone {
            event_id: body.event_id,
            visitor_id: body.visitor_id,
            jti: body.jti,
            outcome: body.outcome,
            reservation_id: body.reservation_id,
            at: body.at,
            // The request's own header says it.
            traceparent: None,
        };
        match self.node.booking_done(done).await {
            // Of an event that was removed nothing is left to release.
            Err(error) if error.code() != Code::EventNotFound => Err(error),
            _ => Ok(no_content()),
        }
    }
}

impl App for OperatorApp {
    type Route = OperatorRoute;

    fn router(&self) -> &Router<OperatorRoute> {
        &self.router
    }

    async fn handle(&self, route: OperatorRoute, request: Request) -> Result<Response, ApiError> {
        match route {
            OperatorRoute::List => self.list().await,
            OperatorRoute::Put => self.put(request).await,
            OperatorRoute::Get => {
                let overview: Overview = self.node.overview(&event(&request)?).await?;
                Ok(fresh(StatusCode::OK, &overview))
            }
            OperatorRoute::Delete => self.delete(&request).await,
            OperatorRoute::Pause | OperatorRoute::Resume | OperatorRoute::Drain | OperatorRoute::Clear => {
                self.order(route, request).await
            }
            OperatorRoute::Visitor => self.look_up(&request).await,
            OperatorRoute::Revoke => self.revoke(request).await,
            OperatorRoute::Audit => Ok(fresh(StatusCode::OK, &audit::page(&self.node, &request).await?)),
            OperatorRoute::Session => self.session(&request).await,
            OperatorRoute::Totals => Ok(fresh(StatusCode::OK, &self.node.totals(&event(&request)?).await?)),
            OperatorRoute::BookingDone => self.booking_done(request).await,
            OperatorRoute::Inventory => self.inventory(request).await,
        }
    }
}

impl GuardedApp for OperatorApp {
    fn access(&self, route: OperatorRoute) -> Access {
        match route {
            OperatorRoute::Session | OperatorRoute::Totals | OperatorRoute::BookingDone | OperatorRoute::Inventory => {
                Access::Peer
            }
            _ => Access::Operator,
        }
    }
}

fn visitor(request: &Request) -> Result<VisitorId, ApiError> {
    let text = request.param("visitorId").ok_or(Code::VisitorNotFound)?;
    let visitor = VisitorId::new(&text).map_err(|_| Code::VisitorNotFound)?;
    context::note_visitor(&visitor);
    Ok(visitor)
}

/// JSON that no cache may keep.
fn fresh(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = json(status, value);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn gone(reason: EndReason) -> ApiError {
    ApiError::new(Code::SessionGone).details(json!({"reason": reason.as_str()}))
}

/// All problems at once; the first stands where programs look that read one.
fn refuse_policy(problems: Vec<PolicyProblem>) -> ApiError {
    // What is wrong weighs more than what is not built yet.
    let wrong = problems.iter().find(|problem| !problem.not_supported);
    let (code, first) = match wrong {
        Some(problem) => (Code::InvalidRequest, Some(problem)),
        None => (Code::NotSupported, problems.first()),
    };
    let field = first.map_or("", |problem| problem.field.as_str());
    let problem = first.map_or("", |problem| problem.problem.as_str());
    ApiError::new(code).details(json!({"field": field, "problem": problem, "problems": problems}))
}
