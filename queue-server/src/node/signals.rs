//! What the store says by itself: who was admitted, what ended, who took over, what changed.
//!
//! All of it makes things quick and none of it is needed: the next look at the line finds the same.

use std::{sync::Arc, time::Duration};

use queue_core::{
    close::CloseCode,
    codes::Code,
    ids::{EventId, Generation, Jti},
    line::{Admission, Stock},
    service::{
        http::ApiError,
        spans::{self, Kind},
    },
    wire::{BookingDone, Inventory, SessionEnded, SessionSeen},
};
use tokio::sync::broadcast;

use super::{
    LocalLine, Node, answer,
    errands::Errands,
    outlet::uptime_ms,
    push::{Inner, Phase, Slot},
    show,
};
use crate::engine::{Signal, TakenOver};

/// What could not be carried out since the store was away is tried again after this.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Between two tries, at most.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Events are looked for this often, should a message be lost.
const DISCOVER_EVERY: Duration = Duration::from_secs(10);
/// A take-over is believed to be known to all nodes after this, even if its own message never came back.
const TAKE_OVER_SETTLES_MS: u64 = 5_000;

/// Follows the signals until the node stops.
pub async fn follow(node: Arc<Node>, mut signals: broadcast::Receiver<Signal>) {
    let errands = Arc::<Errands>::default();
    loop {
        let signal = match signals.recv().await {
            Ok(signal) => signal,
            Err(broadcast::error::RecvError::Lagged(_)) => {
                node.engine.fell_behind();
                Signal::Resync
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        match signal {
            Signal::Admitted { event, generation, sessions } => admitted(&node, &event, generation, sessions),
            Signal::SessionEnded(ended) => session_ended(&node, ended),
            Signal::TakenOver(taken) => taken_over(&node, taken),
            Signal::EventChanged(event) => match node.lines.get(&event).map(|line| line.clone()) {
                Some(line) => line.kick(),
                None => errands.learn(&node, event),
            },
            Signal::Resync => node.all_lines().iter().for_each(|line| line.resync()),
            Signal::BookingDone(done) => {
                errands.send(&node, booking_done(node.clone(), errands.clone(), done)).await;
            }
            Signal::Inventory(inventory) => {
                errands.send(&node, stocked(node.clone(), errands.clone(), inventory)).await;
            }
            Signal::SessionSeen(seen) => {
                errands.send(&node, session_seen(node.clone(), errands.clone(), seen)).await;
            }
        }
    }
}

/// Learns of events whose message was lost, and keeps house.
pub async fn discover(node: Arc<Node>) {
    loop {
        match node.engine.events().await {
            Ok(events) => {
                for event in events.into_iter().filter(|event| !node.lines.contains_key(event)).collect::<Vec<_>>() {
                    if let Err(error) = node.learn(&event).await {
                        tracing::debug!(%event, %error, "an event cannot be read");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the events cannot be listed"),
        }
        node.sessions.prune();
        for _ in 0..DISCOVER_EVERY.as_secs() {
            node.metrics.store(node.engine.as_ref());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn slot_of(line: &LocalLine, visitor: &queue_core::ids::VisitorId) -> Option<Arc<Slot>> {
    line.slots.lock().get(visitor).cloned()
}

fn admitted(node: &Arc<Node>, event: &EventId, generation: Generation, sessions: Vec<Admission>) {
    let Some(line) = node.lines.get(event).map(|line| line.clone()) else { return };
    let now = node.now();
    for Admission { visitor, seq, expires, .. } in sessions {
        line.leave_view(&visitor, now);
        let Some(slot) = slot_of(&line, &visitor) else { continue };
        let place =
            |inner: &mut Inner| inner.phase == Phase::Waiting && (inner.seq, inner.generation) == (seq, generation);
        if !slot.with(place) {
            continue;
        }
        let jti = Jti { generation, seq };
        let status = answer::active(node, &line, node.now(), &visitor, jti, expires);
        slot.with(|inner| {
            if place(inner) {
                show::admitted(inner, status);
            }
        });
    }
}

fn session_ended(node: &Node, ended: SessionEnded) {
    let SessionEnded { event_id, visitor_id, jti, reason, at } = ended;
    node.sessions.end(&event_id, jti, reason);
    let Some(line) = node.lines.get(&event_id).map(|line| line.clone()) else { return };
    if let Some(slot) = slot_of(&line, &visitor_id) {
        slot.with(|inner| {
            if inner.seq == jti.seq && inner.generation == jti.generation && inner.phase != Phase::Over {
                show::ended(inner, answer::ended(&line, at, reason));
            }
        });
    }
}

/// Of two sockets of one visitor on two nodes, the one whose message came later on the channel stays: who has
/// not heard the own message yet is the later one.
fn taken_over(node: &Node, taken: TakenOver) {
    let Some(line) = node.lines.get(&taken.event_id).map(|line| line.clone()) else { return };
    let Some(slot) = slot_of(&line, &taken.visitor_id) else { return };
    let own = taken.node == node.id && taken.socket == slot.id;
    slot.with(|inner| {
        if own {
            inner.confirmed = true;
        } else if taken.node != node.id
            && (inner.confirmed || uptime_ms().saturating_sub(slot.since_ms) > TAKE_OVER_SETTLES_MS)
        {
            inner.finish(None, CloseCode::TakenOver);
        }
    });
}

async fn booking_done(node: Arc<Node>, errands: Arc<Errands>, done: BookingDone) {
    let trace = done.traceparent.clone();
    let released = spans::resume(trace.as_deref(), Kind::Consumer, "BOOKING_DONE", release(&node, &errands, done));
    if let Err(error) = released.await {
        tracing::warn!(%error, "a finished booking is not released");
    }
}

/// Tries until the store could be asked.
async fn release(node: &Arc<Node>, errands: &Errands, done: BookingDone) -> Result<(), ApiError> {
    let mut pause = RETRY_MIN;
    let mut released = errands.first(node.booking_done(done.clone())).await;
    while let Err(error) = released {
        tracing::warn!(%error, "a finished booking could not be released yet");
        // Only that the store is away passes by itself: a defect would be tried for ever.
        if !passes(error.code()) {
            return Err(error);
        }
        // Nobody says it again: without this the slot would stay taken until the session's time is over.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
        released = errands.again(node.booking_done(done.clone())).await;
    }
    Ok(())
}

/// Whether what could not be done now can be done a little later, as it is.
const fn passes(code: Code) -> bool {
    matches!(code, Code::StoreUnavailable | Code::Overloaded)
}

/// It is said again soon, so what cannot be done now is left.
async fn stocked(node: Arc<Node>, errands: Arc<Errands>, inventory: Inventory) {
    let Inventory { event_id, left, held, at } = inventory;
    if let Err(error) = errands.first(node.stock(&event_id, Stock { left, held, at })).await {
        tracing::debug!(event = %event_id, %error, "the stock could not be noted");
    }
}

async fn session_seen(node: Arc<Node>, errands: Arc<Errands>, seen: SessionSeen) {
    let claim = async {
        let line = node.line(&seen.event_id).await?;
        node.ask_session(&line, seen.jti).await
    };
    if let Err(error) = errands.first(claim).await {
        tracing::debug!(%error, "a session could not be claimed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::EngineError, node::api_error};

    #[test]
    fn defects_are_not_tried_again_for_ever() {
        assert!(passes(api_error(EngineError::Unavailable("away".into())).code()));
        assert!(!passes(api_error(EngineError::Broken { what: "release", problem: "nonsense".into() }).code()));
    }
}
