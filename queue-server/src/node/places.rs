//! What visitors ask of a node.

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    line::{Applied, Command, Outcome, Place, Refusal, SessionState, Standing, Was},
    service::{context, http::ApiError, users::user_token_required},
    token::place::PlaceClaims,
    wire::{EndReason, QueueStatus},
};
use tokio::time::Instant;

use super::{LocalLine, Node, answer, api_error, broken, joins, randomness};
use crate::engine::EngineError;

/// Questions of where somebody stands that one node has at the store at a time. Looks at lines and joins, which all
/// depend on, have the rest of what the store takes.
pub const QUESTIONS_AT_ONCE: usize = 256;

/// What the store said of where somebody stands.
struct Asked {
    now: Millis,
    generation: Generation,
    standing: Standing,
}

/// What a join came to, with what a socket needs to follow it.
pub struct Joining {
    pub line: Arc<LocalLine>,
    pub visitor: VisitorId,
    pub seq: Seq,
    pub generation: Generation,
    pub active: bool,
    /// They had no place before.
    pub fresh: bool,
    /// The contract's answer, with the place token.
    pub status: QueueStatus,
}

/// A join that was begun.
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made: a box would be an allocation for each join"
)]
pub enum Begun {
    /// It is done.
    Done(Joining),
    /// It waits for the store.
    Waits(joins::Waiting),
    /// It could not be done so, for this visitor: [`Node::join`].
    Not(VisitorId),
}

/// Who joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody new.
    Anonymous,
    /// Whom a verified user token names, with the verified place token that they show besides.
    User(VisitorId, Option<PlaceClaims>),
    /// Whom a verified place token of the event names.
    Holder(PlaceClaims),
}

impl Who {
    /// The place that they show.
    pub const fn place(&self) -> Option<&PlaceClaims> {
        match self {
            Self::Holder(place) | Self::User(_, Some(place)) => Some(place),
            Self::User(_, None) | Self::Anonymous => None,
        }
    }

    /// The same visitor, who is known but has no place.
    #[must_use]
    pub fn without_place(self) -> Self {
        match self {
            Self::Holder(PlaceClaims { visitor, .. }) | Self::User(visitor, _) => Self::User(visitor, None),
            Self::Anonymous => Self::Anonymous,
        }
    }
}

impl Node {
    /// Joins, or finds the visitor's place again.
    pub async fn check(self: &Arc<Self>, event: &EventId, who: Who) -> Result<QueueStatus, ApiError> {
        self.join(event, who).await.map(|joining| joining.status)
    }

    /// Whoever is new and would have to wait too long for the store is refused before anything is made for them.
    pub fn may_join(&self, line: &LocalLine) -> Result<(), ApiError> {
        if line.joins.backlog.refuses() { Err(joins::overloaded(self)) } else { Ok(()) }
    }

    /// [`Node::check`] of a line that is known, without waiting where the engine does not make us wait.
    pub fn begin_join(&self, line: &Arc<LocalLine>, who: Who) -> Result<Begun, ApiError> {
        let holds = who.place().inspect(|place| line.saw_place(place)).is_some();
        let visitor = match who {
            Who::Anonymous => anonymous()?,
            Who::User(visitor, _) => visitor,
            Who::Holder(claims) => claims.visitor,
        };
        context::note_visitor(&visitor);
        if joins::gathers(self) {
            return joins::enqueue(self, line, visitor, holds).map(Begun::Waits);
        }
        match joins::join_at_once(self, line, &visitor) {
            Some(answer) => self.joining(line.clone(), visitor, answer).map(Begun::Done),
            None => Ok(Begun::Not(visitor)),
        }
    }

    /// [`Node::check`], with what a socket needs.
    pub async fn join(self: &Arc<Self>, event: &EventId, who: Who) -> Result<Joining, ApiError> {
        let line = self.line(event).await?;
        let holds = who.place().inspect(|place| line.saw_place(place)).is_some();
        let visitor = match who {
            Who::Anonymous => anonymous()?,
            Who::User(visitor, _) => visitor,
            Who::Holder(claims) => {
                if self.options.user_tokens {
                    self.require_place(&line, &claims.visitor).await?;
                }
                claims.visitor
            }
        };
        context::note_visitor(&visitor);
        let answer = joins::join(self, &line, visitor.clone(), holds).await?;
        self.joining(line, visitor, answer)
    }

