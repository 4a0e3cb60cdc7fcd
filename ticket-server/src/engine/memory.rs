//! The memory engine: the model behind a lock, for one process.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use queue_core::ids::EventId;

use super::{Engine, EngineError};
use crate::{
    clock::Clock,
    model::{Command, Dump, Outcome, Sale},
};

/// All sales of this process.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    clock: Clock,
    sales: RwLock<HashMap<EventId, Arc<Mutex<Sale>>>>,
}

impl MemoryEngine {
    /// An engine without events.
    pub fn new(clock: Clock) -> Self {
        Self { clock, sales: RwLock::default() }
    }

    /// The complete state of one event.
    pub fn dump(&self, event: &EventId) -> Dump {
        self.sale(event).map(|sale| sale.lock().dump()).unwrap_or_default()
    }

    fn sale(&self, event: &EventId) -> Option<Arc<Mutex<Sale>>> {
        self.sales.read().get(event).cloned()
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn apply(&self, event: &EventId, command: Command) -> Result<Outcome, EngineError> {
        let creates = matches!(command, Command::Configure { .. } | Command::Restore { .. });
        let sale = match self.sale(event) {
            Some(sale) => sale,
            None if creates => Arc::clone(self.sales.write().entry(event.clone()).or_default()),
            None => Arc::default(),
        };
        let outcome = sale.lock().apply(command, self.clock.now());
        Ok(outcome)
    }
}
