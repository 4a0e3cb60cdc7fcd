//! The line, played again from the record of its store: who stood where, and who was in, after every step. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::rehearse::record::Step;

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub at: u64,
    pub visitor: String,
    pub seq: u64,
    /// Who stood in line before them at that moment, and was not let in with them.
    pub before: usize,
    /// How many were in then, with them.
    pub active: usize,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    pub admissions: Vec<Admission>,
    /// Who came into line before others who stood there already: when, and with which number.
    pub returns: Vec<(u64, u64)>,
    /// By visitor and number: when and why place or session ended.
    pub ends: HashMap<(String, u64), (u64, String)>,
    /// The most that were in after any step.
    pub active_max: usize,
    /// At the end, by number.
    pub waiting: BTreeMap<u64, String>,
    /// At the end: visitors, and the numbers of their sessions.
    pub active: BTreeMap<String, u64>,
    /// Numbers that two had, one after the other.
    pub twice: Vec<(u64, String, String)>,
    owners: HashMap<u64, String>,
    seq_max: u64,
}

impl Replay {
    /// Plays all steps.
    pub fn of(steps: &[Step]) -> Self {
        let mut replay = Self::default();
        for step in steps {
            replay.take(step);
            replay.active_max = replay.active_max.max(replay.active.len());
        }
        replay
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Joined { at, waiters } => {
                for (seq, visitor) in waiters {
                    self.owned(*seq, visitor);
                    if *seq < self.seq_max {
                        self.returns.push((*at, *seq));
                    }
                    self.seq_max = self.seq_max.max(*seq);
                    self.ends.remove(&(visitor.clone(), *seq));
                    self.waiting.insert(*seq, visitor.clone());
                }
            }
            Step::Admitted { at, sessions, .. } => self.admitted(*at, sessions),
            Step::Gone { at, waiters, reason } => {
                for (seq, visitor) in waiters {
                    self.waiting.remove(seq);
                    self.ends.insert((visitor.clone(), *seq), (*at, reason.clone()));
                }
            }
            Step::Ended { at, jti, visitor_id, reason } => {
                self.active.remove(visitor_id);
                if let Some(seq) = seq_of(jti) {
                    self.ends.insert((visitor_id.clone(), seq), (*at, reason.clone()));
                }
            }
        }
    }

    fn admitted(&mut self, at: u64, sessions: &[(u64, String)]) {
        for (seq, _) in sessions {
            self.waiting.remove(seq);
        }
        for (seq, visitor) in sessions {
            self.owned(*seq, visitor);
            self.seq_max = self.seq_max.max(*seq);
            self.active.insert(visitor.clone(), *seq);
            // Few stand before whoever is let in, so they are counted one by one.
            let before = self.waiting.range(..seq).count();
            let active = self.active.len();
            self.admissions.push(Admission { at, visitor: visitor.clone(), seq: *seq, before, active });
        }
    }

    fn owned(&mut self, seq: u64, visitor: &str) {
        if let Some(owner) = self.owners.insert(seq, visitor.to_owned()).filter(|owner| owner != visitor) {
            self.twice.push((seq, owner, visitor.to_owned()));
        }
    }
}

/// The number in `GENERATION.SEQ`.
pub fn seq_of(jti: &str) -> Option<u64> {
    jti.rsplit_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::audit::sample::{admitted, ended, gone, joined};

    #[test]
    fn who_is_let_in_is_found_with_who_stood_before() {
        let found = Replay::of(&[
            admitted(1, &[(1, "direct")], false),
            joined(2, &[(2, "a"), (3, "b"), (4, "c")]),
            admitted(3, &[(2, "a")], true),
            ended(4, 1, "direct", "LEFT"),
            admitted(5, &[(4, "c")], true),
            gone(6, &[(3, "b")], "ABANDONED"),
            joined(7, &[(5, "e")]),
        ]);
        let admitted: Vec<_> =
            found.admissions.iter().map(|a| (a.visitor.as_str(), a.seq, a.before, a.active)).collect();
        assert_eq!(admitted, [("direct", 1, 0, 1), ("a", 2, 0, 2), ("c", 4, 1, 2)]);
        assert_eq!((found.active_max, found.waiting), (2, BTreeMap::from([(5, "e".to_owned())])));
        assert_eq!(found.active.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(found.ends[&("direct".to_owned(), 1)], (4, "LEFT".to_owned()));
        assert_eq!(found.ends[&("b".to_owned(), 3)], (6, "ABANDONED".to_owned()));
    }

    #[test]
    fn returns_and_numbers_given_twice_are_found() {
        let found = Replay::of(&[
            joined(1, &[(1, "a"), (2, "b")]),
            gone(2, &[(1, "a"), (2, "b")], "ABANDONED"),
            joined(3, &[(1, "a")]),
            joined(4, &[(2, "c")]),
        ]);
        assert_eq!(found.returns, [(3, 1)]);
        assert_eq!(found.twice, [(2, "b".to_owned(), "c".to_owned())]);
        assert!(!found.ends.contains_key(&("a".to_owned(), 1)));
    }
}
