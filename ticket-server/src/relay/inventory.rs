//! Tells the queue what is left of each event: when it changes, and now and then, so that a lost message
//! does not matter. What a node of the queue is told twice, or too late, changes nothing there.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use queue_core::{
    ids::{EventId, Millis},
    wire::{Inventory, Message},
};
use tokio_util::sync::CancellationToken;

use super::Target;
use crate::{
    model::{Command, Hall, Outcome, SeatState, Snapshot, Version},
    office::Office,
};

/// Events are looked at this often: waiters learn of a sell-out within two looks and one of the queue's.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What did not change is told again after this.
const REPEAT_EVERY: Duration = Duration::from_secs(10);
/// Events looked at in one look, at most: with more of them each has its turn.
const EVENTS_MAX: usize = 250;

/// What was told of one event.
#[derive(Default)]
struct Told {
    looked: Option<Instant>,
    told: Option<(Version, Instant)>,
}

/// Tells of every event of one server.
pub struct Inventories {
    office: Arc<Office>,
    target: Arc<Target>,
    events: HashMap<EventId, Told>,
}

impl Inventories {
    /// Tells that target what the office has.
    pub fn new(office: Arc<Office>, target: Arc<Target>) -> Self {
        Self { office, target, events: HashMap::new() }
    }

    /// Tells until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
        }
    }

    /// Looks at those events that were not looked at for longest.
    async fn look(&mut self) {
        let known = self.office.catalog.ids();
        if known.len() < self.events.len() {
            self.events.retain(|event, _| self.office.catalog.get(event.as_str()).is_some());
        }
        for event in known {
            self.events.entry(event).or_default();
        }
        let mut turns: Vec<_> = self.events.iter().map(|(event, told)| (told.looked, event.clone())).collect();
        turns.sort_unstable();
        turns.truncate(EVENTS_MAX);
        for (_, event) in turns {
            if let Err(problem) = self.tell(&event).await {
                // Store or queue are away, which others say louder: the next look tries again.
                tracing::debug!(%event, problem, "the queue was not told what is left");
                return;
            }
        }
    }

    async fn tell(&mut self, event: &EventId) -> Result<(), String> {
        let now = Instant::now();
        let Some(told) = self.events.get_mut(event) else { return Ok(()) };
        told.looked = Some(now);
        let Some(hall) = self.office.catalog.get(event.as_str()) else { return Ok(()) };
        let answer = self.office.engine.apply(event, Command::Version).await.map_err(|error| error.to_string())?;
        // What is not loaded yet is not known yet.
        let Outcome::Version(version) = answer else { return Ok(()) };
        let fresh = told.told.as_ref().is_some_and(|(known, at)| *known == version && at.elapsed() < REPEAT_EVERY);
        if !version.open || fresh {
            return Ok(());
        }
        let at = self.office.now();
        let answer = self.office.engine.apply(event, Command::Snapshot).await.map_err(|error| error.to_string())?;
        let Outcome::Snapshot(snapshot) = answer else { return Ok(()) };
        // Of a definition that is not known here yet, indexes mean other seats: the next look tells.
        if snapshot.version.revision != hall.revision {
            return Ok(());
        }
        if let Some(inventory) = inventory(&hall, &snapshot, at) {
            self.target.send(&Message::Inventory(inventory)).await.map_err(|error| error.to_string())?;
        }
        told.told = Some((snapshot.version, now));
        Ok(())
    }
}

/// What is left, as of the snapshot; nothing is said of an event that has nothing to sell.
fn inventory(hall: &Hall, snapshot: &Snapshot, at: Millis) -> Option<Inventory> {
    let (mut total, mut left, mut held) = (0, 0, 0);
    for (slot, _, _) in hall.seats() {
        total += 1;
        match snapshot.seats.get(slot) {
            SeatState::Free => left += 1,
            SeatState::Held => held += 1,
            SeatState::Sold | SeatState::Blocked => {}
        }
    }
    for kind in &hall.body.ticket_types {
        let Some(quantity) = kind.quantity else { continue };
        let tally = snapshot.tallies.get(&kind.ticket_type_id).copied().unwrap_or_default();
        total += quantity;
        left += quantity.saturating_sub(tally.held + tally.sold);
        held += tally.held;
    }
    (total > 0).then(|| Inventory { event_id: hall.event.clone(), left, held, at })
}
