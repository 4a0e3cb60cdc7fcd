//! A small run in which everything went well, for the tests to break.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Booking, Facts, Goods, Order};
use crate::rehearse::record::{
    self, Admission, Area, Departure, Entry, Hold, HoldEnd, Kind, Leaving, Payment, Place, Record, Rules, Section,
    Sight, Step, Visitor,
};

pub const GENERATION: &str = "00000000000000ff";
pub const GRACE_MS: u64 = 60_000;

fn people(of: &[(u64, &str)]) -> Vec<(u64, String)> {
    of.iter().map(|(seq, visitor)| (*seq, (*visitor).to_owned())).collect()
}

pub fn joined(at: u64, waiters: &[(u64, &str)]) -> Step {
    Step::Joined { at, waiters: people(waiters) }
}

pub fn admitted(at: u64, sessions: &[(u64, &str)], from_line: bool) -> Step {
    Step::Admitted { at, sessions: people(sessions), expires_at: at + 300_000, from_line }
}

pub fn gone(at: u64, waiters: &[(u64, &str)], reason: &str) -> Step {
    Step::Gone { at, waiters: people(waiters), reason: reason.to_owned() }
}

pub fn ended(at: u64, seq: u64, visitor: &str, reason: &str) -> Step {
    Step::Ended { at, jti: jti(seq), visitor_id: visitor.to_owned(), reason: reason.to_owned() }
}

pub fn jti(seq: u64) -> String {
    format!("{GENERATION}.{seq}")
}

/// Somebody who asked for a place at `at`, and had it a little later.
fn visitor(number: u64, kind: Kind, at: u64) -> Visitor {
    let mut visitor = Visitor::new(number, kind);
    (visitor.arrived_at, visitor.gone_at) = (at, 90_000);
    visitor.places.push(Place {
        generation: GENERATION.into(),
        seq: number + 1,
        visitor_id: format!("a_{number}"),
        asked_at: at,
        at: at + 5,
        as_of: at + 2,
        returned: false,
        node: 0,
    });
    visitor
}

fn let_in(visitor: &mut Visitor, at: u64) {
    let (jti, visitor_id) = (jti(visitor.number + 1), format!("a_{}", visitor.number));
    visitor.admissions.push(Admission { jti, visitor_id, expires_at: at + 300_000, at });
}

fn sees(visitor: &mut Visitor, as_of: u64, position: u64) {
    visitor.sights.push(Sight { as_of, at: as_of + 3, position, waiting: 3 });
}

fn departs(visitor: &mut Visitor, what: Leaving, at: u64) {
    visitor.departures.push(Departure { what, of: jti(visitor.number + 1), asked_at: at, at: at + 2 });
}

/// A hold and an order for it, with both sides' books.
fn buys(facts: &mut Facts, visitor: &mut Visitor, goods: record::Goods, paid: bool) {
    let number = visitor.number;
    let (reservation, order) = (format!("r_{number}"), format!("o_{number}"));
    visitor.holds.push(Hold {
        reservation_id: reservation.clone(),
        jti: jti(number + 1),
        goods: goods.clone(),
        hold_expires_at: 9_000,
        asked_at: 2_000,
        at: 2_010,
        end: if paid { HoldEnd::Booked } else { HoldEnd::Open },
        ended_at: 2_900,
    });
    visitor.orders.push(record::Order {
        reservation_id: reservation.clone(),
        idempotency_key: format!("k_{number}"),
        bad_card: !paid,
        asked_at: 2_100,
        tries: 1,
        at: 2_900,
        status: if paid { 201 } else { 402 },
        code: (!paid).then(|| "PAYMENT_DECLINED".into()),
        order_id: Some(order.clone()),
        state: Some(if paid { "CONFIRMED" } else { "FAILED" }.into()),
        booked: paid.then(|| goods.clone()),
        ..record::Order::default()
    });
    let status = if paid { "CAPTURED" } else { "DECLINED" };
    let said = |operation: &str, status: &str| Entry {
        operation: operation.into(),
        status: status.into(),
        at: 2_500,
        answered: true,
    };
    let authorized = said("authorize", if paid { "AUTHORIZED" } else { "DECLINED" });
    let captured = paid.then(|| said("capture", "CAPTURED"));
    facts.record.payments.push(Payment {
        payment_id: order.clone(),
        amount_minor: goods.total_minor,
        currency: "EUR".into(),
        status: status.into(),
        history: [Some(authorized), captured].into_iter().flatten().collect(),
    });
    let of_ledger = Order {
        kind: "ORDER".into(),
        visitor: format!("a_{number}"),
        reservation: reservation.clone(),
        method: "card".into(),
        total_minor: goods.total_minor,
        currency: "EUR".into(),
        stage: "DONE".into(),
        failure: (!paid).then(|| "DECLINED".into()),
        ..Order::default()
    };
    facts.ledger.keys.push((order.clone(), Some(if paid { 201 } else { 402 })));
    facts.ledger.orders.insert(order, of_ledger);
    if paid {
        let sold = Goods {
            seats: goods.seat_ids.iter().cloned().collect(),
            quantity: goods.ticket_type_id.clone().zip(goods.quantity),
        };
        facts.ledger.sold_seats.extend(goods.seat_ids.iter().map(|seat| (seat.clone(), reservation.clone())));
        facts.tickets.sold.extend(goods.seat_ids.iter().cloned());
        let booking = Booking {
            visitor: format!("a_{number}"),
            jti: jti(number + 1),
            confirmed: true,
            goods: sold,
            total_minor: goods.total_minor,
            currency: "EUR".into(),
        };
        facts.ledger.bookings.insert(reservation, booking);
    }
}

