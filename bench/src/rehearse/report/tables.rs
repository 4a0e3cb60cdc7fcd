//! Tables of people, faults, requests and troubles.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::html::{escaped, number, seconds, table};
use crate::rehearse::record::{Counts, End, Kind, Record};

/// Kinds of trouble or refusal that are told.
const TROUBLES_MAX: usize = 25;

/// The name of a variant as the record has it, with spaces.
fn name(variant: &impl Serialize) -> String {
    let name = serde_json::to_value(variant).ok().and_then(|value| value.as_str().map(|text| text.replace('-', " ")));
    name.unwrap_or_default()
}

/// How it ended for each kind of person.
pub fn outcomes(record: &Record) -> String {
    let mut counts: BTreeMap<(Kind, End), u64> = BTreeMap::new();
    for visitor in &record.visitors {
        *counts.entry((visitor.kind, visitor.end)).or_default() += 1;
    }
    let kinds: BTreeSet<Kind> = counts.keys().map(|(kind, _)| *kind).collect();
    let ends: BTreeSet<End> = counts.keys().map(|(_, end)| *end).collect();
    let of = |kind: Option<Kind>, end: Option<End>| -> u64 {
        let wanted = |(k, e): &(Kind, End)| kind.is_none_or(|kind| kind == *k) && end.is_none_or(|end| end == *e);
        counts.iter().filter(|(key, _)| wanted(key)).map(|(_, count)| *count).sum()
    };
    let row = |heading: &str, kind: Option<Kind>| {
        let cells: String = ends.iter().map(|end| cell(of(kind, Some(*end)))).collect();
        format!("<tr><th scope=\"row\">{}</th>{}{cells}</tr>", escaped(heading), cell(of(kind, None)))
    };
    let mut rows: String = kinds.iter().map(|kind| row(&name(kind), Some(*kind))).collect();
    rows += &row("everybody", None);
    let headings: Vec<String> = ["kind".to_owned(), "#all".to_owned()]
        .into_iter()
        .chain(ends.iter().map(|end| format!("#{}", name(end))))
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    table("How it ended for each kind of person", &headings, &rows) + &failures(record)
}

fn cell(count: u64) -> String {
    let shown = if count == 0 { "–".to_owned() } else { number(count) };
    format!("<td class=\"n\">{shown}</td>")
}

/// Why it failed for whom it did.
fn failures(record: &Record) -> String {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for visitor in record.visitors.iter().filter(|visitor| matches!(visitor.end, End::Failed | End::Ended)) {
        let why = visitor.failure.clone().unwrap_or_else(|| "not said".into());
        *counts.entry((name(&visitor.end), why)).or_default() += 1;
    }
    if counts.is_empty() {
        return String::new();
    }
    let rows: String = counts
        .iter()
        .take(TROUBLES_MAX)
        .map(|((end, why), count)| {
            format!("<tr><td>{}</td><td>{}</td>{}</tr>", escaped(end), escaped(why), cell(*count))
        })
        .collect();
    "<h3>Why</h3>".to_owned() + &table("Why people failed", &["end", "why", "#people"], &rows)
}

/// What was done to the servers, and what came of it.
pub fn faults(record: &Record) -> String {
    if record.faults.is_empty() {
        return "<p>Nothing.</p>".into();
    }
    let after = |at: u64| seconds(at.saturating_sub(record.started_at));
    let rows: String = record
        .faults
        .iter()
        .zip(1..)
        .map(|(fault, number)| {
            format!(
                "<tr><td>{number}</td><th scope=\"row\">{} ({})<br><span class=\"quiet\">{}</span></th>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                escaped(&fault.fault.replace('-', " ")),
                escaped(&fault.target),
                escaped(&fault.note),
                after(fault.from),
                seconds(fault.to.saturating_sub(fault.from)),
                seconds(fault.ready_at.saturating_sub(fault.to))
            )
        })
        .collect();
    table("Faults", &["number", "what", "#at", "#for", "#all ready after"], &rows)
}

/// Requests by route, outside of faults and in all.
pub fn routes(record: &Record) -> String {
    let figures = |counts: &Counts| {
        let ms = |share| format!("<td class=\"n\">{:.1}</td>", counts.latency.quantile_ms(share));
        let numbers = [counts.requests, counts.refused, counts.failed].map(cell).concat();
        format!("{numbers}{}{}{}", ms(0.5), ms(0.95), ms(0.99))
    };
    let rows: String = record
        .routes
        .iter()
        .flat_map(|(route, both)| [(route, "outside of faults", &both.calm), (route, "in all", &both.all)])
        .map(|(route, when, counts)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"quiet\">{when}</td>{}</tr>",
                escaped(route),
                figures(counts)
            )
        })
        .collect();
    table(
        "Requests by route",
        &["route", "when", "#requests", "#refused", "#failed", "#p50 ms", "#p95 ms", "#p99 ms"],
        &rows,
    ) + "<p class=\"quiet\">Refused: as it may be, such as a seat that is taken. Failed: no answer, 5xx, or one that breaks \
           the contract.</p>"
}

/// Errors and refusals, the most frequent first.
pub fn troubles(record: &Record) -> String {
    let mut errors: BTreeMap<(&str, &str, bool), u64> = BTreeMap::new();
    let mut refusals: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for visitor in &record.visitors {
        for error in &visitor.errors {
            *errors.entry((&error.route, &error.code, error.in_fault)).or_default() += 1;
        }
        for refusal in &visitor.refusals {
            *refusals.entry((&refusal.route, &refusal.code)).or_default() += 1;
        }
    }
    let row = |route: &str, code: &str, when: &str, count: u64| {
        let when = if when.is_empty() { String::new() } else { format!("<td>{when}</td>") };
        format!("<tr><th scope=\"row\">{}</th><td>{}</td>{when}{}</tr>", escaped(route), escaped(code), cell(count))
    };
    let when = |in_fault| if in_fault { "during a fault" } else { "<strong>outside of faults</strong>" };
    let failed: String = most(errors)
        .into_iter()
        .map(|((route, code, in_fault), count)| row(route, code, when(in_fault), count))
        .collect();
    let refused: String =
        most(refusals).into_iter().map(|((route, code), count)| row(route, code, "", count)).collect();
    let failed = if failed.is_empty() {
        "<p>No request failed.</p>".to_owned()
    } else {
        table("Requests that failed", &["route", "code", "when", "#times"], &failed)
    };
    let refused = if refused.is_empty() {
        String::new()
    } else {
        "<h3>Refused, as it may be</h3>".to_owned() + &table("Refusals", &["route", "code", "#times"], &refused)
    };
    failed + &refused
}

fn most<K>(counts: BTreeMap<K, u64>) -> Vec<(K, u64)> {
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(TROUBLES_MAX);
    counts
}

/// What it ran on.
pub fn machine(record: &Record) -> String {
    let (machine, rules) = (&record.machine, &record.rules);
    let gib = machine.memory_bytes as f64 / (1 << 30) as f64;
    let facts = [
        ("cores", machine.cores.to_string()),
        ("memory", format!("{gib:.1} GiB")),
        ("system", machine.system.clone()),
        ("build of the servers", machine.build.clone()),
        ("Redis", machine.redis.clone()),
        ("ledger", machine.ledger.clone()),
        ("queue nodes", rules.queue_nodes.to_string()),
        ("ticket servers", rules.ticket_servers.to_string()),
    ];
    let rows: String = facts
        .iter()
        .map(|(what, value)| format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escaped(what), escaped(value)))
        .collect();
    table("Machine", &["what", "value"], &rows) + "<p class=\"quiet\">Everything ran on one machine, over loopback.</p>"
}
