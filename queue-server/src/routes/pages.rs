//! The waiting page and what it is made of, embedded in the server.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
};
use queue_core::{
    codes::Code,
    ids::EventId,
    service::http::{ApiError, Request, Response, asset, html, json, text},
};
use serde_json::json;

use super::{plain, site::Site};

const WAIT_HTML: &str = include_str!("../../web/wait.html");
const MISSING_HTML: &str = include_str!("../../web/missing.html");
const OPENAPI: &str = include_str!("../../openapi.json");
/// Files are asked for again each time; who has the same version gets 304.
const CACHE_ASSETS: &str = "public, no-cache";
const CACHE_JWKS: HeaderValue = HeaderValue::from_static("public, max-age=60");
const JSON: &str = "application/json";

struct File {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const FILES: &[File] = &[
    File { name: "wait.css", content_type: "text/css; charset=utf-8", content: include_str!("../../web/wait.css") },
    script("wait.js", include_str!("../../web/wait.js")),
    script("line.js", include_str!("../../web/line.js")),
    script("i18n.js", include_str!("../../web/i18n.js")),
];

const fn script(name: &'static str, content: &'static str) -> File {
    File { name, content_type: "text/javascript; charset=utf-8", content }
}

/// An entity tag for each file, and one for the description at the end.
static ETAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| FILES.iter().map(|file| file.content).chain([OPENAPI]).map(etag).collect());

/// The template of the waiting page, cut at its placeholders.
static TEMPLATE: LazyLock<Vec<Piece>> = LazyLock::new(|| cut(WAIT_HTML));

enum Piece {
    Text(&'static str),
    EventId,
    TicketsUrl,
    Lang,
    ReturnUrls,
    PlainUrl,
}

/// The waiting page of an event, in the language that the browser asks for at first.
pub fn waiting_page(request: &Request, site: &Site, event: &EventId) -> Response {
    let lang = language(request);
    let mut page = String::with_capacity(WAIT_HTML.len() + 512);
    for piece in TEMPLATE.iter() {
        match piece {
            Piece::Text(text) => page.push_str(text),
            Piece::EventId => escape_into(&mut page, event.as_str()),
            Piece::TicketsUrl => escape_into(&mut page, &site.tickets_url(event)),
            Piece::Lang => page.push_str(lang),
            Piece::ReturnUrls => escape_into(&mut page, &site.return_urls.join(" ")),
            Piece::PlainUrl => escape_into(&mut page, &plain::address(request, event)),
        }
    }
    with_policy(html(page, ""), request, site)
}

/// What somebody reads who follows a link that names no possible event; programs get the error.
pub fn missing_page(request: &Request, site: &Site) -> Result<Response, ApiError> {
    let browser = request.header(ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/html"));
    if !browser {
        return Err(Code::EventNotFound.into());
    }
    let mut response = html(MISSING_HTML, "");
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(with_policy(response, request, site))
}

pub fn with_policy(mut response: Response, request: &Request, site: &Site) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, site.csp(request.host()));
    headers.append(VARY, HeaderValue::from_static("accept, accept-language"));
    response
}

/// A file of a page.
pub fn file(headers: &HeaderMap, name: &str) -> Result<Response, ApiError> {
    let index = FILES.iter().position(|file| file.name == name).ok_or(Code::NotFound)?;
    let file = &FILES[index];
    Ok(asset(headers, file.content_type, &ETAGS[index], CACHE_ASSETS, file.content))
}

/// The description of this interface.
pub fn openapi(headers: &HeaderMap) -> Response {
    asset(headers, JSON, &ETAGS[FILES.len()], CACHE_ASSETS, OPENAPI)
}

/// The public keys.
pub fn jwks(document: bytes::Bytes) -> Response {
    let mut response = text(StatusCode::OK, document);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(http::header::CACHE_CONTROL, CACHE_JWKS);
    response
}

/// That the process answers; whether it is ready is told on the operations listener.
pub fn health() -> Response {
    json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

fn etag(content: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    let hex: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// `?lang=` if it names a language of ours, else the first that the browser likes.
pub fn language(request: &Request) -> &'static str {
    let asked = request.query("lang").and_then(|lang| known_language(&lang));
    let liked = || request.header(ACCEPT_LANGUAGE.as_str())?.split(',').find_map(known_language);
    asked.or_else(liked).unwrap_or("en")
}

pub fn known_language(range: &str) -> Option<&'static str> {
    let primary = range.split([';', '-']).next().unwrap_or_default().trim();
    ["en", "ko"].into_iter().find(|known| primary.eq_ignore_ascii_case(known))
}

fn cut(template: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut parts = template.split("{{");
    pieces.push(Piece::Text(parts.next().unwrap_or_default()));
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("each placeholder of the page is closed");
        pieces.push(match name {
            "event_id" => Piece::EventId,
            "tickets_url" => Piece::TicketsUrl,
            "lang" => Piece::Lang,
            "return_urls" => Piece::ReturnUrls,
            "plain_url" => Piece::PlainUrl,
            other => panic!("the page has an unknown placeholder {other}"),
        });
        pieces.push(Piece::Text(rest));
    }
    pieces
}

pub fn escape_into(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_cut_at_known_placeholders() {
        assert!(cut(WAIT_HTML).iter().filter(|piece| !matches!(piece, Piece::Text(_))).count() >= 4);
    }

    #[test]
    fn every_file_that_the_page_and_its_modules_name_is_there() {
        let served = |name: &str| FILES.iter().any(|file| file.name == name);
        for content in [WAIT_HTML, MISSING_HTML, plain::TEMPLATE] {
            for rest in content.split("/assets/").skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(served(name), "{name}");
            }
        }
        for file in FILES {
            for rest in file.content.split("from './").skip(1) {
                let name = rest.split('\'').next().unwrap();
                assert!(served(name), "{name} in {}", file.name);
            }
        }
    }

    #[test]
    fn text_is_escaped() {
        let mut page = String::new();
        escape_into(&mut page, "<a href=\"x\">'&");
        assert_eq!(page, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }

    #[test]
    fn languages_are_recognized() {
        assert_eq!(known_language("ko-KR;q=0.9"), Some("ko"));
        assert_eq!(known_language(" EN"), Some("en"));
        assert_eq!(known_language("de"), None);
    }
}
