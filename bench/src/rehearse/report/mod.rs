//! The report of a run: one HTML file that needs nothing else, with plots.

mod html;
mod plots;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::{
    html::{Page, escaped, number, seconds},
    tables::{faults, machine, outcomes, routes, troubles},
};
use super::{
    levels::Level,
    record::{Record, Verdict},
};

/// The file's name.
pub const FILE: &str = "report.html";
/// A scenario is shown up to this length.
const SCENARIO_BYTES_MAX: usize = 64 * 1024;

/// Writes the report into `folder`; where it is.
pub fn write(folder: &Path, record: &Record, levels: &[Level], verdicts: &[Verdict]) -> Result<PathBuf> {
    let file = folder.join(FILE);
    let text = page(record, levels, verdicts)?;
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// The whole page.
fn page(record: &Record, levels: &[Level], verdicts: &[Verdict]) -> Result<String> {
    let broken = verdicts.iter().filter(|verdict| !verdict.holds()).count();
    let title = match (verdicts.len(), broken) {
        (0, _) => "Rehearsal: not audited".to_owned(),
        (all, 0) => format!("Rehearsal: all {all} invariants held"),
        (all, broken) => format!("Rehearsal: {broken} of {all} invariants broken"),
    };
    let mut page = Page::new(&title);
    summary(&mut page, record, levels, broken == 0 && !verdicts.is_empty());
    invariants(&mut page, verdicts);
    service_levels(&mut page, levels);
    page.section("What became of the people", &outcomes(record));
    page.section("Over time", &plots::all(record)?);
    page.section("What was done to the servers", &faults(record));
    page.section("Requests", &routes(record));
    page.section("What went wrong for people", &troubles(record));
    page.section("Machine", &machine(record));
    page.section("Scenario", &scenario(record));
    Ok(page.done())
}

fn summary(page: &mut Page, record: &Record, levels: &[Level], held: bool) {
    let counted: Vec<&Level> = levels.iter().filter(|level| level.counts).collect();
    let met = counted.iter().filter(|level| level.met).count();
    let peak = |of: fn(&super::record::Line) -> u64| {
        record.samples.iter().filter_map(|sample| sample.line.as_ref()).map(of).max().unwrap_or(0)
    };
    let booked = record.samples.last().map_or(0, |sample| sample.booked);
    let rules = &record.rules;
    let seats: u64 = rules.sections.iter().map(|section| section.rows * section.seats_per_row).sum();
    let places = seats + rules.areas.iter().map(|area| area.quantity).sum::<u64>();
    let facts = [
        ("visitors", number(record.visitors.len() as u64)),
        ("seats and tickets sold", format!("{} of {}", number(booked), number(places))),
        ("longest line", number(peak(|line| line.waiting))),
        ("most Active, of capacity", format!("{} of {}", number(peak(|line| line.active)), number(rules.capacity))),
        ("service levels met", format!("{met} of {}", counted.len())),
        ("from first to last", seconds(record.ended_at.saturating_sub(record.started_at))),
        ("seed", record.seed.to_string()),
    ];
    page.head(held, &facts);
    if !record.settled {
        page.note("Not everything had settled when the run was given up.");
    }
    for (what, count) in &record.left_out {
        page.note(&format!("Left out of the record, because of a bound: {count} {what}."));
    }
}

fn invariants(page: &mut Page, verdicts: &[Verdict]) {
    let mut rows = String::new();
    for verdict in verdicts {
        let state = html::state(verdict.holds(), "held", "BROKEN");
        rows += &format!("<tr><td>{state}</td><th scope=\"row\">{}", escaped(&verdict.what));
        if !verdict.examples.is_empty() {
            rows += "<ul>";
            for example in &verdict.examples {
                rows += &format!("<li>{}</li>", escaped(example));
            }
            let more = verdict.broken.saturating_sub(verdict.examples.len() as u64);
            if more > 0 {
                rows += &format!("<li>and {} more</li>", number(more));
            }
            rows += "</ul>";
        }
        let (checked, broken) = (number(verdict.checked), number(verdict.broken));
        rows += &format!("</th><td class=\"n\">{checked}</td><td class=\"n\">{broken}</td></tr>");
    }
    let table = html::table("Invariants", &["State", "Invariant", "#Compared", "#Broken"], &rows);
    page.section("Invariants", &table);
}

fn service_levels(page: &mut Page, levels: &[Level]) {
    let rows: String = levels
        .iter()
        .map(|level| {
            let state = if level.counts {
                html::state(level.met, "met", "MISSED")
            } else {
                "<span class=\"quiet\">to compare</span>".to_owned()
            };
            let [what, goal, value] = [&level.what, &level.goal, &level.value].map(|text| escaped(text));
            format!(
                "<tr><td>{state}</td><th scope=\"row\">{what}</th><td class=\"n\">{goal}</td><td class=\"n\">{value}</td></tr>"
            )
        })
        .collect();
    page.section("Service levels", &html::table("Service levels", &["State", "Level", "#Goal", "#Seen"], &rows));
}

fn scenario(record: &Record) -> String {
    let end = record.scenario.floor_char_boundary(SCENARIO_BYTES_MAX);
    format!(
        "<p>Seed {}. The same scenario and seed send the same crowd.</p><details><summary>The scenario as it was run</summary>\
         <pre tabindex=\"0\">{}</pre></details>",
        record.seed,
        escaped(&record.scenario[..end])
    )
}

#[cfg(test)]
mod tests;
