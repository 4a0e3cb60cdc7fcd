//! Group commit of joins: those that come while a batch is under way go together with the next one.
//!
//! There is no timer for each of them and no added delay when idle. What waits is bounded (see [`Backlog`]); who
//! comes when it is full is told so at once. A join that has waited too long is answered by the task that gathers,
//! and not sent any more.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Millis, VisitorId},
    line::{Applied, Command, Joined, Map, Outcome, Place},
    service::http::ApiError,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    FATE_WITHIN, Joining, LocalLine, Node,
    backlog::{Backlog, Lesson, WAIT_TARGET},
    broken,
};
use crate::engine::EngineError;

/// A join that has waited for so long is told that the store is away, and is not sent any more.
const JOIN_WITHIN: Duration = Duration::from_millis(1_200);

const _: () = assert!(JOIN_WITHIN.as_millis() + FATE_WITHIN.as_millis() < 2_000, "the contract's two seconds");

type Answer = Result<JoinAnswer, EngineError>;

/// A join on its way.
struct Job {
    visitor: VisitorId,
    /// When it came, and how many waited then.
    at: Instant,
    ahead: usize,
    reply: oneshot::Sender<Answer>,
}

/// The joins of one line that wait for the store.
pub struct Joins {
    pub backlog: Backlog,
    jobs: Mutex<Jobs>,
    came: Notify,
}

/// Those that no batch has taken yet, the oldest first.
#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Nobody gathers any more.
    over: bool,
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

/// A join that waits for its batch.
pub struct Waiting {
    visitor: VisitorId,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting {
    /// Waits for the answer.
    pub async fn answer(self, node: &Node, line: &LocalLine) -> Result<JoinAnswer, ApiError> {
        let ended = |_| ApiError::new(Code::StoreUnavailable).log("the line or the node has ended");
        match self.answer.await.map_err(ended)? {
            Ok(answer) => Ok(answer),
            Err(error) => Err(node.refused(line, error).await),
        }
    }

    /// Waits, and says what the join came to.
    pub async fn joined(self, node: &Node, line: Arc<LocalLine>) -> Result<Joining, ApiError> {
        let visitor = self.visitor.clone();
        let answer = self.answer(node, &line).await?;
        node.joining(line, visitor, answer)
    }
}

/// Joins one visitor; `holds`: who shows a place already.
pub async fn join(node: &Node, line: &LocalLine, visitor: VisitorId, holds: bool) -> Result<JoinAnswer, ApiError> {
    if gathers(node) {
        return enqueue(node, line, visitor, holds)?.answer(node, line).await;
    }
    let began = Instant::now();
    let ahead = line.joins.backlog.enter(holds).ok_or_else(|| overloaded(node))?;
    let entered = Entered(&line.joins.backlog);
    let answer = tokio::time::timeout(JOIN_WITHIN, apply(node, line, vec![visitor])).await;
    if node.engine.gathers() {
        let waited = began.elapsed();
        if teaches(answer.as_ref().is_ok_and(Result::is_ok), waited) {
            line.joins.backlog.learn(Lesson { took: waited, full: None, waited, ahead });
        }
    }
    drop(entered);
    match answer {
        Ok(Ok(answers)) => Ok(answers[0]),
        Ok(Err(error)) => Err(node.refused(line, error).await),
        Err(_) => Err(ApiError::new(Code::StoreUnavailable).log("the store takes too long")),
    }
}

/// Counts as one that waits until it is dropped.
struct Entered<'b>(&'b Backlog);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave(1);
    }
}

/// Whether joins go to the store together.
pub fn gathers(node: &Node) -> bool {
    node.engine.gathers() && node.options.join_batch > 1
}

/// [`join`] where the engine answers at once; `None` where it does not, or where it refused: that is said the long
/// way.
pub fn join_at_once(node: &Node, line: &LocalLine, visitor: &VisitorId) -> Option<JoinAnswer> {
    let command = Command::Join { visitors: vec![visitor.clone()], floor: line.floor() };
    let applied = node.engine.apply_at_once(&line.event, None, command)?.ok()?;
    line.heard_generation(applied.generation);
    let (answer, places) = read(applied).ok()?;
    let [place] = places[..] else { return None };
    take_note(line, answer.now, &places);
    Some(JoinAnswer { place, ..answer })
}

