//! The waiting page and what it is made of, embedded in the server.

use std::sync::LazyLock;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
};
use queue_core::{
    codes::Code,
    ids::EventId,
    service::{
        http::{ApiError, Request, Response, html, json, text},
        pages::{File, Files, escape_into, language},
    },
};
use serde_json::json;

use super::{plain, site::Site};

const WAIT_HTML: &str = include_str!("../../web/wait.html");
const MISSING_HTML: &str = include_str!("../../web/missing.html");
const OPENAPI: &str = include_str!("../../openapi.json");
const CACHE_JWKS: HeaderValue = HeaderValue::from_static("public, max-age=60");

static FILES: LazyLock<Files> = LazyLock::new(|| {
    Files::new(&[
        File::style("wait.css", include_str!("../../web/wait.css")),
        File::script("wait.js", include_str!("../../web/wait.js")),
        File::script("line.js", include_str!("../../web/line.js")),
        File::script("i18n.js", include_str!("../../web/i18n.js")),
    ])
});

static DESCRIPTIONS: LazyLock<Files> = LazyLock::new(|| Files::new(&[File::json("openapi.json", OPENAPI)]));

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
    FILES.answer(headers, name)
}

/// The description of this interface.
pub fn openapi(headers: &HeaderMap) -> Result<Response, ApiError> {
    DESCRIPTIONS.answer(headers, "openapi.json")
}

/// The public keys.
pub fn jwks(document: bytes::Bytes) -> Response {
    let mut response = text(StatusCode::OK, document);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(http::header::CACHE_CONTROL, CACHE_JWKS);
    response
}

/// That the process answers; whether it is ready is told on the operations listener.
pub fn health() -> Response {
    json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_cut_at_known_placeholders() {
        assert!(cut(WAIT_HTML).iter().filter(|piece| !matches!(piece, Piece::Text(_))).count() >= 4);
    }

    #[test]
    fn every_file_that_the_page_and_its_modules_name_is_there() {
        assert_eq!(FILES.missing(&[WAIT_HTML, MISSING_HTML, plain::TEMPLATE]), [] as [&str; 0]);
    }
}
