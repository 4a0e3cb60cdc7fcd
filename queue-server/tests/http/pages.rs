//! The waiting page, its files, the keys and the description of the interface.

use std::collections::BTreeSet;

use queue_server::routes::{OperatorApp, PublicApp};
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, IF_NONE_MATCH};
use serde_json::Value;

use super::support::{Ask, TestServer};

const OPENAPI: &str = include_str!("../../openapi.json");
const ASYNCAPI: &str = include_str!("../../asyncapi.json");

#[tokio::test]
async fn the_page_knows_its_event_and_where_to_go() {
    let flags = [
        "--tickets-url=https://shop.example/e/{eventId}?a=1&b=2",
        "--return-urls=https://a.example/x,https://b.example/y",
    ];
    let server = TestServer::start_with(&flags).await;
    let answer = server.get("/wait/faults").answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    for part in [
        "data-event-id=\"faults\"",
        "data-tickets-url=\"https://shop.example/e/faults?a=1&amp;b=2\"",
        "data-return-urls=\"https://a.example/x https://b.example/y\"",
    ] {
        assert!(answer.text.contains(part), "{part}");
    }
    assert!(!answer.text.contains("{{"), "every placeholder is filled in");
    let policy = answer.header("content-security-policy");
    let host = server.url.strip_prefix("http://").unwrap();
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        &format!("connect-src 'self' ws://{host} wss://{host} https://shop.example"),
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|part| part == directive), "{directive} in {policy}");
    }
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
    {
        assert_eq!(answer.header(name), value);
    }
}

#[tokio::test]
async fn the_page_speaks_the_browsers_language_at_first() {
    let server = TestServer::start().await;
    for (path, accepted, lang) in [
        ("/wait/e", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("/wait/e", "de,en;q=0.5", "en"),
        ("/wait/e", "de", "en"),
        ("/wait/e?lang=ko", "en", "ko"),
        ("/wait/e?lang=xx", "ko", "ko"),
    ] {
        let answer = server.get(path).header(ACCEPT_LANGUAGE, accepted).answer().await;
        assert!(answer.text.contains(&format!("<html lang=\"{lang}\">")), "{path} {accepted}");
    }
}

#[tokio::test]
async fn an_address_that_names_no_event_is_explained() {
    let server = TestServer::start().await;
    for path in ["/wait/-x", "/wait/a%20b", "/wait/%3Cscript%3E"] {
        let page = server.get(path).header(ACCEPT, "text/html,application/xhtml+xml").answer().await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.header("content-type").starts_with("text/html") && !page.text.contains("<script>"), "{path}");
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        let program = server.get(path).answer().await;
        assert_eq!(program.refusal(), (404, "EVENT_NOT_FOUND"), "{path}");
    }
}

#[tokio::test]
async fn files_are_served_with_a_tag() {
    let server = TestServer::start().await;
    for (name, kind) in [
        ("wait.css", "text/css; charset=utf-8"),
        ("wait.js", "text/javascript; charset=utf-8"),
        ("line.js", "text/javascript; charset=utf-8"),
        ("i18n.js", "text/javascript; charset=utf-8"),
    ] {
        let path = format!("/assets/{name}");
        let answer = server.get(&path).answer().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind));
        assert!(answer.text.len() > 500);
        let tag = answer.header("etag").to_owned();
        assert!(tag.len() > 4 && tag.starts_with('"'));
        let again = server.get(&path).header(IF_NONE_MATCH, &tag).answer().await;
        assert_eq!((again.status, again.text.as_str()), (304, ""));
    }
    for name in ["missing.js", "..%2Fwait.html", "%2e%2e%2fCargo.toml", "WAIT.CSS", "wait.html"] {
        let answer = server.get(&format!("/assets/{name}")).answer().await;
        assert_eq!(answer.refusal(), (404, "NOT_FOUND"), "{name}");
    }
}

#[tokio::test]
async fn the_keys_are_published() {
    let server = TestServer::start().await;
    let answer = server.get("/.well-known/jwks.json").answer().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.header("cache-control"), "public, max-age=60");
    let key = &answer.json["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into()));
    assert_eq!(key["kid"], server.signing_keys().signer.public().kid());
    assert!(key.get("d").is_none() && key["x"].is_string());
}

#[tokio::test]
async fn health_answers() {
    let server = TestServer::start().await;
    let answer = server.get("/health").answer().await;
    assert_eq!((answer.status, &answer.json["status"]), (200, &"ok".into()));
}

#[tokio::test]
async fn the_description_is_served_and_names_every_route() {
    let server = TestServer::start().await;
    let answer = server.get("/openapi.json").answer().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.text, OPENAPI);
    let (public, operator) = (PublicApp::routes(), OperatorApp::routes());
    let built: BTreeSet<String> = public
        .routes()
        .map(|(method, path, _)| format!("{method} {path}"))
        .chain(operator.routes().map(|(method, path, _)| format!("{method} {path}")))
        .collect();
    let documented: BTreeSet<String> = answer.json["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "servers");
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(documented, built);
}

#[test]
fn the_descriptions_name_only_codes_there_are() {
    let known: Vec<&str> = queue_core::codes::Code::ALL.iter().map(|code| code.info().name).collect();
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut seen = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values().filter(|operation| operation.is_object()) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let Some(description) = response["description"].as_str().filter(|d| d.starts_with('`')) else {
                    continue;
                };
                if !status.starts_with(['4', '5']) {
                    continue;
                }
                for code in description.split(" · ").map(|code| code.trim_matches('`')) {
                    assert!(known.contains(&code), "{code}");
                    let info = queue_core::codes::Code::ALL.iter().find(|c| c.info().name == code).unwrap().info();
                    assert_eq!(info.status.to_string(), *status, "{code}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 40);
}

#[test]
fn every_reference_of_the_descriptions_leads_somewhere() {
    for text in [OPENAPI, ASYNCAPI] {
        let document: Value = serde_json::from_str(text).unwrap();
        for part in text.split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
