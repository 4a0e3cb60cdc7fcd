//! What the server answers over HTTP: visitors' routes on the public listener ([`PublicApp`]), the
//! operator's on the operations listener ([`OperatorApp`]).
//!
//! Routes read tokens, identifiers and bodies and hand over to the [`Office`]; nothing in here
//! decides who gets what.

mod bodies;
mod catalog;
mod encoding;
mod feed;
mod figures;
mod layouts;
mod live;
mod operator;
mod order_bodies;
mod orders;
mod pages;
mod public;
mod visitor;

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::EventId,
    service::{
        context,
        http::{ApiError, App, Method, Request, Response, Router},
    },
};
use tokio_util::task::TaskTracker;

pub use self::{
    operator::{OperatorApp, OperatorRoute},
    pages::Site,
};
use crate::{
    figures::Figures, gate::Gate, ids::ReservationId, model::Hall, office::Office, orders::Orders, sockets,
    webhooks::Webhooks,
};

/// What visitors and browsers ask for.
pub struct PublicApp {
    office: Arc<Office>,
    orders: Orders,
    figures: Figures,
    webhooks: Webhooks,
    gate: Arc<Gate>,
    sockets: TaskTracker,
    site: Site,
    router: Router<PublicRoute>,
}

/// A route of the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicRoute {
    Events,
    Event,
    Productions,
    Types,
    Availability,
    Layouts,
    Seats,
    Stream,
    Socket,
    ReserveSeats,
    ReserveTickets,
    Mine,
    Reservation,
    Extend,
    Confirm,
    Cancel,
    Delete,
    History,
    Order,
    ReadOrder,
    Charge,
    Balance,
    Webhook,
    Page,
    Asset,
    Health,
    OpenApi,
    AsyncApi,
    Ranking,
    Stats,
}

impl PublicApp {
    /// The public routes of an office.
    ///
    /// Sockets live in tasks of `sockets`.
    pub fn new(
        office: Arc<Office>,
        orders: Orders,
        webhooks: Webhooks,
        gate: Gate,
        site: Site,
        sockets: TaskTracker,
    ) -> Self {
        let figures = Figures::new(Arc::clone(&office));
        Self { office, orders, figures, webhooks, gate: Arc::new(gate), sockets, site, router: Self::routes() }
    }

    /// All public routes.
    pub fn routes() -> Router<PublicRoute> {
        Router::new()
            .route(Method::GET, "/api/v1/events", PublicRoute::Events)
            .route(Method::GET, "/api/v1/events/{id}", PublicRoute::Event)
            .route(Method::GET, "/api/v1/productions", PublicRoute::Productions)
            .route(Method::GET, "/api/v1/tickets/event/{eventId}", PublicRoute::Types)
            .route(Method::GET, "/api/v1/tickets/availability/{ticketTypeId}", PublicRoute::Availability)
            .route(Method::GET, "/api/v1/seats/layouts", PublicRoute::Layouts)
            .route(Method::GET, "/api/v1/seats/events/{eventId}", PublicRoute::Seats)
            .route(Method::POST, "/api/v1/seats/reserve", PublicRoute::ReserveSeats)
            .route(Method::POST, "/api/v1/reservations", PublicRoute::ReserveTickets)
            .route(Method::GET, "/api/v1/reservations/my", PublicRoute::Mine)
            .route(Method::GET, "/api/v1/reservations/{id}", PublicRoute::Reservation)
            .route(Method::DELETE, "/api/v1/reservations/{id}", PublicRoute::Delete)
            .route(Method::GET, "/api/v1/seats/reservation/{id}", PublicRoute::Reservation)
            .route(Method::POST, "/api/v1/reservations/{id}/extend", PublicRoute::Extend)
            .route(Method::POST, "/api/v1/reservations/{id}/confirm", PublicRoute::Confirm)
            .route(Method::POST, "/api/v1/reservations/{id}/cancel", PublicRoute::Cancel)
            .route(Method::GET, "/api/v1/reservations/{id}/history", PublicRoute::History)
            .route(Method::GET, "/api/v1/events/{id}/seats/stream", PublicRoute::Stream)
            .route(Method::POST, "/api/v1/orders", PublicRoute::Order)
            .route(Method::GET, "/api/v1/orders/{id}", PublicRoute::ReadOrder)
            .route(Method::POST, "/api/v1/balance/charge", PublicRoute::Charge)
            .route(Method::GET, "/api/v1/balance", PublicRoute::Balance)
            .route(Method::POST, "/api/v1/payments/webhook", PublicRoute::Webhook)
            .route(Method::GET, "/api/v1/rankings/{eventId}", PublicRoute::Ranking)
            .route(Method::GET, "/api/v1/stats/{eventId}", PublicRoute::Stats)
            .route(Method::GET, "/ws", PublicRoute::Socket)
            .route(Method::GET, "/asyncapi.json", PublicRoute::AsyncApi)
            .route(Method::GET, "/tickets/{eventId}", PublicRoute::Page)
            .route(Method::GET, "/assets/{name}", PublicRoute::Asset)
            .route(Method::GET, "/health", PublicRoute::Health)
            .route(Method::GET, "/openapi.json", PublicRoute::OpenApi)
    }

