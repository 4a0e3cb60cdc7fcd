//! Service levels: what people felt, outside of faults and in all, and whether it was good enough.

use std::collections::HashMap;

use serde::Serialize;

use super::record::{Counts, Latency, Record, Route};

/// 95 of 100 requests take less than this.
const P95_MS: f64 = 300.0;
/// Fewer than this share of all requests fail.
const FAILED_SHARE: f64 = 0.005;

/// One level: what was promised, and what came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    pub what: String,
    pub goal: String,
    pub value: String,
    pub met: bool,
    /// Whether missing it counts; else it stands there for comparison.
    pub counts: bool,
}

/// Seats that were acknowledged as booked more than once, and tickets beyond the number of them. The auditor compares
/// much more; this is what people would see.
pub fn oversold(record: &Record) -> u64 {
    let booked =
        || record.visitors.iter().flat_map(|visitor| &visitor.orders).filter_map(|order| order.booked.as_ref());
    let mut seats: HashMap<&str, u64> = HashMap::new();
    for seat in booked().flat_map(|goods| &goods.seat_ids) {
        *seats.entry(seat).or_default() += 1;
    }
    let twice: u64 = seats.values().map(|times| times - 1).sum();
    let beyond = record.rules.areas.iter().map(|area| {
        let of_it = booked().filter(|goods| goods.ticket_type_id.as_ref() == Some(&area.ticket_type_id));
        of_it.filter_map(|goods| goods.quantity).sum::<u64>().saturating_sub(area.quantity)
    });
    twice + beyond.sum::<u64>()
}

/// The levels of a run.
pub fn levels(record: &Record) -> Vec<Level> {
    let oversold = oversold(record);
    let pick = |pick: fn(&Route) -> &Counts| {
        let all: Vec<&Counts> = record.routes.values().map(pick).collect();
        let (requests, failed) = all.iter().fold((0, 0), |sums, one| (sums.0 + one.requests, sums.1 + one.failed));
        let share = if requests == 0 { 0.0 } else { failed as f64 / requests as f64 };
        (Latency::merged(all.iter().map(|one| &one.latency)).quantile_ms(0.95), share)
    };
    let (calm_p95, calm_failed) = pick(|route| &route.calm);
    let (all_p95, all_failed) = pick(|route| &route.all);
    let slow = |what: &str, value: f64, counts| Level {
        what: format!("p95 of all requests, {what}"),
        goal: format!("< {P95_MS:.0} ms"),
        value: format!("{value:.1} ms"),
        met: value < P95_MS,
        counts,
    };
    let wrong = |what: &str, share: f64, counts| Level {
        what: format!("requests that failed, {what}"),
        goal: format!("< {:.1} %", FAILED_SHARE * 100.0),
        value: format!("{:.2} %", share * 100.0),
        met: share < FAILED_SHARE,
        counts,
    };
    vec![
        slow("outside of faults", calm_p95, true),
        slow("faults included", all_p95, false),
        wrong("outside of faults", calm_failed, true),
        wrong("faults included", all_failed, false),
        Level {
            what: "oversold".into(),
            goal: "0".into(),
            value: oversold.to_string(),
            met: oversold == 0,
            counts: true,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::record::{Area, Goods, Kind, Order, Visitor};

    #[test]
    fn faults_count_apart() {
        let counts =
            |requests, failed, us| Counts { requests, refused: 0, failed, latency: Latency(vec![(us, requests)]) };
        let mut record = Record::default();
        let route = Route { all: counts(1_000, 100, 900_000), calm: counts(900, 1, 20_000), ..Route::default() };
        record.routes.insert("hold".into(), route);
        let met: Vec<bool> = levels(&record).iter().map(|level| level.met).collect();
        assert_eq!(met, [true, false, true, false, true]);
        assert!(levels(&Record::default()).iter().all(|level| level.met));
    }

    #[test]
    fn what_is_sold_twice_counts() {
        let goods = |seats: &[&str], area: Option<(&str, u64)>| Goods {
            seat_ids: seats.iter().map(|seat| (*seat).to_owned()).collect(),
            ticket_type_id: area.map(|(name, _)| name.to_owned()),
            quantity: area.map(|(_, quantity)| quantity),
            total_minor: 1,
        };
        let mut record = Record::default();
        record.rules.areas.push(Area { ticket_type_id: "floor".into(), quantity: 3, price_minor: 1 });
        for goods in [goods(&["A-1-1", "A-1-2"], None), goods(&["A-1-2"], None), goods(&[], Some(("floor", 3)))] {
            let mut visitor = Visitor::new(0, Kind::Buyer);
            visitor.orders.push(Order { booked: Some(goods), ..Order::default() });
            record.visitors.push(visitor);
        }
        assert_eq!(oversold(&record), 1);
        let more = Order { booked: Some(goods(&[], Some(("floor", 2)))), ..Order::default() };
        record.visitors[0].orders.push(more);
        assert_eq!(oversold(&record), 3);
        assert!(!levels(&record)[4].met);
    }
}
