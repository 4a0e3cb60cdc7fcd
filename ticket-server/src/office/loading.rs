//! Bringing the store to the ledger: at the start, after the store lost its data or failed over,
//! and when an operator creates or changes an event.
//!
//! Holds are refused until every booking of the event is marked and every session known to have
//! ended is too. All steps are idempotent, so that several nodes may load the same event at once.

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::{EventId, Millis},
    service::{http::ApiError, trace::random_u64},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{EVENTS_MAX, Office, RETRY_PAUSE, StoreAnswer, booking, ledger_error, refused, store_error, unexpected};
use crate::{
    ids::{Epoch, SeatId},
    ledger::{LedgerError, READ_PAGE_MAX, StoredEvent},
    limits::{BOOK_BATCH_MAX, SESSION_KEPT_MS},
    model::{Command, EventBody, Hall, Hold, Outcome, What},
};

/// What was taken back so long before is taken back in the store once more: longer than a failover takes, which loses
/// the last writes, and than the clocks of two servers differ.
const UNMARKED_AGAIN_MS: u64 = 900_000;

impl Office {
    /// Reads all events from the ledger into the catalog. The store is loaded afterwards.
    pub async fn read_catalog(&self) -> Result<(), LedgerError> {
        for stored in self.ledger.events().await? {
            let known = self.catalog.get(stored.event.as_str());
            if known.is_none_or(|known| known.revision < stored.revision) {
                self.catalog.put(Arc::new(hall_of(&stored)?));
                self.lookups.found(&stored.event);
            }
        }
        Ok(())
    }

