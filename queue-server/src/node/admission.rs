//! Admission: free slots are filled as soon as somebody says that there may be some.

use std::sync::Arc;

use queue_core::{
    ids::Millis,
    limits::ADMIT_BATCH_MAX,
    line::{Admitted, Command, Outcome},
};

use super::{LocalLine, Node, broken};
use crate::engine::EngineError;

/// Fills free slots whenever it is woken. Wakes that come meanwhile are one.
pub async fn keep(node: Arc<Node>, line: Arc<LocalLine>) {
    loop {
        tokio::select! {
            () = line.gone.cancelled() => return,
            () = line.admit.notified() => {}
        }
        match admit(&node, &line).await {
            // The rate opens again before the next tick: do not wait for that.
            Ok(Some(opens)) => wake_at(&node, &line, opens),
            Ok(None) => {}
            // The tick tries again.
            Err(error) => tracing::debug!(event = %line.event, %error, "admission has to wait"),
        }
    }
}

fn wake_at(node: &Arc<Node>, line: &Arc<LocalLine>, opens: Millis) {
    let wait_ms = opens.since(node.now());
    if wait_ms < node.options.tick.as_millis() as u64 {
        let line = line.clone();
        node.spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms + 1)).await;
            line.admit.notify_one();
        });
    }
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
