//! Which token a request shows, and the cookies that answers set.
//!
//! A place token travels as `x-usher-place`, as `Authorization: Bearer` or in a cookie, in this
//! precedence; an active token as bearer or in a cookie. Tokens are never read from an address.

use std::fmt::Write as _;

use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use queue_core::{
    codes::Code,
    ids::{EventId, Millis},
    service::{
        context,
        http::{ApiError, Request, Response},
    },
    token::{
        place::{PlaceClaims, PlaceKeys},
        user::looks_like_jwt,
    },
    wire::{PLACE_HEADER, QueueState, QueueStatus, active_cookie, place_cookie},
};

/// How long a browser keeps a place token: each answer begins it anew.
const PLACE_COOKIE_SECS: u64 = 24 * 3600;
/// Room for what stands behind a cookie's value.
const COOKIE_ATTRIBUTES_BYTES: usize = 80;

/// How a request shows its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In a header, by somebody who holds the token.
    Explicitly,
    /// In a cookie, which a browser adds whoever has written the request.
    ByCookie,
}

/// A place token that was shown and is good for the event.
pub struct ShownPlace<'r> {
    pub claims: PlaceClaims,
    pub token: &'r str,
    pub shown: Shown,
}

/// The place token that the request shows for `event`. A bad one in a header is refused; a bad one in
/// a cookie is as good as none.
///
/// With `users`, a bearer of the shape of a JWT is a user token: it says who asks, not where they stand.
pub fn place<'r>(
    request: &'r Request,
    keys: &PlaceKeys,
    event: &EventId,
    users: bool,
) -> Result<Option<ShownPlace<'r>>, ApiError> {
    if let Some(token) = explicit_place(request, users)? {
        return match read_place(token, keys, event) {
            Some(claims) => Ok(Some(ShownPlace { claims, token, shown: Shown::Explicitly })),
            None => Err(Code::PlaceTokenInvalid.into()),
        };
    }
    if !request.headers().contains_key(COOKIE) {
        return Ok(None);
    }
    let Some(token) = request.cookie(&place_cookie(event)) else { return Ok(None) };
    let claims = read_place(token, keys, event);
    Ok(claims.map(|claims| ShownPlace { claims, token, shown: Shown::ByCookie }))
}

/// The place token that a header shows, good or not.
pub fn explicit_place(request: &Request, users: bool) -> Result<Option<&str>, ApiError> {
    let mut values = request.headers().get_all(PLACE_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(request.bearer().filter(|token| !(users && looks_like_jwt(token)))),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Code::PlaceTokenInvalid.into()),
        // Two of them cannot both be meant.
        (Some(_), Some(_)) => Err(Code::PlaceTokenInvalid.into()),
    }
}

fn read_place(token: &str, keys: &PlaceKeys, event: &EventId) -> Option<PlaceClaims> {
    let claims = keys.verify(token).ok().filter(|claims| claims.event == *event)?;
    context::note_visitor(&claims.visitor);
    Some(claims)
}

/// The active tokens that the request shows, in the order of their precedence.
pub fn actives<'r>(request: &'r Request, event: &EventId) -> [Option<(&'r str, Shown)>; 2] {
    let cookie = request.headers().contains_key(COOKIE).then(|| request.cookie(&active_cookie(event))).flatten();
    [request.bearer().map(|token| (token, Shown::Explicitly)), cookie.map(|token| (token, Shown::ByCookie))]
}

/// Sets the cookies that go with a status. `shown` is the place token to keep when the status has none.
pub fn set_cookies(request: &Request, response: &mut Response, status: &QueueStatus, shown: &str) {
    let secure = request.tls();
    let token = status.place_token.as_deref().unwrap_or(shown);
    set_cookie(response, &place_cookie(&status.event_id), token, PLACE_COOKIE_SECS, secure);
    match (&status.active_token, status.expires_at) {
        (Some(token), Some(expires)) if status.status == QueueState::Active => {
            let name = active_cookie(&status.event_id);
            set_cookie(response, &name, token, left_secs(status.as_of, expires), secure);
        }
        _ => forget_active(request, response, &status.event_id),
    }
}

/// Takes an active token's cookie away from a browser that still has it: its session is over.
pub fn forget_active(request: &Request, response: &mut Response, event: &EventId) {
    if !request.headers().contains_key(COOKIE) {
        return;
    }
    let name = active_cookie(event);
    if request.cookie(&name).is_some() {
        set_cookie(response, &name, "", 0, request.tls());
    }
}

/// One line, written once: this is part of every join.
fn set_cookie(response: &mut Response, name: &str, token: &str, max_age_secs: u64, secure: bool) {
    let mut line = String::with_capacity(name.len() + token.len() + COOKIE_ATTRIBUTES_BYTES);
    let secure = if secure { "; Secure" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(line, "{name}={token}; Max-Age={max_age_secs}; Path=/; HttpOnly; SameSite=Lax{secure}");
    let line = HeaderValue::try_from(line).expect("identifiers and tokens are visible ASCII");
    response.headers_mut().append(SET_COOKIE, line);
}

/// Whole seconds until the session ends; 0 would take the cookie away at once.
fn left_secs(now: Millis, expires: Millis) -> u64 {
    expires.since(now).div_ceil(1000).max(1)
}
