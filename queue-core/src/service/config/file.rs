//! The settings file: TOML, one level, keys as the flags are called (`ops-listen` or `ops_listen`).

use std::collections::HashMap;

use toml::Value;

use super::{Kind, Problem, Setting, Source};

/// What the file says, by key; what is wrong with it goes to `problems`.
pub(super) fn read(
    path: &str,
    table: &[Setting],
    problems: &mut Vec<Problem>,
) -> HashMap<&'static str, (Vec<String>, Source)> {
    let source = Source::File(path.to_owned());
    let complain = |problems: &mut Vec<Problem>, key: &str, value: Option<String>, expected: String| {
        problems.push(Problem { key: key.to_owned(), value, source: source.clone(), expected });
    };
    let mut found = HashMap::new();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            complain(problems, "config", Some(path.to_owned()), format!("a file that can be read ({e})"));
            return found;
        }
    };
    let parsed = match text.parse::<toml::Table>() {
        Ok(parsed) => parsed,
        Err(e) => {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            complain(problems, "config", Some(path.to_owned()), format!("TOML (line {line}: {})", e.message()));
            return found;
        }
    };
    for (key, value) in parsed {
        let wanted = key.replace('_', "-");
        let Some(setting) = table.iter().find(|setting| setting.key == wanted) else {
            complain(problems, &key, None, "a known setting: this one is not".to_owned());
            continue;
        };
        match texts(&value, setting.kind) {
            Some(texts) => {
                if found.insert(setting.key, (texts, source.clone())).is_some() {
                    complain(problems, setting.key, None, "one value: it is there twice".to_owned());
                }
            }
            None => {
                let shown = setting.shown(&value.to_string());
                let expected = match setting.kind {
                    Kind::List => "a list of strings",
                    _ => "a string, a number or a boolean",
                };
                complain(problems, setting.key, shown, expected.to_owned());
            }
        }
    }
    found
}

fn texts(value: &Value, kind: Kind) -> Option<Vec<String>> {
    match (value, kind) {
        (Value::Array(items), Kind::List) => items.iter().map(scalar).collect(),
        (value, Kind::List) => Some(super::raw::split(&scalar(value)?)),
        (value, _) => Some(vec![scalar(value)?]),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Datetime(time) => Some(time.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    }
}
