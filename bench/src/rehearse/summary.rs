//! What is said on the terminal: what will be rehearsed, and at the end how it went.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    levels::Level,
    record::{Record, Verdict, Visitor},
    scenario::Scenario,
};

/// What will be rehearsed.
pub fn announcement(scenario: &Scenario) -> String {
    let rules = scenario.rules();
    let seats: u64 = rules.sections.iter().map(|section| section.rows * section.seats_per_row).sum();
    let areas: u64 = rules.areas.iter().map(|area| area.quantity).sum();
    format!(
        "{} visitors (seed {}) for {seats} seats and {areas} places to stand; {} queue nodes, {} ticket servers, {}; \
         {} faults",
        scenario.crowd.visitors,
        scenario.seed,
        rules.queue_nodes,
        rules.ticket_servers,
        rules.ledger,
        scenario.faults.len(),
    )
}

/// How it went.
pub fn text(record: &Record, levels: &[Level], verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    people(&mut out, record);
    routes(&mut out, record);
    faults(&mut out, record);
    table(
        &mut out,
        ["service level", "goal", "was", ""],
        levels.iter().map(|level| {
            let word = match (level.met, level.counts) {
                (true, _) => "met",
                (false, true) => "MISSED",
                (false, false) => "missed, does not count",
            };
            [level.what.clone(), level.goal.clone(), level.value.clone(), word.into()]
        }),
    );
    table(
        &mut out,
        ["invariant", "looked at", "broken", ""],
        verdicts.iter().map(|verdict| {
            let word = if verdict.holds() { "kept" } else { "BROKEN" };
            [verdict.what.clone(), verdict.checked.to_string(), verdict.broken.to_string(), word.into()]
        }),
    );
    for verdict in verdicts.iter().filter(|verdict| !verdict.holds()) {
        let _ = writeln!(out, "{}:", verdict.what);
        for example in &verdict.examples {
            let _ = writeln!(out, "  {example}");
        }
    }
    for (what, count) in &record.left_out {
        let _ = writeln!(out, "left out of the record: {count} {what}");
    }
    if !record.settled {
        let _ = writeln!(out, "Not everything had settled when the run was given up.");
    }
    out.trim_end().to_owned()
}

/// By kind and end.
fn people(out: &mut String, record: &Record) {
    let mut groups: BTreeMap<[String; 2], Vec<&Visitor>> = BTreeMap::new();
    for visitor in &record.visitors {
        groups.entry([name(&visitor.kind), name(&visitor.end)]).or_default().push(visitor);
    }
    let rows = groups.into_iter().map(|([kind, end], visitors)| {
        let why = counted(visitors.iter().filter_map(|visitor| visitor.failure.clone()));
        [kind, end, visitors.len().to_string(), why]
    });
    table(out, ["visitors", "ended", "number", "why"], rows);
    let seconds = record.ended_at.saturating_sub(record.started_at) / 1_000;
    let lost: u64 = record.visitors.iter().map(|visitor| visitor.sockets_lost).sum();
    let errors = record.visitors.iter().flat_map(|visitor| &visitor.errors);
    let calm = errors.filter(|error| !error.in_fault).map(|error| format!("{} {}", error.route, error.code));
    let codes = counted(calm);
    let codes = if codes.is_empty() { "none".to_owned() } else { codes };
    let _ = writeln!(out, "{seconds} s in all; {lost} sockets lost; errors outside of faults: {codes}\n");
}

/// Each with how often it is there.
fn counted(all: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts.iter().map(|(one, count)| format!("{one} {count}")).collect::<Vec<_>>().join(", ")
}

/// A word as it stands in the record.
fn name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn routes(out: &mut String, record: &Record) {
    let rows = record.routes.iter().map(|(route, counts)| {
        let ms = |share| format!("{:.1}", counts.calm.latency.quantile_ms(share));
        [
            route.clone(),
            counts.all.requests.to_string(),
            counts.all.refused.to_string(),
            counts.all.failed.to_string(),
            counts.calm.failed.to_string(),
            ms(0.5),
            ms(0.95),
            ms(0.99),
        ]
    });
    let head = ["route", "requests", "refused", "failed", "of them calm", "p50 ms, calm", "p95", "p99"];
    table(out, head, rows);
}

fn faults(out: &mut String, record: &Record) {
    let seconds = |at: u64| format!("{:.1}", at.saturating_sub(record.started_at) as f64 / 1e3);
    let rows = record.faults.iter().map(|fault| {
        let target = fault.target.clone();
        [
            fault.fault.clone(),
            target,
            seconds(fault.from),
            seconds(fault.to),
            seconds(fault.ready_at),
            fault.note.clone(),
        ]
    });
    table(out, ["fault", "of", "from s", "to s", "all ready s", ""], rows);
}

/// Columns as wide as they must be.
fn table<const N: usize>(out: &mut String, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out.push('\n');
}
