//! A socket that follows a place, from its join to its end.

use std::sync::{Arc, atomic::Ordering};

use queue_core::{
    close::CloseCode,
    ids::{EventId, Generation, Millis, Seq, VisitorId},
    line::{Command, Outcome, Standing},
    service::http::ApiError,
    token::place::PlaceClaims,
    wire::{EndReason, QueueState, ServerMessage},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    LocalLine, Node, Who, answer, lost,
    outlet::{Outlet, uptime_ms},
    places::Joining,
    push::{Inner, Phase, Slot, text},
    show,
};
use crate::engine::TakenOver;

/// The first number is 1.
const UNCLAIMED: (Generation, Seq) = (Generation(0), Seq(0));

/// A place that a socket follows. Dropping it ends the following, not the place.
pub struct Following {
    node: Arc<Node>,
    line: Arc<LocalLine>,
    slot: Arc<Slot>,
    /// The session that was claimed; before the first one, no session at all.
    claimed: (Generation, Seq),
}

impl Joining {
    /// The message that answers the join.
    pub fn message(&self) -> Utf8Bytes {
        let status = self.status.clone();
        text(&match status.status {
            QueueState::Active => ServerMessage::QueueEntryAllowed(status),
            _ => ServerMessage::QueueUpdated(status),
        })
    }
}

impl Node {
    /// Lets a socket follow what it joined. `resumes`: there may be older sockets of this visitor, here or on
    /// other nodes, that are told so before the join is answered: the order of their messages is then the order in
    /// which people opened their tabs.
    pub async fn follow(self: &Arc<Self>, joining: Joining, resumes: bool, outlet: Arc<Outlet>) -> Following {
        let Joining { line, visitor, seq, generation, active, .. } = joining;
        let id = self.next_socket.fetch_add(1, Ordering::Relaxed);
        let phase = if active { Phase::Active } else { Phase::Waiting };
        let slot = Arc::new(Slot::new(id, visitor.clone(), seq, generation, phase, outlet));
        if let Some(older) = line.add_slot(slot.clone()) {
            older.with(|inner| inner.finish(None, CloseCode::TakenOver));
        }
        // Removed between the join and now: nobody looks at this line any more.
        if line.gone.is_cancelled() {
            slot.with(|inner| over(&line, inner, self.now()));
        }
        if active {
            slot.with(|inner| inner.ping());
        } else {
            line.ask(self.now());
        }
        // Let in, or ended, between the join and now: the message found no slot.
        if !active && line.has_left(&visitor) {
            let (node, line, slot) = (self.clone(), line.clone(), slot.clone());
            self.spawn(async move {
                lost::visitor(&node, &line, &slot).await;
            });
        }
        // Who cannot have an older socket waits for no message of its own.
        slot.with(|inner| inner.confirmed = !resumes);
        let following = Following { node: self.clone(), line, slot, claimed: UNCLAIMED };
        if resumes {
            following.announce().await;
        }
        following
    }
}

/// The event was removed: there is nothing to follow.
pub(super) fn over(line: &LocalLine, inner: &mut Inner, now: Millis) {
    if inner.phase != Phase::Over {
        show::ended(inner, answer::ended(line, now, EndReason::Gone));
    }
}

impl Following {
    /// The event that is followed.
    pub fn event(&self) -> &EventId {
        &self.line.event
    }

    /// Tells other nodes that this socket took the place over.
    async fn announce(&self) {
        let taken = TakenOver {
            event_id: self.line.event.clone(),
            visitor_id: self.slot.visitor.clone(),
            node: self.node.id,
            socket: self.slot.id,
        };
        // An older tab that is not told keeps its socket: both show the same place.
        if let Err(error) = self.node.engine.announce(taken).await {
            tracing::debug!(%error, "a take-over could not be announced");
        }
    }

    /// Whose place it is.
    pub fn visitor(&self) -> &VisitorId {
        &self.slot.visitor
    }

    /// The peer gave a sign of life.
    pub fn heard(&self) {
        let (phase, seq) = self.slot.with(|inner| {
            inner.hear();
            (inner.phase, inner.seq)
        });
        if phase == Phase::Waiting {
            self.line.hear(self.line.rank(seq), self.node.now());
        }
    }

    fn session(&self) -> Option<(Generation, Seq)> {
        self.slot.with(|inner| (inner.phase == Phase::Active).then_some((inner.generation, inner.seq)))
    }

    /// Whether there is a session that was not claimed yet.
    pub fn may_claim(&self) -> bool {
        self.session().is_some_and(|session| session != self.claimed)
    }

    /// Claims the session, once, if there is one: the peer was heard after it was let in. One that ended before
    /// this socket followed it is told so: nobody else will.
    pub async fn claim(&mut self) {
        let Some(session) = self.session().filter(|session| *session != self.claimed) else { return };
        let status = Command::Status(self.slot.visitor.clone());
        let applied = {
            // It waits for its turn: whoever cannot claim in time loses the slot.
            let Ok(_permit) = self.node.questions.acquire().await else { return };
            self.node.apply(&self.line, None, status).await
        };
        let Ok(applied) = applied else { return };
        self.claimed = session;
        if let Outcome::Standing(Standing::Ended { reason, .. }) = applied.outcome {
            let status = answer::ended(&self.line, applied.now, reason);
            self.slot.with(|inner| {
                if session == (inner.generation, inner.seq) && inner.phase == Phase::Active {
                    show::ended(inner, status);
                }
            });
        }
    }

    /// Where the visitor stands now.
    pub async fn resume(&self) -> Result<Utf8Bytes, ApiError> {
        let (seq, generation) = self.slot.with(|inner| (inner.seq, inner.generation));
        let (event, visitor) = (self.line.event.clone(), self.slot.visitor.clone());
        let who = Who::Holder(PlaceClaims { event, visitor, seq, generation });
        let joining = self.node.join(&self.line.event, who).await?;
        self.line.move_slot(&self.slot, (joining.seq, joining.generation), |inner| {
            if inner.phase != Phase::Over {
                inner.phase = if joining.active { Phase::Active } else { Phase::Waiting };
            }
            // The answer shows something else than was shown last, and is newer than a view that is being told from.
            (inner.shown, inner.shown_ms) = (None, uptime_ms());
        });
        Ok(joining.message())
    }

    /// Gives the place or session up.
    pub async fn leave(&self) -> Result<Utf8Bytes, ApiError> {
        self.node.leave(&self.line.event, &self.slot.visitor).await?;
        let status = answer::ended(&self.line, self.node.now(), EndReason::Left);
        Ok(text(&ServerMessage::QueueCleared(status)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.line.remove_slot(&self.slot);
    }
}
