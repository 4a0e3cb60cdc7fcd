//! Every payment matched: the provider's book, the orders, the bookings and the balances held against each other.

use std::collections::BTreeMap;

use super::{
    check::Check,
    facts::{Facts, Order},
};
use crate::rehearse::record::Verdict;

/// A payment, whoever keeps it.
struct Paid<'f> {
    status: &'f str,
    amount_minor: u64,
    currency: &'f str,
}

/// Each capture has one confirmed booking or a refund, each promise of money was taken or called off, amounts are equal,
/// nothing is booked unpaid, and no balance is below zero.
pub fn payments_matched(facts: &Facts) -> Verdict {
    let mut check = Check::new("every payment matched");
    let payments = all(facts);
    for (id, paid) in &payments {
        let wrong = wrong_with(facts, id, paid);
        check.that(wrong.is_none(), || {
            format!("payment {id} of {} {}: {}", paid.amount_minor, paid.currency, wrong.unwrap_or_default())
        });
    }
    done_once(facts, &mut check);
    bookings_paid(facts, &payments, &mut check);
    balances(facts, &mut check);
    check.done()
}

fn all(facts: &Facts) -> BTreeMap<&str, Paid<'_>> {
    let by_provider = facts.record.payments.iter().map(|payment| {
        let paid = Paid { status: &payment.status, amount_minor: payment.amount_minor, currency: &payment.currency };
        (payment.payment_id.as_str(), paid)
    });
    let by_ledger = facts.ledger.kept_payments.iter().map(|(id, payment)| {
        let paid = Paid { status: &payment.status, amount_minor: payment.total_minor, currency: &payment.currency };
        (id.as_str(), paid)
    });
    by_provider.chain(by_ledger).collect()
}

fn wrong_with(facts: &Facts, id: &str, paid: &Paid<'_>) -> Option<String> {
    let Some(order) = facts.ledger.orders.get(id) else {
        return matches!(paid.status, "CAPTURED" | "AUTHORIZED" | "PENDING")
            .then(|| format!("{}, and there is no such order", paid.status));
    };
    if order.total_minor != paid.amount_minor || order.currency != paid.currency {
        return Some(format!("the order is of {} {}", order.total_minor, order.currency));
    }
    let stands = is_booked(facts, order);
    match paid.status {
        "CAPTURED" if stands => None,
        "CAPTURED" => Some("the money was taken, and nothing is booked for it".into()),
        "AUTHORIZED" | "PENDING" => Some(format!("{}, neither taken nor called off", paid.status)),
        status if stands => Some(format!("{status}, and the order is confirmed")),
        _ => None,
    }
}

/// Whether the order ended well, with what it was for.
fn is_booked(facts: &Facts, order: &Order) -> bool {
    let ended_well = order.stage == "DONE" && order.failure.is_none() && !order.cancelled;
    let booked = facts.ledger.bookings.get(&order.reservation).is_some_and(|booking| booking.confirmed);
    ended_well && (booked || order.kind == "CHARGE")
}

/// The provider took no money twice and gave none back twice.
fn done_once(facts: &Facts, check: &mut Check) {
    for payment in &facts.record.payments {
        for status in ["CAPTURED", "REFUNDED"] {
            let became = payment.history.iter().scan("", |before, entry| {
                let changed = *before != status && entry.status == status;
                *before = &entry.status;
                Some(changed)
            });
            let times = became.filter(|changed| *changed).count();
            check.that(times <= 1, || format!("payment {} became {status} {times} times", payment.payment_id));
        }
    }
}

/// Each booking that must be paid has exactly one payment that was taken.
fn bookings_paid(facts: &Facts, payments: &BTreeMap<&str, Paid<'_>>, check: &mut Check) {
    let mut by_reservation: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, order) in facts.ledger.orders.iter().filter(|(_, order)| order.kind == "ORDER") {
        // What costs nothing is paid by nobody.
        let taken = payments.get(id.as_str()).is_some_and(|paid| paid.status == "CAPTURED");
        if taken || (order.total_minor == 0 && is_booked(facts, order)) {
            by_reservation.entry(&order.reservation).or_default().push(id);
        }
    }
    let must_be_paid = facts.record.rules.payment_required;
    for (reservation, booking) in facts.ledger.bookings.iter().filter(|(_, booking)| booking.confirmed) {
        let orders = by_reservation.get(reservation.as_str()).map_or(&[][..], Vec::as_slice);
        check.that(orders.len() == 1 || (orders.is_empty() && !must_be_paid), || {
            format!("{reservation} is booked and was paid {} times", orders.len())
        });
        let orders = orders.iter().filter_map(|id| facts.ledger.orders.get(*id));
        for order in orders.filter(|order| order.total_minor != booking.total_minor) {
            let (paid, costs) = (order.total_minor, booking.total_minor);
            check.broken(|| format!("{reservation} costs {costs} and was paid with {paid}"));
        }
    }
}

fn balances(facts: &Facts, check: &mut Check) {
    let ledger = &facts.ledger;
    for ((visitor, currency), amount) in &ledger.balances {
        check.that(*amount >= 0, || format!("{visitor} has {amount} {currency}"));
        let sum = ledger.balance_sums.get(&(visitor.clone(), currency.clone())).copied().unwrap_or(0);
        check.that(sum == *amount, || format!("{visitor} has {amount} {currency}, and {sum} by its entries"));
    }
}
