//! The verdict: each promise with what was seen of it.

use std::collections::HashSet;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    Plan,
    control::trouble,
    meters::Role,
    progress::cores,
    run::{Moment, Results},
    truth::{self, FAR_MS_MAX, NEAR, NEAR_MS_MAX},
};

/// From admission to the message about it, in milliseconds.
const TURN_MS_MAX: u64 = 1_000;
/// Redis, in percent of a core.
const REDIS_PERCENT_MAX: f64 = 20.0;
/// Memory is compared between the end and this much after the schedule began, in seconds.
const WARM_SECONDS: f64 = 60.0;
/// Over so many seconds each.
const WINDOW_SECONDS: f64 = 10.0;
/// What it may grow by, in percent.
const GROWTH_PERCENT_MAX: f64 = 5.0;
/// Joins and admissions a second, in percent of those that were due, at least.
const RATE_PERCENT_MIN: f64 = 95.0;

/// What kind of promise it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Holds on any machine, however slow.
    Invariant,
    /// Depends on the machine and what else it does.
    Timing,
    /// Promised by nobody.
    Figure,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub seen: String,
    pub bound: String,
    /// `None` where there is nothing to be right about.
    pub ok: Option<bool>,
    pub kind: Kind,
}

/// Percentiles of a histogram of milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Percentiles {
    /// Of all values in it.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

/// The table, and what it was made from.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub rows: Vec<Row>,
    pub sights: truth::Verdict,
    pub near: Percentiles,
    pub far: Percentiles,
    pub turn: Percentiles,
    pub join: Percentiles,
    pub resume: Percentiles,
}

impl Verdict {
    /// What was promised and did not hold. `timing`: whether bounds of time count.
    pub fn broken(&self, timing: bool) -> Vec<String> {
        let counts = |row: &&Row| row.ok == Some(false) && (timing || row.kind == Kind::Invariant);
        self.rows.iter().filter(counts).map(|row| format!("{}: {}", row.what, row.seen)).collect()
    }

    fn row(&mut self, kind: Kind, what: &str, seen: String, bound: &str, ok: bool) {
        self.rows.push(Row { what: what.to_owned(), seen, bound: bound.to_owned(), ok: Some(ok), kind });
    }

    fn figure(&mut self, what: &str, seen: String) {
        self.rows.push(Row { what: what.to_owned(), seen, bound: "–".into(), ok: None, kind: Kind::Figure });
    }
}

/// Judges a run.
pub fn judge(plan: &Plan, results: &Results) -> Verdict {
    let sights = truth::judge(&results.record, &results.sights, results.counts.abandoned);
    let mut verdict = Verdict {
        rows: Vec::new(),
        near: Percentiles::of(&sights.histogram(true)),
        far: Percentiles::of(&sights.histogram(false)),
        turn: Percentiles::of(&results.turn_ms),
        join: Percentiles::of(&results.join_ms),
        resume: Percentiles::of(&results.resume_ms),
        sights,
    };
    positions(&mut verdict, results);
    order_and_capacity(&mut verdict, plan, results);
    nobody_forgotten(&mut verdict, results);
    lags(&mut verdict);
    rates(&mut verdict, plan, results);
    resources(&mut verdict, results);
    verdict
}

fn positions(verdict: &mut Verdict, results: &Results) {
    let (checked, wrong) = (verdict.sights.checked, verdict.sights.wrong);
    let seen = format!("{wrong} wrong of {checked} sampled");
    verdict.row(
        Kind::Invariant,
        "positions exact, against the record of admissions",
        seen,
        "0",
        wrong == 0 && checked > 0,
    );
    let at: std::collections::HashMap<u64, u64> =
        results.line.iter().zip(1..).map(|(seq, place)| (*seq, place)).collect();
    let waiting = || results.reports.iter().flat_map(|report| &report.waiting);
    let last_admission = results.record.batches.last().map_or(0, |batch| batch.at);
    let shown = waiting().filter(|(_, position, as_of)| *position > 0 && *as_of > last_admission);
    let (shown, wrong) = shown.fold((0_usize, 0_usize), |(shown, wrong), (seq, position, _)| {
        (shown + 1, wrong + usize::from(at.get(seq) != Some(position)))
    });
    let missing = waiting().count() - shown;
    verdict.row(
        Kind::Invariant,
        "everybody's last position exact, against the line in the store",
        format!("{wrong} wrong of {shown}, {missing} not shown one"),
        "0",
        wrong == 0 && missing == 0,
    );
}

