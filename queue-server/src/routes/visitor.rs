//! Joining, asking, leaving, releasing: what a visitor does over HTTP.

use std::sync::Arc;

use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, WWW_AUTHENTICATE},
};
use queue_core::{
    codes::Code,
    service::{
        context,
        http::{ApiError, Request, Response, json},
    },
    wire::QueueStatus,
};

use super::{
    event, expect_nothing, no_content,
    tokens::{self, Shown},
    verified::Verified,
};
use crate::{
    entrance::{self, Entrance},
    node::Node,
};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Joins, or finds the visitor's place again.
pub async fn check(node: &Arc<Node>, entrance: &Entrance, mut request: Request) -> Result<Response, ApiError> {
    let event = event(&request)?;
    expect_nothing(&mut request).await?;
    let user = entrance.user(&request, node.now()).await?;
    let place = tokens::place(&request, &node.keys().place(), &event, entrance.wants_users())?;
    if user.is_none() && place.as_ref().is_some_and(|place| place.shown == Shown::ByCookie) {
        request.require_origin()?;
    }
    let shown = place.map(|place| {
        let explicitly = place.shown == Shown::Explicitly;
        entrance::Shown { claims: place.claims, explicitly }
    });
    let who = entrance.who(user, shown, request.client_ip())?;
    let status = node.check(&event, who).await?;
    Ok(answer(&request, &status, ""))
}

/// Where the visitor stands.
pub async fn status(node: &Arc<Node>, entrance: &Entrance, request: &Request) -> Result<Response, ApiError> {
    let event = event(request)?;
    let place = tokens::place(request, &node.keys().place(), &event, entrance.wants_users())?;
    let place = place.ok_or(Code::PlaceTokenRequired)?;
    let status = node.status(&event, place.claims).await?;
    Ok(answer(request, &status, place.token))
}

/// The visitor gives the place or the session up.
pub async fn leave(node: &Arc<Node>, entrance: &Entrance, mut request: Request) -> Result<Response, ApiError> {
    let event = event(&request)?;
    expect_nothing(&mut request).await?;
    let place = tokens::place(&request, &node.keys().place(), &event, entrance.wants_users())?;
    let place = place.ok_or(Code::PlaceTokenRequired)?;
    if place.shown == Shown::ByCookie {
        request.require_origin()?;
    }
    node.leave(&event, &place.claims.visitor).await?;
    let mut response = no_content();
    tokens::forget_active(&request, &mut response, &event);
    Ok(response)
}

/// The visitor is done with the session.
pub async fn release(node: &Arc<Node>, verified: &Verified, mut request: Request) -> Result<Response, ApiError> {
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
    let mut response = no_content();
    tokens::forget_active(&request, &mut response, &event);
    Ok(response)
}

/// 401 as RFC 9110 section 11.6.1 wants it.
pub fn unauthorized(code: Code) -> ApiError {
    ApiError::new(code).header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn answer(request: &Request, status: &QueueStatus, shown: &str) -> Response {
    let mut response = json(StatusCode::OK, status);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    tokens::set_cookies(request, &mut response, status, shown);
    response
}