    /// What is told of a join's answer.
    pub(super) fn joining(
        &self,
        line: Arc<LocalLine>,
        visitor: VisitorId,
        answer: joins::JoinAnswer,
    ) -> Result<Joining, ApiError> {
        let (now, generation) = (answer.now, answer.generation);
        let (seq, active, fresh, mut status) = match answer.place {
            Place::Waiting { seq, position, fresh } => {
                let at = answer::Waiting {
                    as_of: now,
                    position,
                    waiting: answer.waiting,
                    paused: answer.paused,
                    heard: now,
                };
                (seq, false, fresh, answer::waiting(&line, at))
            }
            Place::Active { seq, expires, fresh } => {
                let jti = Jti { generation, seq };
                (seq, true, fresh, answer::active(self, &line, now, &visitor, jti, expires))
            }
            Place::Closed => return Err(ApiError::new(Code::QueueClosed)),
            Place::Full => return Err(ApiError::new(Code::QueueFull).retry_after_secs(10)),
        };
        status.place_token = Some(self.keys.place_token(&line.event, &visitor, seq, generation));
        Ok(Joining { line, visitor, seq, generation, active, fresh, status })
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

    /// Whether a place that is shown is still there, as far as this node knows: what it cannot know it believes. Of
    /// those who are in it does not know, for they are in line no more.
    pub fn believes(&self, line: &LocalLine, place: &PlaceClaims) -> bool {
        if place.generation != line.generation() || line.has_left(&place.visitor) {
            return false;
        }
        let Some(view) = line.fresh_view(self.now()) else { return true };
        place.seq > view.summary.seq || view.index.contains(line.rank(place.seq))
    }

    /// Whether the visitor has a place or session, by the store.
    pub async fn has_place(&self, line: &LocalLine, visitor: &VisitorId) -> Result<bool, ApiError> {
        let asked = self.ask_standing(line, Command::Lookup(visitor.clone())).await?;
        Ok(matches!(asked.standing, Standing::Waiting { .. } | Standing::Active { .. }))
    }

    /// Where the holder of a place token stands: from what the node knows, if it does. A sign of life.
    pub async fn status(self: &Arc<Self>, event: &EventId, place: PlaceClaims) -> Result<QueueStatus, ApiError> {
        let line = self.line(event).await?;
        match self.status_known(&line, &place) {
            Some(status) => Ok(status),
            None => self.ask_status(&line, place).await,
        }
    }

    /// [`Node::status`], if this node knows it.
    pub fn status_known(&self, line: &LocalLine, place: &PlaceClaims) -> Option<QueueStatus> {
        let now = self.now();
        line.ask(now);
        line.saw_place(place);
        if place.generation != line.generation() {
            return None;
        }
        let view = line.fresh_view(now)?;
        let rank = line.rank(place.seq);
        line.in_view(&view, rank, &place.visitor).then(|| {
            line.hear(rank, now);
            answer::from_view(line, &view, rank, now)
        })
    }

    async fn ask_status(&self, line: &LocalLine, place: PlaceClaims) -> Result<QueueStatus, ApiError> {
        if place.generation == line.generation() {
            // A sign of life even if the store cannot be asked.
            line.hear(line.rank(place.seq), self.now());
        }
        let asked = self.ask_standing(line, Command::Status(place.visitor.clone())).await?;
        let Asked { now, generation, standing } = asked;
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

    /// Asks the store where somebody stands, if not too many are asking.
    async fn ask_standing(&self, line: &LocalLine, question: Command) -> Result<Asked, ApiError> {
        let answer = {
            let _permit = self.questions.try_acquire().map_err(|_| ApiError::new(Code::Overloaded))?;
            self.apply(line, None, question).await
        };
        let Applied { now, generation, outcome } = match answer {
            Ok(applied) => applied,
            Err(error) => return Err(self.refused(line, error).await),
        };
        let Outcome::Standing(standing) = outcome else { return Err(api_error(broken("a question"))) };
        Ok(Asked { now, generation, standing })
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
        if let Some(known) = self.session_known(event, jti) {
            return Ok(known);
        }
        let line = self.line(event).await?;
        let asked = Instant::now();
        let state = self.ask_session(&line, jti).await?;
        self.sessions.put(event, jti, asked, state.clone());
        Ok(state)
    }

    /// [`Node::session`], if it was asked for lately.
    pub fn session_known(&self, event: &EventId, jti: Jti) -> Option<SessionState> {
        self.sessions.get(event, jti)
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
    let random = randomness::sixteen().ok_or_else(|| ApiError::internal("the system has no randomness"))?;
    Ok(VisitorId::anonymous(random))
}
