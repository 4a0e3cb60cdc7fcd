//! Who completed when: the bookings of an event in the order in which they were made. Whose they are is told to nobody
//! but themselves.

use std::sync::Arc;

use queue_core::{
    ids::{EventId, Millis},
    service::http::ApiError,
};
use serde::Serialize;

use super::{Figures, Shown, shared};
use crate::{
    ids::ReservationId,
    ledger::{Completion, LedgerError},
    model::Hall,
    office::{Caller, ledger_error},
};

/// Bookings of one's own that are named beside the page, at most: the first ones.
const OWN_MAX: usize = 8;

/// Which page is wanted, beginning with 1, and how many items a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The page.
    pub page: usize,
    /// Items of a page.
    pub page_size: usize,
}

/// A page as everybody sees it, and what it was made from.
#[derive(Debug)]
pub(super) struct Page {
    shown: Arc<Shown>,
    first_rank: u64,
    items: Vec<Completion>,
    total: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    rank: u64,
    /// The place in the queue that became the session.
    queue_place: u64,
    seats: u64,
    completed_at: Millis,
    /// From admission, which tokens tell to the second, to booking.
    completion_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mine: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ranking<'a> {
    event_id: &'a EventId,
    items: Vec<Item>,
    page: usize,
    page_size: usize,
    total: u64,
    /// One's own, wherever they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    mine: Option<Vec<Item>>,
}

impl Item {
    fn of(rank: u64, completion: &Completion, mine: bool) -> Self {
        Self {
            rank,
            queue_place: completion.jti.seq.0,
            seats: completion.seats,
            completed_at: completion.at,
            completion_ms: completion.admitted_at.map(|admitted| completion.at.since(admitted)),
            mine,
        }
    }
}

impl Figures {
    /// A page of the ranking, as everybody sees it.
    pub async fn ranking(&self, hall: &Hall, paging: Paging) -> Result<Arc<Shown>, ApiError> {
        Ok(Arc::clone(&self.page(&hall.event, paging).await?.shown))
    }

    /// The same for somebody who took part: their own bookings are marked, and named beside the page.
    pub async fn own_ranking(&self, hall: &Hall, paging: Paging, caller: &Caller) -> Result<Shown, ApiError> {
        let page = self.page(&hall.event, paging).await?;
        let own = self.read(self.own(&hall.event, caller)).await.map_err(ledger_error)?;
        let is_own = |id: &ReservationId| own.iter().any(|(_, completion)| completion.reservation == *id);
        let items = page.items.iter().zip(page.first_rank..);
        let items = items.map(|(item, rank)| Item::of(rank, item, is_own(&item.reservation))).collect();
        let mine = own.iter().map(|(rank, completion)| Item::of(*rank, completion, true)).collect();
        Shown::of(&ranking(&hall.event, items, paging, page.total, Some(mine))).map_err(ledger_error)
    }

    async fn page(&self, event: &EventId, paging: Paging) -> Result<Arc<Page>, ApiError> {
        let key = (event.clone(), paging.page, paging.page_size);
        self.pages.try_get_with(key, self.read_page(event, paging)).await.map_err(shared)
    }

    async fn read_page(&self, event: &EventId, paging: Paging) -> Result<Arc<Page>, LedgerError> {
        let ledger = &self.office.ledger;
        let total = self.totals.try_get_with(event.clone(), self.read(ledger.completions_total(event))).await;
        let total = total.map_err(Arc::unwrap_or_clone)?;
        let (size, skip) = (paging.page_size as u64, (paging.page as u64 - 1) * paging.page_size as u64);
        // What is not there is not looked for.
        let items = if skip < total { self.read(ledger.completions(event, skip, size)).await? } else { Vec::new() };
        let first_rank = skip + 1;
        let shown = items.iter().zip(first_rank..).map(|(item, rank)| Item::of(rank, item, false)).collect();
        let shown = Arc::new(Shown::of(&ranking(event, shown, paging, total, None))?);
        Ok(Arc::new(Page { shown, first_rank, items, total }))
    }

    /// The first bookings of a caller, with their ranks.
    async fn own(&self, event: &EventId, caller: &Caller) -> Result<Vec<(u64, Completion)>, LedgerError> {
        let ledger = &self.office.ledger;
        let mut own = Vec::new();
        for booking in ledger.bookings_of(event, &caller.visitor).await?.into_iter().take(OWN_MAX) {
            let completion = Completion::of(booking);
            let before = ledger.completions_before(event, completion.at, &completion.reservation).await?;
            own.push((before + 1, completion));
        }
        Ok(own)
    }
}

fn ranking(event_id: &EventId, items: Vec<Item>, paging: Paging, total: u64, mine: Option<Vec<Item>>) -> Ranking<'_> {
    let Paging { page, page_size } = paging;
    Ranking { event_id, items, page, page_size, total, mine }
}
