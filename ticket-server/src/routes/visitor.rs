//! What a visitor does with an active token: take, finish, read.
//!
//! Taking checks in this order: token, body, event, session, seats. Finishing and reading need a
//! good signature and ownership; what is somebody else's is 404.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::LOCATION};
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Seq, VisitorId},
    service::http::{ApiError, Request, Response, empty, json},
};
use serde_json::json;

use super::{PublicApp, bodies, reservation_id};
use crate::{
    gate::Shown,
    ids::ReservationId,
    office::{Caller, ReservationState},
    routes::bodies::Wish,
};

/// Events that are looked through for the reservations of a user who names none, at most.
const USER_EVENTS_MAX: usize = 64;

/// Who reads, cancels or repeats.
pub(super) enum Asker {
    Session(Shown),
    User(VisitorId),
}

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
        let shown = self.changing(&request).await?;
        let wish = bodies::seats(&mut request).await?;
        self.take(&shown, wish).await
    }

    pub(super) async fn reserve_tickets(&self, mut request: Request) -> Result<Response, ApiError> {
        let shown = self.changing(&request).await?;
        let wish = bodies::tickets(&mut request).await?;
        self.take(&shown, wish).await
    }

    /// A browser adds cookies whoever wrote the page: those pages must be allowed ones.
    pub(super) async fn changing(&self, request: &Request) -> Result<Shown, ApiError> {
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
        let wanted = request.query("eventId");
        let callers = match self.asker(request).await? {
            Asker::Session(shown) => shown.readers(self.office.now())?,
            Asker::User(user) => self.everywhere(&user, wanted.as_deref()).await?,
        };
        let mut items = Vec::new();
        for caller in callers {
            if wanted.as_ref().is_none_or(|event| caller.event.as_str() == event.as_ref()) {
                items.extend(self.office.reservations(&caller).await?);
            }
        }
        Ok(private(json(StatusCode::OK, &json!({"items": items}))))
    }

    pub(super) async fn reservation(&self, request: &Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner_of(&self.asker(request).await?, request).await?;
        Ok(private(json(StatusCode::OK, &self.office.reservation(&caller, &id).await?)))
    }

    pub(super) async fn extend(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner(&self.changing(&request).await?, &request)?;
        let seconds = bodies::seconds(&mut request).await?;
        let extended = self.office.extend(&caller, &id, seconds).await?;
        self.orders.note(&extended, "EXTENDED");
        Ok(json(StatusCode::OK, &extended))
    }

    pub(super) async fn confirm(&self, mut request: Request) -> Result<Response, ApiError> {
        let asker = self.changing_asker(&request).await?;
        let (caller, id) = self.owner_of(&asker, &request).await?;
        bodies::nothing(&mut request).await?;
        if let Asker::User(_) = asker {
            // Repeating what was done needs no session, doing it does.
            let reservation = self.office.reservation(&caller, &id).await?;
            let done = reservation.state == ReservationState::Confirmed;
            return if done { Ok(json(StatusCode::OK, &reservation)) } else { Err(Code::ActiveTokenRequired.into()) };
        }
        Ok(json(StatusCode::OK, &self.office.confirm(caller.as_ref().clone(), id).await?))
    }

    pub(super) async fn cancel(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner_of(&self.changing_asker(&request).await?, &request).await?;
        bodies::nothing(&mut request).await?;
        Ok(json(StatusCode::OK, &self.orders.cancel(&caller, &id).await?))
    }

    pub(super) async fn delete(&self, mut request: Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner_of(&self.changing_asker(&request).await?, &request).await?;
        bodies::nothing(&mut request).await?;
        self.orders.cancel(&caller, &id).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Who reads, cancels or repeats: by a session's token, or by a user token of the same visitor.
    pub(super) async fn asker(&self, request: &Request) -> Result<Asker, ApiError> {
        match self.gate.user(request, self.office.now()).await? {
            Some(user) => Ok(Asker::User(user)),
            None => self.shown(request).await.map(Asker::Session),
        }
    }

    /// The same for what changes something; a user token is never in a cookie.
    pub(super) async fn changing_asker(&self, request: &Request) -> Result<Asker, ApiError> {
        let asker = self.asker(request).await?;
        if matches!(&asker, Asker::Session(shown) if shown.by_cookie()) {
            request.require_origin()?;
        }
        Ok(asker)
    }

    pub(super) async fn owner_of(
        &self,
        asker: &Asker,
        request: &Request,
    ) -> Result<(Arc<Caller>, ReservationId), ApiError> {
        let user = match asker {
            Asker::Session(shown) => return self.owner(shown, request),
            Asker::User(user) => user,
        };
        let id = reservation_id(request)?;
        // Its event is in the id, and only for those who know visitor and event.
        let event = self.office.event_of(&id, user).await?.ok_or(Code::ReservationNotFound)?;
        Ok((Arc::new(self.reader(user, event)), id))
    }

    /// A user as the reader of the events that are asked for: the named one, or all of a catalog that is not large.
    async fn everywhere(&self, user: &VisitorId, wanted: Option<&str>) -> Result<Vec<Arc<Caller>>, ApiError> {
        let events = match wanted {
            Some(wanted) => match self.office.hall(wanted).await {
                Ok(hall) => vec![hall.event.clone()],
                Err(error) if error.code() == Code::EventNotFound => Vec::new(),
                Err(error) => return Err(error),
            },
            None => {
                self.office.find_events().await?;
                self.office.catalog.ids()
            }
        };
        if events.len() > USER_EVENTS_MAX {
            return Err(ApiError::invalid("eventId", "must name the event: there are many"));
        }
        Ok(events.into_iter().map(|event| Arc::new(self.reader(user, event))).collect())
    }

    /// A user of no event in particular; nobody where there is no event.
    pub(super) fn user_alone(&self, user: &VisitorId) -> Option<Caller> {
        self.office.catalog.ids().into_iter().min().map(|event| self.reader(user, event))
    }

    /// Somebody who has no session, or does not show it: reading and cancelling look at visitor and event alone.
    pub(super) fn reader(&self, user: &VisitorId, event: EventId) -> Caller {
        let jti = Jti { generation: Generation(0), seq: Seq(0) };
        Caller { visitor: user.clone(), event, jti, admitted: None, expires: self.office.now() }
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

pub(super) fn private(mut response: Response) -> Response {
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
