//! No seat sold twice, and every acknowledged booking in the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    check::Check,
    facts::{Facts, Goods},
};
use crate::rehearse::record::{self, HoldEnd, Leaving, Order, Verdict, Visitor};

/// What a visitor was told they have.
struct Promise<'f> {
    visitor: &'f Visitor,
    order: &'f Order,
    goods: Goods,
    total_minor: u64,
}

fn promises(facts: &Facts) -> impl Iterator<Item = Promise<'_>> {
    facts.record.visitors.iter().flat_map(|visitor| {
        visitor.orders.iter().filter_map(move |order| {
            let booked = order.booked.as_ref()?;
            Some(Promise { visitor, order, goods: goods(booked), total_minor: booked.total_minor })
        })
    })
}

fn goods(said: &record::Goods) -> Goods {
    let quantity = said.ticket_type_id.clone().zip(said.quantity);
    Goods { seats: said.seat_ids.iter().cloned().collect(), quantity }
}

/// The four who know what is sold agree: the ledger's seats, its bookings, the bookings that were acknowledged, and the
/// store's bits. And general admission never above its quantity.
pub fn sold_once(facts: &Facts) -> Verdict {
    let mut check = Check::new("no seat sold twice");
    let hall = hall(facts);
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for (seat, reservation) in &facts.ledger.sold_seats {
        let other = owners.insert(seat, reservation);
        check.that(other.is_none(), || {
            format!("the ledger sold {seat} to {reservation} and to {}", other.unwrap_or_default())
        });
        check.that(hall.contains(seat), || format!("the ledger sold {seat}, which is no seat of the hall"));
    }
    by_bookings(facts, &owners, &mut check);
    by_promises(facts, &mut check);
    let ledger: BTreeSet<&String> = facts.ledger.sold_seats.iter().map(|(seat, _)| seat).collect();
    for seat in ledger.iter().copied().chain(&facts.tickets.sold).collect::<BTreeSet<_>>() {
        let (in_ledger, in_store) = (ledger.contains(seat), facts.tickets.sold.contains(seat));
        check.that(in_ledger == in_store, || {
            let said = |sold: bool| if sold { "sold" } else { "not sold" };
            format!("{seat} is {} by the ledger and {} by the store", said(in_ledger), said(in_store))
        });
    }
    quantities(facts, &mut check);
    check.done()
}

fn hall(facts: &Facts) -> BTreeSet<String> {
    let sections = facts.record.rules.sections.iter();
    let seats = |section: &record::Section| {
        let (name, rows, numbers) = (section.section.clone(), section.rows, section.seats_per_row);
        (1..=rows).flat_map(move |row| {
            let name = name.clone();
            (1..=numbers).map(move |number| format!("{name}-{row}-{number}"))
        })
    };
    sections.flat_map(seats).collect()
}

/// Every seat of a booking is the booking's in the list of sold seats, and every sold seat is of a booking.
fn by_bookings(facts: &Facts, owners: &HashMap<&str, &str>, check: &mut Check) {
    let confirmed = facts.ledger.bookings.iter().filter(|(_, booking)| booking.confirmed);
    let mut of_bookings: HashMap<&str, &str> = HashMap::new();
    for (reservation, booking) in confirmed {
        for seat in &booking.goods.seats {
            let other = of_bookings.insert(seat, reservation);
            check.that(other.is_none(), || {
                format!("{seat} is in booking {reservation} and in booking {}", other.unwrap_or_default())
            });
            let owner = owners.get(seat.as_str()).copied();
            check.that(owner == Some(reservation), || {
                format!("{seat} is in booking {reservation}, and sold to {} in the ledger", owner.unwrap_or("nobody"))
            });
        }
    }
    for (seat, reservation) in owners {
        check.that(of_bookings.contains_key(seat), || {
            format!("{seat} is sold to {reservation} in the ledger, which is no booking that has it")
        });
    }
}

/// No seat was acknowledged to two.
fn by_promises(facts: &Facts, check: &mut Check) {
    let mut promised: HashMap<String, (u64, &str)> = HashMap::new();
    for Promise { visitor, order, goods, .. } in promises(facts) {
        let reservation = order.reservation_id.as_str();
        for seat in goods.seats {
            let other = promised.insert(seat.clone(), (visitor.number, reservation));
            let other = other.filter(|(_, other)| *other != reservation && !facts.ledger.cancelled.contains(*other));
            check.that(other.is_none(), || {
                let other = other.map_or(0, |(number, _)| number);
                format!("visitors {} and {other} were both told that they have {seat}", visitor.number)
            });
        }
    }
}

