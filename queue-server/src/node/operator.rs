//! What operators ask of a node.

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    limits::SESSIONS_BATCH_MAX,
    line::{Command, Configure, Description, Outcome, Standing, Stock, Was},
    policy::Policy,
    service::{http::ApiError, trace::random_u64},
    wire::{BookingDone, EndReason, QueueState},
};
use serde::Serialize;

use super::{LocalLine, Node, api_error, broken, lost, tick};

/// Where an event's queue is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    Open,
    Paused,
    Draining,
    /// Nothing is left of what people wait for.
    Closed,
}

/// One event's queue, as operators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub event_id: EventId,
    pub policy: Policy,
    pub phase: Phase,
    pub waiting: u64,
    pub active: u64,
    pub admitted_total: u64,
    pub abandoned_total: u64,
    pub released_total: u64,
    pub expired_total: u64,
    pub admissions_per_minute: u64,
    pub oldest_wait_seconds: u64,
    /// What the ticket server last said, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tickets_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tickets_held: Option<u64>,
}

/// One person, as operators see them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VisitorView {
    pub event_id: EventId,
    pub visitor_id: VisitorId,
    pub as_of: Millis,
    pub status: QueueState,
    pub seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<Jti>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}

/// What one incarnation of a line has counted: the numbers of another one begin anew.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineTotals {
    /// The event.
    pub event_id: EventId,
    /// Names the incarnation.
    pub generation: String,
    /// People who were admitted.
    pub admitted_total: u64,
}

impl Node {
    /// One event's queue.
    pub async fn overview(self: &Arc<Self>, event: &EventId) -> Result<Overview, ApiError> {
        let line = self.line(event).await?;
        self.describe(&line).await.map(|(overview, _)| overview)
    }

    /// How many were admitted by this incarnation of one event's line.
    pub async fn totals(self: &Arc<Self>, event: &EventId) -> Result<LineTotals, ApiError> {
        let line = self.line(event).await?;
        let applied = self.ask(&line, None, Command::Describe).await?;
        let Outcome::Described(described) = applied.outcome else { return Err(api_error(broken("describe"))) };
        let admitted_total = described.summary.totals.admitted;
        Ok(LineTotals { event_id: event.clone(), generation: applied.generation.to_string(), admitted_total })
    }

    /// All events' queues, in the order of their names.
    pub async fn overviews(self: &Arc<Self>) -> Result<Vec<Overview>, ApiError> {
        let events = self.engine.events().await.map_err(api_error)?;
        let mut overviews = Vec::with_capacity(events.len());
        for event in events {
            match self.overview(&event).await {
                Ok(overview) => overviews.push(overview),
                // Removed meanwhile.
                Err(error) if error.code() == Code::EventNotFound => {}
                Err(error) => return Err(error),
            }
        }
        overviews.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        Ok(overviews)
    }

    async fn describe(&self, line: &LocalLine) -> Result<(Overview, Seq), ApiError> {
        let applied = self.ask(line, None, Command::Describe).await?;
        let Outcome::Described(described) = applied.outcome else { return Err(api_error(broken("describe"))) };
        let Description { policy, summary } = *described;
        let phase = match (summary.paused, summary.draining) {
            _ if summary.sold_out => Phase::Closed,
            (true, _) => Phase::Paused,
            (false, true) => Phase::Draining,
            (false, false) => Phase::Open,
        };
        let seq = summary.seq;
        let admissions_per_minute = {
            let mut meter = line.meter.lock();
            meter.observe(applied.now, summary.totals.admitted);
            meter.per_minute()
        };
        let overview = Overview {
            event_id: line.event.clone(),
            policy,
            phase,
            waiting: summary.waiting,
            active: summary.active,
            admitted_total: summary.totals.admitted,
            abandoned_total: summary.totals.abandoned,
            released_total: summary.totals.released,
            expired_total: summary.totals.expired,
            admissions_per_minute,
            tickets_left: summary.stock.map(|stock| stock.left),
            tickets_held: summary.stock.map(|stock| stock.held),
            oldest_wait_seconds: summary.oldest_joined.map_or(0, |joined| applied.now.since(joined) / 1000),
        };
        Ok((overview, seq))
    }

    /// Creates an event's queue, or replaces its policy. Says whether it is new.
    pub async fn configure(self: &Arc<Self>, event: &EventId, policy: Policy) -> Result<(bool, Overview), ApiError> {
        // If the store has just lost it, it is made as the next look would make it.
        let configure = match self.known_line(event.as_str()) {
            Some(line) if !self.engine.was_removed(event).await.map_err(api_error)? => lost::again(&line, policy),
            _ => Configure::new(policy, Generation(random_u64())),
        };
        let applied = self.engine.apply(event, None, Command::Configure(configure)).await.map_err(api_error)?;
        let Outcome::Configured { created } = applied.outcome else { return Err(api_error(broken("configure"))) };
        self.unknown.lock().remove(event);
        let line = self.line(event).await?;
        self.changed(&line).await.map(|overview| (created, overview))
    }

    /// Takes note of a change at once: the policy, and that more people may be let in.
    async fn changed(&self, line: &LocalLine) -> Result<Overview, ApiError> {
        tick::refresh(self, line).await.map_err(api_error)?;
        line.admit.notify_one();
        line.kick();
        let overview = self.describe(line).await.map(|(overview, _)| overview);
        line.change_view(self.now());
        overview
    }

