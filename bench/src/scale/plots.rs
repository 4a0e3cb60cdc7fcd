//! The run over time, as SVG: one file for each thing to look at.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;

use super::{
    judge::{Verdict, steady},
    meters::{Role, Usage},
    run::{Moment, Results},
    truth::{Lag, milliseconds},
};
use crate::chart::{Chart, Line};

const SIZE: (u32, u32) = (860, 300);
/// Seconds whose push lags make one point.
const LAG_SECONDS: u64 = 5;
const MIB: f64 = 1024.0 * 1024.0;

/// Draws all plots into `out`.
pub fn draw(out: &Path, results: &Results, verdict: &Verdict) -> Result<()> {
    let moments: Vec<&Moment> = steady(results).collect();
    if moments.len() < 2 {
        return Ok(());
    }
    let of = |value: &dyn Fn(&Moment) -> f64| -> Vec<(f64, f64)> {
        moments.iter().map(|moment| (moment.second, value(moment))).collect()
    };
    let line = |name: &str, value: &dyn Fn(&Moment) -> f64| Line { name: name.to_owned(), points: of(value) };

    plot(&out.join("scale-line.svg"), "People in line", "people", &[line("waiting", &|m| m.waiting as f64)])?;
    let flow = [
        line("joins", &|m| m.joined as f64),
        line("admissions", &|m| m.admitted as f64),
        line("sockets back", &|m| m.resumed as f64),
    ];
    plot(&out.join("scale-admissions.svg"), "Each second", "per second", &flow)?;
    plot(&out.join("scale-lag.svg"), "Age of a change when it is seen", "ms", &lags(results, verdict))?;
    plot(&out.join("scale-memory.svg"), "Memory", "MiB", &memory(&moments))?;
    plot(&out.join("scale-cpu.svg"), "Processor time", "% of a core", &processors(&moments))
}

fn lags(results: &Results, verdict: &Verdict) -> Vec<Line> {
    let mut lines = Vec::new();
    for (near, place) in [(true, "first 1,000"), (false, "others")] {
        let mut windows = BTreeMap::new();
        let within = |lag: &&Lag| lag.near == near && (results.steady.0..results.steady.1).contains(&lag.seen);
        for lag in verdict.sights.lags.iter().filter(within) {
            let window = (lag.seen - results.steady.0) / 1_000 / LAG_SECONDS;
            windows.entry(window).or_insert_with(milliseconds).saturating_record(lag.ms);
        }
        for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
            let points = windows.iter().map(|(window, histogram)| {
                ((window * LAG_SECONDS) as f64, histogram.value_at_quantile(quantile) as f64)
            });
            lines.push(Line::new(format!("{place}, {name}"), points));
        }
    }
    lines
}

fn memory(moments: &[&Moment]) -> Vec<Line> {
    let names = moments[0].usage.iter().filter(|usage| matches!(usage.role, Role::Node | Role::Redis));
    let resident = |name: &str, moment: &Moment| {
        let usage = moment.usage.iter().find(|usage| usage.name == name);
        usage.map_or(0.0, |usage| usage.resident_bytes as f64 / MIB)
    };
    let mut lines: Vec<Line> = names
        .map(|usage| {
            let points = moments.iter().map(|moment| (moment.second, resident(&usage.name, moment)));
            Line::new(usage.name.clone(), points)
        })
        .collect();
    let without = moments.iter().filter_map(|moment| {
        let memory = moment.memory?;
        Some((moment.second, memory.lasting as f64 / MIB))
    });
    lines.push(Line::new("redis, who waits", without));
    lines
}

fn processors(moments: &[&Moment]) -> Vec<Line> {
    type Sum<'s> = Box<dyn Fn(&Usage) -> bool + 's>;
    let first = &moments[0].usage;
    let own = first.iter().filter(|usage| matches!(usage.role, Role::Node | Role::Redis));
    let mut all: Vec<(String, Sum<'_>)> =
        own.map(|own| (own.name.clone(), Box::new(|usage: &Usage| usage.name == own.name) as Sum<'_>)).collect();
    all.push(("all nodes".into(), Box::new(|usage| usage.role == Role::Node)));
    all.push(("all clients, bench".into(), Box::new(|usage| matches!(usage.role, Role::Client | Role::Bench))));
    let line = |(name, of): (String, Sum<'_>)| {
        let cpu =
            |moment: &Moment| moment.usage.iter().filter(|usage| of(usage)).map(|usage| usage.cpu_ms).sum::<u64>();
        // Over five seconds each: the system counts in hundredths of one.
        let points = moments.windows(6).step_by(5).map(|some| {
            let (first, last) = (some[0], some[some.len() - 1]);
            let ms = last.at_ms.saturating_sub(first.at_ms).max(1);
            (last.second, cpu(last).saturating_sub(cpu(first)) as f64 * 100.0 / ms as f64)
        });
        Line::new(name, points)
    };
    all.into_iter().map(line).collect()
}

fn plot(path: &Path, title: &str, unit: &str, lines: &[Line]) -> Result<()> {
    Chart { title: Some(title), unit, lines, marks: &[], size: SIZE }.write(path)
}
