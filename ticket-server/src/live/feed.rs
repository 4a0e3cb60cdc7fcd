//! One event as it is followed: who reads it from the store, and who hears of it.
//!
//! One reader for each event and server asks the store what has changed: at once after a change of this server, and a
//! few times a second for those of others. Followers wait on one channel and read the [`Log`] at their own pace, so
//! that a slow one costs nobody anything.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::RwLock;
use queue_core::{codes::Code, ids::EventId, service::http::ApiError};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Place,
    log::{Log, Next, Start, State},
    selections::Selections,
    shown::{Told, last_states},
};
use crate::{
    model::{Change, Outcome},
    office::Office,
};

/// Two reads of the same event are at least so far apart: changes that come quicker are told together.
const READ_GAP: Duration = Duration::from_millis(50);
/// How often the store is asked for what other servers have changed.
const READ_EVERY: Duration = Duration::from_millis(400);
/// What people look at is told at most so often.
const SELECTIONS_EVERY: Duration = Duration::from_millis(300);
/// How often followers are shown that the connection lives.
pub const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// A feed that nobody follows is kept so long for those who come back.
const KEPT: Duration = Duration::from_secs(30);
/// Changes read in one question.
const READ_BATCH: usize = 1_000;
/// Who has missed more changes than this, and more than is kept here, is told the whole map: that is written already,
/// while the store would have to be asked for each.
const MISSED_CHANGES_MAX: u64 = 2_000;
/// What those who come back have missed is remembered for so many versions, at most.
const MISSED_MAX: usize = 64;

const _: () = assert!(READ_GAP.as_millis() < READ_EVERY.as_millis() && READ_EVERY.as_millis() < 1_000);

/// One event as it is followed.
#[derive(Debug)]
pub struct Feed {
    event: EventId,
    log: RwLock<Log>,
    /// The number after the newest frame.
    told: watch::Sender<u64>,
    /// This server has changed something.
    changed: Notify,
    pub(super) followers: AtomicUsize,
    /// What people look at.
    selections: parking_lot::Mutex<Selections>,
    /// One question at a time.
    reading: Mutex<Missed>,
    /// One whole map is written at a time.
    writing: Mutex<()>,
}

/// What was missed after a version, and the frame that follows it.
type Missed = HashMap<Place, (Arc<Told>, u64)>;

/// What a follower is told first.
#[derive(Debug)]
pub struct First {
    /// What it has missed, or the whole map.
    pub told: Option<Arc<Told>>,
    /// The frame that it reads next.
    pub next: u64,
}

