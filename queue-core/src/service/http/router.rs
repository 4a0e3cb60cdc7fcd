//! Which route an address and a method name.
//!
//! Addresses are matched as they were sent, still percent-encoded, so an encoded slash stays inside
//! its segment; values are decoded when they are asked for.

use std::borrow::Cow;

use http::HeaderValue;
pub use http::Method;
use percent_encoding::percent_decode_str;

/// Parameters in one pattern, at most.
const PARAMS_MAX: usize = 4;

/// Patterns such as `/api/v1/queue/check/{eventId}` and the routes behind them.
pub struct Router<R> {
    tree: matchit::Router<usize>,
    endpoints: Vec<Endpoint<R>>,
}

/// One pattern with its methods.
pub(super) struct Endpoint<R> {
    pub(super) pattern: &'static str,
    methods: Vec<(Method, R)>,
    allow: HeaderValue,
}

/// Where an address led.
pub(super) struct Matched<R> {
    pub(super) endpoint: usize,
    /// `None`: the address is known, but not with this method.
    pub(super) route: Option<R>,
    pub(super) params: Params,
}

/// Where in the path the parameters' values stand.
#[derive(Clone, Copy, Default)]
pub(super) struct Params {
    spans: [(u16, u16); PARAMS_MAX],
    pattern: &'static str,
}

impl<R: Copy> Default for Router<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Copy> Router<R> {
    /// No routes.
    pub fn new() -> Self {
        Self { tree: matchit::Router::new(), endpoints: Vec::new() }
    }

    /// Adds a route. `HEAD` is served by `GET`, `OPTIONS` by the router's owner.
    ///
    /// # Panics
    /// When the pattern cannot be used: routers are built from constants at the start.
    pub fn route(mut self, method: Method, pattern: &'static str, route: R) -> Self {
        let index = match self.endpoints.iter().position(|e| e.pattern == pattern) {
            Some(index) => index,
            None => {
                let index = self.endpoints.len();
                self.tree.insert(pattern, index).unwrap_or_else(|e| panic!("route {pattern}: {e}"));
                self.endpoints.push(Endpoint::new(pattern));
                index
            }
        };
        let endpoint = &mut self.endpoints[index];
        assert!(endpoint.methods.iter().all(|(m, _)| *m != method), "route {method} {pattern} is there twice");
        endpoint.methods.push((method, route));
        endpoint.allow = endpoint.allow_value();
        self
    }

    /// All routes of another router as routes of this one.
    pub fn merge<S: Copy>(mut self, other: &Router<S>, convert: impl Fn(S) -> R) -> Self {
        for endpoint in &other.endpoints {
            for (method, route) in &endpoint.methods {
                self = self.route(method.clone(), endpoint.pattern, convert(*route));
            }
        }
        self
    }

    /// All routes, for tests and documentation: method, pattern, route.
    pub fn routes(&self) -> impl Iterator<Item = (&Method, &'static str, R)> {
        self.endpoints.iter().flat_map(|e| e.methods.iter().map(|(m, r)| (m, e.pattern, *r)))
    }

    pub(super) fn endpoints(&self) -> &[Endpoint<R>] {
        &self.endpoints
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Option<Matched<R>> {
        let found = self.tree.at(path).ok()?;
        let endpoint = &self.endpoints[*found.value];
        let mut params = Params { pattern: endpoint.pattern, ..Params::default() };
        for ((_, value), span) in found.params.iter().zip(&mut params.spans) {
            // Values are slices of the path; the head's limit keeps positions within 16 bits.
            let start = (value.as_ptr() as usize).checked_sub(path.as_ptr() as usize)?;
            *span = (u16::try_from(start).ok()?, u16::try_from(start + value.len()).ok()?);
        }
        let wanted = |m: &Method| endpoint.methods.iter().find(|(known, _)| known == m).map(|(_, route)| *route);
        let route = wanted(method).or_else(|| if method == Method::HEAD { wanted(&Method::GET) } else { None });
        Some(Matched { endpoint: *found.value, route, params })
    }
}

impl<R> Endpoint<R> {
    fn new(pattern: &'static str) -> Self {
        assert!(names(pattern).count() <= PARAMS_MAX, "route {pattern} has too many parameters");
        Self { pattern, methods: Vec::new(), allow: HeaderValue::from_static("OPTIONS") }
    }

    /// The value of `Allow`.
    pub(super) fn allow(&self) -> HeaderValue {
        self.allow.clone()
    }

    fn allow_value(&self) -> HeaderValue {
        let mut methods: Vec<&str> = self.methods.iter().map(|(m, _)| m.as_str()).collect();
        if methods.contains(&"GET") && !methods.contains(&"HEAD") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        HeaderValue::try_from(methods.join(", ")).expect("methods are tokens")
    }
}

impl Params {
    /// The decoded value; `None` when the pattern has no such parameter or the value is no UTF-8.
    pub(super) fn get<'p>(&self, path: &'p str, name: &str) -> Option<Cow<'p, str>> {
        let index = names(self.pattern).position(|n| n == name)?;
        let (start, end) = self.spans[index];
        let value = path.get(usize::from(start)..usize::from(end))?;
        percent_decode_str(value).decode_utf8().ok()
    }
}

/// The names in a pattern, in order.
fn names(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| name.trim_start_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router<u8> {
        Router::new()
            .route(Method::GET, "/events", 1)
            .route(Method::GET, "/events/{id}", 2)
            .route(Method::DELETE, "/events/{id}", 3)
            .route(Method::GET, "/events/{id}/visitors/{visitor}", 4)
            .route(Method::POST, "/events/pause/{id}", 5)
    }

    fn find(method: Method, path: &str) -> Option<Option<u8>> {
        router().find(&method, path).map(|m| m.route)
    }

    #[test]
    fn methods_and_addresses_are_told_apart() {
        assert_eq!(find(Method::GET, "/events"), Some(Some(1)));
        assert_eq!(find(Method::GET, "/events/a"), Some(Some(2)));
        assert_eq!(find(Method::HEAD, "/events/a"), Some(Some(2)));
        assert_eq!(find(Method::DELETE, "/events/a"), Some(Some(3)));
        assert_eq!(find(Method::POST, "/events/a"), Some(None));
        assert_eq!(find(Method::POST, "/events/pause/a"), Some(Some(5)));
        for unknown in ["/", "/events/", "/events/a/", "/event", "*", "", "//events", "/events/a/b"] {
            assert_eq!(find(Method::GET, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn allow_names_every_method() {
        let router = router();
        let found = router.find(&Method::PUT, "/events/a").unwrap();
        assert_eq!(router.endpoints()[found.endpoint].allow(), "GET, DELETE, HEAD, OPTIONS");
    }

    #[test]
    fn values_are_decoded_within_their_segment() {
        let router = router();
        let path = "/events/a%2Fb/visitors/%61_%C3%A4";
        let found = router.find(&Method::GET, path).unwrap();
        assert_eq!(found.params.get(path, "id").unwrap(), "a/b");
        assert_eq!(found.params.get(path, "visitor").unwrap(), "a_ä");
        assert_eq!(found.params.get(path, "other"), None);
        let path = "/events/%ff";
        let found = router.find(&Method::GET, path).unwrap();
        assert_eq!(found.params.get(path, "id"), None, "no UTF-8");
    }

    #[test]
    fn routers_merge() {
        let merged = Router::new().route(Method::GET, "/livez", 100).merge(&router(), |r| u32::from(r) + 1);
        assert_eq!(merged.find(&Method::GET, "/events").unwrap().route, Some(2));
        assert_eq!(merged.routes().count(), 6);
    }
}
