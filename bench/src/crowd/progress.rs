//! Where everybody is, again and again.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::interval};

use super::Crowd;
use crate::bar::Bar;

const TICK: Duration = Duration::from_millis(200);

/// Shows where everybody is until the crowd is finished.
pub async fn show(crowd: Arc<Crowd>, mut arrived: Option<oneshot::Sender<()>>) {
    let tally = &crowd.tally;
    let mut bar = Bar::new(tally.visitors);
    let mut ticks = interval(TICK);
    while !tally.is_finished() {
        ticks.tick().await;
        if tally.arrived.get() >= tally.visitors
            && let Some(arrived) = arrived.take()
        {
            let _ = arrived.send(());
        }
        bar.show(tally.gone.get(), tally.line());
    }
    bar.end();
}
