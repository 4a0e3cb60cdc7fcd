//! Where holds are taken: those that come while others are on their way to the store go together with the next ones.
//!
//! One task per event and one call under way, so that there is no timer and no added delay when idle. What waits is
//! bounded; who comes when it is full is told so at once. Wishes keep their order of arrival, and each is all or none
//! in itself. A wish for the best seats is turned into seats when its batch goes ([`view`]), and chosen anew when
//! somebody was faster; it goes first then.
//!
//! A wish for seats that are probably taken is refused before it becomes one ([`looking`]).
//!
//! A store that gains nothing from batches is asked at once, but for the best seats.

mod batch;
mod looking;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use queue_core::ids::{EventId, Jti};
use tokio::sync::{mpsc, oneshot};

use self::looking::{Looking, Seen};
use crate::{
    engine::{Engine, EngineError},
    ids::TicketTypeId,
    limits::HOLD_BATCH_MAX,
    model::{Command, Hall, Hold, Outcome, Refusal, Taking, Wanted, Wish},
};

/// Holds of one event that wait for the store on this node, at most.
pub const WAITING_MAX: usize = 8_192;
/// Who has waited for so long is told that the store is away, and is not sent any more. It is found out when the call
/// under way has ended, so that nobody needs a timer.
const SENT_WITHIN: Duration = Duration::from_millis(700);
/// No call of the store takes longer, its own time-out included.
const CALL_WITHIN: Duration = Duration::from_millis(625);

const _: () = assert!(SENT_WITHIN.as_millis() + 2 * CALL_WITHIN.as_millis() < 2_000, "the contract's two seconds");

/// What somebody wants.
#[derive(Clone, Debug)]
pub enum Want {
    /// Just that.
    This(Wanted),
    /// The best free seats.
    Best {
        /// Of which type.
        kind: TicketTypeId,
        /// How many, at most [`HOLD_SEATS_MAX`](crate::limits::HOLD_SEATS_MAX).
        count: usize,
        /// Whether they must be next to each other.
        together: bool,
    },
}

/// Why there is no hold.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoHold {
    /// The store refused.
    #[error("{0:?}")]
    Refused(Refusal),
    /// There are enough seats, but not next to each other.
    #[error("{left} are left, {together} of them together")]
    NotTogether {
        /// How many are free.
        left: u64,
        /// How many of them are next to each other, at most.
        together: usize,
    },
    /// It could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// One hold on its way.
struct Job {
    hall: Arc<Hall>,
    taking: Taking,
    want: Want,
    /// How often somebody was faster.
    attempts: u32,
    since: Instant,
    reply: oneshot::Sender<Result<Hold, NoHold>>,
}

/// Takes holds of all events.
pub struct Counter {
    engine: Arc<dyn Engine>,
    events: DashMap<EventId, Desk>,
}

/// Where the wishes of one event go.
#[derive(Clone)]
struct Desk {
    jobs: mpsc::Sender<Job>,
    looks: mpsc::Sender<Looking>,
    seen: Arc<Seen>,
}

impl Counter {
    /// A counter in front of that store.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, events: DashMap::new() }
    }

    /// Takes one hold for somebody who has waited since then. Cancelling does not undo what was sent; what was not is
    /// not sent any more.
    pub async fn take(&self, hall: &Arc<Hall>, taking: Taking, want: Want, since: Instant) -> Result<Hold, NoHold> {
        match want {
            Want::This(wanted) if !self.engine.gathers() => {
                let (revision, limit) = (hall.revision, hall.body.max_seats_per_visitor);
                let command = Command::Hold { revision, limit, wishes: vec![Wish { taking, wanted }] };
                match self.engine.apply(&hall.event, command).await? {
                    Outcome::Each(mut answers) if answers.len() == 1 => answers.remove(0).map_err(NoHold::Refused),
                    Outcome::Refused(refusal) => Err(NoHold::Refused(refusal)),
                    other => Err(broken(&other).into()),
                }
            }
            want => self.send(hall, taking, want, since).await,
        }
    }

    /// Whether a wish is for seats that this server has seen taken: then it is to be looked at first.
    pub fn doubts(&self, hall: &Hall, want: &Want) -> bool {
        let Want::This(Wanted::Seats(seats)) = want else { return false };
        self.events.get(&hall.event).is_some_and(|desk| desk.seen.any(seats))
    }

    /// Refuses a wish for seats that are taken, or by a session that has ended, before it is one.
    pub async fn look(&self, hall: &Arc<Hall>, jti: Jti, want: &Want, since: Instant) -> Result<(), NoHold> {
        let Want::This(Wanted::Seats(seats)) = want else { return Ok(()) };
        let answer = {
            let Some(desk) = self.events.get(&hall.event) else { return Ok(()) };
            let (reply, answer) = oneshot::channel();
            let look = Looking { hall: Arc::clone(hall), jti, seats: seats.clone(), since, reply };
            desk.looks.try_send(look).map_err(|_| EngineError::Overloaded)?;
            answer
        };
        answer.await.unwrap_or_else(|_| Err(ends()))
    }

    async fn send(&self, hall: &Arc<Hall>, taking: Taking, want: Want, since: Instant) -> Result<Hold, NoHold> {
        if since.elapsed() >= SENT_WITHIN {
            return Err(too_late());
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { hall: Arc::clone(hall), taking, want, attempts: 0, since, reply };
        let sent = match self.events.get(&hall.event) {
            Some(desk) => desk.jobs.try_send(job),
            None => self.open(&hall.event).jobs.try_send(job),
        };
        sent.map_err(|_| EngineError::Overloaded)?;
        answer.await.unwrap_or_else(|_| Err(ends()))
    }

    fn open(&self, event: &EventId) -> Desk {
        let open = || {
            let (jobs, waiting) = mpsc::channel(WAITING_MAX);
            let (looks, looking) = mpsc::channel(WAITING_MAX);
            let seen = Arc::<Seen>::default();
            tokio::spawn(batch::serve(Arc::clone(&self.engine), event.clone(), Arc::clone(&seen), waiting));
            tokio::spawn(looking::serve(Arc::clone(&self.engine), event.clone(), Arc::clone(&seen), looking));
            Desk { jobs, looks, seen }
        };
        self.events.entry(event.clone()).or_insert_with(open).clone()
    }
}

/// Takes what has arrived into a batch, before it goes. Requests that the system has and nobody has looked at are
/// looked at first, as long as that brings more: it takes no longer than they do, and a call of the store costs as much
/// for one as for several. Half of what goes in one call is enough: the other half may come while it is under way.
async fn gather<T>(arriving: &mut mpsc::Receiver<T>, batch: &mut Vec<T>) {
    loop {
        tokio::task::yield_now().await;
        let before = batch.len();
        while batch.len() < HOLD_BATCH_MAX
            && let Ok(item) = arriving.try_recv()
        {
            batch.push(item);
        }
        if batch.len() == before || batch.len() >= HOLD_BATCH_MAX / 2 {
            return;
        }
    }
}

fn too_late() -> NoHold {
    EngineError::Unavailable("the store takes too long".into()).into()
}

fn ends() -> NoHold {
    EngineError::Unavailable("the server ends".into()).into()
}

fn broken(outcome: &Outcome) -> EngineError {
    EngineError::Broken(format!("the store answered {outcome:?} to a hold"))
}
