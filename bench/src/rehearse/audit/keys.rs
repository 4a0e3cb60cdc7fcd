//! The same key, the same answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    check::Check,
    facts::{self, Facts},
};
use crate::rehearse::record::{Order, Verdict, Visitor};

/// Whoever sent a key again had the first answer again, and one key never made two orders.
pub fn same_answer(facts: &Facts) -> Verdict {
    let mut check = Check::new("the same key, the same answer");
    let first_answers: HashMap<&str, u64> =
        facts.ledger.keys.iter().filter_map(|(order, status)| Some((order.as_str(), (*status)?))).collect();
    let mut makers: HashMap<&str, &str> = HashMap::new();
    for visitor in &facts.record.visitors {
        for order in visitor.orders.iter().filter(|order| !order.idempotency_key.is_empty()) {
            repeats(visitor, order, &mut check);
            if let Some(id) = &order.order_id {
                let other = makers.insert(id, &order.idempotency_key);
                check
                    .that(other.is_none(), || format!("visitor {} had {id} as the answer to two keys", visitor.number));
                kept_answer(visitor, order, first_answers.get(id.as_str()).copied(), &mut check);
            }
        }
    }
    one_order_each(facts, &mut check);
    check.done()
}

fn repeats(visitor: &Visitor, order: &Order, check: &mut Check) {
    for again in &order.repeats {
        let first = (order.status, &order.code, &order.order_id, &order.state);
        let second = (again.status, &again.code, &again.order_id, &again.state);
        check.that(first == second, || {
            format!("visitor {} had {first:?} as an answer, and with the same key {second:?}", visitor.number)
        });
    }
}

/// What the ledger keeps as the first answer is what was said.
fn kept_answer(visitor: &Visitor, order: &Order, kept: Option<u64>, check: &mut Check) {
    if let Some(kept) = kept.filter(|_| order.at > 0) {
        check.that(kept == u64::from(order.status), || {
            format!("visitor {} was answered {}, and the ledger keeps {kept}", visitor.number, order.status)
        });
    }
}

/// Orders of a reservation, and keys that were sent for it. One that failed before anybody was asked for money leaves its
/// key free: the same key begins another one.
fn one_order_each(facts: &Facts, check: &mut Check) {
    let mut orders: BTreeMap<&str, u64> = BTreeMap::new();
    let paid: BTreeSet<&str> = facts.record.payments.iter().map(|payment| payment.payment_id.as_str()).collect();
    let never_asked = |id: &str, order: &facts::Order| {
        matches!(order.failure.as_deref(), Some("UNAVAILABLE" | "INTERRUPTED")) && !paid.contains(id)
    };
    let begun = facts.ledger.orders.iter().filter(|(id, order)| order.kind == "ORDER" && !never_asked(id, order));
    for (_, order) in begun {
        *orders.entry(&order.reservation).or_default() += 1;
    }
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for order in facts.record.visitors.iter().flat_map(|visitor| &visitor.orders) {
        keys.entry(&order.reservation_id).or_default().insert(&order.idempotency_key);
    }
    for (reservation, made) in orders {
        let sent = keys.get(reservation).map_or(0, BTreeSet::len) as u64;
        check.that(made <= sent, || format!("{made} orders of {reservation} were made by {sent} keys"));
    }
}