impl Feed {
    pub(super) fn new(event: EventId) -> Self {
        Self {
            event,
            log: RwLock::default(),
            told: watch::Sender::new(0),
            changed: Notify::new(),
            followers: AtomicUsize::new(0),
            selections: parking_lot::Mutex::default(),
            reading: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// This server has changed something.
    pub fn touch(&self) {
        self.changed.notify_one();
    }

    /// Told of whenever there is more.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// The frame of that number.
    pub fn next(&self, number: u64) -> Next {
        self.log.read().next(number)
    }

    /// What a follower needs to know of the sale as a whole.
    pub fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> Option<T> {
        self.log.read().state().map(read)
    }

    /// Ends it: followers are told that nothing more comes.
    pub(super) fn finish(&self) {
        self.write(Log::finish);
    }

    /// What people look at.
    pub fn selections(&self) -> parking_lot::MutexGuard<'_, Selections> {
        self.selections.lock()
    }

    fn tell_selections(&self) {
        let Some(hall) = self.with_state(|state| Arc::clone(&state.hall)) else { return };
        let text = self.selections().take(&hall);
        if let Some(text) = text {
            self.write(|log| log.selected(text));
        }
    }

    /// Where the sale stands, and what is told next.
    pub async fn now(&self, office: &Office) -> Result<First, ApiError> {
        self.known(office).await?;
        Ok(First { told: None, next: self.log.read().end() })
    }

    fn write(&self, change: impl FnOnce(&mut Log)) {
        let end = {
            let mut log = self.log.write();
            change(&mut log);
            log.end()
        };
        self.told.send_replace(end);
    }

    /// Reads the store again and again, until nobody has followed for a while or the server ends.
    pub(super) async fn run(self: &Arc<Self>, office: &Office, stop: &CancellationToken) {
        let mut followed = Instant::now();
        let mut comment = Instant::now() + COMMENT_EVERY;
        let mut told_selections = Instant::now();
        loop {
            let began = Instant::now();
            if self.followers.load(Ordering::Relaxed) > 0 {
                followed = began;
            } else if began - followed > KEPT && office.live.forget(self) {
                return;
            }
            if let Err(error) = self.read(office).await {
                // Those who follow keep what they have: the next read may do.
                tracing::debug!(event = %self.event, %error, "a followed event could not be read");
            }
            if told_selections + SELECTIONS_EVERY <= began {
                told_selections = began;
                self.tell_selections();
            }
            if comment <= Instant::now() {
                comment = Instant::now() + COMMENT_EVERY;
                self.write(Log::comment);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(began + READ_GAP) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = sleep_until((began + READ_EVERY).min(comment)) => {}
            }
        }
    }

    /// Asks the store once, and tells what is new.
    pub async fn read(&self, office: &Office) -> Result<(), ApiError> {
        let mut missed = self.reading.lock().await;
        missed.retain(|_, (_, next)| matches!(self.log.read().next(*next), Next::Frame(_) | Next::Wait));
        self.read_locked(office).await
    }

    async fn read_locked(&self, office: &Office) -> Result<(), ApiError> {
        metrics::counter!("usher_ticket_live_reads_total").increment(1);
        while let Some(place) = self.with_state(|state| state.place) {
            let (epoch, changes) = office.changes_after(&self.event, place.version, READ_BATCH).await?;
            let Some(changes) = changes.filter(|_| epoch == place.epoch) else { break };
            if changes.is_empty() {
                return Ok(());
            }
            let whole_batch = changes.len() == READ_BATCH;
            // The log does not say how many tickets without seats a change was about.
            let counted = match changes.iter().any(|change| change.seats.is_empty()) {
                true => Some(office.snapshot(&self.event).await?),
                false => None,
            };
            self.write(|log| log.extend(changes, counted.as_ref()));
            if !whole_batch {
                return Ok(());
            }
        }
        let state = office.sale_now(&self.event).await?;
        let told = tell(state.clone()).await?;
        self.write(|log| log.begin(state, told));
        Ok(())
    }

    /// What a follower is told first who was told everything up to `after`.
    pub async fn first(&self, office: &Office, after: Option<Place>) -> Result<First, ApiError> {
        self.known(office).await?;
        let mut start = self.start(after)?;
        if matches!(start, Start::Ahead) {
            // Another server was quicker, or that version is gone.
            self.read(office).await?;
            start = self.start(after)?;
        }
        match (start, after) {
            (Start::At(next), _) => Ok(First { told: None, next }),
            (Start::Part(told, next), _) => Ok(First { told: Some(Arc::new(told)), next }),
            (Start::Behind(until, next), Some(after)) => match self.missed(office, after, until, next).await? {
                Some((told, next)) => Ok(First { told: Some(told), next }),
                None => self.whole().await,
            },
            _ => self.whole().await,
        }
    }

    /// The map was read at least once.
    async fn known(&self, office: &Office) -> Result<(), ApiError> {
        let is_known = || self.log.read().state().is_some();
        if !is_known() {
            let _missed = self.reading.lock().await;
            if !is_known() {
                self.read_locked(office).await?;
            }
        }
        Ok(())
    }

    fn start(&self, after: Option<Place>) -> Result<Start, ApiError> {
        self.log.read().start(after).ok_or_else(|| Code::StoreUnavailable.into())
    }

    /// What changed after `after`, up to what is known here; `None` when the store does not know it any more. Many
    /// come back at the same time with the same question: after a restart, or a line that was cut.
    async fn missed(
        &self,
        office: &Office,
        after: Place,
        until: Place,
        next: u64,
    ) -> Result<Option<(Arc<Told>, u64)>, ApiError> {
        let mut missed = self.reading.lock().await;
        if let Some(known) = missed.get(&after).filter(|(_, next)| !matches!(self.next(*next), Next::Lagged)) {
            return Ok(Some(known.clone()));
        }
        if until.version - after.version > MISSED_CHANGES_MAX {
            return Ok(None);
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut last = after.version;
        while last < until.version {
            let (epoch, more) = office.changes_after(&self.event, last, READ_BATCH).await?;
            let Some(more) = more.filter(|more| epoch == after.epoch && !more.is_empty()) else { return Ok(None) };
            last = more.last().map_or(last, |change| change.version);
            changes.extend(more.into_iter().filter(|change| change.version <= until.version));
        }
        let Some((hall, left)) = self.with_state(|state| (Arc::clone(&state.hall), state.left().to_vec())) else {
            return Ok(None);
        };
        let told = Arc::new(Told::new(&hall, until, false, last_states(&changes), left));
        if missed.len() >= MISSED_MAX {
            missed.clear();
        }
        missed.insert(after, (Arc::clone(&told), next));
        Ok(Some((told, next)))
    }

    /// The whole map, and what follows it.
    async fn whole(&self) -> Result<First, ApiError> {
        let _writing = self.writing.lock().await;
        let known = self.log.read().known_whole();
        let (next, told) = match known {
            Some(known) => known,
            None => {
                let frozen = {
                    let log = self.log.read();
                    log.state().cloned().map(|state| (log.end(), state))
                };
                let (next, state) = frozen.ok_or(Code::StoreUnavailable)?;
                let told = Arc::new(tell(state).await?);
                self.log.write().keep_whole(next, Arc::clone(&told));
                (next, told)
            }
        };
        Ok(First { told: Some(told), next })
    }

    /// The event.
    pub fn event(&self) -> &EventId {
        &self.event
    }
}

/// Halls with more seats than this are written where they keep nobody waiting.
const INLINE_SEATS_MAX: usize = 2_000;

async fn tell(state: State) -> Result<Told, ApiError> {
    if state.hall.body.seat_count() <= INLINE_SEATS_MAX {
        return Ok(state.whole());
    }
    tokio::task::spawn_blocking(move || state.whole()).await.map_err(ApiError::internal)
}

impl Office {
    async fn changes_after(
        &self,
        event: &EventId,
        after: u64,
        batch: usize,
    ) -> Result<(crate::ids::Epoch, Option<Vec<Change>>), ApiError> {
        let history = self.history();
        match self.ask(event, crate::model::Command::Changes { after, batch }).await? {
            Outcome::Changes(epoch, changes) => Ok((history.of(epoch), changes)),
            other => Err(crate::office::unexpected(&other)),
        }
    }
}

/// As server-sent events, what comes before anything else: when to come back after the end.
pub const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");
