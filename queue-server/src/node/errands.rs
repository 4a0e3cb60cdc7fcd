//! What others ask of this node and the store has to be asked for: apart from the loop that follows the signals, so
//! that an event whose part of the store is slow or away holds up no other.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use queue_core::ids::EventId;
use tokio::sync::Semaphore;

use super::Node;

/// Errands that are not done, at most, those that pause between two tries among them. Beyond it the signals wait.
const UNDONE_MAX: usize = 16_384;
/// Errands that are at the store for the first time, at a time.
const FIRST_AT_ONCE: usize = 64;
/// Errands that are there again, at a time: what comes for the first time does not wait behind them.
const AGAIN_AT_ONCE: usize = 16;
/// Events that are learnt of at a time.
const LEARN_AT_ONCE: usize = 8;
/// Events that wait to be learnt of, at most. The others are found when all events are listed.
const LEARN_MAX: usize = 4_096;

/// Errands of one node.
pub struct Errands {
    undone: Arc<Semaphore>,
    first: Semaphore,
    again: Semaphore,
    learning: Semaphore,
    to_learn: Mutex<HashSet<EventId>>,
}

impl Default for Errands {
    fn default() -> Self {
        Self {
            undone: Arc::new(Semaphore::new(UNDONE_MAX)),
            first: Semaphore::new(FIRST_AT_ONCE),
            again: Semaphore::new(AGAIN_AT_ONCE),
            learning: Semaphore::new(LEARN_AT_ONCE),
            to_learn: Mutex::default(),
        }
    }
}

impl Errands {
    /// Sets out on an errand, which ends with the node. Waits only while far too many are not done.
    pub async fn send(&self, node: &Node, errand: impl Future<Output = ()> + Send + 'static) {
        let Ok(undone) = self.undone.clone().acquire_owned().await else { return };
        node.spawn(async move {
            errand.await;
            drop(undone);
        });
    }

    /// Asks the store for the first time, when it is its turn.
    pub async fn first<T>(&self, asking: impl Future<Output = T>) -> T {
        let _turn = self.first.acquire().await;
        asking.await
    }

    /// Asks the store once more, when it is its turn.
    pub async fn again<T>(&self, asking: impl Future<Output = T>) -> T {
        let _turn = self.again.acquire().await;
        asking.await
    }

    /// Learns of an event; once, however often it is told of before its turn comes.
    pub fn learn(self: &Arc<Self>, node: &Arc<Node>, event: EventId) {
        {
            let mut to_learn = self.to_learn.lock();
            if to_learn.len() >= LEARN_MAX || !to_learn.insert(event.clone()) {
                return;
            }
        }
        let (errands, learner) = (self.clone(), node.clone());
        node.spawn(async move {
            let _turn = errands.learning.acquire().await;
            // Before it is read: whatever is told from now on may be too late for this reading.
            errands.to_learn.lock().remove(&event);
            if let Err(error) = learner.learn(&event).await {
                tracing::debug!(%event, %error, "an event cannot be read");
            }
        });
    }
}
