//! The progress line of a run.

use super::{people::World, record::Line};
use crate::bar::Bar;

/// Where the run is.
pub struct Progress {
    bar: Bar,
    visitors: u64,
}

impl Progress {
    /// Of a crowd of so many.
    pub fn new(visitors: u64) -> Self {
        Self { bar: Bar::new(visitors), visitors }
    }

    /// Shows where everybody is, and what is wrong just now.
    pub fn show(&mut self, phase: &str, world: &World, line: Option<Line>, faults: &[String]) {
        let gauges = &world.gauges;
        let store = line.map_or("a store is away".to_owned(), |line| {
            format!("line {} · sessions {} · holds {}", line.waiting, line.active, line.held)
        });
        let faults = if faults.is_empty() { String::new() } else { format!(" · FAULT {}", faults.join(", ")) };
        let text = format!(
            "{phase} · came {} of {} · waiting {} · shopping {} · gone {} · booked {} · {store} · failed {}{faults}",
            gauges.arrived.get(),
            self.visitors,
            gauges.waiting.get(),
            gauges.active.get(),
            gauges.gone.get(),
            gauges.booked.get(),
            world.meter.failed(),
        );
        self.bar.show(gauges.gone.get(), text);
    }

    /// It is over.
    pub fn end(&self) {
        self.bar.end();
    }
}
