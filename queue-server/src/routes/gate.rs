//! The gate that reverse proxies ask before they let a request through: nginx `auth_request`, Envoy
//! `ext_authz`, Traefik ForwardAuth. 200 lets pass and 401 does not; a redirect comes only where it is
//! asked for, since nginx makes 500 of one. How each is set up: `docs/gates.md`.

use std::sync::Arc;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, CACHE_CONTROL},
};
use queue_core::{
    codes::Code,
    ids::{EventId, VisitorId},
    line::SessionState,
    service::{
        checked::CheckedActive,
        context,
        http::{ApiError, Quick, Request, Response, empty, redirect},
    },
};

use super::{site::Site, tokens, visitor::unauthorized};
use crate::node::Node;

const X_USHER_VISITOR: HeaderName = HeaderName::from_static("x-usher-visitor");
const X_USHER_EVENT: HeaderName = HeaderName::from_static("x-usher-event");

/// Whether the request bears an active token of the event whose session is live.
pub async fn verify(
    node: &Arc<Node>,
    verified: &CheckedActive,
    site: &Site,
    request: &Request,
) -> Result<Response, ApiError> {
    let event = match request.query("event") {
        Some(text) if !text.is_empty() => EventId::new(&text).map_err(|e| ApiError::invalid("event", e))?,
        _ => return Err(Code::EventRequired.into()),
    };
    // Looked at first: a wrong one is said to those who pass, too.
    let redirects = wants_redirect(request)?;
    match live(node, verified, request, &event).await {
        Ok(visitor) => Ok(pass(&visitor, &event)),
        Err(error) if error.info().status == 401 && redirects => Ok(redirect(&site.waiting_url(&event))),
        Err(error) => Err(error),
    }
}

/// [`verify`], where this node knows already that the session is live.
pub fn verify_quickly(node: &Node, verified: &CheckedActive, request: &Request) -> Quick {
    known_to_be_live(node, verified, request).map_or(Quick::No, |response| Quick::Done(Ok(response)))
}

fn known_to_be_live(node: &Node, verified: &CheckedActive, request: &Request) -> Option<Response> {
    let event = node.known_line(&request.query("event")?)?.event.clone();
    // What is wrong with it is said by the long way.
    wants_redirect(request).ok()?;
    let (token, _) = tokens::actives(request, &event).into_iter().flatten().next()?;
    let session = verified.check(token, &node.keys().verifier(), node.now()).filter(|s| s.event == event)?;
    context::note_event(&event);
    context::note_visitor(&session.visitor);
    match node.session_known(&event, session.jti)? {
        SessionState::Live { visitor, .. } if visitor == session.visitor => Some(pass(&visitor, &event)),
        _ => None,
    }
}

/// The visitor whose session is live. A site behind the gate may use `Authorization` for itself, so a
/// bearer token that is not ours does not stand in the way of the cookie.
async fn live(
    node: &Arc<Node>,
    verified: &CheckedActive,
    request: &Request,
    event: &EventId,
) -> Result<VisitorId, ApiError> {
    let mut refusal = Code::ActiveTokenRequired;
    let verifier = node.keys().verifier();
    for (token, _) in tokens::actives(request, event).into_iter().flatten() {
        refusal = Code::ActiveTokenInvalid;
        let Some(session) = verified.check(token, &verifier, node.now()).filter(|s| s.event == *event) else {
            continue;
        };
        context::note_event(event);
        context::note_visitor(&session.visitor);
        match node.session(event, session.jti).await {
            Ok(SessionState::Live { visitor, .. }) if visitor == session.visitor => return Ok(visitor),
            Ok(_) => {}
            // An event that was removed has no sessions.
            Err(error) if error.code() == Code::EventNotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(unauthorized(refusal))
}

fn pass(visitor: &VisitorId, event: &EventId) -> Response {
    let mut response = empty(StatusCode::OK);
    let value = |id: &str| HeaderValue::from_str(id).expect("identifiers are visible ASCII");
    let headers = response.headers_mut();
    headers.insert(X_USHER_VISITOR, value(visitor.as_str()));
    headers.insert(X_USHER_EVENT, value(event.as_str()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn wants_redirect(request: &Request) -> Result<bool, ApiError> {
    match request.query("redirect").as_deref() {
        None | Some("" | "0") => Ok(false),
        Some("1") => Ok(true),
        Some("html") => Ok(accepts_html(request)),
        Some(_) => Err(ApiError::invalid("redirect", "must be 0, 1 or html")),
    }
}

/// Browsers that open a page name the type; `fetch` and programs say `*/*` or what they can read.
fn accepts_html(request: &Request) -> bool {
    let types = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    types
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
}
