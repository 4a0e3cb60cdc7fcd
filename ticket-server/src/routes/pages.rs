//! The seat page and what it is made of, embedded in the server.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{ACCEPT_LANGUAGE, CONTENT_SECURITY_POLICY, VARY},
};
use queue_core::{
    codes::Code,
    service::http::{ApiError, Request, Response, asset, html, json},
};
use serde_json::json;

use super::event_id;

const TICKETS_HTML: &str = include_str!("../../web/tickets.html");
const OPENAPI: &str = include_str!("../../openapi.json");
const ASYNCAPI: &str = include_str!("../../asyncapi.json");
/// Files are asked for again each time; who has the same version gets 304.
const CACHE_ASSETS: &str = "public, no-cache";
const JSON: &str = "application/json";

/// The addresses of the configuration.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where people without a token are sent: the queue's public address.
    pub queue_url: String,
}

struct File {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const FILES: &[File] = &[
    File {
        name: "tickets.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("../../web/tickets.css"),
    },
    script("tickets.js", include_str!("../../web/tickets.js")),
    script("api.js", include_str!("../../web/api.js")),
    script("choose.js", include_str!("../../web/choose.js")),
    script("hold.js", include_str!("../../web/hold.js")),
    script("i18n.js", include_str!("../../web/i18n.js")),
    script("page.js", include_str!("../../web/page.js")),
    script("seatmap.js", include_str!("../../web/seatmap.js")),
];

const fn script(name: &'static str, content: &'static str) -> File {
    File { name, content_type: "text/javascript; charset=utf-8", content }
}

/// An entity tag for each file, and one for each description at the end.
static ETAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| FILES.iter().map(|file| file.content).chain([OPENAPI, ASYNCAPI]).map(etag).collect());

/// The seat page of an event, in the language that the browser asks for at first.
pub fn seat_page(request: &Request, site: &Site) -> Result<Response, ApiError> {
    let event = event_id(request, "eventId")?;
    let page = TICKETS_HTML
        .replace("{{event_id}}", &escaped(event.as_str()))
        .replace("{{queue_url}}", &escaped(site.queue_url.trim_end_matches('/')))
        .replace("{{lang}}", language(request));
    let mut response = html(page, "");
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, site.csp());
    headers.append(VARY, HeaderValue::from_static("accept-language"));
    Ok(response)
}

/// A file of the page.
pub fn file(headers: &HeaderMap, name: &str) -> Result<Response, ApiError> {
    let index = FILES.iter().position(|file| file.name == name).ok_or(Code::NotFound)?;
    let file = &FILES[index];
    Ok(asset(headers, file.content_type, &ETAGS[index], CACHE_ASSETS, file.content))
}

/// The description of this interface.
pub fn openapi(headers: &HeaderMap) -> Response {
    asset(headers, JSON, &ETAGS[FILES.len()], CACHE_ASSETS, OPENAPI)
}

/// The description of the sockets.
pub fn asyncapi(headers: &HeaderMap) -> Response {
    asset(headers, JSON, &ETAGS[FILES.len() + 1], CACHE_ASSETS, ASYNCAPI)
}

/// That the process answers; whether it is ready is told on the operations listener.
pub fn health() -> Response {
    json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

impl Site {
    /// The content security policy of the page: its own files, its own server and the queue.
    fn csp(&self) -> HeaderValue {
        let connect = origin_of(&self.queue_url).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {connect}; img-src 'self' data:; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("an origin was checked to be plain ASCII")
    }
}

/// The origin of an `http` or `https` address.
pub fn origin_of(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?.as_str();
    let plain = !authority.is_empty() && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    plain.then(|| format!("{scheme}://{authority}"))
}

fn etag(content: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    let hex: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// `?lang=` if it names a language of ours, else the first that the browser likes.
fn language(request: &Request) -> &'static str {
    let asked = request.query("lang").and_then(|lang| known_language(&lang));
    let liked = || request.header(ACCEPT_LANGUAGE.as_str())?.split(',').find_map(known_language);
    asked.or_else(liked).unwrap_or("en")
}

fn known_language(range: &str) -> Option<&'static str> {
    let primary = range.split([';', '-']).next().unwrap_or_default().trim();
    ["en", "ko"].into_iter().find(|known| primary.eq_ignore_ascii_case(known))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_and_its_modules_name_is_there() {
        let served = |name: &str| FILES.iter().any(|file| file.name == name);
        for rest in TICKETS_HTML.split("/assets/").skip(1) {
            assert!(served(rest.split('"').next().unwrap()), "{rest}");
        }
        for file in FILES {
            for rest in file.content.split("from './").skip(1) {
                assert!(served(rest.split('\'').next().unwrap()), "{} names {rest}", file.name);
            }
        }
    }

    #[test]
    fn the_page_has_no_other_placeholders() {
        let names: Vec<_> = TICKETS_HTML.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect();
        assert!(names.iter().all(|name| ["event_id", "queue_url", "lang"].contains(name)), "{names:?}");
        assert!(names.len() >= 3);
    }

    #[test]
    fn the_policy_names_the_queue() {
        let csp = Site { queue_url: "https://queue.example:8443/x".into() }.csp();
        assert!(csp.to_str().unwrap().contains("connect-src 'self' https://queue.example:8443;"));
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
