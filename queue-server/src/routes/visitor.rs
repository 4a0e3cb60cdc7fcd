//! Joining, asking, leaving, releasing: what a visitor does over HTTP.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, WWW_AUTHENTICATE},
};
use queue_core::{
    codes::Code,
    service::{
        checked::CheckedActive,
        context,
        http::{ApiError, Quick, Request, Response, json_bytes},
    },
    wire::QueueStatus,
};

use super::{
    event, expect_nothing, no_content,
    tokens::{self, Jar, Shown, ShownPlace},
};
use crate::{
    entrance::{self, Entrance},
    node::{Begun, Joining, LocalLine, Node, Who},
};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Room for the JSON of a status, so that writing it does not grow the buffer.
const STATUS_BYTES_USUAL: usize = 512;

/// Joins, or finds the visitor's place again.
pub async fn check(node: &Arc<Node>, entrance: &Entrance, mut request: Request) -> Result<Response, ApiError> {
    let event = event(&request)?;
    expect_nothing(&mut request).await?;
    let user = entrance.user(&request, node.now()).await?;
    let place = tokens::place(&request, node.keys(), &event, entrance.wants_users())?;
    if user.is_none() {
        require_origin(&request, place.as_ref())?;
    }
    let who = entrance.who(user, place.map(shown))?;
    let joined = entrance.join(node, &event, who, request.client_ip()).await?;
    Ok(answer(Jar::of(&request, &event), &joined.status, ""))
}

/// [`check`] of an anonymous visitor who sends no body, for a line that is known: no future where the engine
/// answers at once, else one that holds no more than it needs.
pub fn check_quickly(node: &Arc<Node>, entrance: &Arc<Entrance>, request: &Request) -> Quick {
    if !request.is_bare() || entrance.wants_users() {
        return Quick::No;
    }
    let Some(line) = known_line(node, request) else { return Quick::No };
    join_quickly(node, entrance, request, line).unwrap_or_else(|error| Quick::Done(Err(error)))
}

fn join_quickly(
    node: &Arc<Node>,
    entrance: &Arc<Entrance>,
    request: &Request,
    line: Arc<LocalLine>,
) -> Result<Quick, ApiError> {
    let place = tokens::place(request, node.keys(), &line.event, false)?;
    if place.is_none() {
        node.may_join(&line)?;
    }
    require_origin(request, place.as_ref())?;
    let who = entrance.who(None, place.map(shown))?;
    let from = request.client_ip();
    let toll = match who.place() {
        // The store may have to be asked about it.
        Some(place) if !node.believes(&line, place) => return Ok(Quick::No),
        Some(_) => Some(Box::new(Toll { entrance: entrance.clone(), from })),
        None => {
            entrance.newcomer(from)?;
            None
        }
    };
    let jar = Jar::of(request, &line.event);
    let told = move |node: &Node, joined: &Joining| {
        if let Some(toll) = toll {
            toll.entrance.found(node, joined, toll.from);
        }
        Ok(answer(jar, &joined.status, ""))
    };
    Ok(match node.begin_join(&line, who)? {
        Begun::Done(joined) => Quick::Done(told(node, &joined)),
        Begun::Not(visitor) => {
            let (node, event) = (node.clone(), line.event.clone());
            // Not as a holder, who might be asked for more: this visitor is known to be good.
            Quick::later(async move {
                let joined = node.join(&event, Who::User(visitor, None)).await?;
                told(&node, &joined)
            })
        }
        Begun::Waits(waiting) => {
            let node = node.clone();
            Quick::later(async move {
                let joined = waiting.joined(&node, line).await?;
                told(&node, &joined)
            })
        }
    })
}

/// To whom a join counts if the place that was shown turns out to have ended. Most who join show none: boxed, it costs
/// them a pointer.
struct Toll {
    entrance: Arc<Entrance>,
    from: IpAddr,
}

