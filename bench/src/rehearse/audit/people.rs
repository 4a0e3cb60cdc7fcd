//! Nobody forgotten.

use std::collections::{BTreeMap, HashSet};

use queue_core::limits::WS_PING_MS;

use super::{check::Check, facts::Facts, replay::Replay};
use crate::rehearse::record::{Leaving, Place, Verdict, Visitor};

/// Told within this time of an admission, or busy with leaving: the word was on its way.
const TELL_MS_MAX: u64 = 2_000;
/// A request that fails does so within this time.
const TRY_MS_MAX: u64 = 15_000;
/// Ends of which nobody has to be told why: the visitor did it, or the rules did.
const REASONS: [&str; 9] =
    ["LEFT", "ABANDONED", "EXPIRED", "RELEASED", "REVOKED", "CLEARED", "CLOSED", "SOLD_OUT", "ENDED"];

/// Everybody who held a place came to a known end, or still stands in line; and who stayed, or came back in time, was
/// not dropped.
pub fn nobody_forgotten(facts: &Facts, replay: &Replay) -> Verdict {
    let mut check = Check::new("nobody forgotten");
    let let_in: BTreeMap<(&str, u64), u64> =
        replay.admissions.iter().map(|admission| ((admission.visitor.as_str(), admission.seq), admission.at)).collect();
    for visitor in &facts.record.visitors {
        for place in distinct(visitor) {
            let admitted_at = let_in.get(&(place.visitor_id.as_str(), place.seq)).copied();
            let wrong = wrong_with(facts, replay, visitor, place, admitted_at);
            check.that(wrong.is_none(), || {
                let (number, seq) = (visitor.number, place.seq);
                format!("visitor {number}, number {seq}: {}", wrong.unwrap_or_default())
            });
        }
        for told in visitor.told_ended.iter().filter(|told| !REASONS.contains(&told.reason.as_str())) {
            check.broken(|| format!("visitor {} was told {}, and no store lost anything", visitor.number, told.reason));
        }
        places_lost(replay, visitor, &mut check);
    }
    check.done()
}

/// Each place once, with the first answer that named it.
fn distinct(visitor: &Visitor) -> impl Iterator<Item = &Place> {
    let mut known = HashSet::new();
    visitor.places.iter().filter(move |place| known.insert((place.generation.as_str(), place.seq)))
}

fn wrong_with(
    facts: &Facts,
    replay: &Replay,
    visitor: &Visitor,
    place: &Place,
    admitted_at: Option<u64>,
) -> Option<String> {
    let end = replay.ends.get(&(place.visitor_id.clone(), place.seq));
    let waits = facts.queue.waiting.get(&place.seq) == Some(&place.visitor_id);
    let is_in = facts.queue.sessions.get(&place.visitor_id) == Some(&place.seq);
    if end.is_none() && !waits && !is_in {
        let was = if admitted_at.is_some() { "a session" } else { "a place in line" };
        return Some(format!("had {was}, which is gone without a word"));
    }
    if let Some((at, _)) = end.filter(|(_, reason)| reason == "ABANDONED") {
        return abandoned_too_soon(facts, visitor, place, *at);
    }
    let at = admitted_at?;
    let lapsed = end.filter(|(_, reason)| reason == "EXPIRED").is_some_and(|(end, _)| was_cut_off(visitor, at, *end));
    if lapsed { None } else { never_told(visitor, place, at) }
}

/// Whether somebody tried in vain to come back when they were let in, and did not manage until the claim time was over:
/// by the rules of the event the slot was the next one's then.
fn was_cut_off(visitor: &Visitor, admitted_at: u64, ended_at: u64) -> bool {
    let within = |at: u64| (admitted_at..=ended_at).contains(&at);
    let heard = visitor.places.iter().map(|place| place.at).chain(visitor.sights.iter().map(|sight| sight.at));
    let tried = |at: u64| (admitted_at.saturating_sub(TRY_MS_MAX)..=ended_at).contains(&at);
    !heard.into_iter().any(within) && visitor.errors.iter().any(|error| tried(error.at))
}

/// Removal is for those of whom nothing was heard for the grace.
fn abandoned_too_soon(facts: &Facts, visitor: &Visitor, place: &Place, at: u64) -> Option<String> {
    let grace = facts.record.rules.grace_ms;
    let away = visitor.departures.iter().filter(|left| left.what == Leaving::Abandon && left.asked_at <= at);
    match away.map(|left| left.asked_at).max() {
        None => Some(format!("was dropped from line at {at} as if gone, and had not gone")),
        // A sign of life is as old as the last answer to a ping.
        Some(since) if since + grace > at + WS_PING_MS => {
            Some(format!("was dropped from line {} ms after going, within the grace of {grace} ms", at - since))
        }
        // Back in between, and dropped all the same.
        Some(since) => visitor
            .places
            .iter()
            .find(|back| back.seq == place.seq && back.at > since && back.at <= at && back.at + grace > at)
            .map(|back| format!("was dropped from line {} ms after coming back", at - back.at)),
    }
}

/// Whoever was let in and was there must have heard of it.
fn never_told(visitor: &Visitor, place: &Place, at: u64) -> Option<String> {
    let jti = format!("{}.{}", place.generation, place.seq);
    let told = visitor.admissions.iter().any(|admission| admission.jti == jti);
    let went = visitor.departures.iter().map(|left| left.asked_at).chain([visitor.gone_at]);
    let was_going = went.filter(|went| *went > 0).any(|went| went < at + TELL_MS_MAX);
    (!told && !was_going).then(|| format!("was let in at {at}, and never told"))
}

/// Whoever came back with a place token found that place, unless it had ended.
fn places_lost(replay: &Replay, visitor: &Visitor, check: &mut Check) {
    for pair in visitor.places.windows(2) {
        let (before, back) = (&pair[0], &pair[1]);
        if back.returned && (back.seq != before.seq || back.generation != before.generation) {
            let ended = replay.ends.get(&(before.visitor_id.clone(), before.seq));
            check.that(ended.is_some_and(|(at, _)| *at <= back.at), || {
                let (number, had, has) = (visitor.number, before.seq, back.seq);
                format!("visitor {number} came back with number {had}, which had not ended, and got number {has}")
            });
        }
    }
}
