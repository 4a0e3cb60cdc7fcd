//! How many stood before somebody at a given time, by the record of the store. Pure.
//!
//! Ranks are counted with a Fenwick tree (P. M. Fenwick, "A New Data Structure for Cumulative Frequency Tables", 1994),
//! so that each step and each question costs the logarithm of the length of the line.

use std::collections::HashSet;

use crate::rehearse::record::Step;

/// How many stood before a number within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Milliseconds since the epoch, both included.
    pub from: u64,
    pub to: u64,
    pub seq: u64,
}

/// The fewest and the most that stood before each at any moment of its time.
pub fn before(steps: &[Step], questions: &[Question]) -> Vec<(u64, u64)> {
    let mut line = Line::new(steps);
    let mut answers = vec![(u64::MAX, 0); questions.len()];
    let mut answer = |line: &Line, number: usize| {
        let count = line.before(questions[number].seq);
        let (fewest, most): &mut (u64, u64) = &mut answers[number];
        (*fewest, *most) = (count.min(*fewest), count.max(*most));
    };
    let mut coming: Vec<usize> = (0..questions.len()).collect();
    coming.sort_by_key(|number| questions[*number].from);
    let mut coming = coming.into_iter().peekable();
    let mut open: Vec<usize> = Vec::new();
    for step in steps {
        let (at, people, came) = match step {
            Step::Joined { at, waiters } => (*at, waiters.as_slice(), true),
            Step::Admitted { at, sessions: people, .. } | Step::Gone { at, waiters: people, .. } => {
                (*at, people.as_slice(), false)
            }
            Step::Ended { .. } => continue,
        };
        while let Some(number) = coming.next_if(|number| questions[*number].from <= at) {
            answer(&line, number);
            open.push(number);
        }
        open.retain(|number| questions[*number].to >= at);
        for (seq, _) in people {
            line.set(*seq, came);
        }
        for number in &open {
            answer(&line, *number);
        }
    }
    for number in coming {
        answer(&line, number);
    }
    answers
}

/// Who stands in line, and sums of all prefixes.
struct Line {
    seqs: Vec<u64>,
    standing: HashSet<u64>,
    sums: Vec<i64>,
}

impl Line {
    fn new(steps: &[Step]) -> Self {
        let joined = |step: &Step| match step {
            Step::Joined { waiters, .. } => waiters.iter().map(|(seq, _)| *seq).collect(),
            _ => Vec::new(),
        };
        let mut seqs: Vec<u64> = steps.iter().flat_map(joined).collect();
        seqs.sort_unstable();
        seqs.dedup();
        let sums = vec![0; seqs.len() + 1];
        Self { seqs, standing: HashSet::new(), sums }
    }

    fn set(&mut self, seq: u64, stands: bool) {
        let changed = if stands { self.standing.insert(seq) } else { self.standing.remove(&seq) };
        if changed {
            let mut at = self.index(seq) + 1;
            while at < self.sums.len() {
                self.sums[at] += if stands { 1 } else { -1 };
                at += at & at.wrapping_neg();
            }
        }
    }

    fn index(&self, seq: u64) -> usize {
        self.seqs.partition_point(|known| *known < seq)
    }

    fn before(&self, seq: u64) -> u64 {
        let (mut at, mut sum) = (self.index(seq), 0);
        while at > 0 {
            sum += self.sums[at];
            at -= at & at.wrapping_neg();
        }
        u64::try_from(sum).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::audit::sample::{admitted, gone, joined};

    #[test]
    fn counts_are_those_of_the_line() {
        let mut steps: Vec<Step> = (1..=100_u64).map(|n| joined(n * 10, &[(n * 3, "a")])).collect();
        let first: Vec<(u64, &str)> = (1..=10).map(|n| (n * 3, "a")).collect();
        steps.push(admitted(2_000, &first, true));
        // Directly, without having stood in line.
        steps.push(admitted(2_100, &[(301, "x")], false));
        steps.push(gone(3_000, &[(60, "a")], "LEFT"));
        let question = |from, to, seq| Question { from, to, seq };
        let questions = [
            question(1_500, 1_600, 300),
            question(1_500, 2_500, 300),
            question(2_500, 3_500, 300),
            question(2_500, 3_500, 60),
            question(5, 205, 60),
            question(9_000, 9_000, 100_000),
        ];
        assert_eq!(before(&steps, &questions), [(99, 99), (89, 99), (88, 89), (9, 9), (0, 19), (89, 89)]);
        assert_eq!(before(&[], &[question(1, 2, 3)]), [(0, 0)]);
        // Whoever stood before somebody only in between counts, too.
        let steps = [joined(10, &[(1, "a"), (2, "b"), (3, "c")]), admitted(11, &[(1, "a"), (2, "b")], true)];
        assert_eq!(
            before(&steps, &[question(5, 15, 3), question(5, 10, 3), question(11, 11, 3)]),
            [(0, 2), (0, 2), (0, 2)]
        );
    }
}