/// A cookie alone authenticates no change that another site may have asked for.
fn require_origin(request: &Request, place: Option<&ShownPlace<'_>>) -> Result<(), ApiError> {
    if place.is_some_and(|place| place.shown == Shown::ByCookie) { request.require_origin() } else { Ok(()) }
}

fn shown(place: ShownPlace<'_>) -> entrance::Shown {
    entrance::Shown { explicitly: place.shown == Shown::Explicitly, claims: place.claims }
}

/// The line that the path names, if this node knows it.
fn known_line(node: &Node, request: &Request) -> Option<Arc<LocalLine>> {
    node.known_line(&request.param("eventId")?)
}

/// Where the visitor stands.
pub async fn status(node: &Arc<Node>, entrance: &Entrance, request: &Request) -> Result<Response, ApiError> {
    let event = event(request)?;
    let place = tokens::place(request, node.keys(), &event, entrance.wants_users())?;
    let place = place.ok_or(Code::PlaceTokenRequired)?;
    let status = node.status(&event, place.claims).await?;
    Ok(answer(Jar::of(request, &event), &status, place.token))
}

/// [`status`], where this node knows the answer.
pub fn status_quickly(node: &Node, entrance: &Entrance, request: &Request) -> Quick {
    let Some(line) = known_line(node, request) else { return Quick::No };
    match tokens::place(request, node.keys(), &line.event, entrance.wants_users()) {
        Ok(Some(place)) => match node.status_known(&line, &place.claims) {
            Some(status) => Quick::Done(Ok(answer(Jar::of(request, &line.event), &status, place.token))),
            None => Quick::No,
        },
        Ok(None) => Quick::Done(Err(Code::PlaceTokenRequired.into())),
        Err(error) => Quick::Done(Err(error)),
    }
}

/// The visitor gives the place or the session up.
pub async fn leave(node: &Arc<Node>, entrance: &Entrance, mut request: Request) -> Result<Response, ApiError> {
    let event = event(&request)?;
    expect_nothing(&mut request).await?;
    let place = tokens::place(&request, node.keys(), &event, entrance.wants_users())?;
    let place = place.ok_or(Code::PlaceTokenRequired)?;
    if place.shown == Shown::ByCookie {
        request.require_origin()?;
    }
    node.leave(&event, &place.claims.visitor).await?;
    let mut response = no_content();
    Jar::of(&request, &event).forget_active(&mut response, &event);
    Ok(response)
}

/// The visitor is done with the session.
pub async fn release(node: &Arc<Node>, verified: &CheckedActive, mut request: Request) -> Result<Response, ApiError> {
    let event = event(&request)?;
    expect_nothing(&mut request).await?;
    // What is given explicitly counts, even where the cookie would be better.
    let shown = tokens::actives(&request, &event).into_iter().flatten().next();
    let (token, shown) = shown.ok_or_else(|| unauthorized(Code::ActiveTokenRequired))?;
    let session = verified
        .check(token, &node.keys().verifier(), node.now())
        .filter(|session| session.event == event)
        .ok_or_else(|| unauthorized(Code::ActiveTokenInvalid))?;
    context::note_visitor(&session.visitor);
    if shown == Shown::ByCookie {
        request.require_origin()?;
    }
    node.release(&event, &session.visitor, session.jti).await?;
    // A node would remember thousands of the released, for as long as their tokens could be shown.
    verified.forget(token);
    let mut response = no_content();
    Jar::of(&request, &event).forget_active(&mut response, &event);
    Ok(response)
}

/// 401 as RFC 9110 section 11.6.1 wants it.
pub fn unauthorized(code: Code) -> ApiError {
    ApiError::new(code).header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn answer(jar: Jar, status: &QueueStatus, shown: &str) -> Response {
    let mut body = Vec::with_capacity(STATUS_BYTES_USUAL);
    status.write_json(&mut body);
    let mut response = json_bytes(StatusCode::OK, body);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    jar.set(&mut response, status, shown);
    response
}
