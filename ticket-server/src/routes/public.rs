//! What everybody may read: events, types, seats.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
};
use queue_core::{
    codes::Code,
    ids::{EventId, Millis},
    service::http::{ApiError, Request, Response, empty, json, matches_etag},
};
use serde::Serialize;

use super::{PublicApp, bodies};
use crate::{
    fields::Problems,
    ids::TicketTypeId,
    model::{
        Hall,
        event::{Cancellation, Payment, Section, TicketType},
    },
    office::{Availability, EventQuery},
};

const PAGE_SIZE_DEFAULT: usize = 20;
const PAGE_SIZE_MAX: usize = 100;
const PAGE_MAX: usize = 1_000_000;

/// An event as it is told: all but its single seats, which have a route of their own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEvent<'a> {
    event_id: &'a EventId,
    name: &'a str,
    starts_at: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    production: Option<&'a str>,
    currency: &'a str,
    payment: Payment,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<&'a Cancellation>,
    max_seats_per_visitor: u64,
    seat_count: usize,
    ticket_types: &'a [TicketType],
    sections: &'a [Section],
}

impl<'a> ShownEvent<'a> {
    pub fn of(hall: &'a Hall) -> Self {
        let body = &hall.body;
        Self {
            event_id: &hall.event,
            name: &body.name,
            starts_at: body.starts_at,
            venue: body.venue.as_deref(),
            production: body.production.as_deref(),
            currency: &body.currency,
            payment: body.payment,
            cancellation: body.cancellation.as_ref(),
            max_seats_per_visitor: body.max_seats_per_visitor,
            seat_count: body.seat_count(),
            ticket_types: &body.ticket_types,
            sections: &body.sections,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    items: Vec<ShownEvent<'a>>,
    page: usize,
    page_size: usize,
    total: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAvailability<'a> {
    event_id: &'a EventId,
    ticket_type_id: &'a TicketTypeId,
    #[serde(flatten)]
    left: Availability,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownType<'a> {
    #[serde(flatten)]
    kind: &'a TicketType,
    currency: &'a str,
    seated: bool,
    #[serde(flatten)]
    left: Availability,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Types<'a> {
    event_id: &'a EventId,
    items: Vec<ShownType<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layout<'a> {
    event_id: &'a EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<&'a str>,
    seat_count: usize,
    sections: &'a [Section],
    /// Seats beside the sections' grids.
    other_seats: usize,
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

impl PublicApp {
    pub(super) fn events(&self, request: &Request) -> Result<Response, ApiError> {
        let mut problems = Problems::default();
        let query = EventQuery {
            text: request.query("q").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            from: time(request, "from", &mut problems),
            to: time(request, "to", &mut problems),
        };
        let page = number(request, "page", 1, PAGE_MAX, &mut problems);
        let page_size = number(request, "pageSize", PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, &mut problems);
        let (page, page_size) = problems.or(Some((page, page_size))).map_err(bodies::refused)?;
        let halls = self.office.catalog.list(&query);
        let shown = halls.iter().skip((page - 1) * page_size).take(page_size);
        let items = shown.map(|hall| ShownEvent::of(hall)).collect();
        Ok(json(StatusCode::OK, &Page { items, page, page_size, total: halls.len() }))
    }

    pub(super) fn event(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "id")?;
        let etag = format!("\"{}\"", hall.revision);
        Ok(tagged(request, &etag, || json(StatusCode::OK, &ShownEvent::of(&hall))))
    }

    pub(super) async fn types(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "eventId")?;
        let view = self.office.seat_view(&hall).await?;
        let items = hall.body.ticket_types.iter().map(|kind| ShownType {
            kind,
            currency: &hall.body.currency,
            seated: kind.quantity.is_none(),
            left: view.availability(&kind.ticket_type_id),
        });
        Ok(json(StatusCode::OK, &Types { event_id: &hall.event, items: items.collect() }))
    }

    pub(super) async fn availability(&self, request: &Request) -> Result<Response, ApiError> {
        let event = request.query("eventId").ok_or_else(|| ApiError::invalid("eventId", "is required in the query"))?;
        let hall = self.office.catalog.get(&event).ok_or(Code::EventNotFound)?;
        let kind = request.param("ticketTypeId").and_then(|id| TicketTypeId::new(&id).ok());
        let kind = kind.filter(|kind| hall.body.ticket_type(kind).is_some()).ok_or(Code::TicketTypeNotFound)?;
        let view = self.office.seat_view(&hall).await?;
        let left = view.availability(&kind);
        Ok(json(StatusCode::OK, &ShownAvailability { event_id: &hall.event, ticket_type_id: &kind, left }))
    }

    pub(super) fn layouts(&self, request: &Request) -> Result<Response, ApiError> {
        let halls: Vec<Arc<Hall>> = match request.query("eventId") {
            Some(event) => vec![self.office.catalog.get(&event).ok_or(Code::EventNotFound)?],
            None => self.office.catalog.list(&EventQuery::default()),
        };
        let seated = halls.iter().filter(|hall| hall.body.seat_count() > 0);
        let items = seated.map(|hall| Layout {
            event_id: &hall.event,
            venue: hall.body.venue.as_deref(),
            seat_count: hall.body.seat_count(),
            sections: &hall.body.sections,
            other_seats: hall.body.seats.len(),
        });
        Ok(json(StatusCode::OK, &Items { items: items.collect() }))
    }

    pub(super) async fn seats(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "eventId")?;
        let view = self.office.seat_view(&hall).await?;
        Ok(tagged(request, &view.etag, || raw_json(view.json.clone())))
    }
}

/// 304 for whoever has that version; asked for again each time.
fn tagged(request: &Request, etag: &str, body: impl FnOnce() -> Response) -> Response {
    let mut response = if matches_etag(request.headers(), etag) { empty(StatusCode::NOT_MODIFIED) } else { body() };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(etag).expect("a tag of digits"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn raw_json(body: Bytes) -> Response {
    let mut response = Response::new(queue_core::service::http::Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn time(request: &Request, name: &str, problems: &mut Problems) -> Option<Millis> {
    let text = request.query(name)?;
    let time = text.parse().ok();
    if time.is_none() {
        problems.add(name, queue_core::ids::InvalidTime.to_string());
    }
    time
}

fn number(request: &Request, name: &str, default: usize, max: usize, problems: &mut Problems) -> usize {
    let Some(text) = request.query(name) else { return default };
    text.parse().ok().filter(|number| (1..=max).contains(number)).unwrap_or_else(|| {
        problems.add(name, format!("must be a whole number from 1 to {max}"));
        default
    })
}
