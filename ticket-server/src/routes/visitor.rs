//! What a visitor does with an active token: take, finish, read.
//!
//! Taking checks in this order: token, body, event, session, seats. Finishing and reading need a
//! good signature and ownership; what is somebody else's is 404.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::LOCATION};
use queue_core::service::http::{ApiError, Request, Response, empty, json};
use serde_json::json;

use super::{PublicApp, bodies, reservation_id};
use crate::{gate::Shown, ids::ReservationId, office::Caller, routes::bodies::Wish};

impl PublicApp {
    /// Whom the request shows. The queue hears of sessions that come for the first time.
    async fn shown(&self, request: &Request) -> Result<Shown, ApiError> {
        let now = self.office.now();
        let shown = self.gate.shown(request, now).await?;
        for caller in shown.live() {
            self.office.seen(caller);
        }
        Ok(shown)
    }

    pub(super) async fn reserve_seats(&self, mut request: Request) -> Result<Response, ApiError> {
        let shown = self.taking(&request).await?;
        let wish = bodies::seats(&mut request).await?;
        self.take(&shown, wish).await
    }

    pub(super) async fn reserve_tickets(&self, mut request: Request) -> Result<Response, ApiError> {
        let shown = self.taking(&request).await?;
        let wish = bodies::tickets(&mut request).await?;
        self.take(&shown, wish).await
    }

    async fn taking(&self, request: &Request) -> Result<Shown, ApiError> {
        let shown = self.changing(request).await?;
        shown.may_take()?;
        Ok(shown)
    }

    /// A browser adds cookies whoever wrote the page: those pages must be allowed ones.
    async fn changing(&self, request: &Request) -> Result<Shown, ApiError> {
        let shown = self.shown(request).await?;
        if shown.by_cookie() {
            request.require_origin()?;
        }
        Ok(shown)
    }

    async fn take(&self, shown: &Shown, wish: Wish) -> Result<Response, ApiError> {
        let caller = shown.taker(&wish.event)?;
        let reservation = self.office.hold(&caller, &wish.event, &wish.what, wish.hold_ms).await?;
        let location = format!("/api/v1/reservations/{}", reservation.reservation_id);
        let mut response = json(StatusCode::CREATED, &reservation);
        let location = HeaderValue::try_from(location).expect("an identifier is plain ASCII");
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }

    pub(super) async fn mine(&self, request: &Request) -> Result<Response, ApiError> {
        let shown = self.shown(request).await?;
        let wanted = request.query("eventId");
        let mut items = Vec::new();
        for caller in shown.readers(self.office.now())? {
            if wanted.as_ref().is_none_or(|event| caller.event.as_str() == event.as_ref()) {
                items.extend(self.office.reservations(&caller).await?);
            }
        }
        Ok(private(json(StatusCode::OK, &json!({"items": items}))))
    }

    pub(super) async fn reservation(&self, request: &Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner(&self.shown(request).await?, request)?;
        Ok(private(json(StatusCode::OK, &self.office.reservation(&caller, &id).await?)))
    }

    pub(super) async fn extend(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner(&self.changing(&request).await?, &request)?;
        let seconds = bodies::seconds(&mut request).await?;
        Ok(json(StatusCode::OK, &self.office.extend(&caller, &id, seconds).await?))
    }

    pub(super) async fn confirm(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner(&self.changing(&request).await?, &request)?;
        bodies::nothing(&mut request).await?;
        Ok(json(StatusCode::OK, &self.office.confirm(caller.as_ref().clone(), id).await?))
    }

    pub(super) async fn cancel(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner(&self.changing(&request).await?, &request)?;
        bodies::nothing(&mut request).await?;
        Ok(json(StatusCode::OK, &self.office.cancel(&caller, &id).await?))
    }

    pub(super) async fn delete(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner(&self.changing(&request).await?, &request)?;
        bodies::nothing(&mut request).await?;
        self.office.cancel(&caller, &id).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    fn owner(&self, shown: &Shown, request: &Request) -> Result<(Arc<Caller>, ReservationId), ApiError> {
        // Without a right to read anything, an address that cannot be says nothing either.
        let id = reservation_id(request);
        match id {
            Ok(id) => Ok((shown.owner(&id, self.office.now())?, id)),
            Err(error) => shown.readers(self.office.now()).and(Err(error)),
        }
    }
}

fn private(mut response: Response) -> Response {
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
