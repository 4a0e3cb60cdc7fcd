//! What sampled waiters saw, held against the record: was the position exact, and how old was the change?
//!
//! Numbers are handed out without gaps and nobody but the admitted leaves the line, so whoever has number *s* stands at
//! *s* less the number of admissions at that instant. Times are whole milliseconds: of several steps within the one
//! that a message names, each is right. If waiters were abandoned (places whose answer was lost), a position may be
//! smaller by as many.
//!
//! The age of a change is taken from the oldest one that the person had not been shown, so a push that is late, or never
//! comes, weighs with its whole wait.

use std::collections::HashMap;

use hdrhistogram::Histogram;
use queue_core::limits::WS_SILENT_MS;

use super::{
    control::{Kind, Sight},
    record::Record,
};

/// Positions up to this one are near the head.
pub const NEAR: u64 = 1_000;
/// A change is seen within this near the head, in milliseconds.
pub const NEAR_MS_MAX: u64 = 2_000;
/// And elsewhere.
pub const FAR_MS_MAX: u64 = 10_000;
/// Wrong positions that are shown as examples.
const EXAMPLES_MAX: usize = 5;

/// One age of a change: when it was seen, and how old it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub seen: u64,
    pub ms: u64,
    pub near: bool,
}

/// The verdict on all sights.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub checked: u64,
    pub wrong: u64,
    pub examples: Vec<String>,
    pub lags: Vec<Lag>,
}

/// A histogram of milliseconds, up to ten minutes, three digits exact.
pub fn milliseconds() -> Histogram<u64> {
    let bounds = Histogram::new_with_bounds(1, 600_000, 3);
    bounds.unwrap_or_else(|error| unreachable!("constant bounds are good: {error}"))
}

impl Verdict {
    /// Ages near the head, or those elsewhere.
    pub fn histogram(&self, near: bool) -> Histogram<u64> {
        let mut histogram = milliseconds();
        self.lags.iter().filter(|lag| lag.near == near).for_each(|lag| histogram.saturating_record(lag.ms));
        histogram
    }
}

/// Whether `position` was right for number `seq` at `as_of`, if up to `abandoned` had gone before.
fn is_exact(record: &Record, seq: u64, position: u64, as_of: u64, abandoned: u64) -> bool {
    let Some(gone) = seq.checked_sub(position) else { return false };
    let after = record.batches.partition_point(|batch| batch.at < as_of);
    let before = after.checked_sub(1).map_or(0, |last| record.batches[last].admitted as u64);
    let within = record.batches[after..].iter().take_while(|batch| batch.at == as_of);
    std::iter::once(before)
        .chain(within.map(|batch| batch.admitted as u64))
        .any(|admitted| (admitted..=admitted + abandoned).contains(&gone))
}

/// Ages of the changes that a message shows to somebody who had seen `admitted_before` admissions and sees now
/// `admitted_now`: the oldest one, and the oldest one near the head.
fn ages(record: &Record, seq: u64, seen: u64, admitted_before: u64, admitted_now: u64) -> impl Iterator<Item = Lag> {
    let oldest = admitted_before + 1;
    let oldest_near = oldest.max(seq.saturating_sub(NEAR));
    let far = (oldest < oldest_near).then_some((oldest, false));
    let lag = move |(number, near): (u64, bool)| {
        let (_, at) = record.admissions.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        (number <= admitted_now).then(|| Lag { seen, ms: seen.saturating_sub(*at), near })
    };
    [far, Some((oldest_near, true))].into_iter().flatten().filter_map(lag)
}

/// Judges all sights. They stand in the order in which each client saw them.
pub fn judge(record: &Record, sights: &[Sight], abandoned: u64) -> Verdict {
    let mut verdict = Verdict { checked: 0, wrong: 0, examples: Vec::new(), lags: Vec::new() };
    // Admissions that each number has been shown.
    let mut shown: HashMap<u64, u64> = HashMap::new();
    for sight in sights {
        let Sight { seq, kind, as_of, position, seen } = *sight;
        if matches!(kind, Kind::Answer | Kind::Push) {
            verdict.checked += 1;
            if !is_exact(record, seq, position, as_of, abandoned) {
                verdict.wrong += 1;
                if verdict.examples.len() < EXAMPLES_MAX {
                    let by_then = record.batches.partition_point(|batch| batch.at <= as_of);
                    let admitted = by_then.checked_sub(1).map_or(0, |last| record.batches[last].admitted);
                    let example = format!("{sight:?}, but {admitted} had been admitted");
                    verdict.examples.push(example);
                }
            }
        }
        let now = seq.saturating_sub(position);
        match (kind, shown.remove(&seq)) {
            (Kind::Answer, _) => {
                shown.insert(seq, now);
            }
            (Kind::Push, before) => {
                if let Some(before) = before {
                    verdict.lags.extend(ages(record, seq, seen, before, now));
                }
                shown.insert(seq, now);
            }
            (Kind::Turn, Some(before)) => verdict.lags.extend(ages(record, seq, seen, before, seq.saturating_sub(1))),
            // What was not shown yet when the client let go counts only if it was late already.
            (Kind::Fall, Some(before)) => {
                let late = |lag: &Lag| lag.ms > if lag.near { NEAR_MS_MAX } else { FAR_MS_MAX };
                let by_then = record.batches.partition_point(|batch| batch.at <= seen);
                let admitted = by_then.checked_sub(1).map_or(0, |last| record.batches[last].admitted as u64);
                verdict.lags.extend(ages(record, seq, seen, before, admitted).filter(late));
            }
            (Kind::Turn | Kind::Fall, None) => {}
        }
    }
    verdict
}

