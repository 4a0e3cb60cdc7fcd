//! Admission: free slots are filled as soon as somebody says that there may be some.

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::Millis,
    limits::ADMIT_BATCH_MAX,
    line::{Admitted, Command, Outcome, rate::burst},
};

use super::{LocalLine, Node, broken};
use crate::engine::EngineError;

/// Whom a rate lets in within so many milliseconds go together: to ask for each one of them, on each node, would cost
/// the store more than all else that it does.
const TOGETHER_MS: u64 = 50;

/// Fills free slots whenever it is woken. Wakes that come meanwhile are one.
pub async fn keep(node: Arc<Node>, line: Arc<LocalLine>) {
    loop {
        tokio::select! {
            () = line.gone.cancelled() => return,
            () = line.admit.notified() => {}
        }
        match admit(&node, &line).await {
            Ok(Some(opens)) => {
                let rate = line.known.load().policy.admit_per_minute;
                let pause = pause(opens.since(node.now()), rate).min(node.options.tick);
                // Nobody can be let in before, whoever wakes us: no more than one of these is under way.
                tokio::select! {
                    () = line.gone.cancelled() => return,
                    () = tokio::time::sleep(pause) => line.admit.notify_one(),
                }
            }
            Ok(None) => {}
            // The tick tries again.
            Err(error) => tracing::debug!(event = %line.event, %error, "admission has to wait"),
        }
    }
}

/// How long to wait for a rate that opens in `opens_ms`: somewhat longer where that takes nothing from the rate, since
/// its burst makes up for it.
fn pause(opens_ms: u64, per_minute: Option<u32>) -> Duration {
    let harmless_ms = per_minute.map_or(0, |rate| (burst(rate) - 1) * 60_000 / u64::from(rate.max(1)) / 2);
    Duration::from_millis((opens_ms + 1).max(TOGETHER_MS.min(harmless_ms)))
}

/// Admits until nothing more is free; says when the rate will allow more, if that is what is in the way.
async fn admit(node: &Node, line: &LocalLine) -> Result<Option<Millis>, EngineError> {
    loop {
        let applied = node.apply(line, None, Command::Admit { max: ADMIT_BATCH_MAX }).await?;
        let Outcome::Admitted(Admitted { sessions, rate_opens }) = applied.outcome else {
            return Err(broken("admit"));
        };
        line.metrics.admitted(applied.now, &sessions);
        if sessions.len() < ADMIT_BATCH_MAX {
            return Ok(rate_opens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_asked_for_a_few_times_a_second_and_loses_nothing() {
        let ms = |opens_ms, rate| pause(opens_ms, rate).as_millis();
        assert_eq!(ms(1, Some(30_000)), 50, "25 go together");
        assert_eq!(ms(80, Some(30_000)), 81);
        // Two of a burst of two: at most half an interval later.
        assert_eq!(ms(1, Some(120)), 50);
        // No burst, nothing to make up for it.
        assert_eq!(ms(1, Some(60)), 2);
        assert_eq!(ms(7, None), 8);
    }
}
