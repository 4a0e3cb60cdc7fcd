//! The progress line: in place on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{Plan, meters::Role, run::Moment};

const PLAIN_LINE_EVERY: Duration = Duration::from_secs(10);

/// Where the run is.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    phase: Option<&'static str>,
    plain: bool,
    last_plain: Option<Instant>,
    scale: usize,
    seconds: u64,
}

impl Progress {
    /// Of a run that begins.
    pub fn new(plan: &Plan) -> Self {
        let bar = ProgressBar::new(plan.seconds);
        let style = ProgressStyle::with_template("{elapsed:>4} {bar:24} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        let plain = !stderr().is_terminal();
        Self { bar, phase: None, plain, last_plain: None, scale: plan.scale, seconds: plan.seconds }
    }

    /// Something else than the schedule is under way.
    pub const fn phase(&mut self, phase: &'static str) {
        self.phase = Some(phase);
    }

    /// Shows the last second.
    pub fn show(&mut self, moment: &Moment, before: Option<&Moment>, seq: u64, troubles: u64) {
        let filling = moment.second < 0.0;
        let phase = match self.phase {
            Some(phase) => phase.to_owned(),
            None if filling => format!("filling {} of {}", moment.waiting, self.scale),
            None => format!("{:.0} of {} s", moment.second, self.seconds),
        };
        let cpu = |role| before.map_or(0.0, |before| cores(before, moment, role));
        let line = format!(
            "{phase} · waiting {} · active {} · joined {seq} (+{}) · let in +{} · back +{} · pushed +{} · Redis {:.0} % · \
             nodes {:.0} % · clients {:.0} % of a core · troubles {troubles}",
            moment.waiting,
            moment.active,
            moment.joined,
            moment.admitted,
            moment.resumed,
            moment.updates,
            cpu(Role::Redis) * 100.0,
            cpu(Role::Node) * 100.0,
            cpu(Role::Client) * 100.0,
        );
        self.bar.set_position(if filling { 0 } else { (moment.second as u64).min(self.seconds) });
        if self.plain && self.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_LINE_EVERY) {
            self.last_plain = Some(Instant::now());
            eprintln!("{:>4}s {line}", self.bar.elapsed().as_secs());
        }
        self.bar.set_message(line);
    }

    /// No more will come.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Cores that all processes of a kind used between two moments. `second` must be of one phase.
pub fn cores(before: &Moment, after: &Moment, role: Role) -> f64 {
    let sum = |moment: &Moment| -> u64 {
        moment.usage.iter().filter(|usage| usage.role == role).map(|usage| usage.cpu_ms).sum()
    };
    let ms = after.at_ms.saturating_sub(before.at_ms).max(1);
    sum(after).saturating_sub(sum(before)) as f64 / ms as f64
}