const _: () = assert!(FAR_MS_MAX < WS_SILENT_MS, "a change is seen before a socket is given up");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::record::Batch;

    /// 1 at 10 ms, 2 and 3 at 20 ms in one step, 4 at 20 ms in another, 5 at 30 ms.
    fn record() -> Record {
        let batches = [(10, 1), (20, 3), (20, 4), (30, 5)].map(|(at, admitted)| Batch { at, admitted }).to_vec();
        let admissions = vec![(1, 10), (2, 20), (3, 20), (4, 20), (5, 30)];
        Record { batches, admissions, ..Record::default() }
    }

    #[test]
    fn positions_hold_for_an_instant_within_the_millisecond() {
        let record = record();
        for (as_of, right) in [(9, vec![9]), (10, vec![9, 8]), (15, vec![8]), (20, vec![8, 6, 5]), (99, vec![4])] {
            let exact: Vec<u64> = (0..=10).rev().filter(|p| is_exact(&record, 9, *p, as_of, 0)).collect();
            assert_eq!(exact, right, "as of {as_of}");
        }
        assert!(is_exact(&record, 9, 3, 99, 1), "one was abandoned");
        assert!(!is_exact(&record, 9, 2, 99, 1));
    }

    #[test]
    fn a_change_is_as_old_as_the_oldest_that_was_not_shown() {
        let record = record();
        let sight = |kind, as_of, position, seen| Sight { seq: 9, kind, as_of, position, seen };
        let sights = [
            sight(Kind::Answer, 5, 9, 6),
            sight(Kind::Push, 15, 8, 110),
            sight(Kind::Push, 25, 5, 120),
            sight(Kind::Push, 26, 5, 130),
            sight(Kind::Turn, 35, 0, 131),
        ];
        let verdict = judge(&record, &sights, 0);
        assert_eq!((verdict.checked, verdict.wrong), (4, 0));
        let lags: Vec<u64> = verdict.lags.iter().map(|lag| lag.ms).collect();
        // The turn itself is not in this record's admissions: the change before it is.
        assert_eq!(lags, [100, 100, 101]);
        assert!(verdict.lags.iter().all(|lag| lag.near));
    }

    #[test]
    fn far_and_near_are_told_apart() {
        let admissions: Vec<(u64, u64)> = (1..=10).map(|seq| (seq, seq * 10)).collect();
        let batches = (1..=10).map(|n| Batch { at: n as u64 * 10, admitted: n }).collect();
        let record = Record { batches, admissions, ..Record::default() };
        // Number 1,005 is among the first thousand once five have gone.
        let lags: Vec<Lag> = ages(&record, 1_005, 200, 2, 8).collect();
        assert_eq!(lags, [Lag { seen: 200, ms: 170, near: false }, Lag { seen: 200, ms: 150, near: true }]);
        let lags: Vec<Lag> = ages(&record, 1_005, 200, 2, 4).collect();
        assert_eq!(lags, [Lag { seen: 200, ms: 170, near: false }]);
        assert_eq!(ages(&record, 1_005, 200, 4, 4).count(), 0);
    }

    #[test]
    fn a_push_that_never_came_counts_when_it_was_late() {
        let record = record();
        let sights = |fell: u64| {
            [(Kind::Answer, 5, 9, 6), (Kind::Fall, 0, 0, fell)].map(|(kind, as_of, position, seen)| Sight {
                seq: 9,
                kind,
                as_of,
                position,
                seen,
            })
        };
        assert!(judge(&record, &sights(1_000), 0).lags.is_empty());
        assert_eq!(judge(&record, &sights(5_010), 0).lags, [Lag { seen: 5_010, ms: 5_000, near: true }]);
    }
}
