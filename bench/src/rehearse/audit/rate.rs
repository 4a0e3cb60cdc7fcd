//! Admissions no faster than the policy's rate.

use super::{check::Check, replay::Replay};
use crate::rehearse::record::{Rules, Verdict};

const MINUTE_US: u64 = 60_000_000;
/// The store's time of a step is known to the millisecond, and a little late where its process was kept waiting.
const SLACK_US: u64 = 25_000;

/// The contract's generic cell rate algorithm, run over all admissions, those on joining among them: nobody was let in
/// ahead of it by more than its burst.
pub fn rate_kept(rules: &Rules, replay: &Replay) -> Verdict {
    let mut check = Check::new("no faster than the rate");
    let Some(rate) = rules.admit_per_minute.filter(|rate| *rate > 0) else { return check.done() };
    let (interval_us, burst) = (MINUTE_US / rate, rate.div_ceil(60).max(1));
    let mut due_us = 0;
    for admission in &replay.admissions {
        let at_us = admission.at * 1_000;
        due_us = at_us.max(due_us) + interval_us;
        let ahead_us = due_us - at_us;
        check.that(ahead_us <= burst * interval_us + SLACK_US, || {
            let (seq, ms) = (admission.seq, (ahead_us - burst * interval_us) / 1_000);
            format!("number {seq} was let in {ms} ms before the rate of {rate} a minute allows it")
        });
    }
    check.done()
}
