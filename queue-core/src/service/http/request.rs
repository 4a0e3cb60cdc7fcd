//! A request as handlers see it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Uri, Version};
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Timeouts, Upgrade};
use super::cookies::cookie;
use super::error::ApiError;
use super::forwarded::Client;
use super::router::Params;
use super::server::HttpOptions;
use crate::codes::Code;
use crate::service::trace::{TraceContext, TraceId};

/// A request, its trace, and whom it came from.
pub struct Request {
    pub(super) inner: http::Request<Incoming>,
    pub(super) params: Params,
    pub(super) trace: TraceContext,
    pub(super) connection: Arc<Connection>,
}

impl Request {
    /// The method.
    pub fn method(&self) -> &Method {
        self.inner.method()
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.inner.version()
    }

    /// The address.
    pub fn uri(&self) -> &Uri {
        self.inner.uri()
    }

    /// The path, percent-encoded as it was sent.
    pub fn path(&self) -> &str {
        self.inner.uri().path()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header's value, when there is one and it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The request with its body, for handlers that need hyper itself (a WebSocket handshake).
    pub fn hyper(&mut self) -> &mut http::Request<Incoming> {
        &mut self.inner
    }

    /// The decoded value of a parameter of the route's pattern; `None` when it is no UTF-8.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params.get(self.path(), name)
    }

    /// The first value of a name in the query, decoded (`+` is a space). One that is no UTF-8 counts
    /// as absent.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.queries().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All names and values of the query.
    pub fn queries(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
    }

    /// The request's trace.
    pub fn trace(&self) -> TraceContext {
        self.trace
    }

    /// The id of the request's trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace.id
    }

    /// The other end of the connection.
    pub fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    /// Our end of the connection.
    pub fn local(&self) -> SocketAddr {
        self.connection.local
    }

    /// The client's address, through trusted proxies.
    pub fn client_ip(&self) -> IpAddr {
        self.client().ip
    }

    /// Whether the client came over TLS, as far as a trusted proxy says so.
    pub fn tls(&self) -> bool {
        self.client().tls
    }

    fn client(&self) -> Client {
        self.options().proxies.client(self.connection.peer.ip(), self.headers())
    }

    /// The host that the client asked for: that of an absolute address, else the `Host` header.
    pub fn host(&self) -> Option<&str> {
        match self.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => self.headers().get(HOST)?.to_str().ok(),
        }
    }

    /// A cookie's value.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookie(self.headers(), name)
    }

    /// The bearer token of `Authorization`.
    pub fn bearer(&self) -> Option<&str> {
        bearer(self.headers())
    }

    /// The `Origin` header.
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.headers().get(ORIGIN)
    }

    /// Whether the `Origin` is there and is allowed: the own host or one of the list.
    pub fn origin_allowed(&self) -> bool {
        self.origin().is_some_and(|origin| self.options().origins.allows(origin, self.host(), self.tls()))
    }

    /// For what a cookie authenticates and changes something: 403 without an allowed `Origin`.
    pub fn require_origin(&self) -> Result<(), ApiError> {
        if self.origin_allowed() { Ok(()) } else { Err(Code::OriginNotAllowed.into()) }
    }

    /// For `/ws`: programs send no `Origin` and may pass, browsers always do and theirs must be allowed.
    pub fn require_origin_if_browser(&self) -> Result<(), ApiError> {
        if self.origin().is_none() { Ok(()) } else { self.require_origin() }
    }

    /// Fires when the server starts to drain: streams and sockets end then.
    pub fn draining(&self) -> &CancellationToken {
        &self.connection.shared.draining
    }

    /// Takes the connection over; answer with 101 and spawn [`Upgrade::complete`].
    pub fn upgrade(&mut self) -> Upgrade {
        Upgrade::new(&mut self.inner, &self.connection)
    }

    /// Whether nothing but the head was sent.
    pub fn is_bare(&self) -> bool {
        self.inner.body().is_end_stream()
    }

    fn options(&self) -> &HttpOptions {
        &self.connection.shared.options
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.options().timeouts
    }
}

/// The bearer token of `Authorization`; the scheme's case does not matter.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens_are_found() {
        let with = |value: &'static str| HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(bearer(&with("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&with("bearer  abc ")), Some("abc"));
        for none in ["Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(&with(none)), None, "{none}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn queries_are_decoded() {
        assert_eq!(decode("a%20b+c").unwrap(), "a b c");
        assert_eq!(decode("a%2Bb").unwrap(), "a+b");
        assert_eq!(decode("%ff"), None);
    }
}
