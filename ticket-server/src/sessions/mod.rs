//! What is known of the sessions on the queue's side.
//!
//! A queue that is reached over HTTP is asked ([`asked`]), answers are kept for less than two
//! seconds, and sessions that hold something are asked about while they do. A queue whose Redis is
//! read tells what ends ([`told`]), and is told which sessions were seen. Either way: while nothing
//! can be known, the token's signature and `exp` decide.

mod asked;
mod told;

use queue_core::{
    ids::{EventId, Generation, Jti, Millis, VisitorId},
    wire::EndReason,
};

pub use self::{asked::Asked, told::Told};
use crate::{
    engine::Engine,
    model::{Command, Outcome},
    office::{Caller, Office},
};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As far as is known, it goes on.
    Live,
    /// The queue ended it.
    Ended(EndReason),
}

/// How sessions are known.
pub enum Sessions {
    /// The queue is asked over HTTP.
    Asked(Asked),
    /// The queue's Redis is read.
    Told(Told),
}

impl Sessions {
    /// Where a session stands that is about to take something.
    pub async fn standing(&self, event: &EventId, jti: Jti) -> Standing {
        match self {
            Self::Asked(asked) => asked.standing(event, jti).await,
            // What ended is marked in the store, which refuses it in the same step that would hold the seat.
            Self::Told(_) => Standing::Live,
        }
    }

    /// A good token was shown. The queue hears of each session once, so that it knows that the
    /// visitor came.
    pub fn seen(&self, caller: &Caller, now: Millis) {
        match self {
            Self::Asked(asked) => asked.seen(caller),
            Self::Told(told) => told.seen(caller, now),
        }
    }

    /// A session holds something until then, so that its end matters.
    pub fn holds(&self, event: &EventId, visitor: &VisitorId, jti: Jti, until: Millis) {
        if let Self::Asked(asked) = self {
            asked.watch(event, visitor, jti, until);
        }
    }

    /// How many the queue has admitted to the event, and the incarnation of the line that counted them; none where it
    /// has no such event, or does not tell us. An error says why nobody can be asked now.
    pub async fn admitted(&self, event: &EventId) -> Result<Option<(Generation, u64)>, String> {
        match self {
            Self::Asked(asked) => asked.admitted(event).await,
            Self::Told(told) => told.admitted(event).await,
        }
    }

    /// Marks in the store what ended before.
    pub async fn replay(&self, event: &EventId, engine: &dyn Engine) {
        if let Self::Told(told) = self {
            // What is left is read again when the store is back, or the next time that something ends.
            let _ = told.replay(event, engine, told::From::Start).await;
        }
    }
}

/// Whether somebody who gave up, or was sent away, lets go of what they hold. `exp` bounds the taking
/// of a hold, not its life.
pub const fn lets_go(reason: EndReason) -> bool {
    matches!(reason, EndReason::Left | EndReason::Released | EndReason::Revoked | EndReason::Cleared)
}

impl Office {
    /// Marks in the store that the queue ended a session. Whether the store took it.
    pub async fn session_ended(&self, event: &EventId, visitor: &VisitorId, jti: Jti, reason: EndReason) -> bool {
        let taken = end_session(self.engine.as_ref(), event, visitor, jti, reason).await;
        // What was let go may have been the last that was open.
        self.outbox.notify_one();
        taken
    }
}

/// Whether the store took it.
async fn end_session(engine: &dyn Engine, event: &EventId, visitor: &VisitorId, jti: Jti, reason: EndReason) -> bool {
    let command = Command::EndSession { visitor: visitor.clone(), jti, let_go: lets_go(reason) };
    match engine.apply(event, command).await {
        Ok(Outcome::Freed { holds, .. }) => {
            if !holds.is_empty() {
                tracing::info!(%event, %jti, holds = holds.len(), "let go what an ended session held");
            }
            true
        }
        Ok(_) => false,
        Err(error) => {
            tracing::warn!(%event, %jti, %error, "the store was not told of a session's end");
            false
        }
    }
}

/// Follows what ends on the queue's side, until told to stop.
pub async fn run(office: std::sync::Arc<Office>, stop: tokio_util::sync::CancellationToken) {
    match &office.sessions {
        Sessions::Asked(asked) => asked.run(std::sync::Arc::clone(&office), stop).await,
        Sessions::Told(told) => told.run(std::sync::Arc::clone(&office), stop).await,
    }
}
