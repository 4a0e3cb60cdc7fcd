//! What visitors ask of a node.

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Seq, VisitorId},
    line::{Command, Outcome, Place, Refusal, SessionState, Standing, Was},
    service::{context, http::ApiError, users::user_token_required},
    token::place::PlaceClaims,
    wire::{EndReason, QueueStatus},
};
use tokio::time::Instant;

use super::{LocalLine, Node, answer, api_error, broken, joins};
use crate::engine::EngineError;

/// What a join came to, with what a socket needs to follow it.
pub struct Joining {
    pub line: Arc<LocalLine>,
    pub visitor: VisitorId,
    pub seq: Seq,
    pub generation: Generation,
    pub active: bool,
    /// The contract's answer, with the place token.
    pub status: QueueStatus,
}

/// Who joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody new.
    Anonymous,
    /// Whom a verified user token names.
    User(VisitorId),
    /// Whom a verified place token of the event names.
    Holder(PlaceClaims),
}

impl Node {
    /// Joins, or finds the visitor's place again.
    pub async fn check(self: &Arc<Self>, event: &EventId, who: Who) -> Result<QueueStatus, ApiError> {
        self.join(event, who).await.map(|joining| joining.status)
    }

    /// [`Node::check`], with what a socket needs.
    pub async fn join(self: &Arc<Self>, event: &EventId, who: Who) -> Result<Joining, ApiError> {
        let line = self.line(event).await?;
        let visitor = match who {
            Who::Anonymous => anonymous()?,
            Who::User(visitor) => visitor,
            Who::Holder(claims) => {
                if self.options.user_tokens {
                    self.require_place(&line, &claims.visitor).await?;
                }
                claims.visitor
            }
        };
        context::note_visitor(&visitor);
        let answer = joins::join(self, &line, visitor.clone()).await?;
        let (now, generation) = (answer.now, answer.generation);
        let (seq, active, status) = match answer.place {
            Place::Waiting { seq, position, .. } => {
                let at = answer::Waiting {
                    as_of: now,
                    position,
                    waiting: answer.waiting,
                    paused: answer.paused,
                    heard: now,
                };
                (seq, false, answer::waiting(&line, at))
            }
            Place::Active { seq, expires, .. } => {
                let jti = Jti { generation, seq };
                (seq, true, answer::active(self, &line, now, &visitor, jti, expires))
            }
            Place::Closed => return Err(ApiError::new(Code::QueueClosed)),
            Place::Full => return Err(ApiError::new(Code::QueueFull).retry_after_secs(10)),
        };
        let status = answer::with_place(self, &line, status, &visitor, seq, generation);
        Ok(Joining { line, visitor, seq, generation, active, status })
    }

    /// Who has no place any more would get a new one by joining, and for that a place token is not enough.
    async fn require_place(&self, line: &LocalLine, visitor: &VisitorId) -> Result<(), ApiError> {
        let applied = self.ask(line, None, Command::Lookup(visitor.clone())).await?;
        match applied.outcome {
            Outcome::Standing(Standing::Waiting { .. } | Standing::Active { .. }) => Ok(()),
            Outcome::Standing(_) => Err(user_token_required()),
            _ => Err(api_error(broken("lookup"))),
        }
    }

    /// Where the holder of a place token stands: from what the node knows, if it does. A sign of life.
    pub async fn status(self: &Arc<Self>, event: &EventId, place: PlaceClaims) -> Result<QueueStatus, ApiError> {
        let line = self.line(event).await?;
        let now = self.now();
        line.ask(now);
        if place.generation == line.generation()
            && let Some(view) = line.fresh_view(now)
        {
            let rank = line.rank(place.seq);
            if line.in_view(&view, rank, &place.visitor) {
                line.hear(rank, now);
                return Ok(answer::from_view(&line, &view, rank, now));
            }
        }
        self.ask_status(&line, place).await
    }

