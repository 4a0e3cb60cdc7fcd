//! The place token that came with the handshake, for a join that names none.

use http::header::COOKIE;
use queue_core::{
    ids::EventId,
    limits::PLACE_TOKEN_BYTES_MAX,
    service::http::Request,
    wire::{PLACE_HEADER, place_cookie},
};

/// Place cookies that are kept until the join, at most.
const COOKIES_MAX: usize = 8;

/// What a handshake presented.
#[derive(Debug, Default)]
pub struct Presented {
    explicit: Option<String>,
    /// Cookie pairs as sent; only from an allowed origin.
    cookies: Vec<String>,
}

impl Presented {
    /// Takes tokens out of a handshake. Cookies count only beside an allowed `Origin`.
    pub fn of(request: &Request) -> Self {
        let explicit = request.header(PLACE_HEADER).or_else(|| request.bearer());
        let mut cookies = Vec::new();
        if request.origin_allowed() {
            let values = request.headers().get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let pairs = values.flat_map(|value| value.split(';')).map(str::trim);
            let ours = pairs.filter(|pair| pair.starts_with("usher_place.") && pair.len() <= 2 * PLACE_TOKEN_BYTES_MAX);
            cookies = ours.take(COOKIES_MAX).map(str::to_owned).collect();
        }
        Self { explicit: explicit.filter(|token| token.len() <= PLACE_TOKEN_BYTES_MAX).map(str::to_owned), cookies }
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
