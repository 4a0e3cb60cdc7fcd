//! Group commit of joins: those that come while a batch is under way go together with the next one.
//!
//! There is no timer and no added delay when idle. The number that waits is bounded; who comes when it is
//! full is told so at once.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Millis, VisitorId},
    limits::JOIN_BATCH_MAX,
    line::{Command, Joined, Outcome, Place},
    service::http::ApiError,
};
use tokio::sync::{mpsc, oneshot};

use super::{FATE_WITHIN, LocalLine, Node, broken};
use crate::engine::EngineError;

/// Joins of one event that wait for the store on this node, at most.
pub const WAITING_JOINS_MAX: usize = 8_192;
/// A join that has waited for so long is told that the store is away, and is not sent any more.
const JOIN_WITHIN: Duration = Duration::from_millis(1_200);

const _: () = assert!(JOIN_WITHIN.as_millis() + FATE_WITHIN.as_millis() < 2_000, "the contract's two seconds");

/// A join on its way.
pub struct Job {
    visitor: VisitorId,
    reply: oneshot::Sender<Result<JoinAnswer, EngineError>>,
}

/// What a join came to.
#[derive(Clone, Copy, Debug)]
pub struct JoinAnswer {
    pub now: Millis,
    pub generation: Generation,
    pub place: Place,
    pub waiting: u64,
    pub paused: bool,
}

/// Joins one visitor.
pub async fn join(node: &Node, line: &LocalLine, visitor: VisitorId) -> Result<JoinAnswer, ApiError> {
    let answer = if node.engine.gathers() {
        let (reply, answer) = oneshot::channel();
        line.joins.try_send(Job { visitor, reply }).map_err(|_| {
            node.metrics.join_refused();
            ApiError::new(Code::Overloaded)
        })?;
        let unavailable = |why| ApiError::new(Code::StoreUnavailable).log(why);
        let answer = tokio::time::timeout(JOIN_WITHIN, answer).await;
        let answer = answer.map_err(|_| unavailable("the store takes too long"))?;
        answer.map_err(|_| unavailable("the line or the node has ended"))?
    } else {
        apply(node, line, vec![visitor]).await.map(|answers| answers[0])
    };
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) => Err(node.refused(line, error).await),
    }
}

/// Sends what has gathered, again and again.
pub async fn gather(node: Arc<Node>, event: EventId, mut jobs: mpsc::Receiver<Job>) {
    // The line owns the sender: when it is gone, so is this task.
    let node: Weak<Node> = Arc::downgrade(&node);
    let mut batch = Vec::with_capacity(JOIN_BATCH_MAX);
    while jobs.recv_many(&mut batch, JOIN_BATCH_MAX).await > 0 {
        let Some(node) = node.upgrade() else { return };
        let Some(line) = node.lines.get(&event).map(|line| line.clone()) else { return };
        // Who has given up holds no token: a place would only be abandoned.
        batch.retain(|job| !job.reply.is_closed());
        if !batch.is_empty() {
            send(&node, &line, &mut batch).await;
        }
    }
}

async fn send(node: &Node, line: &LocalLine, batch: &mut Vec<Job>) {
    node.metrics.join_batch(batch.len());
    // One place per visitor: who asks twice at once gets one answer twice.
    let mut index = HashMap::with_capacity(batch.len());
    let mut visitors = Vec::with_capacity(batch.len());
    for job in batch.iter() {
        index.entry(job.visitor.clone()).or_insert_with(|| {
            visitors.push(job.visitor.clone());
            visitors.len() - 1
        });
    }
    let answers = apply(node, line, visitors).await;
    for job in batch.drain(..) {
        let answer = match &answers {
            Ok(answers) => Ok(answers[index[&job.visitor]]),
            Err(error) => Err(error.clone()),
        };
        // Who went away while waiting is in line all the same, and is abandoned if nobody comes back.
        let _ = job.reply.send(answer);
    }
}

async fn apply(node: &Node, line: &LocalLine, visitors: Vec<VisitorId>) -> Result<Vec<JoinAnswer>, EngineError> {
    let count = visitors.len();
    let applied = node.apply(line, None, Command::Join { visitors, floor: line.floor() }).await?;
    let Outcome::Joined(Joined { places, waiting, paused }) = applied.outcome else { return Err(broken("join")) };
    if places.len() != count {
        return Err(EngineError::Broken { what: "join", problem: "another number of places".into() });
    }
    line.ask(applied.now);
    line.metrics.joined(&places);
    places.iter().for_each(|place| match place {
        Place::Waiting { seq, .. } | Place::Active { seq, .. } => line.saw_seq(*seq),
        Place::Closed | Place::Full => {}
    });
    let answer = |place| JoinAnswer { now: applied.now, generation: applied.generation, place, waiting, paused };
    Ok(places.into_iter().map(answer).collect())
}
