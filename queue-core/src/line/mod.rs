//! The rules of waiting lines as a pure model: a command and the time go in, an answer comes out.
//!
//! No I/O, no clock, no randomness. The memory engine is this model behind a lock; the Redis engine is held
//! to it command by command. Whoever changes a rule changes it here first.
//!
//! What holds after every command: sessions never exceed the capacity that admitted them; a visitor is in
//! line or in a session, never both; a bit of `present` is set exactly for the ranks in line; numbers only rise.

pub mod bitmap;
pub mod command;
pub mod memory;
mod model;
pub mod rate;

use std::collections::{BTreeMap, HashMap};

pub use command::*;
pub use model::{Line, Session};

use crate::ids::{EventId, Generation, Millis};

/// A map whose keys nobody outside can choose: visitors are random or authenticated, numbers are handed out. So a
/// fast hash, seeded anew for each map, will do.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// All lines of one deployment.
#[derive(Debug, Default)]
pub struct Lines {
    lines: BTreeMap<EventId, Line>,
}

impl Lines {
    /// Carries out one command at `now`. `expected` is the generation the caller believes in. Sessions that
    /// end are added to `ended`.
    pub fn apply(
        &mut self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
        now: Millis,
        ended: &mut Vec<Ended>,
    ) -> Result<Applied, Refusal> {
        if let Command::Configure(configure) = &command
            && !self.lines.contains_key(event)
        {
            self.lines.insert(event.clone(), Line::new(configure, now));
            let outcome = Outcome::Configured { created: true };
            return Ok(Applied { now, generation: configure.generation, outcome });
        }
        let line = self.lines.get_mut(event).ok_or(Refusal::NoSuchEvent)?;
        let generation = line.generation();
        if expected.is_some_and(|expected| expected != generation) {
            return Err(Refusal::StaleGeneration(generation));
        }
        let outcome = line.apply(command, now, ended);
        if outcome == Outcome::Removed(true) {
            self.lines.remove(event);
        }
        Ok(Applied { now, generation, outcome })
    }

    /// The events there are, in order.
    pub fn events(&self) -> impl Iterator<Item = &EventId> {
        self.lines.keys()
    }

    /// One line, to look at.
    pub fn line(&self, event: &EventId) -> Option<&Line> {
        self.lines.get(event)
    }
}
