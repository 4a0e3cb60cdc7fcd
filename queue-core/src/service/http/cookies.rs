//! Cookies: one is read by name, one is set with the attributes all of ours have.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// The value of a cookie; the first of that name counts.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
}

/// A cookie to set: `HttpOnly; SameSite=Lax; Path=/`, and `Secure` behind TLS.
#[derive(Clone, Debug)]
pub struct SetCookie<'a> {
    /// Its name: a token.
    pub name: &'a str,
    /// Its value: no spaces, quotes, commas, semicolons or backslashes.
    pub value: &'a str,
    /// How long the browser keeps it; 0 removes it, `None` keeps it as long as the browser runs.
    pub max_age_secs: Option<u64>,
    /// Whether the browser sent the request over TLS.
    pub secure: bool,
}

impl SetCookie<'_> {
    /// As a header value; `None` when name or value cannot stand in a cookie.
    pub fn header(&self) -> Option<HeaderValue> {
        let octet = |c: u8| matches!(c, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
        let token = |c: u8| octet(c) && !b"()/:<=>?@[]{}".contains(&c);
        if self.name.is_empty() || !self.name.bytes().all(token) || !self.value.bytes().all(octet) {
            return None;
        }
        let max_age = self.max_age_secs.map(|secs| format!("; Max-Age={secs}")).unwrap_or_default();
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{}={}{max_age}; Path=/; HttpOnly; SameSite=Lax{secure}", self.name, self.value);
        HeaderValue::try_from(text).ok()
    }

    /// Adds it to an answer's headers; one that cannot be written is logged and left out.
    pub fn append_to(&self, headers: &mut HeaderMap) {
        match self.header() {
            Some(value) => drop(headers.append(SET_COOKIE, value)),
            None => tracing::error!(cookie = self.name, "a cookie that cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_exact_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; usher_place.e.1=tok=en==;b=\"q\""));
        headers.append(COOKIE, HeaderValue::from_static("c=3; a=2; junk"));
        assert_eq!(cookie(&headers, "a"), Some("1"));
        assert_eq!(cookie(&headers, "b"), Some("q"));
        assert_eq!(cookie(&headers, "c"), Some("3"));
        assert_eq!(cookie(&headers, "usher_place.e.1"), Some("tok=en=="));
        assert_eq!(cookie(&headers, "usher_place.e"), None);
        assert_eq!(cookie(&headers, "A"), None);
    }

    #[test]
    fn ours_have_their_attributes() {
        let set = SetCookie { name: "usher_place.e1", value: "abc", max_age_secs: Some(60), secure: true };
        assert_eq!(set.header().unwrap(), "usher_place.e1=abc; Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure");
        let plain = SetCookie { secure: false, max_age_secs: None, ..set.clone() };
        assert_eq!(plain.header().unwrap(), "usher_place.e1=abc; Path=/; HttpOnly; SameSite=Lax");
        for value in ["a;b", "a b", "a\"b", "a,b", "a\r\nb", "ä"] {
            assert!(SetCookie { value, ..set.clone() }.header().is_none(), "{value}");
        }
        for name in ["", "a=b", "a b", "a;b"] {
            assert!(SetCookie { name, ..set.clone() }.header().is_none(), "{name}");
        }
    }
}