fn rules() -> Rules {
    Rules {
        event_id: "e".into(),
        currency: "EUR".into(),
        payment_required: true,
        capacity: 2,
        admit_per_minute: Some(60_000),
        grace_ms: GRACE_MS,
        claim_ms: 60_000,
        active_ttl_ms: 300_000,
        sections: vec![Section {
            section: "A".into(),
            ticket_type_id: "std".into(),
            rows: 1,
            seats_per_row: 4,
            price_minor: 1_000,
        }],
        areas: vec![Area { ticket_type_id: "floor".into(), quantity: 3, price_minor: 500 }],
        ..Rules::default()
    }
}

/// Five people: two are let in at once and buy; one waits, is let in and cannot pay; one goes away without a word; one
/// leaves the line.
pub fn good() -> Facts {
    let mut facts = Facts { record: Record { rules: rules(), ..Record::default() }, ..Facts::default() };
    facts.record.steps = vec![
        admitted(1_002, &[(1, "a_0")], false),
        admitted(1_012, &[(2, "a_1")], false),
        joined(1_102, &[(3, "a_2")]),
        joined(1_202, &[(4, "a_3")]),
        joined(1_302, &[(5, "a_4")]),
        gone(2_000, &[(5, "a_4")], "LEFT"),
        ended(3_000, 1, "a_0", "RELEASED"),
        admitted(3_050, &[(3, "a_2")], true),
        ended(3_100, 2, "a_1", "RELEASED"),
        ended(4_000, 3, "a_2", "LEFT"),
        gone(5_000 + GRACE_MS, &[(4, "a_3")], "ABANDONED"),
    ];
    let mut all: Vec<Visitor> = [
        (Kind::Buyer, 1_000),
        (Kind::General, 1_010),
        (Kind::FailsToPay, 1_100),
        (Kind::Abandons, 1_200),
        (Kind::Leaves, 1_300),
    ]
    .into_iter()
    .zip(0..)
    .map(|((kind, at), number)| visitor(number, kind, at))
    .collect();
    for (number, at) in [(0, 1_005), (1, 1_015), (2, 3_053)] {
        let_in(&mut all[number], at);
    }
    let seat =
        |seat: &str| record::Goods { seat_ids: vec![seat.into()], total_minor: 1_000, ..record::Goods::default() };
    let floor = record::Goods {
        ticket_type_id: Some("floor".into()),
        quantity: Some(2),
        total_minor: 1_000,
        ..record::Goods::default()
    };
    buys(&mut facts, &mut all[0], seat("A-1-1"), true);
    buys(&mut facts, &mut all[1], floor, true);
    buys(&mut facts, &mut all[2], seat("A-1-2"), false);
    for (number, as_of, position) in [(2, 1_102, 1), (3, 1_202, 2), (4, 1_302, 3), (3, 1_600, 2), (3, 3_200, 1)] {
        sees(&mut all[number], as_of, position);
    }
    departs(&mut all[2], Leaving::Leave, 3_990);
    departs(&mut all[3], Leaving::Abandon, 4_000);
    departs(&mut all[4], Leaving::Leave, 1_995);
    facts.record.visitors = all;
    facts.ledger.sold_quantities = BTreeMap::from([("floor".into(), (3, 2))]);
    facts.tickets.tallies = BTreeMap::from([("floor".into(), (0, 2))]);
    facts.tickets.held = BTreeSet::new();
    facts.queue.generation = GENERATION.into();
    (facts.queue.seq, facts.queue.admitted) = (5, 3);
    facts
}
