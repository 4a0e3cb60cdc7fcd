//! Each script's header is compared with the table on the Rust side, and its replies with its body.

use std::{collections::BTreeSet, fs, path::Path};

use ticket_server::{engine::script, limits};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../lua/ticket"))
}

fn line<'a>(text: &'a str, field: &str) -> &'a str {
    let start = format!("-- {field}:");
    let line = text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {start} in {text}"));
    line[start.len()..].trim()
}

#[test]
fn headers_say_what_the_table_says() {
    for transition in script::ALL {
        let name = transition.name;
        let keys: Vec<_> = transition.keys.iter().map(|key| key.name()).collect();
        assert_eq!(line(transition.text, "KEYS"), keys.join(" "), "{name}");
        assert_eq!(line(transition.text, "ARGV"), transition.args.join(" "), "{name}");
        let parts: Vec<_> = transition.parts.iter().map(|part| part.name).collect();
        assert_eq!(line(transition.text, "Includes"), parts.join(" "), "{name}");
    }
}

#[test]
fn every_file_is_in_the_table() {
    let names: BTreeSet<_> = script::ALL.iter().map(|transition| format!("{}.lua", transition.name)).collect();
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.filter(|name| name.ends_with(".lua")).collect();
    assert_eq!(names, files);
}

#[test]
fn bodies_use_the_declared_keys_and_arguments_and_replies() {
    for transition in script::ALL {
        let name = transition.name;
        let source: String = transition
            .parts
            .iter()
            .map(|part| part.text)
            .chain([transition.text])
            .flat_map(|text| [text, "\n"])
            .collect();
        let code: String =
            source.lines().filter(|line| !line.starts_with("--")).flat_map(|line| [line, "\n"]).collect();
        let declared: BTreeSet<_> = transition.keys.iter().map(|key| key.name()).collect();
        for used in words_after(&code, "k.") {
            assert!(declared.contains(used), "{name} uses the key {used}, which it does not declare");
        }
        for key in &declared {
            assert!(words_after(&code, "k.").any(|used| used == *key), "{name} declares {key} and does not use it");
        }
        let last =
            code.match_indices("ARGV[").filter_map(|(at, _)| code[at + 5..].split(']').next()?.parse().ok()).max();
        assert_eq!(last.unwrap_or(0), transition.args.len(), "{name}: arguments");
        let replies = line(transition.text, "Reply");
        // What a shared part answers and the body turns into something else is compared with, in the body.
        let turned = |status: &str| transition.text.contains(&format!("== '{status}'"));
        for status in statuses(&code).filter(|status| !turned(status)) {
            assert!(
                replies.split([' ', '|']).any(|word| word == status),
                "{name} answers {status}, which its header omits"
            );
        }
    }
}

#[test]
fn bounds_in_scripts_are_the_bounds_in_the_table() {
    let all: String = script::ALL.iter().flat_map(|t| t.parts.iter().map(|part| part.text).chain([t.text])).collect();
    for (name, value) in [
        ("LOG_ENTRIES_MAX", limits::LOG_ENTRIES_MAX as u64),
        ("PAST_KEPT_MS", limits::PAST_KEPT_MS),
        ("PAST_HOLDS_MAX", limits::PAST_HOLDS_MAX as u64),
        ("SESSION_KEPT_MS", limits::SESSION_KEPT_MS),
        ("SESSIONS_ENDED_MAX", limits::SESSIONS_ENDED_MAX as u64),
    ] {
        let line = format!("local {name} = {value}\n");
        assert_eq!(all.matches(&format!("local {name} =")).count(), all.matches(&line).count(), "{name}");
        assert!(all.contains(&line), "{name}");
    }
    let extend =
        format!("local EXTENSIONS_MAX, HOLD_LIFE_MS_MAX = {}, {}\n", limits::EXTENSIONS_MAX, limits::HOLD_LIFE_MS_MAX);
    assert!(all.contains(&extend));
    assert!(all.contains(&format!("At most {} at a time", limits::BOOK_BATCH_MAX)));
}

fn words_after<'a>(code: &'a str, prefix: &'static str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back()?;
        let word = code[at + prefix.len()..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        (!before.is_ascii_alphanumeric() && before != '_').then_some(word)
    })
}

/// First elements of returned lists.
fn statuses(code: &str) -> impl Iterator<Item = &str> {
    let returned = code.match_indices("return { '").chain(code.match_indices("reply = { '"));
    let nil = code.match_indices("return nil, { '");
    returned.chain(nil).filter_map(|(at, found)| code[at + found.len()..].split('\'').next())
}
