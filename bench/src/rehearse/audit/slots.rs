//! Every slot returned: at the end nothing is taken that nobody uses.

use std::collections::{BTreeMap, BTreeSet};

use super::{check::Check, facts::Facts};
use crate::rehearse::record::Verdict;

/// No session whose visitor is done, no hold left over, no pin unsettled, nothing left to tell the queue.
pub fn slots_returned(facts: &Facts) -> Verdict {
    let mut check = Check::new("every slot returned");
    sessions(facts, &mut check);
    holds(facts, &mut check);
    seats(facts, &mut check);
    ledger(facts, &mut check);
    check.done()
}

fn sessions(facts: &Facts, check: &mut Check) {
    let visitors = &facts.record.visitors;
    let by_name: BTreeMap<&str, u64> = visitors
        .iter()
        .flat_map(|visitor| visitor.places.iter().map(|place| (place.visitor_id.as_str(), visitor.number)))
        .collect();
    check.looked_at(visitors.iter().map(|visitor| visitor.admissions.len()).sum());
    for (visitor, until) in &facts.queue.active {
        check.broken(|| match by_name.get(visitor.as_str()) {
            Some(number) => format!("visitor {number} is gone and still has a slot, until {until}"),
            None => format!("{visitor}, who never got an answer, still has a slot, until {until}"),
        });
    }
}

fn holds(facts: &Facts, check: &mut Check) {
    let tickets = &facts.tickets;
    check.looked_at(facts.record.visitors.iter().map(|visitor| visitor.holds.len()).sum());
    for (reservation, hold) in &tickets.holds {
        check.broken(|| {
            let what = if hold.pinned { "pinned and not settled" } else { "left over" };
            format!("{reservation} of {} is {what}", hold.visitor)
        });
    }
    let lists = [
        ("an end", &tickets.ends),
        ("a pin", &tickets.pins),
        ("a place among its visitor's things", &tickets.items_held),
    ];
    for (what, list) in lists {
        for reservation in list.iter().filter(|reservation| !tickets.holds.contains_key(*reservation)) {
            check.broken(|| format!("{reservation} has {what} in the store, and is no hold"));
        }
    }
}

fn seats(facts: &Facts, check: &mut Check) {
    let tickets = &facts.tickets;
    let of_holds: BTreeSet<&String> = tickets.holds.values().flat_map(|hold| &hold.goods.seats).collect();
    for seat in &tickets.held {
        check.that(of_holds.contains(seat), || format!("{seat} is marked held, and no hold has it"));
    }
    let mut by_kind: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, quantity) in tickets.holds.values().filter_map(|hold| hold.goods.quantity.as_ref()) {
        *by_kind.entry(kind).or_default() += quantity;
    }
    for (kind, (held, _)) in &tickets.tallies {
        let of_holds = by_kind.get(kind.as_str()).copied().unwrap_or(0);
        check.that(*held == of_holds, || format!("{held} of {kind} are counted as held, and holds have {of_holds}"));
    }
}

fn ledger(facts: &Facts, check: &mut Check) {
    for (id, jti) in &facts.ledger.unsent {
        check.broken(|| format!("message {id} about session {jti} was never sent to the queue"));
    }
    for (reservation, order) in &facts.ledger.open_orders {
        check.broken(|| format!("order {order} still keeps {reservation}"));
    }
    for (id, order) in &facts.ledger.orders {
        check.that(!order.is_due, || format!("order {id} stands at {} and is not settled", order.stage));
    }
}
