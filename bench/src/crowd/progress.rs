//! The progress line: in place on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal as _, stderr},
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::oneshot,
    time::{Instant, interval},
};

use super::Crowd;

const TICK: Duration = Duration::from_millis(200);
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows where everybody is until the crowd is finished.
pub async fn show(crowd: Arc<Crowd>, mut arrived: Option<oneshot::Sender<()>>) {
    let tally = &crowd.tally;
    let bar = ProgressBar::new(tally.visitors);
    let style =
        ProgressStyle::with_template("{elapsed:>4} {bar:24} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸─"));
    let plain = !stderr().is_terminal();
    let mut last_plain: Option<Instant> = None;
    let mut ticks = interval(TICK);
    while !tally.is_finished() {
        ticks.tick().await;
        if tally.arrived.get() >= tally.visitors
            && let Some(arrived) = arrived.take()
        {
            let _ = arrived.send(());
        }
        bar.set_position(tally.gone.get());
        bar.set_message(tally.line());
        if plain && last_plain.is_none_or(|last| last.elapsed() >= PLAIN_LINE_EVERY) {
            last_plain = Some(Instant::now());
            eprintln!("{:>4}s {}", bar.elapsed().as_secs(), tally.line());
        }
    }
    bar.finish_and_clear();
}
