//! Where holds are taken: those that come while others are on their way to the store go together with the next ones.
//!
//! One task per event and one call under way, so that there is no timer and no added delay when idle. What waits is
//! bounded; who comes when it is full is told so at once. Wishes keep their order of arrival, and each is all or none
//! in itself. A wish for the best seats is turned into seats when its batch goes ([`view`]), and chosen anew when
//! somebody was faster; it goes first then.
//!
//! A store that gains nothing from batches is asked at once, but for the best seats.

mod batch;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use queue_core::ids::EventId;
use tokio::sync::{mpsc, oneshot};

use crate::{
    engine::{Engine, EngineError},
    ids::TicketTypeId,
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
    events: DashMap<EventId, mpsc::Sender<Job>>,
}

impl Counter {
    /// A counter in front of that store.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, events: DashMap::new() }
    }

    /// Takes one hold. Cancelling does not undo what was sent; what was not is not sent any more.
    pub async fn take(&self, hall: &Arc<Hall>, taking: Taking, want: Want) -> Result<Hold, NoHold> {
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
            want => self.send(hall, taking, want).await,
        }
    }

    async fn send(&self, hall: &Arc<Hall>, taking: Taking, want: Want) -> Result<Hold, NoHold> {
        let (reply, answer) = oneshot::channel();
        let job = Job { hall: Arc::clone(hall), taking, want, attempts: 0, since: Instant::now(), reply };
        let sent = match self.events.get(&hall.event) {
            Some(jobs) => jobs.try_send(job),
            None => self.open(&hall.event).try_send(job),
        };
        sent.map_err(|_| EngineError::Overloaded)?;
        answer.await.unwrap_or_else(|_| Err(EngineError::Unavailable("the server ends".into()).into()))
    }

    fn open(&self, event: &EventId) -> mpsc::Sender<Job> {
        let open = || {
            let (sender, jobs) = mpsc::channel(WAITING_MAX);
            tokio::spawn(batch::serve(Arc::clone(&self.engine), event.clone(), jobs));
            sender
        };
        self.events.entry(event.clone()).or_insert_with(open).clone()
    }
}

fn broken(outcome: &Outcome) -> EngineError {
    EngineError::Broken(format!("the store answered {outcome:?} to a hold"))
}
