//! Points at which a test lets the process end, as if it were killed: `TICKET_CRASH_AT=CAPTURE:done` ends it before
//! it writes down that the money was taken. Not in a release.

use super::Stage;

/// Ends the process when this is the point that is wanted.
#[cfg(debug_assertions)]
pub(super) fn point(stage: Stage, at: &str) {
    use std::sync::LazyLock;
    static WANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("TICKET_CRASH_AT").ok());
    let reached = |wanted: &str| wanted.split_once(':').is_some_and(|wanted| wanted == (stage.name(), at));
    if WANTED.as_deref().is_some_and(reached) {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(super) const fn point(_stage: Stage, _at: &str) {}
