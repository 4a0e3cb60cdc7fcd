//! A verdict while it is being reached.

use crate::rehearse::record::Verdict;

/// Offenders that are told in words.
const EXAMPLES_MAX: usize = 5;

/// Counts what was looked at and what was wrong.
#[derive(Clone, Debug)]
pub struct Check(Verdict);

impl Check {
    /// Nothing was looked at yet.
    pub fn new(what: &str) -> Self {
        Self(Verdict { what: what.to_owned(), checked: 0, broken: 0, examples: Vec::new() })
    }

    /// Looks at one thing; `offence` says in words what is wrong if it is not `right`.
    pub fn that(&mut self, right: bool, offence: impl FnOnce() -> String) {
        self.0.checked += 1;
        if !right {
            self.broken(offence);
        }
    }

    /// So many things were looked at, of which those that are wrong are named by [`Check::broken`].
    pub fn looked_at(&mut self, count: usize) {
        self.0.checked += count as u64;
    }

    /// One thing that was counted already is wrong.
    pub fn broken(&mut self, offence: impl FnOnce() -> String) {
        self.0.broken += 1;
        if self.0.examples.len() < EXAMPLES_MAX {
            self.0.examples.push(offence());
        }
    }

    /// The verdict.
    pub fn done(self) -> Verdict {
        self.0
    }
}