/// Lets a join wait for the next batch.
pub fn enqueue(node: &Node, line: &LocalLine, visitor: VisitorId, holds: bool) -> Result<Waiting, ApiError> {
    let joins = &line.joins;
    let ahead = joins.backlog.enter(holds).ok_or_else(|| overloaded(node))?;
    let (reply, answer) = oneshot::channel();
    let job = Job { visitor: visitor.clone(), at: Instant::now(), ahead, reply };
    let first = {
        let mut jobs = joins.jobs.lock();
        if jobs.over {
            joins.backlog.leave(1);
            return Err(ApiError::new(Code::StoreUnavailable).log("the line or the node has ended"));
        }
        jobs.waiting.push_back(job);
        jobs.waiting.len() == 1
    };
    if first {
        joins.came.notify_one();
    }
    Ok(Waiting { visitor, answer })
}

/// What whoever comes when the line is full is told.
pub fn overloaded(node: &Node) -> ApiError {
    node.metrics.join_refused();
    ApiError::new(Code::Overloaded)
}

/// Sends what has gathered, again and again, until `over`.
pub fn gather(
    node: &Arc<Node>,
    event: EventId,
    joins: Arc<Joins>,
    over: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    // The node is not kept for this task's sake.
    keep_gathering(Arc::downgrade(node), node.options.join_batch, event, Gathered(joins), over)
}

async fn keep_gathering(node: Weak<Node>, most: usize, event: EventId, joins: Gathered, over: CancellationToken) {
    let joins = &*joins.0;
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = joins.came.notified() => {}
        }
        loop {
            let Some(node) = node.upgrade() else { return };
            let Some(line) = node.lines.get(&event).map(|line| line.clone()) else { return };
            let batch = joins.take(most, Instant::now());
            if batch.is_empty() {
                line.metrics.joins_waiting(joins.backlog.depth());
                break;
            }
            send(&node, &line, joins, batch).await;
        }
    }
}

/// Joins that somebody gathers, until this is dropped: who waits then is told so, and who comes later too.
struct Gathered(Arc<Joins>);

impl Drop for Gathered {
    fn drop(&mut self) {
        let left = {
            let mut jobs = self.0.jobs.lock();
            jobs.over = true;
            std::mem::take(&mut jobs.waiting)
        };
        self.0.backlog.leave(left.len());
    }
}

/// Whether a call says something of the store's pace. One that failed at once does not; one that failed after so long
/// has timed out.
fn teaches(answered: bool, took: Duration) -> bool {
    answered || took > WAIT_TARGET
}

impl Joins {
    /// Nobody waits yet, for batches of so many at most.
    pub fn new(batch: usize) -> Self {
        Self { backlog: Backlog::new(batch), jobs: Mutex::default(), came: Notify::new() }
    }

    /// The next batch. Who has given up is left out: they hold no token, and a place would only be abandoned. Who
    /// has waited too long is told so.
    fn take(&self, most: usize, now: Instant) -> Vec<Job> {
        let mut batch = Vec::new();
        let mut dropped = Vec::new();
        {
            let mut jobs = self.jobs.lock();
            while batch.len() < most
                && let Some(job) = jobs.waiting.pop_front()
            {
                let keep = now < job.at + JOIN_WITHIN && !job.reply.is_closed();
                if keep { &mut batch } else { &mut dropped }.push(job);
            }
        }
        self.refuse(dropped);
        batch
    }

    /// Takes out who has waited too long while a batch is under way, and says when the next one has.
    fn refuse_overdue(&self, now: Instant) -> Instant {
        let (overdue, next) = {
            let jobs = &mut self.jobs.lock().waiting;
            let count = jobs.partition_point(|job| job.at + JOIN_WITHIN <= now);
            let overdue: Vec<Job> = jobs.drain(..count).collect();
            (overdue, jobs.front().map_or(now, |job| job.at) + JOIN_WITHIN)
        };
        self.refuse(overdue);
        next
    }