    async fn ask_status(&self, line: &LocalLine, place: PlaceClaims) -> Result<QueueStatus, ApiError> {
        if place.generation == line.generation() {
            // A sign of life even if the store cannot be asked.
            line.hear(line.rank(place.seq), self.now());
        }
        let applied = self.ask(line, None, Command::Status(place.visitor.clone())).await?;
        let Outcome::Standing(standing) = applied.outcome else { return Err(api_error(broken("status"))) };
        let (now, generation) = (applied.now, applied.generation);
        Ok(match standing {
            Standing::Waiting { seq, position, waiting } => {
                line.hear(line.rank(seq), now);
                let paused = line.known.load().paused;
                answer::waiting(line, answer::Waiting { as_of: now, position, waiting, paused, heard: now })
            }
            Standing::Active { seq, expires } => {
                answer::active(self, line, now, &place.visitor, Jti { generation, seq }, expires)
            }
            Standing::Ended { reason, .. } => answer::ended(line, now, reason),
            Standing::Unknown if generation != place.generation => answer::ended(line, now, EndReason::QueueReset),
            Standing::Unknown => answer::ended(line, now, EndReason::Gone),
        })
    }

    /// The visitor gives the place or session up. Whoever has none has left already.
    pub async fn leave(self: &Arc<Self>, event: &EventId, visitor: &VisitorId) -> Result<(), ApiError> {
        let line = self.line(event).await?;
        self.end(&line, visitor, EndReason::Left).await.map(|_| ())
    }

    /// Ends a place or session: left, or revoked.
    pub(super) async fn end(
        &self,
        line: &LocalLine,
        visitor: &VisitorId,
        reason: EndReason,
    ) -> Result<Option<Was>, ApiError> {
        let command = match reason {
            EndReason::Revoked => Command::Revoke(visitor.clone()),
            _ => Command::Leave(visitor.clone()),
        };
        let applied = self.ask(line, None, command).await?;
        let Outcome::Left(was) = applied.outcome else { return Err(api_error(broken("leave"))) };
        match was {
            Some(Was::Active) => {
                line.metrics.released(reason, 1);
                line.admit.notify_one();
            }
            // The socket, if there is one, is told with the next look at the line.
            Some(Was::Waiting) => {
                line.leave_view(visitor, applied.now);
                line.metrics.released(reason, 1);
            }
            None => {}
        }
        Ok(was)
    }

    /// The visitor of this session is done. Released before, or never there: the same answer.
    pub async fn release(self: &Arc<Self>, event: &EventId, visitor: &VisitorId, jti: Jti) -> Result<(), ApiError> {
        let line = self.line(event).await?;
        self.release_sessions(&line, jti.generation, vec![(visitor.clone(), jti.seq)]).await
    }

    pub(super) async fn release_sessions(
        &self,
        line: &LocalLine,
        generation: Generation,
        sessions: Vec<(VisitorId, Seq)>,
    ) -> Result<(), ApiError> {
        let applied = match self.apply(line, Some(generation), Command::Release(sessions)).await {
            // Sessions of a lost line are not this line's.
            Err(EngineError::Refused(Refusal::StaleGeneration(_))) => return Ok(()),
            Err(error) => return Err(self.refused(line, error).await),
            Ok(applied) => applied,
        };
        let Outcome::Released(released) = applied.outcome else { return Err(api_error(broken("release"))) };
        let count = released.iter().filter(|released| **released).count();
        if count > 0 {
            line.metrics.released(EndReason::Released, count as u64);
            line.admit.notify_one();
        }
        Ok(())
    }

    /// What is known of a session, at most two seconds old. Asking is a sign of life.
    pub async fn session(self: &Arc<Self>, event: &EventId, jti: Jti) -> Result<SessionState, ApiError> {
        if let Some(known) = self.sessions.get(event, jti) {
            return Ok(known);
        }
        let line = self.line(event).await?;
        let asked = Instant::now();
        let state = self.ask_session(&line, jti).await?;
        self.sessions.put(event, jti, asked, state.clone());
        Ok(state)
    }

    pub(super) async fn ask_session(&self, line: &LocalLine, jti: Jti) -> Result<SessionState, ApiError> {
        match self.apply(line, Some(jti.generation), Command::Session(jti.seq)).await {
            Ok(applied) => match applied.outcome {
                Outcome::Session(state) => Ok(state),
                _ => Err(api_error(broken("session"))),
            },
            Err(EngineError::Refused(Refusal::StaleGeneration(_))) => Ok(SessionState::Ended(EndReason::QueueReset)),
            Err(error) => Err(self.refused(line, error).await),
        }
    }
}

fn anonymous() -> Result<VisitorId, ApiError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ApiError::internal("the system has no randomness"))?;
    Ok(VisitorId::anonymous(random))
}
