//! A progress line: in place on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Elsewhere than on a terminal there is one line in so long.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(5);

/// The line of one run.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    plain: bool,
    last_plain: Option<Instant>,
}

impl Bar {
    /// Of a run that is over at `end`.
    pub fn new(end: u64) -> Self {
        let bar = ProgressBar::new(end);
        let style = ProgressStyle::with_template("{elapsed:>4} {bar:24} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        Self { bar, plain: !stderr().is_terminal(), last_plain: None }
    }

    /// Where it is.
    pub fn show(&mut self, position: u64, line: String) {
        self.bar.set_position(position);
        if self.plain && self.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_LINE_EVERY) {
            self.last_plain = Some(Instant::now());
            eprintln!("{:>4}s {line}", self.bar.elapsed().as_secs());
        }
        self.bar.set_message(line);
    }

    /// It is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