    fn refuse(&self, jobs: Vec<Job>) {
        self.backlog.leave(jobs.len());
        for job in jobs {
            let _ = job.reply.send(Err(EngineError::Unavailable("the store takes too long".into())));
        }
    }
}

async fn send(node: &Node, line: &LocalLine, joins: &Joins, mut batch: Vec<Job>) {
    node.metrics.join_batch(batch.len());
    line.metrics.joins_waiting(joins.backlog.depth());
    let (oldest, ahead) = (batch[0].at, batch[0].ahead);
    // One place per visitor: who asks twice at once gets one answer twice.
    let mut visitors = Vec::with_capacity(batch.len());
    let mut known = Map::with_capacity_and_hasher(batch.len(), foldhash::fast::RandomState::default());
    let places: Vec<usize> = batch
        .iter()
        .map(|job| {
            *known.entry(&job.visitor).or_insert_with(|| {
                visitors.push(job.visitor.clone());
                visitors.len() - 1
            })
        })
        .collect();
    let (sent, visitors_sent) = (Instant::now(), visitors.len());
    let mut call = pin!(apply(node, line, visitors));
    let mut overdue = oldest + JOIN_WITHIN;
    let answers = loop {
        tokio::select! {
            biased;
            answers = &mut call => break answers,
            () = sleep_until(overdue) => {
                // They may get their places all the same, and are abandoned there if nobody comes back.
                joins.refuse(std::mem::take(&mut batch));
                overdue = joins.refuse_overdue(Instant::now());
                line.metrics.joins_waiting(joins.backlog.depth());
            }
        }
    };
    let full = (visitors_sent == node.options.join_batch).then_some(visitors_sent);
    let took = sent.elapsed();
    if teaches(answers.is_ok(), took) {
        joins.backlog.learn(Lesson { took, full, waited: oldest.elapsed(), ahead });
    }
    joins.backlog.leave(batch.len());
    for (job, place) in batch.into_iter().zip(places) {
        let answer = match &answers {
            Ok(answers) => Ok(answers[place]),
            Err(error) => Err(error.clone()),
        };
        // Who went away while waiting is in line all the same, and is abandoned if nobody comes back.
        let _ = job.reply.send(answer);
    }
}

async fn apply(node: &Node, line: &LocalLine, visitors: Vec<VisitorId>) -> Result<Vec<JoinAnswer>, EngineError> {
    let count = visitors.len();
    let applied = node.apply(line, None, Command::Join { visitors, floor: line.floor() }).await?;
    let (answer, places) = read(applied)?;
    if places.len() != count {
        return Err(EngineError::Broken { what: "join", problem: "another number of places".into() });
    }
    take_note(line, answer.now, &places);
    Ok(places.into_iter().map(|place| JoinAnswer { place, ..answer }).collect())
}

/// What all joins of a batch have in common, and the place of each.
fn read(applied: Applied) -> Result<(JoinAnswer, Vec<Place>), EngineError> {
    let Applied { now, generation, outcome } = applied;
    let Outcome::Joined(Joined { places, waiting, paused }) = outcome else { return Err(broken("join")) };
    Ok((JoinAnswer { now, generation, place: Place::Closed, waiting, paused }, places))
}

fn take_note(line: &LocalLine, now: Millis, places: &[Place]) {
    line.ask(now);
    line.metrics.joined(places);
    places.iter().for_each(|place| match place {
        Place::Waiting { seq, .. } | Place::Active { seq, .. } => line.saw_seq(*seq),
        Place::Closed | Place::Full => {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_refuses_at_once_is_not_taken_for_a_quick_one() {
        assert!(teaches(true, Duration::from_micros(300)) && teaches(true, Duration::from_secs(1)));
        assert!(!teaches(false, Duration::from_micros(300)));
        assert!(teaches(false, Duration::from_millis(500)), "a time-out");
    }
}