fn trouble_count(results: &Results, name: &str) -> u64 {
    results.troubles.get(name).copied().unwrap_or(0)
}

fn order_and_capacity(verdict: &mut Verdict, plan: &Plan, results: &Results) {
    let record = &results.record;
    let (admissions, joins) = (record.out_of_order, trouble_count(results, trouble::JOIN_ORDER));
    let seen = format!(
        "{} let in, {admissions} before their turn; {joins} of {} joins overtaken",
        record.admissions.len(),
        results.counts.seq
    );
    verdict.row(Kind::Invariant, "order kept", seen, "0", admissions == 0 && joins == 0);
    let complete = record.admissions.len() as u64 == results.counts.admitted;
    let seen = format!("{} recorded, {} counted by the store", record.admissions.len(), results.counts.admitted);
    verdict.row(Kind::Invariant, "the record is complete", seen, "equal", complete);
    let most = record.active_max.max(results.active_seen_max);
    let seen = format!("at most {} after any step, {} at any glance", record.active_max, results.active_seen_max);
    verdict.row(Kind::Invariant, "Active never over capacity", seen, &plan.capacity.to_string(), most <= plan.capacity);
}

fn nobody_forgotten(verdict: &mut Verdict, results: &Results) {
    let told: HashSet<u64> = results.reports.iter().flat_map(|report| &report.told).copied().collect();
    let held: HashSet<u64> = results.reports.iter().flat_map(|report| &report.waiting).map(|(seq, ..)| *seq).collect();
    let line: HashSet<u64> = results.line.iter().copied().collect();
    let not_told = results.record.admissions.iter().filter(|(seq, _)| !told.contains(seq)).count() as u64;
    let (dropped, unheld) = (held.difference(&line).count() as u64, line.difference(&held).count() as u64);
    let counts = &results.counts;
    let unaccounted = counts.seq.abs_diff(counts.admitted + counts.abandoned + line.len() as u64);
    let changed = trouble_count(results, trouble::PLACE_CHANGED) + trouble_count(results, trouble::PLACE_ENDED);
    // Whoever asked and got no answer may have a place that nobody holds.
    let excused = trouble_count(results, trouble::JOIN_LOST);
    let forgotten = dropped + changed + unaccounted + (not_told + unheld + counts.abandoned).saturating_sub(excused);
    let seen = format!(
        "{forgotten} of {}: {dropped} wait and are not in line, {not_told} let in and not told, {} abandoned, {changed} \
         lost their place; {excused} joins without an answer",
        counts.seq, counts.abandoned
    );
    verdict.row(Kind::Invariant, "nobody forgotten", seen, "0", forgotten == 0);
}

fn shown(percentiles: &Percentiles) -> String {
    let Percentiles { count, p50, p90, p99, p999, max } = percentiles;
    format!("p50 {p50} ms, p90 {p90}, **p99 {p99}**, p99.9 {p999}, most {max} ({count})")
}

fn lags(verdict: &mut Verdict) {
    let (near, far, turn) = (verdict.near, verdict.far, verdict.turn);
    let what = format!("a change among the first {NEAR} is seen within");
    verdict.row(Kind::Timing, &what, shown(&near), &format!("p99 {NEAR_MS_MAX} ms"), near.p99 <= NEAR_MS_MAX);
    verdict.row(Kind::Timing, "any other within", shown(&far), &format!("p99 {FAR_MS_MAX} ms"), far.p99 <= FAR_MS_MAX);
    let bound = format!("p99 {TURN_MS_MAX} ms");
    verdict.row(Kind::Timing, "one's turn is told within", shown(&turn), &bound, turn.p99 <= TURN_MS_MAX);
    let (join, resume) = (shown(&verdict.join), shown(&verdict.resume));
    verdict.figure("a join is answered, from when it was due, connecting included, within", join);
    verdict.figure("a return with the place token, connecting included, within", resume);
}

