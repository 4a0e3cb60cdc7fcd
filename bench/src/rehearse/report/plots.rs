//! The run over time.

use std::collections::BTreeSet;

use anyhow::Result;

use super::html::figure;
use crate::{
    chart::{Chart, Line, Mark},
    rehearse::record::{Record, Sample},
};

const SIZE: (u32, u32) = (960, 280);
const MIB: f64 = 1024.0 * 1024.0;
/// What 95 of 100 requests are to stay below.
const P95_MS: f64 = 300.0;

/// All plots, as HTML.
pub fn all(record: &Record) -> Result<String> {
    if record.samples.len() < 2 {
        return Ok("<p>The run was too short to be drawn.</p>".into());
    }
    let plots = Plots { record, marks: marks(record) };
    let mut text = String::new();
    if !plots.marks.is_empty() {
        text += "<p>Shaded: what was done to the servers, by its number in the table below, until its effects are over.</p>";
    }
    for (heading, unit, lines) in [
        ("People in line", "people", plots.line()),
        ("People who came and went", "people", plots.people()),
        ("Active, and how many may be", "people", plots.active()),
        ("Held and sold", "seats and tickets", plots.sold()),
        ("Joins and requests each second", "per second", plots.requests()),
        ("Latency of requests", "ms", plots.latency()),
        ("Requests that failed, each second", "per second", plots.failed()),
        ("Resident memory", "MiB", plots.memory()),
        ("Processor time", "% of a core", plots.processors()),
    ] {
        text += &plots.draw(heading, unit, &lines)?;
    }
    Ok(text)
}

fn marks(record: &Record) -> Vec<Mark> {
    let second = |at: u64| (at as f64 - record.started_at as f64) / 1_000.0;
    let faults = record.faults.iter().zip(1..);
    faults
        .map(|(fault, number)| Mark {
            name: number.to_string(),
            from: second(fault.from),
            to: second(fault.window_to.max(fault.to)),
        })
        .collect()
}

struct Plots<'r> {
    record: &'r Record,
    marks: Vec<Mark>,
}

impl Plots<'_> {
    fn draw(&self, heading: &str, unit: &str, lines: &[Line]) -> Result<String> {
        let chart = Chart { title: None, unit, lines, marks: &self.marks, size: SIZE };
        Ok(figure(heading, &self.alt(heading, unit, lines), &chart.svg()?))
    }

    /// What is to be seen, in words.
    fn alt(&self, heading: &str, unit: &str, lines: &[Line]) -> String {
        let told = lines.iter().filter(|line| !line.points.is_empty()).map(|line| {
            let most = line.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
            let last = line.points.last().map_or(0.0, |(_, value)| *value);
            format!("{}: at most {most:.0}, at the end {last:.0}", line.name)
        });
        let told: Vec<String> = told.collect();
        format!("{heading}, in {unit} over the seconds of the run. {}.", told.join("; "))
    }

    fn points<'s>(&'s self, name: &str, value: impl Fn(&Sample) -> Option<f64> + 's) -> Line {
        let started = self.record.started_at as f64;
        let at = |sample: &Sample| ((sample.at as f64 - started) / 1_000.0).max(0.0);
        Line::new(name, self.record.samples.iter().filter_map(|sample| Some((at(sample), value(sample)?))))
    }

    fn line(&self) -> Vec<Line> {
        vec![
            self.points("by the store", |sample| Some(sample.line?.waiting as f64)),
            self.points("by themselves", |sample| Some(sample.waiting as f64)),
        ]
    }

    fn people(&self) -> Vec<Line> {
        vec![
            self.points("came so far", |sample| Some(sample.arrived as f64)),
            self.points("gone so far", |sample| Some(sample.gone as f64)),
        ]
    }

    fn active(&self) -> Vec<Line> {
        let capacity = self.record.rules.capacity as f64;
        vec![
            self.points("by the store", |sample| Some(sample.line?.active as f64)),
            self.points("by themselves", |sample| Some(sample.active as f64)),
            self.points("capacity", move |_| Some(capacity)),
        ]
    }

    fn sold(&self) -> Vec<Line> {
        vec![
            self.points("holds, by the store", |sample| Some(sample.line?.held as f64)),
            self.points("holds, by holders", |sample| Some(sample.holding as f64)),
            self.points("sold", |sample| Some(sample.booked as f64)),
        ]
    }

    fn requests(&self) -> Vec<Line> {
        vec![
            self.points("requests", |sample| Some(sample.requests as f64)),
            self.points("joins, returns", |sample| Some(sample.joins as f64)),
        ]
    }

    fn latency(&self) -> Vec<Line> {
        let answered = |sample: &Sample| sample.requests > 0;
        vec![
            self.points("p50", move |sample| answered(sample).then_some(sample.p50_ms)),
            self.points("p95", move |sample| answered(sample).then_some(sample.p95_ms)),
            self.points("goal of p95", |_| Some(P95_MS)),
        ]
    }

    fn failed(&self) -> Vec<Line> {
        vec![self.points("failed", |sample| Some(sample.failed as f64))]
    }

    fn memory(&self) -> Vec<Line> {
        let of = |name: String| {
            let of_it = name.clone();
            self.points(&name, move |sample| Some(*sample.memory.get(&of_it)? as f64 / MIB))
        };
        self.names(|sample| sample.memory.keys()).map(of).collect()
    }

    fn processors(&self) -> Vec<Line> {
        let started = self.record.started_at as f64;
        let of = |name: String| {
            let points = self.record.samples.windows(2).filter_map(|pair| {
                let (before, after) = (&pair[0], &pair[1]);
                // A process that was started anew begins at nothing.
                let used = after.cpu_ms.get(&name)?.checked_sub(*before.cpu_ms.get(&name)?)?;
                let passed = after.at.saturating_sub(before.at).max(1);
                Some(((after.at as f64 - started) / 1_000.0, used as f64 * 100.0 / passed as f64))
            });
            Line::new(name.clone(), points)
        };
        self.names(|sample| sample.cpu_ms.keys()).map(of).collect()
    }

    fn names<'s, K: Iterator<Item = &'s String>>(
        &'s self,
        keys: impl Fn(&'s Sample) -> K,
    ) -> impl Iterator<Item = String> + 's {
        let names: BTreeSet<String> = self.record.samples.iter().flat_map(keys).cloned().collect();
        names.into_iter()
    }
}
