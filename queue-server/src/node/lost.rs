//! What was lost is found again: a waiter whose message never came, an event whose store lost its data.

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::{Generation, Jti, Seq},
    limits::SEQ_RESTORE_GAP,
    line::{Command, Configure, Outcome, Refusal, Standing},
    service::trace::random_u64,
    wire::EndReason,
};

use super::{
    LocalLine, Node, answer, broken,
    push::{Phase, Slot},
    show,
};
use crate::engine::EngineError;

/// A socket here waits but the line no longer has its place, or it may have missed the end of its session: looks
/// the visitor up, and tells them. Says whether it could.
pub async fn visitor(node: &Arc<Node>, line: &Arc<LocalLine>, slot: &Arc<Slot>) -> bool {
    let told = look_up(node, line, slot).await;
    if let Err(error) = &told {
        tracing::debug!(event = %line.event, %error, "a visitor cannot be looked up");
    }
    told.is_ok()
}

async fn look_up(node: &Arc<Node>, line: &Arc<LocalLine>, slot: &Arc<Slot>) -> Result<(), EngineError> {
    let applied = node.apply(line, None, Command::Lookup(slot.visitor.clone())).await?;
    let Outcome::Standing(standing) = applied.outcome else { return Err(broken("lookup")) };
    let (now, generation) = (applied.now, applied.generation);
    match standing {
        // Joined anew elsewhere: this socket follows the new place.
        Standing::Waiting { seq, .. } => line.move_slot(slot, (seq, generation), |inner| {
            if inner.phase == Phase::Active {
                inner.phase = Phase::Waiting;
            }
        }),
        Standing::Active { seq, expires } => {
            let jti = Jti { generation, seq };
            let status = answer::active(node, line, now, &slot.visitor, jti, expires);
            let other = slot.with(|inner| (inner.seq, inner.generation)) != (seq, generation);
            // Of another session nothing was told yet.
            line.move_slot(slot, (seq, generation), |inner| {
                if other && inner.phase == Phase::Active {
                    inner.phase = Phase::Waiting;
                }
            });
            slot.with(|inner| {
                inner.doubt = false;
                if inner.phase == Phase::Waiting {
                    show::admitted(inner, status);
                }
            });
        }
        Standing::Ended { seq, reason: EndReason::Abandoned } if heard_in_grace(line, slot) => {
            // Swept while this node was cut off, but here all the time: back to the own rank.
            if !restore(node, line, slot, generation, seq).await? {
                slot.with(|inner| show::ended(inner, answer::ended(line, now, EndReason::Abandoned)));
            }
        }
        Standing::Ended { reason, .. } => {
            slot.with(|inner| show::ended(inner, answer::ended(line, now, reason)));
        }
        Standing::Unknown => slot.with(|inner| {
            let same = inner.generation == generation;
            let reason = if same { EndReason::Gone } else { EndReason::QueueReset };
            show::ended(inner, answer::ended(line, now, reason));
        }),
    }
    Ok(())
}

fn heard_in_grace(line: &LocalLine, slot: &Slot) -> bool {
    slot.silent_ms() < line.known.load().policy.grace_ms()
}

async fn restore(
    node: &Node,
    line: &LocalLine,
    slot: &Slot,
    generation: Generation,
    seq: Seq,
) -> Result<bool, EngineError> {
    let command = Command::Restore(vec![(slot.visitor.clone(), seq)]);
    let applied = node.apply(line, Some(generation), command).await?;
    let Outcome::Restored(restored) = applied.outcome else { return Err(broken("restore")) };
    Ok(restored.first() == Some(&true))
}

/// The store has no such event any more: it was removed, or the store lost its data and is told again.
pub async fn event(node: &Arc<Node>, line: &Arc<LocalLine>) -> Result<Duration, EngineError> {
    let incarnation = node.engine.incarnation().await?;
    let same_data = *line.incarnation.lock() == incarnation;
    // In data that this node has not seen the event may have been written back by another one, and removed since.
    if same_data || node.engine.was_removed(&line.event).await? {
        tracing::info!(event = %line.event, "the event was removed");
        node.forget(line);
        return Ok(node.options.idle_tick);
    }
    if write_back(node, line).await? {
        tracing::warn!(event = %line.event, "the store lost its data: the policy is written back, the line starts anew");
    }
    *line.incarnation.lock() = incarnation;
    Ok(Duration::ZERO)
}

/// Makes the line again as this node knows it. Whoever does that first does it for all: `false` for the others.
async fn write_back(node: &Arc<Node>, line: &Arc<LocalLine>) -> Result<bool, EngineError> {
    let policy = line.known.load().policy.clone();
    // Sessions of the lost line may be out there until their time is over: nobody is admitted before.
    let closed_ms = policy.active_ttl_ms();
    let generation = Generation(random_u64());
    let floor = Seq(line.floor().0 + SEQ_RESTORE_GAP);
    let (paused, draining, stock) = {
        let view = line.view.load();
        (view.summary.paused, view.summary.draining, view.summary.stock)
    };
    let configure = Command::Configure(Configure { policy, generation, floor, closed_ms });
    // A line that is there has another generation: it is left as it is.
    match node.apply(line, Some(generation), configure).await {
        Ok(_) => {}
        Err(EngineError::Refused(Refusal::StaleGeneration(_))) => return Ok(false),
        Err(error) => return Err(error),
    }
    // What an operator had stopped stays stopped, and what is sold out is sold out.
    let stock = stock.map(Command::Stock);
    for command in [draining.then_some(Command::Drain), paused.then_some(Command::Pause), stock].into_iter().flatten() {
        node.apply(line, Some(generation), command).await?;
    }
    Ok(true)
}
