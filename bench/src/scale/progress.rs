//! What the progress line says.

use super::{Plan, meters::Role, run::Moment};
use crate::bar::Bar;

/// Where the run is.
#[derive(Debug)]
pub struct Progress {
    bar: Bar,
    phase: Option<&'static str>,
    scale: usize,
    seconds: u64,
}

impl Progress {
    /// Of a run that begins.
    pub fn new(plan: &Plan) -> Self {
        Self { bar: Bar::new(plan.seconds), phase: None, scale: plan.scale, seconds: plan.seconds }
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
        self.bar.show(if filling { 0 } else { (moment.second as u64).min(self.seconds) }, line);
    }

    /// No more will come.
    pub fn end(&self) {
        self.bar.end();
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
