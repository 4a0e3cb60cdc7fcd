//! What everybody may read of a sale: types, what is left, seats.

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY},
};
use queue_core::{
    codes::Code,
    ids::EventId,
    service::http::{ApiError, Request, Response, empty, json, matches_etag},
};
use serde::Serialize;

use super::{PublicApp, encoding::wants_gzip};
use crate::{ids::TicketTypeId, model::event::TicketType, office::Availability};

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

impl PublicApp {
    pub(super) async fn types(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "eventId").await?;
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
        let hall = self.office.hall(&event).await?;
        let kind = request.param("ticketTypeId").and_then(|id| TicketTypeId::new(&id).ok());
        let kind = kind.filter(|kind| hall.body.ticket_type(kind).is_some()).ok_or(Code::TicketTypeNotFound)?;
        let view = self.office.seat_view(&hall).await?;
        let left = view.availability(&kind);
        Ok(json(StatusCode::OK, &ShownAvailability { event_id: &hall.event, ticket_type_id: &kind, left }))
    }

    pub(super) async fn seats(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "eventId").await?;
        let view = self.office.seat_view(&hall).await?;
        let gzip = wants_gzip(request.headers());
        // Two forms of one version: each has a tag of its own, and who has either has the newest.
        let tags = [view.etag.clone(), format!("{}-gzip\"", view.etag.trim_end_matches('"'))];
        let mut response = if tags.iter().any(|tag| matches_etag(request.headers(), tag)) {
            empty(StatusCode::NOT_MODIFIED)
        } else if gzip {
            let mut response = raw_json(view.gzip().await?);
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        } else {
            raw_json(view.json().await?)
        };
        tag(&mut response, &tags[usize::from(gzip)]);
        response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
        Ok(response)
    }
}

/// 304 for whoever has that version; asked for again each time.
pub(super) fn tagged(request: &Request, etag: &str, body: impl FnOnce() -> Response) -> Response {
    let mut response = if matches_etag(request.headers(), etag) { empty(StatusCode::NOT_MODIFIED) } else { body() };
    tag(&mut response, etag);
    response
}

fn tag(response: &mut Response, etag: &str) {
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(etag).expect("a tag of digits"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

pub(super) fn raw_json(body: Bytes) -> Response {
    let mut response = Response::new(queue_core::service::http::Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
