//! What was sold, of which type and when; how many of those who were admitted booked; how many holds were of no use.

use std::{collections::BTreeMap, sync::Arc};

use queue_core::{
    ids::{EventId, Millis},
    service::http::ApiError,
};
use serde::Serialize;

use super::{Figures, Shown, shared};
use crate::{
    ids::TicketTypeId,
    ledger::{Counted, LedgerError, SoldIn},
    model::Hall,
};

/// Minutes in one answer, at most: those before are asked for with `before`.
pub const MINUTES_MAX: usize = 1_440;
/// Rows from which they are made: a minute has one for each mix of types that somebody bought.
const MINUTE_ROWS_MAX: u32 = 4_096;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    event_id: &'a EventId,
    sold: Sold,
    by_type: Vec<OfType>,
    by_minute: Vec<Minute>,
    conversion: Conversion,
    holds: Holds,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sold {
    bookings: u64,
    tickets: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfType {
    ticket_type_id: TicketTypeId,
    sold: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Minute {
    minute: Millis,
    sold: u64,
    by_type: Vec<OfType>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conversion {
    /// By the queue's own count; `None` where it never told us.
    admitted: Option<u64>,
    /// Sessions that have booked something and did not take it back.
    booked: u64,
    rate: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Holds {
    taken: u64,
    expired: u64,
    given_up: u64,
    expiry_rate: Option<f64>,
}

impl Figures {
    /// The statistics of an event; with `before`, the minutes before that time.
    pub async fn stats(&self, hall: &Hall, before: Option<Millis>) -> Result<Arc<Shown>, ApiError> {
        let key = (hall.event.clone(), before);
        self.stats.try_get_with(key, self.read_stats(&hall.event, before)).await.map_err(shared)
    }

    async fn read_stats(&self, event: &EventId, before: Option<Millis>) -> Result<Arc<Shown>, LedgerError> {
        let ledger = &self.office.ledger;
        // A queue that is away has told before, or will: what is in the ledger serves meanwhile.
        self.office.ask_line(event).await;
        let until = before.unwrap_or(Millis(i64::MAX as u64));
        let reading = async {
            let sold = ledger.sold(event).await?;
            let minutes = ledger.sold_by_minute(event, until, MINUTE_ROWS_MAX).await?;
            let (booked, counts) = (ledger.sessions_booked(event).await?, ledger.counts(event).await?);
            Ok((sold, minutes, booked, counts))
        };
        let (sold, minutes, booked, counts) = self.read(reading).await?;
        let all = total_of(counts, self.office.counting.of(event));
        let admitted = (all.admitted > 0).then_some(all.admitted);
        let (sold, by_type) = of_all(&sold);
        let stats = Stats {
            event_id: event,
            sold,
            by_type,
            by_minute: by_minute(minutes),
            conversion: Conversion { admitted, booked, rate: rate(booked, all.admitted) },
            holds: Holds {
                taken: all.taken,
                expired: all.expired,
                given_up: all.given_up,
                expiry_rate: rate(all.expired, all.taken),
            },
        };
        Shown::of(&stats).map(Arc::new)
    }
}

/// The sum over all sources, each as far as anybody knows.
fn total_of(kept: Vec<Counted>, known: Vec<Counted>) -> Counted {
    let mut sources: BTreeMap<String, Counted> = BTreeMap::new();
    for counted in kept.into_iter().chain(known) {
        sources.entry(counted.source.clone()).or_default().raise(&counted);
    }
    sources.into_values().fold(Counted::default(), |mut sum, counted| {
        sum.admitted += counted.admitted;
        sum.taken += counted.taken;
        sum.expired += counted.expired;
        sum.given_up += counted.given_up;
        sum
    })
}

/// A part of a whole, in ten thousandths; of nothing there is none.
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0)
}

fn of_all(rows: &[SoldIn]) -> (Sold, Vec<OfType>) {
    let bookings = rows.iter().map(|row| row.bookings).sum();
    let by_type = by_type(rows.iter());
    (Sold { bookings, tickets: by_type.iter().map(|of| of.sold).sum() }, by_type)
}

fn by_type<'a>(rows: impl Iterator<Item = &'a SoldIn>) -> Vec<OfType> {
    let mut types: BTreeMap<TicketTypeId, u64> = BTreeMap::new();
    for row in rows {
        for (kind, count) in &row.tickets.0 {
            *types.entry(kind.clone()).or_default() += count * row.bookings;
        }
    }
    types.into_iter().map(|(ticket_type_id, sold)| OfType { ticket_type_id, sold }).collect()
}

/// The newest minutes, in the order of time. Where the rows were cut off, so may be the last minute: it is left out.
fn by_minute(mut rows: Vec<SoldIn>) -> Vec<Minute> {
    if rows.len() == MINUTE_ROWS_MAX as usize
        && let Some(oldest) = rows.last().map(|row| row.minute)
    {
        rows.retain(|row| row.minute != oldest);
    }
    let minutes = rows.chunk_by(|one, next| one.minute == next.minute).take(MINUTES_MAX);
    let mut minutes: Vec<_> = minutes
        .map(|rows| {
            let by_type = by_type(rows.iter());
            Minute { minute: rows[0].minute, sold: by_type.iter().map(|of| of.sold).sum(), by_type }
        })
        .collect();
    minutes.reverse();
    minutes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(minute: u64, tickets: &str, bookings: u64) -> SoldIn {
        SoldIn { minute: Millis(minute * 60_000), tickets: tickets.parse().unwrap(), bookings }
    }

    #[test]
    fn minutes_are_whole_or_left_out() {
        let minutes = by_minute(vec![row(9, "std=2", 3), row(9, "std=1 vip=1", 1), row(7, "vip=1", 1)]);
        let shown = serde_json::to_value(&minutes).unwrap();
        assert_eq!((minutes.len(), minutes[1].sold), (2, 8));
        assert_eq!(
            shown[1]["byType"],
            serde_json::json!([
            {"ticketTypeId": "std", "sold": 7}, {"ticketTypeId": "vip", "sold": 1}])
        );
        let cut: Vec<_> = (0..u64::from(MINUTE_ROWS_MAX)).map(|n| row(5_000 - n / 3, "std=1", 1)).collect();
        let minutes = by_minute(cut);
        assert_eq!(minutes.len(), (MINUTE_ROWS_MAX / 3) as usize);
        assert!(minutes.iter().all(|minute| minute.sold == 3));
    }

    #[test]
    fn each_source_counts_once() {
        let counted =
            |source: &str, taken, expired| Counted { source: source.into(), taken, expired, ..Counted::default() };
        let kept = vec![counted("one", 5, 1), counted("two", 2, 2)];
        let all = total_of(kept, vec![counted("one", 7, 1), counted("two", 1, 1)]);
        assert_eq!((all.taken, all.expired), (9, 3));
        assert_eq!((rate(3, 9), rate(1, 0)), (Some(0.3333), None));
    }
}
