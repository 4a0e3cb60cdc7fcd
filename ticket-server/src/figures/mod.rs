//! What everybody may read of a sale as a whole: who completed when ([`ranking`]), and what was sold ([`stats`]). It
//! comes from the ledger; nothing in here asks the store or waits on those who sell.
//!
//! What was read is shown for a moment to all who ask, and only so many questions are with the ledger at a time:
//! whatever is asked for, selling has connections left.

mod counting;
mod ranking;
mod stats;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use moka::future::Cache;
use queue_core::{
    ids::{EventId, Millis},
    service::http::ApiError,
};
use serde::Serialize;
use tokio::{sync::Semaphore, time::timeout};

use self::ranking::Page;
pub use self::{counting::Counting, ranking::Paging};
use crate::{
    ledger::LedgerError,
    office::{Office, ledger_error},
};

/// A page of a ranking is shown for so long.
const RANKING_KEPT: Duration = Duration::from_secs(2);
/// Statistics are shown for so long: they look at every booking of an event.
const STATS_KEPT: Duration = Duration::from_secs(5);
/// Pages and statistics that are kept, at most.
const KEPT_MAX: u64 = 2_000;
/// Questions to the ledger at the same time, at most: fewer than it has connections for.
const READING_MAX: usize = 2;
/// Whoever cannot ask within this is told that there is too much to do.
const READING_WAIT: Duration = Duration::from_secs(2);

/// The figures of one server.
pub struct Figures {
    office: Arc<Office>,
    totals: Cache<EventId, u64>,
    pages: Cache<(EventId, usize, usize), Arc<Page>>,
    stats: Cache<(EventId, Option<Millis>), Arc<Shown>>,
    reading: Semaphore,
}

/// An answer that is written once for all who ask.
#[derive(Debug)]
pub struct Shown {
    /// JSON.
    pub body: Bytes,
    /// Another one for another body.
    pub etag: String,
}

impl Shown {
    fn of(shown: &impl Serialize) -> Result<Self, LedgerError> {
        let body = serde_json::to_vec(shown).map_err(|error| LedgerError::Broken(error.to_string()))?;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let digits: String = hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { body: body.into(), etag: format!("\"{digits}\"") })
    }
}

impl Figures {
    /// Of that office.
    pub fn new(office: Arc<Office>) -> Self {
        Self {
            office,
            totals: kept(RANKING_KEPT),
            pages: kept(RANKING_KEPT),
            stats: kept(STATS_KEPT),
            reading: Semaphore::new(READING_MAX),
        }
    }

    /// Asks the ledger when it is one's turn.
    async fn read<T>(&self, reading: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
        let _turn = timeout(READING_WAIT, self.reading.acquire()).await.map_err(|_| LedgerError::Overloaded)?;
        reading.await
    }
}

fn kept<K: std::hash::Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static>(
    time: Duration,
) -> Cache<K, V> {
    Cache::builder().max_capacity(KEPT_MAX).time_to_live(time).build()
}

/// An error that several wait for is told to each of them.
fn shared(error: Arc<LedgerError>) -> ApiError {
    ledger_error(Arc::unwrap_or_clone(error))
}
