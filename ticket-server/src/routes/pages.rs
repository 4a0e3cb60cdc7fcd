//! The seat page and what it is made of, embedded in the server.

use std::sync::LazyLock;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, VARY},
};
use queue_core::service::{
    http::{ApiError, Request, Response, html, json},
    pages::{File, Files, escaped, language, origin_of},
};
use serde_json::json;

use super::event_id;

const TICKETS_HTML: &str = include_str!("../../web/tickets.html");
const OPENAPI: &str = include_str!("../../openapi.json");
const ASYNCAPI: &str = include_str!("../../asyncapi.json");
/// The addresses of the configuration.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where people without a token are sent: the queue's public address.
    pub queue_url: String,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    Files::new(&[
        File::style("tickets.css", include_str!("../../web/tickets.css")),
        File::script("tickets.js", include_str!("../../web/tickets.js")),
        File::script("api.js", include_str!("../../web/api.js")),
        File::script("choose.js", include_str!("../../web/choose.js")),
        File::script("hold.js", include_str!("../../web/hold.js")),
        File::script("i18n.js", include_str!("../../web/i18n.js")),
        File::script("page.js", include_str!("../../web/page.js")),
        File::script("seatmap.js", include_str!("../../web/seatmap.js")),
    ])
});

static DESCRIPTIONS: LazyLock<Files> =
    LazyLock::new(|| Files::new(&[File::json("openapi.json", OPENAPI), File::json("asyncapi.json", ASYNCAPI)]));

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
    FILES.answer(headers, name)
}

/// The description of this interface.
pub fn openapi(headers: &HeaderMap) -> Result<Response, ApiError> {
    DESCRIPTIONS.answer(headers, "openapi.json")
}

/// The description of the sockets.
pub fn asyncapi(headers: &HeaderMap) -> Result<Response, ApiError> {
    DESCRIPTIONS.answer(headers, "asyncapi.json")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_and_its_modules_name_is_there() {
        assert_eq!(FILES.missing(&[TICKETS_HTML]), [] as [&str; 0]);
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
