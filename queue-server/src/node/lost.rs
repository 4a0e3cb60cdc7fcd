//! What was lost is found again: a waiter whose message never came, an event whose store lost its data.

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::{Generation, Jti, Seq},
    limits::SEQ_RESTORE_GAP,
    line::{Command, Configure, Outcome, Standing},
    service::trace::random_u64,
    wire::EndReason,
};

use super::{
    LocalLine, Node, answer, broken,
    push::{Phase, Slot},
    show,
};
use crate::engine::EngineError;

/// A socket here waits, but the line no longer has its place: looks the visitor up, and tells them.
pub async fn waiter(node: &Arc<Node>, line: &Arc<LocalLine>, slot: &Slot) {
    if let Err(error) = look_up(node, line, slot).await {
        tracing::debug!(event = %line.event, %error, "a waiter cannot be looked up");
    }
}

async fn look_up(node: &Arc<Node>, line: &Arc<LocalLine>, slot: &Slot) -> Result<(), EngineError> {
    let applied = node.apply(line, None, Command::Lookup(slot.visitor.clone())).await?;
    let Outcome::Standing(standing) = applied.outcome else { return Err(broken("lookup")) };
    let (now, generation) = (applied.now, applied.generation);
    match standing {
        // Joined anew elsewhere: this socket follows the new place.
        Standing::Waiting { seq, .. } => slot.with(|inner| (inner.seq, inner.generation) = (seq, generation)),
        Standing::Active { seq, expires } => {
            let jti = Jti { generation, seq };
            let status = answer::active(node, line, now, &slot.visitor, jti, expires);
            slot.with(|inner| {
                if inner.phase == Phase::Waiting {
                    inner.seq = seq;
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
        Standing::Unknown => slot.with(|inner| show::ended(inner, answer::ended(line, now, EndReason::Gone))),
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
    if *line.incarnation.lock() == incarnation {
        tracing::info!(event = %line.event, "the event was removed");
        node.forget(line);
        return Ok(node.options.idle_tick);
    }
    let policy = line.known.load().policy.clone();
    // Sessions of the lost line may be out there until their time is over: nobody is admitted before.
    let closed_ms = policy.active_ttl_ms();
    let configure = Configure {
        policy,
        generation: Generation(random_u64()),
        floor: Seq(line.floor().0 + SEQ_RESTORE_GAP),
        closed_ms,
    };
    node.apply(line, None, Command::Configure(configure)).await?;
    *line.incarnation.lock() = incarnation;
    tracing::warn!(event = %line.event, "the store lost its data: the policy is written back, the line starts anew");
    Ok(Duration::ZERO)
}
