//! What was lost is found again: a waiter whose message never came, an event whose store lost its data.

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::{Generation, Jti, Seq},
    limits::SEQ_RESTORE_GAP,
    line::{Command, Configure, Outcome, Refusal, Standing},
    policy::Policy,
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
    let asked = slot.with(|inner| (inner.seq, inner.generation));
    let applied = node.apply(line, None, Command::Lookup(slot.visitor.clone())).await?;
    let Outcome::Standing(standing) = applied.outcome else { return Err(broken("lookup")) };
    let (now, generation) = (applied.now, applied.generation);
    // Who has been given another place meanwhile is not told of the end of the one before.
    let end = |reason| {
        slot.with(|inner| {
            if (inner.seq, inner.generation) == asked {
                show::ended(inner, answer::ended(line, now, reason));
            }
        });
    };
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
                end(EndReason::Abandoned);
            }
        }
        Standing::Ended { reason, .. } => end(reason),
        Standing::Unknown => end(if asked.1 == generation { EndReason::Gone } else { EndReason::QueueReset }),
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
    // Only what was removed leaves a mark.
    if node.engine.was_removed(&line.event).await? {
        tracing::info!(event = %line.event, "the event was removed");
        node.forget(line);
        return Ok(node.options.idle_tick);
    }
    if write_back(node, line).await? {
        tracing::warn!(event = %line.event, "the store lost its data: the policy is written back, the line starts anew");
    }
    Ok(Duration::ZERO)
}

/// How the line is made again, in place of the one that this node knows.
pub fn again(line: &LocalLine, policy: Policy) -> Configure {
    let (known, view) = (line.known.load(), line.view.load());
    Configure {
        floor: Seq(line.floor().0 + SEQ_RESTORE_GAP),
        // Sessions of the lost line may be out there until their time is over: nobody is admitted before.
        closed_ms: known.policy.active_ttl_ms(),
        // What an operator had stopped stays stopped.
        paused: view.summary.paused,
        draining: view.summary.draining,
        ..Configure::new(policy, Generation(random_u64()))
    }
}

/// Makes the line again as this node knows it. Whoever does that first does it for all: `false` for the others.
async fn write_back(node: &Arc<Node>, line: &Arc<LocalLine>) -> Result<bool, EngineError> {
    let configure = again(line, line.known.load().policy.clone());
    let (generation, stock) = (configure.generation, line.view.load().summary.stock);
    // A line that is there has another generation: it is left as it is.
    match node.apply(line, Some(generation), Command::Configure(configure)).await {
        Ok(_) => {}
        Err(EngineError::Refused(Refusal::StaleGeneration(_))) => return Ok(false),
        Err(error) => return Err(error),
    }
    // What is sold out is sold out; who sells says it again and again.
    if let Some(stock) = stock {
        node.apply(line, Some(generation), Command::Stock(stock)).await?;
    }
    Ok(true)
}