    async fn set_phase(self: &Arc<Self>, event: &EventId, command: Command) -> Result<Overview, ApiError> {
        let line = self.line(event).await?;
        self.ask(&line, None, command).await?;
        self.changed(&line).await
    }

    /// Stops admission.
    pub async fn pause(self: &Arc<Self>, event: &EventId) -> Result<Overview, ApiError> {
        self.set_phase(event, Command::Pause).await
    }

    /// Ends pause and drain.
    pub async fn resume(self: &Arc<Self>, event: &EventId) -> Result<Overview, ApiError> {
        self.set_phase(event, Command::Resume).await
    }

    /// Takes nobody new.
    pub async fn drain(self: &Arc<Self>, event: &EventId) -> Result<Overview, ApiError> {
        self.set_phase(event, Command::Drain).await
    }

    /// Ends everyone who waits now, and the sessions too if `active`.
    pub async fn clear(self: &Arc<Self>, event: &EventId, active: bool) -> Result<Overview, ApiError> {
        let line = self.line(event).await?;
        let (before, seq) = self.describe(&line).await?;
        let upto = line.rank(seq);
        self.clear_batches(&line, Command::ClearWaiting { upto, reason: EndReason::Cleared }, before.waiting).await?;
        if active {
            let now = self.describe(&line).await?.0;
            self.clear_batches(&line, Command::ClearActive, now.active).await?;
        }
        self.changed(&line).await
    }

    /// What is left of what people wait for.
    pub async fn stock(self: &Arc<Self>, event: &EventId, stock: Stock) -> Result<(), ApiError> {
        let line = match self.line(event).await {
            Ok(line) => line,
            // Nobody waits for what is sold without a queue.
            Err(error) if error.code() == Code::EventNotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let known = line.view.load().summary.stock;
        if known.is_some_and(|known| known.at >= stock.at) {
            return Ok(());
        }
        self.ask(&line, None, Command::Stock(stock)).await?;
        line.kick();
        Ok(())
    }

    /// Repeats a bounded command until nobody is left, or as many are ended as there were.
    async fn clear_batches(&self, line: &LocalLine, command: Command, most: u64) -> Result<(), ApiError> {
        let mut cleared = 0;
        while cleared < most {
            let applied = self.ask(line, None, command.clone()).await?;
            let Outcome::Cleared(count) = applied.outcome else { return Err(api_error(broken("clear"))) };
            line.metrics.released(EndReason::Cleared, count as u64);
            cleared += count as u64;
            // The smaller of the two bounds: at least one call more, where it is the other.
            if count < SESSIONS_BATCH_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Removes an event, if nobody is in its queue.
    pub async fn remove(self: &Arc<Self>, event: &EventId) -> Result<(), ApiError> {
        let line = self.line(event).await?;
        let applied = self.ask(&line, None, Command::Remove).await?;
        match applied.outcome {
            Outcome::Removed(true) => {
                self.forget(&line);
                Ok(())
            }
            Outcome::Removed(false) => Err(ApiError::new(Code::QueueNotEmpty)),
            _ => Err(api_error(broken("remove"))),
        }
    }

    /// Where one person stands; not a sign of life.
    pub async fn look_up(self: &Arc<Self>, event: &EventId, visitor: &VisitorId) -> Result<VisitorView, ApiError> {
        let line = self.line(event).await?;
        let applied = self.ask(&line, None, Command::Lookup(visitor.clone())).await?;
        let Outcome::Standing(standing) = applied.outcome else { return Err(api_error(broken("lookup"))) };
        let view = |status, seq| VisitorView {
            event_id: event.clone(),
            visitor_id: visitor.clone(),
            as_of: applied.now,
            status,
            seq,
            reason: None,
            position: None,
            waiting: None,
            jti: None,
            expires_at: None,
        };
        match standing {
            Standing::Waiting { seq, position, waiting } => {
                Ok(VisitorView { position: Some(position), waiting: Some(waiting), ..view(QueueState::Waiting, seq) })
            }
            Standing::Active { seq, expires } => {
                let jti = Jti { generation: applied.generation, seq };
                Ok(VisitorView { jti: Some(jti), expires_at: Some(expires), ..view(QueueState::Active, seq) })
            }
            Standing::Ended { seq, reason } => Ok(VisitorView { reason: Some(reason), ..view(QueueState::Ended, seq) }),
            Standing::Unknown => Err(ApiError::new(Code::VisitorNotFound)),
        }
    }

    /// Ends a person's place or session, and says which it was. Who has none is 404.
    pub async fn revoke(self: &Arc<Self>, event: &EventId, visitor: &VisitorId) -> Result<QueueState, ApiError> {
        let line = self.line(event).await?;
        let was = self.end(&line, visitor, EndReason::Revoked).await?;
        match was {
            Some(Was::Waiting) => Ok(QueueState::Waiting),
            Some(Was::Active) => Ok(QueueState::Active),
            None => Err(ApiError::new(Code::VisitorNotFound)),
        }
    }

    /// Somebody has finished with a visitor: the session it names is released, and no other.
    pub async fn booking_done(self: &Arc<Self>, done: BookingDone) -> Result<(), ApiError> {
        match self.line(&done.event_id).await {
            Ok(line) => self.release_sessions(&line, done.jti.generation, vec![(done.visitor_id, done.jti.seq)]).await,
            // A session of an event that is gone is gone.
            Err(error) if error.code() == Code::EventNotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
