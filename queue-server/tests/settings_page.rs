//! `docs/configuration.md` says of every setting of this server what its tables say.

use queue_core::service::{
    config::{Kind, SHARED, Setting},
    users::USER_SETTINGS,
};
use queue_server::config::OWN;

const PAGE: &str = include_str!("../../docs/configuration.md");

/// The rows under a heading of the page.
fn documented(heading: &str) -> Vec<String> {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

fn row(setting: &Setting) -> String {
    let env = match (setting.env, setting.kind) {
        (None, _) => "–".to_owned(),
        (Some(env), Kind::SecretFile) => format!("`{env}` (the secret itself), `{env}_FILE`"),
        (Some(env), _) => format!("`{env}`"),
    };
    // What the help says of a default that is not a constant has a column of its own here.
    let (help, made) = match setting.help.split_once(" [default: ") {
        Some((help, default)) => (help, Some(default.trim_end_matches(']'))),
        None => (setting.help, None),
    };
    let default = match (setting.default, made) {
        (Some(default), _) => format!("`{default}`"),
        (None, Some(made)) => made.to_owned(),
        (None, None) => "–".to_owned(),
    };
    format!("| `{}` | {env} | {default} | {help} |", setting.key)
}

#[test]
fn the_page_has_every_setting() {
    for (heading, table) in [("Both servers", SHARED), ("queue-server", OWN), ("User tokens", USER_SETTINGS)] {
        let built: Vec<String> = table.iter().map(row).collect();
        assert_eq!(documented(heading), built, "docs/configuration.md, {heading}, should be:\n{}\n", built.join("\n"));
    }
}

#[test]
fn keys_are_named_once() {
    let keys: Vec<_> = OWN.iter().chain(SHARED).map(|setting| setting.key).collect();
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key), "{key} is there twice");
    }
}
