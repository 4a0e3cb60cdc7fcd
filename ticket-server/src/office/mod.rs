//! The box office: what visitors and operators can do, put together from store, ledger and
//! catalog. It knows no HTTP requests, only who asks for what.
//!
//! The store decides who gets what; the ledger decides what was sold. Where they differ, the ledger
//! is right, and the store is brought to it ([`loading`], [`settling`]).

mod booking;
mod catalog;
mod confirming;
mod expiring;
mod holding;
pub mod loading;
mod lookup;
mod news;
mod ordering;
pub mod pruning;
mod reading;
mod reservation;
mod search;
mod seatmap;
mod settling;

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use queue_core::{
    codes::Code,
    ids::{EventId, Jti, Millis, VisitorId},
    service::{
        http::ApiError,
        redis::Store,
        spans::{self, Kind},
    },
};
use tokio::sync::{Notify, mpsc};

pub use catalog::{Catalog, EventQuery, Production};
pub use holding::HoldWish;
pub(crate) use ordering::StoreAnswer;
pub use reservation::{Reservation, ReservationState};
pub use search::{QUESTION_CHARS_MAX, Question, Synonyms};
pub use seatmap::{Availability, SeatView};

use crate::{
    clock::Clock,
    counter::Counter,
    engine::{Engine, EngineError},
    figures::Counting,
    ids::ReservationId,
    ledger::{Ledger, LedgerError},
    live::{self, Live},
    model::{Command, Outcome, Refusal},
    office::{lookup::Lookups, seatmap::SeatViews},
    sessions::Sessions,
};

/// Events of one server, at most.
pub const EVENTS_MAX: usize = 10_000;
/// Events waiting to be brought to the ledger again, at most; asking twice is harmless.
const RELOADS_WAITING_MAX: usize = 1_024;

/// Who asks: what a checked active token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The visitor.
    pub visitor: VisitorId,
    /// The event that the session is for.
    pub event: EventId,
    /// The session.
    pub jti: Jti,
    /// When the session was admitted, to the second, where the token says so.
    pub admitted: Option<Millis>,
    /// When the session ends.
    pub expires: Millis,
}

/// All that a request may need.
pub struct Office {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) ledger: Ledger,
    /// The events.
    pub catalog: Catalog,
    counter: Counter,
    held: crate::meters::Holds,
    expiring: expiring::Wakes,
    pub(crate) sessions: Sessions,
    pub(crate) clock: Clock,
    /// Told when something may have to go to the queue.
    pub(crate) outbox: Notify,
    views: SeatViews,
    lookups: Lookups,
    /// How far line and store have counted.
    pub(crate) counting: Counting,
    /// Words that mean the same when events are looked for.
    pub synonyms: Synonyms,
    /// Where other servers on the same store are told of events.
    news: Option<Store>,
    /// Who follows the seats of what.
    pub live: Live,
    /// One change of an event at a time.
    changing: DashMap<EventId, Arc<tokio::sync::Mutex<()>>>,
    /// One confirmation of a reservation at a time; those that run now.
    confirming: DashMap<ReservationId, Arc<tokio::sync::Mutex<()>>>,
    reloads: mpsc::Sender<EventId>,
}

impl Office {
    /// An office without events, and the events that it finds to need loading.
    pub fn new(
        engine: Arc<dyn Engine>,
        ledger: Ledger,
        sessions: Sessions,
        clock: Clock,
        live: live::Limits,
        synonyms: Synonyms,
        news: Option<Store>,
    ) -> (Arc<Self>, mpsc::Receiver<EventId>) {
        let (reloads, reloading) = mpsc::channel(RELOADS_WAITING_MAX);
        let office = Self {
            counter: Counter::new(Arc::clone(&engine)),
            held: crate::meters::Holds::registered(),
            expiring: expiring::Wakes::default(),
            engine,
            ledger,
            catalog: Catalog::default(),
            sessions,
            clock,
            outbox: Notify::new(),
            views: SeatViews::default(),
            lookups: Lookups::default(),
            counting: Counting::default(),
            synonyms,
            news,
            live: Live::new(live),
            changing: DashMap::new(),
            confirming: DashMap::new(),
            reloads,
        };
        (Arc::new(office), reloading)
    }

    /// The time.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// A good token was shown: the queue hears of each session once.
    pub fn seen(&self, caller: &Caller) {
        self.sessions.seen(caller, self.now());
    }

    /// Whether the store can be reached.
    pub fn store_is_up(&self) -> bool {
        self.engine.is_up()
    }

    /// Asks the store; what it cannot know yet is an error that passes.
    pub(crate) async fn ask(&self, event: &EventId, command: Command) -> Result<Outcome, ApiError> {
        let may_change = live::may_change(&command);
        let answer = spans::step(Kind::Client, "ticket store", self.engine.apply(event, command));
        let outcome = answer.await.map_err(store_error)?;
        if may_change && !matches!(outcome, Outcome::Refused(_)) {
            self.live.touch(event);
        }
        match outcome {
            Outcome::Refused(refusal @ (Refusal::NoEvent | Refusal::NotOpen)) => {
                // The store lost the event, or it is being loaded: holds are refused until all bookings are known.
                self.reload(event);
                Err(ApiError::new(Code::StoreUnavailable).log(format!("{refusal:?} for {event}")))
            }
            outcome => Ok(outcome),
        }
    }

    /// Has an event brought to the ledger, soon and in the background.
    pub fn reload(&self, event: &EventId) {
        // A full queue means that there is much to load already; whoever asks next will ask again.
        let _ = self.reloads.try_send(event.clone());
    }

    fn lock_of(&self, event: &EventId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.changing.entry(event.clone()).or_default())
    }
}

/// What the store's trouble looks like from outside.
pub(crate) fn store_error(error: EngineError) -> ApiError {
    match error {
        EngineError::Unavailable(reason) => ApiError::new(Code::StoreUnavailable).log(reason),
        EngineError::Overloaded => Code::Overloaded.into(),
        EngineError::Broken(reason) => ApiError::internal(reason),
    }
}

/// What the ledger's trouble looks like from outside.
pub(crate) fn ledger_error(error: LedgerError) -> ApiError {
    match error {
        LedgerError::Overloaded => Code::Overloaded.into(),
        LedgerError::Unavailable(reason) | LedgerError::Unknown(reason) | LedgerError::Contended(reason) => {
            ApiError::new(Code::LedgerUnavailable).log(reason)
        }
        LedgerError::Broken(reason) => ApiError::internal(reason),
        LedgerError::InUse => Code::SeatsInUse.into(),
    }
}

/// What a refusal of the store looks like from outside, where nothing more is to be said.
fn refused(refusal: &Refusal) -> ApiError {
    let code = match refusal {
        Refusal::NoEvent | Refusal::NotOpen | Refusal::Stale => Code::StoreUnavailable,
        Refusal::SessionEnded => Code::SessionEnded,
        Refusal::Taken(_) => Code::SeatTaken,
        Refusal::SoldOut { .. } => Code::SoldOut,
        Refusal::LimitExceeded { .. } => Code::LimitExceeded,
        Refusal::NotFound => Code::ReservationNotFound,
        Refusal::NotHeld => Code::ReservationNotHeld,
        Refusal::Expired => Code::HoldExpired,
        Refusal::ExtensionLimit { .. } => Code::ExtensionLimit,
        Refusal::InUse => Code::SeatsInUse,
    };
    code.into()
}

/// An answer that the question does not have.
pub(crate) fn unexpected(outcome: &Outcome) -> ApiError {
    ApiError::internal(format!("the store answered {outcome:?}"))
}

/// A pause between two attempts at what failed.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(500);
