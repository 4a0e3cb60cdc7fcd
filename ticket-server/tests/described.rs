//! The OpenAPI document has every route, and no other.

use std::collections::BTreeSet;

use serde_json::Value;
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