fn rates(verdict: &mut Verdict, plan: &Plan, results: &Results) {
    let seconds = (results.steady.1.saturating_sub(results.steady.0)) as f64 / 1e3;
    let due = plan.joins_per_second * seconds;
    let within = |at: u64| (results.steady.0..results.steady.1).contains(&at);
    let admitted = results.record.admissions.iter().filter(|(_, at)| within(*at)).count() as f64;
    let joined = results.join_ms.len() as f64;
    let mut rate = |what: &str, count: f64| {
        let bound = format!("{:.0}/s, at least {RATE_PERCENT_MIN} %", plan.joins_per_second);
        verdict.row(
            Kind::Timing,
            what,
            format!("{:.0}/s", count / seconds),
            &bound,
            count * 100.0 >= due * RATE_PERCENT_MIN,
        );
    };
    rate("joins", joined);
    rate("admissions", admitted);
    let lost = trouble_count(results, trouble::SOCKET_LOST);
    let resumed = results.resume_ms.len() as f64 * 60.0 / seconds;
    verdict.figure("sockets dropped and back", format!("{resumed:.0} a minute; {lost} ended by a server"));
    let updates: u64 = steady(results).map(|moment| moment.updates).sum();
    verdict.figure("positions pushed", format!("{:.0}/s", updates as f64 / seconds));
    verdict.figure("filling the line", format!("{:.0} joins/s", plan.scale as f64 / results.fill_seconds.max(0.001)));
}

/// Moments of the schedule.
pub fn steady(results: &Results) -> impl Iterator<Item = &Moment> {
    let (from, to) = results.steady;
    results.moments.iter().filter(move |moment| (from..=to).contains(&moment.at_ms))
}

fn resources(verdict: &mut Verdict, results: &Results) {
    let (Some(first), Some(last)) = (steady(results).next(), steady(results).last()) else { return };
    let percent = |role| cores(first, last, role) * 100.0;
    let redis = percent(Role::Redis);
    let bound = format!("{REDIS_PERCENT_MAX} % of a core");
    verdict.row(Kind::Timing, "Redis", format!("{redis:.1} % of a core"), &bound, redis < REDIS_PERCENT_MAX);
    let seen =
        format!("{:.0} % and {:.0} % of a core", percent(Role::Node), percent(Role::Client) + percent(Role::Bench));
    verdict.figure("all nodes; all clients and the bench", seen);
    memory(verdict, results, last);
}

fn memory(verdict: &mut Verdict, results: &Results, last: &Moment) {
    let nodes = |moment: &Moment| -> Vec<f64> {
        let nodes = moment.usage.iter().filter(|usage| usage.role == Role::Node);
        nodes.map(|usage| usage.resident_bytes as f64).collect()
    };
    let all: f64 = nodes(last).iter().sum();
    let seen =
        format!("{:.0} MiB resident, {:.1} KiB per waiter", all / MIB, all / 1024.0 / last.waiting.max(1) as f64);
    verdict.figure("nodes, memory", seen);
    let (used, gone) = (results.memory.used, results.of_the_gone);
    let seen = format!(
        "{:.0} MiB, {:.0} of it kept of the {} who have gone, {:.0} B each; {:.0} B per waiter",
        used as f64 / MIB,
        gone as f64 / MIB,
        results.counts.released,
        gone as f64 / results.counts.released.max(1) as f64,
        used.saturating_sub(gone) as f64 / results.counts.waiting.max(1) as f64
    );
    verdict.figure("Redis, memory", seen);

    let bound = format!("+{GROWTH_PERCENT_MAX} % after {WARM_SECONDS} s");
    let early = window(results, WARM_SECONDS);
    let late = window(results, last.second - WINDOW_SECONDS);
    if last.second < WARM_SECONDS + 3.0 * WINDOW_SECONDS || early.is_empty() || late.is_empty() {
        return;
    }
    let mean = |moments: &[&Moment], of: &dyn Fn(&Moment) -> Option<f64>| {
        let values: Vec<f64> = moments.iter().filter_map(|moment| of(moment)).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let growth = |of: &dyn Fn(&Moment) -> Option<f64>| (mean(&late, of) / mean(&early, of).max(1.0) - 1.0) * 100.0;
    let of_nodes = (0..nodes(last).len()).map(|node| growth(&|moment| nodes(moment).get(node).copied()));
    let most = of_nodes.fold(f64::NEG_INFINITY, f64::max);
    let ok = most <= GROWTH_PERCENT_MAX;
    verdict.row(Kind::Timing, "nodes, memory flat", format!("{most:+.1} % at most"), &bound, ok);
    let redis = growth(&|moment| Some(moment.memory?.lasting as f64));
    let seen = format!("{redis:+.1} %, without what is kept of who has gone");
    verdict.row(Kind::Timing, "Redis, memory flat", seen, &bound, redis <= GROWTH_PERCENT_MAX);
}

const MIB: f64 = 1024.0 * 1024.0;

fn window(results: &Results, from: f64) -> Vec<&Moment> {
    steady(results).filter(|moment| (from..from + WINDOW_SECONDS).contains(&moment.second)).collect()
}