    /// Loads events as they are asked for, until told to stop.
    pub async fn load_events(self: Arc<Self>, mut wanted: mpsc::Receiver<EventId>, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = wanted.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
            };
            if self.is_open(&event).await {
                continue;
            }
            if let Err(error) = self.load(&event).await {
                tracing::warn!(%event, %error, "an event could not be loaded");
                tokio::time::sleep(RETRY_PAUSE).await;
                if self.catalog.get(event.as_str()).is_some() {
                    self.reload(&event);
                }
            }
        }
    }

    /// Loads all events, again and again until it worked for each or it is told to stop. One that
    /// cannot be loaded does not keep the others waiting.
    pub async fn load_all(&self, stop: &CancellationToken) {
        let mut left = self.catalog.ids();
        loop {
            let mut failed = Vec::new();
            for event in left {
                if let Err(error) = self.load(&event).await {
                    tracing::warn!(%event, %error, "an event could not be loaded yet");
                    failed.push(event);
                }
            }
            if failed.is_empty() {
                return;
            }
            left = failed;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    /// Marks again what has ended, for a store that was away when it was told.
    pub async fn replay_sessions(&self) {
        for event in self.catalog.ids() {
            self.sessions.replay(&event, self.engine.as_ref()).await;
        }
        self.outbox.notify_one();
    }

    async fn is_open(&self, event: &EventId) -> bool {
        matches!(self.engine.apply(event, Command::Version).await, Ok(Outcome::Version(version)) if version.open)
    }

    /// Brings one event of the store to the ledger.
    pub async fn load(&self, event: &EventId) -> Result<Arc<Hall>, ApiError> {
        let lock = self.lock_of(event);
        let _guard = lock.lock().await;
        let stored = self.ledger.event(event).await.map_err(ledger_error)?.ok_or(Code::EventNotFound)?;
        let hall = Arc::new(hall_of(&stored).map_err(ledger_error)?);
        self.do_once(event, Command::Restore { shape: hall.shape(new_epoch()) }).await?;
        let began = self.now();
        self.mark_bookings(&hall).await?;
        self.unmark_cancelled(&hall, began).await?;
        self.open(&hall).await?;
        self.catalog.put(Arc::clone(&hall));
        Ok(hall)
    }

    /// The definition that names every seat of a hold: another server may have added some since this one looked,
    /// and a booking without their names would not have them.
    pub(super) async fn hall_naming(&self, hall: Arc<Hall>, hold: &Hold) -> Result<Arc<Hall>, ApiError> {
        let names_all = |hall: &Hall| match &hold.what {
            What::Seats(seats) => seats.iter().all(|&seat| hall.name_of(seat).is_some()),
            What::Quantity { .. } => true,
        };
        if names_all(&hall) {
            return Ok(hall);
        }
        let hall = self.load(&hall.event).await?;
        if names_all(&hall) { Ok(hall) } else { Err(Code::StoreUnavailable.into()) }
    }

    async fn mark_bookings(&self, hall: &Hall) -> Result<(), ApiError> {
        let mut after = None;
        loop {
            let page = self.ledger.bookings(&hall.event, after.as_ref(), READ_PAGE_MAX).await.map_err(ledger_error)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.reservation.clone());
            let mut page = page.into_iter().map(|booking| booking::sold(hall, booking)).peekable();
            while page.peek().is_some() {
                let bookings = page.by_ref().take(BOOK_BATCH_MAX).collect();
                self.do_once(&hall.event, Command::Book { bookings }).await?;
            }
        }
    }

    /// A booking that was taken back after it had been read is marked still.
    async fn unmark_cancelled(&self, hall: &Hall, began: Millis) -> Result<(), ApiError> {
        let since = Millis(began.0.saturating_sub(UNMARKED_AGAIN_MS));
        let mut after = None;
        loop {
            let page = self.ledger.cancelled_since(&hall.event, since, after.as_ref(), READ_PAGE_MAX).await;
            let page = page.map_err(ledger_error)?;
            for cancelled in &page {
                let booking = booking::sold(hall, cancelled.booking.clone());
                self.do_once(&hall.event, Command::Unbook { booking }).await?;
                if self.mark_owners(hall, &cancelled.booking).await != StoreAnswer::Done {
                    return Err(Code::StoreUnavailable.into());
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Marks the sessions that have ended, and lets holds be taken.
    async fn open(&self, hall: &Hall) -> Result<(), ApiError> {
        let since = Millis(self.now().0.saturating_sub(SESSION_KEPT_MS));
        let mut after = None;
        loop {
            let page =
                self.ledger.closed_since(&hall.event, since, after, READ_PAGE_MAX).await.map_err(ledger_error)?;
            let Some((_, last)) = page.last() else { break };
            after = Some(*last);
            for (visitor, jti) in page {
                let command = Command::EndSession { visitor, jti, let_go: false };
                self.engine.apply(&hall.event, command).await.map_err(store_error)?;
            }
        }
        self.sessions.replay(&hall.event, self.engine.as_ref()).await;
        self.do_once(&hall.event, Command::Open).await
    }

    async fn do_once(&self, event: &EventId, command: Command) -> Result<(), ApiError> {
        let outcome = self.engine.apply(event, command).await.map_err(store_error)?;
        self.live.touch(event);
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Refused(refusal) => Err(refused(&refusal)),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates or changes an event, all or nothing. Whether it is new, and what it is now.
    pub async fn put_event(&self, event: &EventId, body: EventBody) -> Result<(bool, Arc<Hall>), ApiError> {
        let lock = self.lock_of(event);
        let guard = lock.lock().await;
        // Another node may have changed it: the ledger knows.
        let stored = self.ledger.event(event).await.map_err(ledger_error)?;
        let before = stored.map(|stored| hall_of(&stored)).transpose().map_err(ledger_error)?;
        if let Some(before) = &before
            && before.body == body
        {
            drop(guard);
            return Ok((false, self.load(event).await?));
        }
        if before.is_none() && self.catalog.len() >= EVENTS_MAX {
            return Err(ApiError::invalid("", format!("there are {EVENTS_MAX} events already")));
        }
        let name = event.clone();
        let building = tokio::task::spawn_blocking(move || {
            let hall = match &before {
                Some(before) => before.changed(body),
                None => Hall::new(name, body),
            };
            (before, hall)
        });
        let (before, hall) = building.await.map_err(ApiError::internal)?;
        let hall = Arc::new(hall.map_err(|error| ApiError::invalid("seats", error))?);
        self.reshape(before.as_ref(), &hall).await?;
        if let Err(error) = self.ledger.put_event(stored_event(&hall)).await {
            // The store goes back to what the ledger has. A new event that never came to be stays closed.
            if let Some(before) = &before {
                self.tell(event, Command::Restore { shape: before.shape(new_epoch()) }).await;
            }
            // It may have been taken after all, and only the answer was lost: nothing is sold before the ledger was
            // asked what it has.
            self.reload(event);
            return Err(ledger_error(error));
        }
        if before.is_none() {
            self.open(&hall).await?;
        }
        self.catalog.put(Arc::clone(&hall));
        self.lookups.found(event);
        self.spread(event).await;
        Ok((before.is_none(), hall))
    }

    /// The store decides whether something is held or sold that would be gone.
    async fn reshape(&self, before: Option<&Hall>, hall: &Hall) -> Result<(), ApiError> {
        let expected = before.map_or(0, |before| before.revision);
        let command = Command::Configure { expected, shape: hall.shape(new_epoch()) };
        match self.ask(&hall.event, command).await? {
            Outcome::Done => Ok(()),
            Outcome::Refused(refusal) => Err(refused(&refusal)),
            other => Err(unexpected(&other)),
        }
    }
}

fn new_epoch() -> Epoch {
    Epoch(random_u64())
}

pub(super) fn hall_of(stored: &StoredEvent) -> Result<Hall, LedgerError> {
    Hall::stored(stored.event.clone(), stored.revision, &stored.body, &stored.slots)
        .map_err(|error| LedgerError::Broken(error.to_string()))
}

fn stored_event(hall: &Hall) -> StoredEvent {
    let shape = hall.shape(Epoch(0));
    let blocked: Vec<_> = shape.blocked.iter().filter_map(|&slot| hall.name_of(slot)).map(SeatId::as_str).collect();
    StoredEvent {
        event: hall.event.clone(),
        revision: hall.revision,
        body: hall.body.to_json(),
        slots: hall.slot_names(),
        blocked: blocked.join(" "),
        quantities: shape.quantities.iter().map(|(kind, quantity)| (kind.clone(), *quantity)).collect(),
    }
}
