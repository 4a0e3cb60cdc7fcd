//! `docs/errors.md` says of every error code what `codes.rs` says, in the same order, and of every
//! close code that there is one.

use queue_core::{close::CloseCode, codes::Code};

const PAGE: &str = include_str!("../../docs/errors.md");

/// The cells of every table row of the page.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    PAGE.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split('|').map(str::trim).collect())
}

#[test]
fn the_page_has_every_code() {
    let documented: Vec<_> = rows()
        .filter(|cells| cells.len() == 4 && cells[1].parse::<u16>().is_ok())
        .map(|cells| cells.into_iter().map(|cell| cell.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    let built: Vec<_> = Code::ALL
        .iter()
        .map(|code| {
            let info = code.info();
            let retryable = if info.retryable { "yes" } else { "no" };
            vec![info.name.to_owned(), info.status.to_string(), retryable.to_owned(), info.message.to_owned()]
        })
        .collect();
    assert_eq!(documented, built, "docs/errors.md and queue-core/src/codes.rs differ");
}

#[test]
fn the_page_has_every_close_code() {
    for code in CloseCode::ALL {
        let number = code.number().to_string();
        let found = rows().any(|cells| cells[0].split(',').any(|said| said.trim() == number));
        assert!(found, "close code {number} is missing in docs/errors.md");
    }
}

#[test]
fn codes_are_named_once_and_are_errors() {
    for (i, code) in Code::ALL.iter().enumerate() {
        let info = code.info();
        assert!((400..600).contains(&info.status), "{}", info.name);
        assert!(info.name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{}", info.name);
        assert!(Code::ALL[..i].iter().all(|other| other.info().name != info.name), "{} is there twice", info.name);
    }
}
