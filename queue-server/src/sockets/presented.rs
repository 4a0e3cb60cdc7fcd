//! The place token that came with the handshake, for a join that names none.

use std::net::IpAddr;

use http::header::COOKIE;
use queue_core::{
    codes::Code,
    ids::{EventId, VisitorId},
    limits::PLACE_TOKEN_BYTES_MAX,
    service::http::{ApiError, Request},
    wire::place_cookie,
};

use crate::routes::explicit_place;

/// Place cookies that are kept until the join, at most.
const COOKIES_MAX: usize = 8;

/// What a handshake presented.
#[derive(Debug)]
pub struct Presented {
    /// Whom its user token names.
    pub user: Option<VisitorId>,
    /// The client's address.
    pub from: IpAddr,
    explicit: Option<String>,
    /// Cookie pairs as sent; only from an allowed origin.
    cookies: Vec<String>,
}

impl Presented {
    /// Takes tokens out of a handshake. Cookies count only beside an allowed `Origin`.
    /// With `users`, a bearer of the shape of a JWT is a user token: `user` is whom it names. What cannot be a
    /// place token of any event is refused here, and the rest when the join says which event it has to be of.
    pub fn of(request: &Request, user: Option<VisitorId>, users: bool) -> Result<Self, ApiError> {
        let explicit = explicit_place(request, users)?;
        if explicit.is_some_and(|token| token.len() > PLACE_TOKEN_BYTES_MAX) {
            return Err(Code::PlaceTokenInvalid.into());
        }
        let mut cookies = Vec::new();
        if request.origin_allowed() {
            let values = request.headers().get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let pairs = values.flat_map(|value| value.split(';')).map(str::trim);
            let ours = pairs.filter(|pair| pair.starts_with("usher_place.") && pair.len() <= 2 * PLACE_TOKEN_BYTES_MAX);
            cookies = ours.take(COOKIES_MAX).map(str::to_owned).collect();
        }
        Ok(Self { user, from: request.client_ip(), explicit: explicit.map(str::to_owned), cookies })
    }

    /// The token that was given explicitly.
    pub fn explicit(&self) -> Option<&str> {
        self.explicit.as_deref()
    }

    /// The token in the cookie of `event`.
    pub fn cookie(&self, event: &EventId) -> Option<&str> {
        let name = place_cookie(event);
        self.cookies.iter().find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='))
    }
}
