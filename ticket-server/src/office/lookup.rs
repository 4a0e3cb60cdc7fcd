//! Finding an event that another server made: asked of the ledger once, and not asked again for a while when it is not
//! there either. Several servers on one store tell each other of changes ([`news`](super::news)); this is for who asks
//! before the news has come, or when it was lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::sync::Cache;
use parking_lot::Mutex;
use queue_core::{
    codes::Code,
    ids::{EventId, VisitorId},
    service::http::ApiError,
};
use tokio::sync::Semaphore;

use super::{Office, ledger_error, loading::hall_of};
use crate::{ids::ReservationId, model::Hall};

/// An event that the ledger does not have is not asked for again within this.
const UNKNOWN_KEPT: Duration = Duration::from_secs(2);
/// Events that are known not to be there, at most.
const UNKNOWN_MAX: u64 = 10_000;
/// Questions to the ledger under way, at most: whoever asks for names at random must not keep it from selling.
const ASKING_MAX: usize = 4;
/// Whoever cannot ask within this is told that there is too much to do.
const ASKING_WAIT: Duration = Duration::from_millis(500);

/// What is known not to be there.
pub(super) struct Lookups {
    unknown: Cache<EventId, ()>,
    asking: Semaphore,
    /// When it was last looked whether there are events that are not known here.
    looked: Mutex<Option<Instant>>,
}

impl Default for Lookups {
    fn default() -> Self {
        let unknown = Cache::builder().max_capacity(UNKNOWN_MAX).time_to_live(UNKNOWN_KEPT).build();
        Self { unknown, asking: Semaphore::new(ASKING_MAX), looked: Mutex::default() }
    }
}

impl Lookups {
    /// It is there now.
    pub(super) fn found(&self, event: &EventId) {
        self.unknown.invalidate(event);
    }

    /// Whether it is time to look for events that are not known here: it is now, and is not again for a while.
    fn may_look(&self) -> bool {
        let now = Instant::now();
        let mut looked = self.looked.lock();
        let may = looked.is_none_or(|at| now.duration_since(at) >= UNKNOWN_KEPT);
        if may {
            *looked = Some(now);
        }
        may
    }
}

impl Office {
    /// An event, also one that another server has made a moment ago.
    pub async fn hall(&self, event: &str) -> Result<Arc<Hall>, ApiError> {
        match self.catalog.get(event) {
            Some(hall) => Ok(hall),
            // Boxed: rare and deep.
            None => Box::pin(self.look_up(event)).await,
        }
    }

    /// The event of a reservation, as far as its visitor may know it: the id tells it to nobody else.
    pub async fn event_of(
        &self,
        reservation: &ReservationId,
        visitor: &VisitorId,
    ) -> Result<Option<EventId>, ApiError> {
        let fits = || self.catalog.ids().into_iter().find(|event| reservation.was_minted_for(event, visitor));
        match fits() {
            Some(event) => Ok(Some(event)),
            None => {
                Box::pin(self.find_events()).await?;
                Ok(fits())
            }
        }
    }

    /// Takes in events that other servers have made, if nobody has looked for them a moment ago.
    pub async fn find_events(&self) -> Result<(), ApiError> {
        if !self.lookups.may_look() {
            return Ok(());
        }
        for event in self.ledger.event_ids().await.map_err(ledger_error)? {
            if self.catalog.get(event.as_str()).is_none() {
                self.refresh(&event).await?;
            }
        }
        Ok(())
    }

    async fn look_up(&self, event: &str) -> Result<Arc<Hall>, ApiError> {
        let event = EventId::new(event).map_err(|_| Code::EventNotFound)?;
        if self.lookups.unknown.contains_key(&event) {
            return Err(Code::EventNotFound.into());
        }
        let asking = tokio::time::timeout(ASKING_WAIT, self.lookups.asking.acquire()).await;
        let _asking = asking.map_err(|_| Code::Overloaded)?;
        // Who came before may have asked for the same.
        if self.lookups.unknown.contains_key(&event) {
            return Err(Code::EventNotFound.into());
        }
        match self.refresh(&event).await? {
            Some(hall) => Ok(hall),
            None => {
                self.lookups.unknown.insert(event, ());
                Err(Code::EventNotFound.into())
            }
        }
    }

    /// Takes in what the ledger has of an event, if that is newer; the store is brought to it in the background.
    pub(super) async fn refresh(&self, event: &EventId) -> Result<Option<Arc<Hall>>, ApiError> {
        let Some(stored) = self.ledger.event(event).await.map_err(ledger_error)? else { return Ok(None) };
        if let Some(known) = self.catalog.get(event.as_str()).filter(|known| known.revision >= stored.revision) {
            return Ok(Some(known));
        }
        // The largest take longer than a thread that serves others should be away.
        let hall = tokio::task::spawn_blocking(move || hall_of(&stored)).await.map_err(ApiError::internal)?;
        let hall = Arc::new(hall.map_err(ledger_error)?);
        self.catalog.put(Arc::clone(&hall));
        self.lookups.found(event);
        self.reload(event);
        Ok(Some(hall))
    }
}
