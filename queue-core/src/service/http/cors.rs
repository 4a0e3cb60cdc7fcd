//! Which origins may read our answers and act with our cookies: the configured ones and the
//! server's own host.

use http::HeaderMap;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};

const ALLOW_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, x-usher-place, traceparent");
const EXPOSE_HEADERS: HeaderValue = HeaderValue::from_static("location, retry-after, etag, x-trace-id");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ORIGIN: HeaderValue = HeaderValue::from_static("origin");
/// How long a browser may remember a preflight's answer.
const MAX_AGE_SECS: HeaderValue = HeaderValue::from_static("600");

/// The origins that are allowed beside the own host.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// These origins, as [`Origins::parse`] gives them.
    pub fn new(origins: Vec<String>) -> Self {
        Self(origins)
    }

    /// Reads an origin such as `https://shop.example` as browsers write it: lower case, no path, no
    /// default port. `*` and `null` are none: credentials are allowed with ours.
    pub fn parse(text: &str) -> Option<String> {
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix('/').unwrap_or(&text);
        let (scheme, host) = text.split_once("://")?;
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let host = host.strip_suffix(default_port).unwrap_or(host);
        let authority: http::uri::Authority = host.parse().ok()?;
        let plain = authority.port().is_none_or(|port| port.as_u16() != 0) && !authority.as_str().contains(['@', '*']);
        (plain && !authority.host().is_empty() && !host.ends_with(':')).then(|| format!("{scheme}://{host}"))
    }

    /// Whether `origin` is the own host or one of the list. Of the own host's scheme only one thing
    /// can be known: who came over TLS was shown no page that came without.
    pub(super) fn allows(&self, origin: &HeaderValue, host: Option<&str>, tls: bool) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        if self.0.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let own = origin.strip_prefix("https://").or_else(|| if tls { None } else { origin.strip_prefix("http://") });
        match (own, host) {
            (Some(own), Some(host)) => !host.is_empty() && own.eq_ignore_ascii_case(host),
            _ => false,
        }
    }
}

/// What an answer to an allowed origin carries.
pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
}

/// What the answer to a preflight carries beside it.
pub(super) fn preflight(headers: &mut HeaderMap, methods: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS);
}

/// Caches must not give one origin's answer to another.
pub(super) fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, ORIGIN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        assert_eq!(Origins::parse("https://Shop.Example/"), Some("https://shop.example".into()));
        assert_eq!(Origins::parse("https://shop.example:443"), Some("https://shop.example".into()));
        assert_eq!(Origins::parse("http://localhost:8080"), Some("http://localhost:8080".into()));
        assert_eq!(Origins::parse("http://[::1]:80"), Some("http://[::1]".into()));
        for bad in [
            "*",
            "null",
            "shop.example",
            "ftp://shop.example",
            "https://",
            "https://a/b",
            "https://a@b",
            "https://*.b",
            "https://a:",
        ] {
            assert_eq!(Origins::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_list_and_the_own_host_are_allowed() {
        let origins = Origins::new(vec!["https://shop.example".into()]);
        let allows =
            |origin: &'static str, host: &str, tls| origins.allows(&HeaderValue::from_static(origin), Some(host), tls);
        assert!(allows("https://shop.example", "queue.example", true));
        assert!(!allows("http://shop.example", "queue.example", true));
        assert!(!allows("https://shop.example.evil", "queue.example", true));
        assert!(allows("https://queue.example", "queue.example", true));
        assert!(!allows("http://queue.example", "queue.example", true));
        assert!(allows("http://127.0.0.1:3003", "127.0.0.1:3003", false));
        assert!(!allows("http://127.0.0.1:3002", "127.0.0.1:3003", false));
        assert!(!allows("null", "queue.example", false));
        assert!(!allows("http://", "", false));
    }
}
