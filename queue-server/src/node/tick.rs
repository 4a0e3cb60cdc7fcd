//! The life of one line on this node: read it, end what is over, tell who is here, sweep who is gone.
//!
//! One read of the store per event and tick, whatever the number of waiters.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use queue_core::{
    ids::Rank,
    limits::{END_BATCH_MAX, SESSIONS_BATCH_MAX},
    line::{Command, Outcome, Refusal},
    service::trace::random_u64,
    wire::EndReason,
};
use tokio::time::Instant;

use super::{
    LocalLine, Node, broken,
    line::{Known, View},
    lost, show, sweep,
};
use crate::engine::EngineError;

/// Two looks at one line are at least so far apart, whoever asks for them.
const LOOK_GAP: Duration = Duration::from_millis(100);

/// A line without waiters and sessions is looked at only each so many idle ticks.
const EMPTY_TICKS: u32 = 3;
/// What the ending of sessions may take of a tick.
const EXPIRE_TENTHS: u32 = 3;
/// Beyond every number that is handed out.
const SEQ_MAX: u64 = 1 << 52;

/// Keeps a line going until its event is removed or the node stops.
pub async fn keep(node: Arc<Node>, line: Arc<LocalLine>) {
    let mut sweeper = sweep::Sweeper::default();
    loop {
        let began = Instant::now();
        let next = match look(&node, &line, &mut sweeper).await {
            Ok(wait) => began + wait,
            Err(error) => {
                match &error {
                    EngineError::Broken { .. } => {
                        tracing::warn!(event = %line.event, %error, "the line cannot be looked after");
                    }
                    _ => tracing::debug!(event = %line.event, %error, "the line cannot be read"),
                }
                // Without the store nobody can be told anything new, but the sockets stay.
                Instant::now() + node.options.tick
            }
        };
        tokio::select! {
            () = line.gone.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
            () = line.look.notified() => tokio::time::sleep(LOOK_GAP).await,
        }
    }
}

/// One look at the line; says how long to wait for the next.
async fn look(node: &Arc<Node>, line: &Arc<LocalLine>, sweeper: &mut sweep::Sweeper) -> Result<Duration, EngineError> {
    if line.doubtful.swap(false, Ordering::AcqRel) {
        show::doubt_sessions(line);
    }
    let told = tell(node, line, sweeper).await;
    let applied = match node.apply(line, None, Command::Snapshot).await {
        Err(EngineError::Refused(Refusal::NoSuchEvent)) => return lost::event(node, line).await,
        other => other?,
    };
    let Outcome::Snapshot(snapshot) = applied.outcome else { return Err(broken("snapshot")) };
    let (generation, version) = {
        let known = line.known.load();
        (known.generation, known.version)
    };
    // Another node has written the line back after a loss, or an operator made the event anew or changed it.
    if generation != applied.generation || version != snapshot.summary.version {
        refresh(node, line).await?;
    }
    let view = line.saw_snapshot(applied.generation, applied.now, *snapshot);
    let ended = end(node, line, &view).await;
    if view.may_admit(line.known.load().policy.capacity) {
        line.admit.notify_one();
    }
    show::positions(node, line, &view).await;
    ended?;
    // Nobody is swept while the store does not take who was heard.
    told?;
    sweeper.trim(node, line).await?;
    if view.summary.waiting > 0 {
        sweeper.sweep(node, line, &view).await?;
    }
    Ok(wait(node, line, &view))
}

/// Tells whom this node heard, if it is time to. A store that is full refuses that, and can still be read.
async fn tell(node: &Node, line: &LocalLine, sweeper: &mut sweep::Sweeper) -> Result<(), EngineError> {
    if sweeper.tell_due() {
        sweep::tell(node, line).await?;
        sweeper.told();
    }
    Ok(())
}

/// Ends what is over.
async fn end(node: &Node, line: &LocalLine, view: &View) -> Result<(), EngineError> {
    if view.summary.next_end.is_some_and(|end| end <= view.as_of) {
        expire(node, line).await?;
    }
    if view.summary.sold_out && view.summary.waiting > 0 {
        sold_out(node, line).await?;
    }
    Ok(())
}

/// A line with people in it is read each tick; one without, when something may happen.
fn wait(node: &Node, line: &LocalLine, view: &View) -> Duration {
    let busy = view.summary.waiting > 0 || line.asked_lately(view.as_of) || !line.slots.lock().is_empty();
    if busy {
        return node.options.tick;
    }
    // Who joins, and what an operator changes, wakes it.
    let empty = if view.summary.active == 0 { EMPTY_TICKS } else { 1 };
    let idle = spread(node.options.idle_tick * empty, random_u64());
    let end = view.summary.next_end.map_or(idle, |end| Duration::from_millis(end.since(view.as_of) + 1));
    end.clamp(node.options.tick, idle.max(node.options.tick))
}

/// Nine to eleven tenths of it, so that the looks at many lines that were woken together do not stay together.
fn spread(idle: Duration, random: u64) -> Duration {
    idle * 9 / 10 + idle / 5 * (random % 1_024) as u32 / 1_024
}

/// Reads what an operator may have changed.
pub async fn refresh(node: &Node, line: &LocalLine) -> Result<(), EngineError> {
    let applied = node.apply(line, None, Command::Describe).await?;
    let Outcome::Described(described) = applied.outcome else { return Err(broken("describe")) };
    let (version, paused) = (described.summary.version, described.summary.paused);
    line.metrics.capacity(described.policy.capacity);
    line.known.store(Arc::new(Known { generation: applied.generation, policy: described.policy, version, paused }));
    Ok(())
}

/// Ends those who wait for what is no more, for a part of the tick at most: the next look goes on.
async fn sold_out(node: &Node, line: &LocalLine) -> Result<(), EngineError> {
    let until = Instant::now() + node.options.tick * EXPIRE_TENTHS / 10;
    loop {
        let everybody = Command::ClearWaiting { upto: Rank(SEQ_MAX), reason: EndReason::SoldOut };
        let applied = node.apply(line, None, everybody).await?;
        let Outcome::Cleared(count) = applied.outcome else { return Err(broken("clear")) };
        line.metrics.released(EndReason::SoldOut, count as u64);
        if count < END_BATCH_MAX || Instant::now() >= until {
            return Ok(());
        }
    }
}

/// Ends sessions whose time is over, for a part of the tick at most: the next look goes on, and the line is read.
async fn expire(node: &Node, line: &LocalLine) -> Result<(), EngineError> {
    let until = Instant::now() + node.options.tick * EXPIRE_TENTHS / 10;
    loop {
        let applied = node.apply(line, None, Command::Expire).await?;
        let Outcome::Expired(count) = applied.outcome else { return Err(broken("expire")) };
        if count > 0 {
            line.metrics.released(EndReason::Expired, count as u64);
            line.admit.notify_one();
        }
        if count < SESSIONS_BATCH_MAX || Instant::now() >= until {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_looks_are_spread() {
        let idle = Duration::from_secs(10);
        assert_eq!(spread(idle, 0), Duration::from_secs(9));
        let last = spread(idle, 1_023);
        assert!(last > Duration::from_millis(10_990) && last < Duration::from_secs(11), "{last:?}");
    }
}
