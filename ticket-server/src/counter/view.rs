//! What is free, as far as this node knows: read before each batch that wants the best seats.
//!
//! Mostly a few entries of the change log; all states at first, and after a doubt. Seats that wishes of the same batch
//! are for are taken out until the store has answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{NoHold, broken};
use crate::{
    engine::Engine,
    ids::{Epoch, TicketTypeId},
    model::{
        Command, Hall, Outcome, Refusal, SeatState,
        best::{Floor, Plan},
    },
};

/// Changes read in one call.
const CHANGES_MAX: usize = 512;
/// Nobody is refused by what was only followed for longer than this: all states are read again first. After a failover
/// the store may have lost what the log told.
const FOLLOWED_MAX: Duration = Duration::from_secs(1);
/// Seats that are passed over by whoever was too late, at most.
const SKIP_MAX: usize = 128;

/// The free seats of one event.
pub(super) struct View {
    floor: Floor,
    epoch: Epoch,
    version: u64,
    /// When all states were read.
    read: Instant,
    /// What wishes of this batch are for.
    claimed: Vec<u32>,
    doubtful: bool,
}

/// What the best seats are.
pub(super) enum Chosen {
    /// These.
    Seats(Vec<u32>),
    /// There are none.
    None(NoHold),
    /// It cannot be said before the store has been asked again.
    LookAgain,
}

impl View {
    /// How long it is kept while nobody asks.
    pub(super) const KEPT: Duration = Duration::from_secs(60);

    /// Brings a view up to date, or makes one.
    pub(super) async fn refresh(view: &mut Option<Self>, engine: &dyn Engine, hall: &Arc<Hall>) -> Result<(), NoHold> {
        if let Some(known) = view
            && known.floor.plan().revision == hall.revision
            && known.follow(engine, hall).await?
        {
            return Ok(());
        }
        let plan = match view.take().map(|view| Arc::clone(view.floor.plan())) {
            Some(plan) if plan.revision == hall.revision => plan,
            _ => {
                let hall = Arc::clone(hall);
                let planning = tokio::task::spawn_blocking(move || Arc::new(Plan::new(&hall)));
                planning.await.map_err(|error| crate::engine::EngineError::Broken(error.to_string()))?
            }
        };
        match engine.apply(&hall.event, Command::Snapshot).await? {
            Outcome::Snapshot(snapshot) if snapshot.version.revision == hall.revision => {
                let floor = Floor::new(plan, &snapshot.seats);
                let (epoch, version) = (snapshot.version.epoch, snapshot.version.version);
                let read = Instant::now();
                *view = Some(Self { floor, epoch, version, read, claimed: Vec::new(), doubtful: false });
                Ok(())
            }
            Outcome::Snapshot(_) => Err(NoHold::Refused(Refusal::Stale)),
            Outcome::Refused(refusal) => Err(NoHold::Refused(refusal)),
            other => Err(broken(&other).into()),
        }
    }

    /// Reads what changed. Whether that was possible.
    async fn follow(&mut self, engine: &dyn Engine, hall: &Hall) -> Result<bool, NoHold> {
        loop {
            let ask = Command::Changes { after: self.version, batch: CHANGES_MAX };
            let changes = match engine.apply(&hall.event, ask).await? {
                Outcome::Changes(epoch, Some(changes)) if epoch == self.epoch => changes,
                Outcome::Changes(..) => return Ok(false),
                Outcome::Refused(refusal) => return Err(NoHold::Refused(refusal)),
                other => return Err(broken(&other).into()),
            };
            for change in &changes {
                self.floor.mark(&change.seats, change.state == SeatState::Free);
                self.version = change.version;
            }
            if changes.len() < CHANGES_MAX {
                return Ok(true);
            }
        }
    }

    /// Takes seats out that somebody of this batch asks for.
    pub(super) fn claim(&mut self, seats: &[u32]) {
        let claimed = self.floor.mark(seats, false);
        self.claimed.extend(claimed);
    }

    /// What was claimed is free again, until the store says what became of it.
    pub(super) fn give_back(&mut self) {
        let claimed = std::mem::take(&mut self.claimed);
        self.floor.mark(&claimed, true);
    }

    /// The best seats that nobody of this batch has asked for, and claims them. `skip` passes over so many better
    /// choices, if there are more.
    pub(super) fn choose(&mut self, kind: &TicketTypeId, count: usize, together: bool, skip: usize) -> Chosen {
        let mut seats = self.floor.choose(kind, count, together);
        let mut passed = Vec::new();
        for _ in 0..skip.min(SKIP_MAX) {
            let Some(better) = seats.take() else { break };
            self.floor.mark(&better, false);
            passed.push(better);
            seats = self.floor.choose(kind, count, together);
        }
        for better in passed {
            self.floor.mark(&better, true);
            // None was left behind the last one that was passed over.
            seats.get_or_insert(better);
        }
        match seats {
            Some(seats) => {
                self.claim(&seats);
                Chosen::Seats(seats)
            }
            // Somebody of this batch may be refused, and then there is more.
            None if !self.claimed.is_empty() => Chosen::LookAgain,
            None if self.read.elapsed() > FOLLOWED_MAX => {
                self.doubtful = true;
                Chosen::LookAgain
            }
            None => Chosen::None(self.refusal(kind, count)),
        }
    }

    /// Whether all states have to be read again.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    fn refusal(&self, kind: &TicketTypeId, count: usize) -> NoHold {
        let left = self.floor.left(kind);
        if left < count as u64 {
            return NoHold::Refused(Refusal::SoldOut { left });
        }
        NoHold::NotTogether { left, together: self.floor.together(kind) }
    }
}
