//! The OpenAPI document has every route, and no other; the page of settings has those of orders.

use std::collections::BTreeSet;

use queue_core::service::config::{Kind, Setting};
use serde_json::Value;
use ticket_server::config::{FEED_SETTINGS, ORDER_SETTINGS};
use ticket_server::routes::{OperatorApp, PublicApp};

#[test]
fn every_route_is_described() {
    let document: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths
        .iter()
        .filter(|(path, _)| !["/livez", "/readyz", "/metrics"].contains(&path.as_str()))
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "servers");
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let (public, operator) = (PublicApp::routes(), OperatorApp::routes());
    let served: BTreeSet<_> = public
        .routes()
        .map(|(method, path, _)| format!("{method} {path}"))
        .chain(operator.routes().map(|(method, path, _)| format!("{method} {path}")))
        .collect();
    assert_eq!(described, served);
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
    let text = document.to_string();
    for rest in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", rest.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
    }
}

fn row(setting: &Setting) -> String {
    let env = setting.env.unwrap();
    let env = match setting.kind {
        Kind::SecretFile => format!("`{env}` (the secret itself), `{env}_FILE`"),
        _ => format!("`{env}`"),
    };
    // What the help says of a default that is not a constant has a column of its own here.
    let (help, made) = match setting.help.split_once(" [default: ") {
        Some((help, default)) => (help, Some(default.trim_end_matches(']'))),
        None => (setting.help, None),
    };
    let default = match (setting.default, made) {
        (Some(default), _) => format!("`{default}`"),
        (None, made) => made.unwrap_or("–").to_owned(),
    };
    format!("| `{}` | {env} | {default} | {help} |", setting.key)
}

#[test]
fn the_settings_of_orders_and_events_are_described() {
    let page = include_str!("../../docs/configuration.md");
    for (heading, table) in [("Orders and payments", ORDER_SETTINGS), ("Bookings as events", FEED_SETTINGS)] {
        let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        let described: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let built: Vec<_> = table.iter().map(row).collect();
        assert_eq!(described, built, "{heading} should be:\n{}\n", built.join("\n"));
    }
}
