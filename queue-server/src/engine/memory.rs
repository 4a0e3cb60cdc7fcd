//! The memory engine: the model behind a lock, for one node without a store.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use queue_core::{
    ids::{EventId, Generation, Jti, Millis},
    line::{Applied, Command, Ended, Lines, Outcome},
    wire::SessionEnded,
};
use tokio::sync::{broadcast, watch};

use super::{
    Engine, EngineError, Health, SIGNALS_MAX, Signal, TakenOver,
    audit::{AUDIT_MAX, AUDIT_PAGE_MAX, AuditEntry, AuditId, AuditRecord},
};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// All lines, in this process.
pub struct MemoryEngine {
    lines: Mutex<Lines>,
    clock: Clock,
    signals: broadcast::Sender<Signal>,
    health: watch::Sender<Health>,
    commands: AtomicU64,
    audit: Mutex<VecDeque<AuditRecord>>,
}

impl MemoryEngine {
    /// An engine without events.
    pub fn new(clock: Clock) -> Self {
        Self {
            lines: Mutex::default(),
            clock,
            signals: broadcast::channel(SIGNALS_MAX).0,
            health: watch::channel(Health::Up).0,
            commands: AtomicU64::new(0),
            audit: Mutex::default(),
        }
    }

    /// Looks at the lines, under the lock.
    pub fn with_lines<T>(&self, look: impl FnOnce(&Lines) -> T) -> T {
        look(&self.lines.lock())
    }

    fn signal(&self, signal: Signal) {
        // Nobody listening is no fault.
        let _ = self.signals.send(signal);
    }

    fn carry_out(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let changes = matches!(
            command,
            Command::Configure(_)
                | Command::Pause
                | Command::Resume
                | Command::Drain
                | Command::Stock(_)
                | Command::Remove
        );
        let mut ended = Vec::new();
        let mut lines = self.lines.lock();
        // The clock is read under the lock, so that time never runs backward from one command to the next.
        let applied = lines.apply(event, expected, command, (self.clock)(), &mut ended)?;
        // Signals leave in the order of the transitions.
        self.tell(event, changes, &applied, ended);
        drop(lines);
        Ok(applied)
    }

    fn tell(&self, event: &EventId, changes: bool, applied: &Applied, ended: Vec<Ended>) {
        let generation = applied.generation;
        if let Outcome::Admitted(admitted) = &applied.outcome
            && !admitted.sessions.is_empty()
        {
            let sessions = admitted.sessions.clone();
            self.signal(Signal::Admitted { event: event.clone(), generation, sessions });
        }
        for Ended { visitor, seq, reason } in ended {
            let jti = Jti { generation, seq };
            let at = applied.now;
            self.signal(Signal::SessionEnded(SessionEnded {
                event_id: event.clone(),
                visitor_id: visitor,
                jti,
                reason,
                at,
            }));
        }
        if changes {
            self.signal(Signal::EventChanged(event.clone()));
        }
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn apply(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError> {
        self.carry_out(event, expected, command)
    }

    fn apply_at_once(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Option<Result<Applied, EngineError>> {
        Some(self.carry_out(event, expected, command))
    }

    async fn events(&self) -> Result<Vec<EventId>, EngineError> {
        Ok(self.lines.lock().events().cloned().collect())
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    async fn announce(&self, taken: TakenOver) -> Result<(), EngineError> {
        self.signal(Signal::TakenOver(taken));
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn now(&self) -> Millis {
        (self.clock)()
    }

    fn commands_total(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), EngineError> {
        let mut audit = self.audit.lock();
        let last = audit.back().map_or(AuditId(0, 0), |record| record.id);
        // A clock that is set back does not reorder the log.
        let id = if entry.at.0 > last.0 { AuditId(entry.at.0, 0) } else { AuditId(last.0, last.1 + 1) };
        if audit.len() >= AUDIT_MAX {
            audit.pop_front();
        }
        audit.push_back(AuditRecord { id, entry: entry.clone() });
        Ok(())
    }

    async fn audit(&self, before: Option<AuditId>, count: usize) -> Result<Vec<AuditRecord>, EngineError> {
        let audit = self.audit.lock();
        let older = audit.iter().rev().filter(|record| before.is_none_or(|before| record.id < before));
        Ok(older.take(count.min(AUDIT_PAGE_MAX)).cloned().collect())
    }

    async fn was_removed(&self, event: &EventId) -> Result<bool, EngineError> {
        Ok(!self.lines.lock().events().any(|known| known == event))
    }

    fn gathers(&self) -> bool {
        false
    }
}
