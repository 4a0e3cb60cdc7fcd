//! Lines over time as SVG, with times that are marked.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{coord::types::RangedCoordf64, prelude::*};

const LEGEND_WIDTH: u32 = 170;
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 98, 20),
    RGBColor(44, 140, 60),
    RGBColor(180, 40, 50),
    RGBColor(120, 90, 170),
    RGBColor(90, 90, 90),
];
const MARKED: RGBColor = RGBColor(236, 228, 208);
const MARKED_EDGE: RGBColor = RGBColor(176, 160, 120);

type Drawing = Result<(), Box<dyn std::error::Error>>;
type Area<'d> = DrawingArea<SVGBackend<'d>, plotters::coord::Shift>;
type Plot<'a, 'd> = ChartContext<'a, SVGBackend<'d>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    /// Seconds and values.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// A line of that name.
    pub fn new(name: impl Into<String>, points: impl Iterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.collect() }
    }
}

/// A time that is marked.
#[derive(Clone, Debug)]
pub struct Mark {
    /// A letter or two.
    pub name: String,
    /// Seconds.
    pub from: f64,
    pub to: f64,
}

/// A plot over seconds.
#[derive(Clone, Debug)]
pub struct Chart<'c> {
    /// Above the plot, where it has no other heading.
    pub title: Option<&'c str>,
    pub unit: &'c str,
    pub lines: &'c [Line],
    pub marks: &'c [Mark],
    /// Width and height.
    pub size: (u32, u32),
}

impl Chart<'_> {
    /// As a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.svg()?).map_err(|error| anyhow!("writing {}: {error}", path.display()))
    }

    /// As a text.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, self.size)).map_err(|error| anyhow!("drawing a plot: {error}"))?;
        Ok(text)
    }

    fn draw(&self, backend: SVGBackend<'_>) -> Drawing {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let end = points().map(|(second, _)| *second).fold(1.0, f64::max);
        let top = points().map(|(_, value)| *value).fold(1.0, f64::max) * 1.1;
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        let (area, legend) = area.split_horizontally(self.size.0 - LEGEND_WIDTH);
        let mut builder = ChartBuilder::on(&area);
        if let Some(title) = self.title {
            builder.caption(title, ("sans-serif", 16));
        }
        let builder = builder.margin(8).x_label_area_size(34).y_label_area_size(64);
        let mut plot = builder.build_cartesian_2d(0.0..end, 0.0..top)?;
        self.draw_marks(&mut plot, end, top)?;
        plot.configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("seconds")
            .y_desc(self.unit)
            .label_style(("sans-serif", 12))
            .y_label_formatter(&|value| if top < 10.0 { format!("{value:.1}") } else { grouped(*value) })
            .x_label_formatter(&|value| grouped(*value))
            .draw()?;
        self.draw_lines(&mut plot, &legend)?;
        area.present()?;
        Ok(())
    }

    fn draw_marks(&self, plot: &mut Plot<'_, '_>, end: f64, top: f64) -> Drawing {
        for mark in self.marks.iter().filter(|mark| mark.from < end) {
            let (from, to) = (mark.from.max(0.0), mark.to.min(end));
            plot.draw_series([Rectangle::new([(from, 0.0), (to, top)], MARKED.filled())])?;
            plot.draw_series(LineSeries::new([(from, 0.0), (from, top)], MARKED_EDGE.stroke_width(1)))?;
            plot.draw_series([Text::new(mark.name.clone(), (from, top * 0.99), ("sans-serif", 12))])?;
        }
        Ok(())
    }

    fn draw_lines(&self, plot: &mut Plot<'_, '_>, legend: &Area<'_>) -> Drawing {
        for (number, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            // Where there are more lines than colours, the later ones are thin.
            let style = colour.stroke_width(if number < COLOURS.len() { 2 } else { 1 });
            plot.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            let y = 34 + 17 * number as i32;
            legend.draw(&PathElement::new([(8, y), (28, y)], style))?;
            legend.draw(&Text::new(line.name.clone(), (34, y - 6), ("sans-serif", 12)))?;
        }
        Ok(())
    }
}

/// A whole number with its thousands apart.
pub fn grouped(value: f64) -> String {
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
    fn a_plot_has_its_lines_and_marks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        let lines = [Line::new("one <b>", [(0.0, 1.0), (5.0, 2.0)].into_iter()), Line::new("none", std::iter::empty())];
        let marks = [Mark { name: "7".into(), from: 1.0, to: 2.0 }, Mark { name: "8".into(), from: 9.0, to: 10.0 }];
        let chart = Chart { title: Some("Title"), unit: "things", lines: &lines, marks: &marks, size: (860, 300) };
        chart.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("polyline") && text.contains("Title") && text.contains(">\none &lt;b&gt;"), "{text}");
        assert!(text.contains(">\n7") && !text.contains(">\n8\n<"), "{text}");
    }
}
