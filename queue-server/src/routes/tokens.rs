//! Which token a request shows, and the cookies that answers set.
//!
//! A place token travels as `x-usher-place`, as `Authorization: Bearer` or in a cookie, in this
//! precedence; an active token as bearer or in a cookie. Tokens are never read from an address.

use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use queue_core::{
    codes::Code,
    ids::{EventId, Millis},
    service::{
        context,
        http::{ApiError, Request, Response},
    },
    token::{place::PlaceClaims, user::looks_like_jwt},
    wire::{
        ACTIVE_COOKIE_PREFIX, PLACE_COOKIE_PREFIX, PLACE_HEADER, QueueState, QueueStatus, active_cookie, place_cookie,
    },
};

use crate::node::Keys;

/// A browser keeps a place token for a day: each answer begins it anew.
const PLACE_COOKIE_ATTRIBUTES: &str = "; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax";

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
    keys: &Keys,
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

fn read_place(token: &str, keys: &Keys, event: &EventId) -> Option<PlaceClaims> {
    let claims = keys.place().verify(token).ok().filter(|claims| claims.event == *event)?;
    context::note_visitor(&claims.visitor);
    Some(claims)
}

/// The active tokens that the request shows, in the order of their precedence.
pub fn actives<'r>(request: &'r Request, event: &EventId) -> [Option<(&'r str, Shown)>; 2] {
    let cookie = request.headers().contains_key(COOKIE).then(|| request.cookie(&active_cookie(event))).flatten();
    [request.bearer().map(|token| (token, Shown::Explicitly)), cookie.map(|token| (token, Shown::ByCookie))]
}

/// What the cookies of an answer need to know of its request.
#[derive(Clone, Copy, Debug)]
pub struct Jar {
    secure: bool,
    /// The browser has an active token of the event.
    has_active: bool,
}

impl Jar {
    /// What `request` says, for `event`.
    pub fn of(request: &Request, event: &EventId) -> Self {
        let has_active = request.headers().contains_key(COOKIE) && request.cookie(&active_cookie(event)).is_some();
        Self { secure: request.tls(), has_active }
    }

    /// Sets the cookies that go with a status. `shown` is the place token to keep when the status has none.
    pub fn set(self, response: &mut Response, status: &QueueStatus, shown: &str) {
        let token = status.place_token.as_deref().unwrap_or(shown);
        self.put(response, PLACE_COOKIE_PREFIX, &status.event_id, token, PLACE_COOKIE_ATTRIBUTES);
        match (&status.active_token, status.expires_at) {
            (Some(token), Some(expires)) if status.status == QueueState::Active => {
                let age = left_secs(status.as_of, expires);
                let attributes = format!("; Max-Age={age}; Path=/; HttpOnly; SameSite=Lax");
                self.put(response, ACTIVE_COOKIE_PREFIX, &status.event_id, token, &attributes);
            }
            _ => self.forget_active(response, &status.event_id),
        }
    }

    /// Takes an active token's cookie away from a browser that still has it: its session is over.
    pub fn forget_active(self, response: &mut Response, event: &EventId) {
        if self.has_active {
            self.put(response, ACTIVE_COOKIE_PREFIX, event, "", "; Max-Age=0; Path=/; HttpOnly; SameSite=Lax");
        }
    }

    /// One line of just its length, so that it becomes a header without another copy: it is part of every join.
    fn put(self, response: &mut Response, prefix: &str, event: &EventId, token: &str, attributes: &str) {
        let secure = if self.secure { "; Secure" } else { "" };
        let parts = [prefix, event.as_str(), "=", token, attributes, secure];
        let mut line = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| line.push_str(part));
        let line = HeaderValue::try_from(line).expect("identifiers and tokens are visible ASCII");
        response.headers_mut().append(SET_COOKIE, line);
    }
}

/// Whole seconds until the session ends; 0 would take the cookie away at once.
fn left_secs(now: Millis, expires: Millis) -> u64 {
    expires.since(now).div_ceil(1000).max(1)
}
