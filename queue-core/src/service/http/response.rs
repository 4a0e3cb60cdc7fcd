//! Ready-made answers.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::body::Body;

/// An answer.
pub type Response = http::Response<Body>;

pub(super) const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for the JSON of a usual answer, so that writing it does not grow the buffer.
const JSON_BYTES_USUAL: usize = 512;

/// `value` as JSON.
///
/// # Panics
/// When the value cannot be written as JSON (a map with keys that are no strings): a bug, and
/// answered with 500 like any other panic of a handler.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut buffer = BytesMut::with_capacity(JSON_BYTES_USUAL).writer();
    serde_json::to_writer(&mut buffer, value).expect("wire types can be written as JSON");
    with_type(status, APPLICATION_JSON, buffer.into_inner().freeze())
}

/// JSON that is written already.
pub fn json_bytes(status: StatusCode, json: impl Into<Bytes>) -> Response {
    with_type(status, APPLICATION_JSON, json)
}

/// Plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    with_type(status, HeaderValue::from_static("text/plain; charset=utf-8"), text)
}

/// No body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 302 to another page. A location that is no valid header value is a bug: 500.
pub fn redirect(location: &str) -> Response {
    let Ok(location) = HeaderValue::try_from(location) else {
        tracing::error!(location, "a redirect to an address that no header can carry");
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = empty(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page with the security headers; `csp` is its content security policy.
pub fn html(body: impl Into<Bytes>, csp: &'static str) -> Response {
    let mut response = with_type(StatusCode::OK, HeaderValue::from_static("text/html; charset=utf-8"), body);
    page_headers(response.headers_mut(), csp);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A file of a page. `etag` is quoted and names the content; who has it gets 304.
pub fn asset(
    request: &HeaderMap,
    content_type: &'static str,
    etag: &'static str,
    cache: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut response = if matches_etag(request, etag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        with_type(StatusCode::OK, HeaderValue::from_static(content_type), body)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_static(etag));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether `If-None-Match` has this entity tag, compared weakly as RFC 9110 has it.
pub fn matches_etag(request: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let wanted = opaque(etag);
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || opaque(tag) == wanted)
}

/// What every page says to the browser: no sniffing, no framing, no address in referrers.
pub fn page_headers(headers: &mut HeaderMap, csp: &'static str) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(csp));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_if_none_match(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))])
    }

    #[test]
    fn who_has_the_asset_gets_304() {
        for held in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
            let response = asset(&with_if_none_match(held), "text/css", "\"v1\"", "no-cache", "body");
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{held}");
            assert_eq!(response.headers()[ETAG], "\"v1\"");
        }
        for held in ["\"v2\"", "v1", ""] {
            let response = asset(&with_if_none_match(held), "text/css", "\"v1\"", "no-cache", "body");
            assert_eq!(response.status(), StatusCode::OK, "{held}");
        }
    }

    #[test]
    fn redirects_carry_no_line_breaks() {
        assert_eq!(redirect("/wait/a\r\nx: y").status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(redirect("/wait/a").headers()[LOCATION], "/wait/a");
    }
}