    /// The event that the address names.
    async fn hall(&self, request: &Request, param: &str) -> Result<Arc<Hall>, ApiError> {
        let id = request.param(param).ok_or(Code::EventNotFound)?;
        let hall = self.office.hall(&id).await?;
        context::note_event(&hall.event);
        Ok(hall)
    }
}

impl App for PublicApp {
    type Route = PublicRoute;

    fn router(&self) -> &Router<PublicRoute> {
        &self.router
    }

    async fn handle(&self, route: PublicRoute, request: Request) -> Result<Response, ApiError> {
        match route {
            PublicRoute::Events => self.events(&request),
            PublicRoute::Event => self.event(&request).await,
            PublicRoute::Productions => self.productions(&request),
            PublicRoute::Types => self.types(&request).await,
            PublicRoute::Availability => self.availability(&request).await,
            PublicRoute::Layouts => self.layouts(&request).await,
            PublicRoute::Seats => self.seats(&request).await,
            PublicRoute::Stream => self.stream(&request).await,
            PublicRoute::Socket => sockets::upgrade(&self.office, &self.gate, &self.sockets, request).await,
            PublicRoute::ReserveSeats => self.reserve_seats(request).await,
            PublicRoute::ReserveTickets => self.reserve_tickets(request).await,
            PublicRoute::Mine => self.mine(&request).await,
            PublicRoute::Reservation => self.reservation(&request).await,
            PublicRoute::Extend => self.extend(request).await,
            PublicRoute::Confirm => self.confirm(request).await,
            PublicRoute::Cancel => self.cancel(request).await,
            PublicRoute::Delete => self.delete(request).await,
            PublicRoute::History => self.history(&request).await,
            PublicRoute::Order => self.order(request).await,
            PublicRoute::ReadOrder => self.read_order(&request).await,
            PublicRoute::Charge => self.charge(request).await,
            PublicRoute::Balance => self.balance(&request).await,
            PublicRoute::Webhook => self.webhook(request).await,
            PublicRoute::Page => pages::seat_page(&request, &self.site),
            PublicRoute::Asset => pages::file(request.headers(), &request.param("name").unwrap_or_default()),
            PublicRoute::Health => Ok(pages::health()),
            PublicRoute::OpenApi => pages::openapi(request.headers()),
            PublicRoute::AsyncApi => pages::asyncapi(request.headers()),
            PublicRoute::Ranking => self.ranking(&request).await,
            PublicRoute::Stats => self.stats(&request).await,
        }
    }
}

fn event_id(request: &Request, param: &str) -> Result<EventId, ApiError> {
    let event = request.param(param).and_then(|id| EventId::new(&id).ok()).ok_or(Code::EventNotFound)?;
    context::note_event(&event);
    Ok(event)
}

fn reservation_id(request: &Request) -> Result<ReservationId, ApiError> {
    request.param("id").and_then(|id| ReservationId::new(&id).ok()).ok_or_else(|| Code::ReservationNotFound.into())
}
