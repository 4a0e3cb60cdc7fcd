//! Capacity, order and positions: what the store did, held against what the crowd was told.

use std::collections::HashMap;

use super::{
    check::Check,
    facts::Facts,
    positions::{self, Question},
    replay::{Replay, seq_of},
};
use crate::rehearse::record::{Place, Sight, Verdict, Visitor};

/// A position is right if it was so within this time of its `asOf`: clocks are read to the millisecond, by two
/// processes that may be kept waiting in between.
const AS_OF_SLACK_MS: u64 = 25;

/// What the record says of the line at the end is what the store says, so nothing is missing in between.
pub fn record_complete(facts: &Facts, replay: &Replay) -> Verdict {
    let mut check = Check::new("the record of the line complete");
    let (queue, admitted) = (&facts.queue, replay.admissions.len() as u64);
    check.that(admitted == queue.admitted, || {
        format!("{admitted} were let in by the record, {} by the store's own count", queue.admitted)
    });
    check.that(replay.waiting == queue.waiting, || {
        format!("{} wait by the record, {} in the store", replay.waiting.len(), queue.waiting.len())
    });
    check.that(replay.active == queue.sessions, || {
        format!("{} are in by the record, {} in the store", replay.active.len(), queue.sessions.len())
    });
    check.that(queue.active.keys().eq(queue.sessions.keys()), || {
        format!("the store has {} slots taken and {} sessions", queue.active.len(), queue.sessions.len())
    });
    check.done()
}

/// Never more in than may be, after any step; and whoever was told that it is their turn was let in.
pub fn capacity_kept(facts: &Facts, replay: &Replay) -> Verdict {
    let mut check = Check::new("Active never over capacity");
    let capacity = facts.record.rules.capacity;
    for admission in &replay.admissions {
        check.that(admission.active as u64 <= capacity, || {
            format!("{} were in when number {} was let in, and {capacity} may be", admission.active, admission.seq)
        });
    }
    let let_in: HashMap<(&str, u64), ()> =
        replay.admissions.iter().map(|admission| ((admission.visitor.as_str(), admission.seq), ())).collect();
    for visitor in &facts.record.visitors {
        for told in &visitor.admissions {
            let seq = seq_of(&told.jti).unwrap_or(0);
            check.that(let_in.contains_key(&(told.visitor_id.as_str(), seq)), || {
                format!(
                    "visitor {} was told that it is their turn as {}, and was never let in",
                    visitor.number, told.jti
                )
            });
        }
    }
    check.done()
}

/// Nobody was let in before somebody who stood before them, no number was given twice, and whoever had their place
/// before another one asked is before them.
pub fn order_kept(facts: &Facts, replay: &Replay) -> Verdict {
    let mut check = Check::new("order kept");
    for admission in &replay.admissions {
        check.that(admission.before == 0, || {
            format!("number {} was let in while {} stood before them", admission.seq, admission.before)
        });
    }
    for (seq, one, other) in &replay.twice {
        check.broken(|| format!("number {seq} was given to {one} and to {other}"));
    }
    joins_in_order(facts, &mut check);
    check.done()
}

fn joins_in_order(facts: &Facts, check: &mut Check) {
    let mut lines: HashMap<&str, Vec<(&Place, u64)>> = HashMap::new();
    for visitor in &facts.record.visitors {
        for place in first_answers(visitor) {
            lines.entry(&place.generation).or_default().push((place, visitor.number));
        }
    }
    for places in lines.values_mut() {
        places.sort_by_key(|(place, _)| place.asked_at);
        let mut answered: Vec<(&Place, u64)> = places.clone();
        answered.sort_by_key(|(place, _)| place.at);
        let mut answered = answered.into_iter().peekable();
        // Of those who had their answer, who has the highest number.
        let mut last: Option<(&Place, u64)> = None;
        for (place, number) in places.iter() {
            while let Some(next) = answered.next_if(|(before, _)| before.at < place.asked_at) {
                last = last.filter(|(last, _)| last.seq > next.0.seq).or(Some(next));
            }
            let overtaken = last.filter(|(before, _)| before.seq > place.seq);
            check.that(overtaken.is_none(), || {
                let (before, who) = overtaken.map_or((0, 0), |(before, who)| (before.seq, who));
                format!(
                    "visitor {number} asked after visitor {who} had number {before}, and was given number {}",
                    place.seq
                )
            });
        }
    }
}

/// The first answer of each place: a later one names the same place again.
fn first_answers(visitor: &Visitor) -> impl Iterator<Item = &Place> {
    let known = |at: usize| visitor.places[..at].iter().any(|before| before.seq == visitor.places[at].seq);
    visitor.places.iter().enumerate().filter(move |(at, _)| !known(*at)).map(|(_, place)| place)
}

/// Every position that was shown was so at that time; and between two of them it rose only by people who were put back
/// into their own places before.
///
/// The contract promises the first (`position`: "exact as of `asOf`: 1 + the number of waiters before"). The second
/// follows from it within a generation: nobody comes into line before others but who was abandoned by mistake.
pub fn positions_true(facts: &Facts, replay: &Replay) -> Verdict {
    let mut check = Check::new("every position as it was");
    let seen: Vec<(&Visitor, &Place, &Sight)> = facts.record.visitors.iter().flat_map(placed_sights).collect();
    let questions: Vec<Question> = seen
        .iter()
        .map(|(_, place, sight)| Question {
            from: sight.as_of.saturating_sub(AS_OF_SLACK_MS),
            to: sight.as_of + AS_OF_SLACK_MS,
            seq: place.seq,
        })
        .collect();
    let before = positions::before(&facts.record.steps, &questions);
    for ((visitor, _, sight), (fewest, most)) in seen.iter().zip(before) {
        check.that((fewest + 1..=most + 1).contains(&sight.position), || {
            format!(
                "visitor {} was shown position {} when {} to {} stood before them",
                visitor.number, sight.position, fewest, most
            )
        });
    }
    for pair in seen.windows(2) {
        let ((visitor, place, earlier), (_, next, later)) = (pair[0], pair[1]);
        if std::ptr::eq(place, next) && later.position > earlier.position {
            let within = earlier.as_of.saturating_sub(AS_OF_SLACK_MS)..=later.as_of + AS_OF_SLACK_MS;
            let back = replay.returns.iter().filter(|(at, seq)| within.contains(at) && *seq < place.seq).count() as u64;
            check.that(later.position - earlier.position <= back, || {
                let (from, to) = (earlier.position, later.position);
                format!("visitor {} went back from position {from} to {to}", visitor.number)
            });
        }
    }
    check.done()
}

/// The sights of a visitor with the place that each is of, in order of their time.
fn placed_sights(visitor: &Visitor) -> Vec<(&Visitor, &Place, &Sight)> {
    let place_of = |sight: &Sight| {
        let current = visitor.places.iter().rev().find(|place| place.at <= sight.at)?;
        // One and the same for all answers that name it.
        visitor.places.iter().find(|place| place.seq == current.seq && place.generation == current.generation)
    };
    let mut seen: Vec<_> = visitor.sights.iter().filter_map(|sight| Some((visitor, place_of(sight)?, sight))).collect();
    seen.sort_by_key(|(_, place, sight)| (place.seq, sight.as_of, sight.at));
    seen
}