fn quantities(facts: &Facts, check: &mut Check) {
    let mut booked: BTreeMap<&str, u64> = BTreeMap::new();
    for booking in facts.ledger.bookings.values().filter(|booking| booking.confirmed) {
        if let Some((kind, quantity)) = &booking.goods.quantity {
            *booked.entry(kind).or_default() += quantity;
        }
    }
    for area in &facts.record.rules.areas {
        let kind = area.ticket_type_id.as_str();
        let of_bookings = booked.remove(kind).unwrap_or(0);
        let (_, sold) = facts.ledger.sold_quantities.get(kind).copied().unwrap_or_default();
        let (_, in_store) = facts.tickets.tallies.get(kind).copied().unwrap_or_default();
        check.that(of_bookings <= area.quantity, || {
            format!("{of_bookings} of {kind} are booked, and there are {}", area.quantity)
        });
        check.that(i64::try_from(of_bookings) == Ok(sold) && in_store == of_bookings, || {
            format!("{kind}: {of_bookings} in bookings, {sold} sold by the ledger, {in_store} by the store")
        });
    }
    for (kind, quantity) in booked {
        check.broken(|| format!("{quantity} of {kind} are booked, which is not for sale by number"));
    }
}

/// Whoever was told that they have something has it; whoever has something was told so, or never got an answer.
pub fn promises_kept(facts: &Facts) -> Verdict {
    let mut check = Check::new("every acknowledged booking in the ledger");
    for promise in promises(facts) {
        let Promise { visitor, order, .. } = &promise;
        let reservation = &order.reservation_id;
        let asked_back = visitor.departures.iter().any(|left| left.what == Leaving::Cancel && left.of == *reservation);
        if !(asked_back && facts.ledger.cancelled.contains(reservation)) {
            let wrong = wrong_with(facts, &promise);
            check.that(wrong.is_none(), || {
                format!(
                    "visitor {} was told that {reservation} is booked: {}",
                    visitor.number,
                    wrong.unwrap_or_default()
                )
            });
        }
    }
    let told = told(facts);
    for (reservation, booking) in facts.ledger.bookings.iter().filter(|(_, booking)| booking.confirmed) {
        let known = told.get(reservation.as_str());
        check.that(known == Some(&true), || match known {
            None => format!("{reservation} of {} is booked, and nobody asked for it", booking.visitor),
            Some(_) => format!("{reservation} is booked, and its visitor was told that it is not"),
        });
    }
    check.done()
}

fn wrong_with(facts: &Facts, promise: &Promise<'_>) -> Option<String> {
    let Promise { visitor, order, goods, total_minor } = promise;
    let Some(booking) = facts.ledger.bookings.get(&order.reservation_id) else {
        return Some("the ledger knows nothing of it".into());
    };
    if !booking.confirmed {
        let why = if facts.ledger.cancelled.contains(&order.reservation_id) { "taken back" } else { "aborted" };
        return Some(format!("it is {why} in the ledger"));
    }
    if booking.goods != *goods || booking.total_minor != *total_minor {
        let (theirs, said) = (&booking.goods, goods);
        return Some(format!("{said:?} for {total_minor} was said, {theirs:?} for {} is booked", booking.total_minor));
    }
    let is_theirs = visitor.places.iter().any(|place| place.visitor_id == booking.visitor)
        || visitor.admissions.iter().any(|admission| admission.visitor_id == booking.visitor);
    (!is_theirs).then(|| format!("it is booked for {}", booking.visitor))
}

/// Reservations for which somebody asked, and whether they may be booked by what was told: they were acknowledged, or an
/// answer is missing.
fn told(facts: &Facts) -> HashMap<&str, bool> {
    let mut told: HashMap<&str, bool> = HashMap::new();
    for visitor in &facts.record.visitors {
        for order in &visitor.orders {
            let open = order.booked.is_some() || order.at == 0;
            *told.entry(&order.reservation_id).or_default() |= open;
        }
        for hold in visitor.holds.iter().filter(|hold| hold.end == HoldEnd::Unknown) {
            told.insert(&hold.reservation_id, true);
        }
    }
    told
}
