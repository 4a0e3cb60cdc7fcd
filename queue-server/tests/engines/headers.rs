//! The header of each script says what the engine really sends and reads.

use std::collections::BTreeSet;

use queue_server::engine::redis::scripts::{DECLARATIONS, Key, TimeSource, assemble, header_line};

#[test]
fn headers_and_declarations_are_the_same() {
    for script in DECLARATIONS {
        let line = |field| header_line(script.source, field).unwrap_or_else(|| panic!("{}: {field}", script.name));
        let keys: Vec<_> = script.keys.iter().map(|key| key.name()).collect();
        assert_eq!(line("KEYS"), keys.join(" "), "{}", script.name);
        assert_eq!(line("ARGV"), script.args.join(" "), "{}", script.name);
        assert_eq!(line("reply"), script.reply, "{}", script.name);
    }
}

#[test]
fn every_file_is_declared() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../lua/queue");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.filter_map(|name| name.strip_suffix(".lua").map(str::to_owned)).collect();
    let declared: BTreeSet<_> = DECLARATIONS.iter().map(|script| script.name.to_owned()).collect();
    assert_eq!(files, declared);
}

#[test]
fn scripts_are_given_what_they_name_and_nothing_else() {
    for script in DECLARATIONS {
        let text = assemble(script, TimeSource::Store);
        let (_, body) = text.split_once("-- includes").unwrap_or_else(|| panic!("{}: no includes", script.name));
        let includes = text.split("local function").skip(1).collect::<String>();
        for name in script.keys.iter().map(|key| key.name()).chain(script.args.iter().copied()) {
            let name = name.trim_end_matches("...");
            let used = |text: &str| {
                text.lines().filter(|line| !line.starts_with("--")).any(|line| words(line).any(|word| word == name))
            };
            assert!(used(body) || used(&includes), "{} is given {name} and does not use it", script.name);
        }
        assert!(script.keys.iter().rev().skip(1).all(|key| *key != Key::SeenMany), "{}", script.name);
        assert!(!body.contains("redis.call('TIME')"), "{}: the time comes from the prelude", script.name);
    }
}

#[test]
fn scripts_that_only_read_say_so() {
    for script in DECLARATIONS {
        let reads = ["lookup", "describe", "snapshot"].contains(&script.name);
        assert_eq!(script.source.starts_with("#!lua flags=no-writes\n"), reads, "{}", script.name);
        assert!(script.source.starts_with("#!lua"), "{}", script.name);
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}
