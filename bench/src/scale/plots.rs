//! The run over time, as SVG: one file for each thing to look at.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{
    judge::{Verdict, steady},
    meters::{Role, Usage},
    run::{Moment, Results},
    truth::{Lag, milliseconds},
};

const SIZE: (u32, u32) = (860, 300);
/// Seconds whose push lags make one point.
const LAG_SECONDS: u64 = 5;
const MIB: f64 = 1024.0 * 1024.0;
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 98, 20),
    RGBColor(44, 140, 60),
    RGBColor(180, 40, 50),
    RGBColor(120, 90, 170),
    RGBColor(90, 90, 90),
];

/// One line of a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(name: impl Into<String>, points: impl Iterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.collect() }
    }
}

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
        Some((moment.second, memory.used.saturating_sub(memory.of_the_gone) as f64 / MIB))
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
    draw_lines(path, title, unit, lines).map_err(|error| anyhow!("drawing {}: {error}", path.display()))
}

fn draw_lines(path: &Path, title: &str, unit: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let end = points().map(|(second, _)| *second).fold(1.0, f64::max);
    let top = points().map(|(_, value)| *value).fold(1.0, f64::max) * 1.1;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (area, legend) = area.split_horizontally(SIZE.0 - 170);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("seconds")
        .y_desc(unit)
        .label_style(("sans-serif", 12))
        .y_label_formatter(&|value| if top < 10.0 { format!("{value:.1}") } else { grouped(*value) })
        .x_label_formatter(&|value| grouped(*value))
        .draw()?;
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        // Where there are more lines than colours, the later ones are thin.
        let style = colour.stroke_width(if number < COLOURS.len() { 2 } else { 1 });
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        let y = 34 + 17 * number as i32;
        legend.draw(&PathElement::new([(8, y), (28, y)], style))?;
        legend.draw(&Text::new(line.name.clone(), (34, y - 6), ("sans-serif", 12)))?;
    }
    area.present()?;
    Ok(())
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(
            ["0", "999", "1,000", "100,000"],
            [0.0, 999.0, 1_000.0, 1e5].map(grouped).each_ref().map(String::as_str)
        );
        assert_eq!(grouped(-100.0), "-100");
    }

    #[test]
    fn a_plot_is_a_file_with_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        let lines = [Line::new("one", [(0.0, 1.0), (5.0, 2.0)].into_iter()), Line::new("none", std::iter::empty())];
        plot(&path, "Title", "things", &lines).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("polyline") && text.contains("Title") && text.contains(">\none"), "{text}");
    }
}
