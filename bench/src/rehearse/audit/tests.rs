//! Good facts are found good; and for every invariant, facts that break it are found by that verdict alone.

use super::{Facts, facts::Hold, judge, sample::*};
use crate::rehearse::record::{Place, Repeat, Step, ToldEnded, Trouble};

/// Breaks good facts, and says which verdicts fail.
fn broken<T>(break_it: impl FnOnce(&mut Facts) -> T) -> Vec<String> {
    let mut facts = good();
    break_it(&mut facts);
    judge(&facts).into_iter().filter(|verdict| !verdict.holds()).map(|verdict| verdict.what).collect()
}

const SOLD_ONCE: &str = "no seat sold twice";
const ACKNOWLEDGED: &str = "every acknowledged booking in the ledger";
const CAPACITY: &str = "Active never over capacity";
const RATE: &str = "no faster than the rate";
const ORDER: &str = "order kept";
const POSITIONS: &str = "every position as it was";
const FORGOTTEN: &str = "nobody forgotten";
const RETURNED: &str = "every slot returned";
const PAYMENTS: &str = "every payment matched";
const KEYS: &str = "the same key, the same answer";
const COMPLETE: &str = "the record of the line complete";

#[test]
fn good_facts_are_found_good() {
    let verdicts = judge(&good());
    for verdict in &verdicts {
        assert!(verdict.holds() && verdict.checked > 0, "{verdict:?}");
    }
    assert_eq!(verdicts.len(), 11);
}

#[test]
fn a_seat_sold_twice_is_found() {
    let twice = |facts: &mut Facts| facts.ledger.sold_seats.push(("A-1-1".into(), "r_9".into()));
    assert_eq!(broken(twice), [SOLD_ONCE]);
    assert_eq!(broken(|facts| facts.tickets.sold.remove("A-1-1")), [SOLD_ONCE]);
    assert_eq!(broken(|facts| facts.tickets.sold.insert("A-1-4".into())), [SOLD_ONCE]);
    let no_row = |facts: &mut Facts| {
        facts.ledger.sold_seats.clear();
        facts.tickets.sold.clear();
    };
    assert_eq!(broken(no_row), [SOLD_ONCE]);
    let no_seat = |facts: &mut Facts| {
        facts.ledger.sold_seats.push(("Z-1-1".into(), "r_0".into()));
        facts.tickets.sold.insert("Z-1-1".into());
        facts.ledger.bookings.get_mut("r_0").unwrap().goods.seats.insert("Z-1-1".into());
        facts.record.visitors[0].orders[0].booked.as_mut().unwrap().seat_ids.push("Z-1-1".into());
    };
    assert_eq!(broken(no_seat), [SOLD_ONCE]);
}

#[test]
fn a_seat_that_two_were_told_to_have_is_found() {
    let two = |facts: &mut Facts| {
        let goods = facts.record.visitors[0].orders[0].booked.clone();
        facts.record.visitors[1].orders[0].booked = goods;
    };
    // What the second one was told is not what is booked for them, either.
    assert_eq!(broken(two), [SOLD_ONCE, ACKNOWLEDGED]);
}

#[test]
fn general_admission_above_its_quantity_is_found() {
    let more = |facts: &mut Facts| {
        facts.record.rules.areas[0].quantity = 1;
    };
    assert_eq!(broken(more), [SOLD_ONCE]);
    assert_eq!(broken(|facts| facts.tickets.tallies.insert("floor".into(), (0, 3))), [SOLD_ONCE]);
    assert_eq!(broken(|facts| facts.ledger.sold_quantities.insert("floor".into(), (3, 1))), [SOLD_ONCE]);
}

#[test]
fn a_missing_booking_is_found() {
    let missing = |facts: &mut Facts| {
        facts.ledger.bookings.remove("r_0");
        facts.ledger.sold_seats.clear();
        facts.tickets.sold.clear();
        facts.ledger.orders.remove("o_0");
        facts.record.payments.remove(0);
    };
    assert_eq!(broken(missing), [ACKNOWLEDGED]);
    let other_seats = |facts: &mut Facts| {
        facts.record.visitors[0].orders[0].booked.as_mut().unwrap().seat_ids = vec!["A-1-3".into()];
    };
    assert_eq!(broken(other_seats), [ACKNOWLEDGED]);
    let somebody_elses = |facts: &mut Facts| facts.ledger.bookings.get_mut("r_0").unwrap().visitor = "a_1".into();
    assert_eq!(broken(somebody_elses), [ACKNOWLEDGED]);
}

#[test]
fn a_booking_that_its_visitor_was_refused_is_found() {
    let refused = |facts: &mut Facts| {
        let order = &mut facts.record.visitors[0].orders[0];
        (order.booked, order.state) = (None, Some("FAILED".into()));
    };
    assert_eq!(broken(refused), [ACKNOWLEDGED]);
    // Without any answer nobody was told anything.
    let no_answer = |facts: &mut Facts| {
        let order = &mut facts.record.visitors[0].orders[0];
        (order.booked, order.at, order.status) = (None, 0, 0);
    };
    assert_eq!(broken(no_answer), [""; 0]);
}

#[test]
fn active_over_capacity_is_found() {
    assert_eq!(broken(|facts| facts.record.rules.capacity = 1), [CAPACITY]);
    let told_only = |facts: &mut Facts| {
        let mut told = facts.record.visitors[0].admissions[0].clone();
        (told.jti, told.visitor_id) = (jti(4), "a_3".into());
        facts.record.visitors[3].admissions.push(told);
    };
    assert_eq!(broken(told_only), [CAPACITY]);
}

#[test]
fn admissions_ahead_of_the_rate_are_found() {
    // One in ten seconds, and one at a time; three came within two seconds.
    assert_eq!(broken(|facts| facts.record.rules.admit_per_minute = Some(6)), [RATE]);
    // Two at once, and then one each half second.
    assert_eq!(broken(|facts| facts.record.rules.admit_per_minute = Some(120)), [""; 0]);
}

#[test]
fn a_swapped_order_is_found() {
    let overtaken = |facts: &mut Facts| {
        // Number 4 in place of number 3.
        facts.record.steps[7] = admitted(3_050, &[(4, "a_3")], true);
        facts.record.steps[9] = ended(4_000, 4, "a_3", "LEFT");
        facts.record.steps[10] = gone(5_000 + GRACE_MS, &[(3, "a_2")], "LEFT");
        let told = facts.record.visitors[2].admissions.remove(0);
        facts.record.visitors[3].departures[0].asked_at = 3_990;
        facts.record.visitors[3].sights.clear();
        facts.record.visitors[3].admissions.push(crate::rehearse::record::Admission {
            jti: jti(4),
            visitor_id: "a_3".into(),
            ..told
        });
    };
    assert_eq!(broken(overtaken), [ORDER]);
    let late = |facts: &mut Facts| {
        // Whoever had number 5 had it before somebody asked who was given number 4.
        let place = &mut facts.record.visitors[4].places[0];
        (place.asked_at, place.at) = (1_150, 1_160);
    };
    assert_eq!(broken(late), [ORDER]);
    let twice = |facts: &mut Facts| {
        facts.record.steps.push(joined(90_000, &[(5, "a_9")]));
        facts.record.steps.push(gone(90_001, &[(5, "a_9")], "LEFT"));
    };
    assert_eq!(broken(twice), [ORDER]);
}

#[test]
fn a_position_that_was_not_so_is_found() {
    assert_eq!(broken(|facts| facts.record.visitors[4].sights[0].position = 4), [POSITIONS]);
    let back = |facts: &mut Facts| {
        let mut sight = facts.record.visitors[3].sights[0];
        (sight.as_of, sight.at, sight.position) = (3_300, 3_301, 2);
        facts.record.visitors[3].sights.push(sight);
    };
    assert_eq!(broken(back), [POSITIONS]);
    // Somebody who was taken out by mistake was put back before them.
    let put_back = |facts: &mut Facts| {
        back(facts);
        facts.record.steps.insert(9, joined(3_250, &[(3, "a_9")]));
        facts.record.steps.insert(10, gone(3_500, &[(3, "a_9")], "LEFT"));
    };
    assert_eq!(broken(put_back), [ORDER], "only that the number is another's now");
}

#[test]
fn a_forgotten_person_is_found() {
    let lost = |facts: &mut Facts| {
        facts.record.steps.retain(|step| !matches!(step, Step::Gone { reason, .. } if reason == "LEFT"));
    };
    // Whoever is in the record's line and not in the store's makes the record another one as well.
    assert_eq!(broken(lost), [FORGOTTEN, COMPLETE]);
    let no_trace = |facts: &mut Facts| {
        let mut place = facts.record.visitors[4].places[0].clone();
        (place.seq, place.asked_at, place.at) = (6, 2_500, 2_505);
        facts.record.visitors[4].places.push(Place { returned: false, ..place });
    };
    assert_eq!(broken(no_trace), [FORGOTTEN]);
}

#[test]
fn whoever_was_dropped_too_soon_is_found() {
    let while_there = |facts: &mut Facts| facts.record.visitors[3].departures.clear();
    assert_eq!(broken(while_there), [FORGOTTEN]);
    let within_grace = |facts: &mut Facts| facts.record.visitors[3].departures[0].asked_at = 40_000;
    assert_eq!(broken(within_grace), [FORGOTTEN]);
    let came_back = |facts: &mut Facts| {
        let mut place = facts.record.visitors[3].places[0].clone();
        (place.asked_at, place.at, place.returned) = (30_000, 30_001, true);
        facts.record.visitors[3].places.push(place);
    };
    assert_eq!(broken(came_back), [FORGOTTEN]);
}

#[test]
fn whoever_was_cut_off_for_the_claim_time_is_not_forgotten() {
    let expired = |facts: &mut Facts, tried_at: u64| {
        facts.record.visitors[2].admissions.clear();
        facts.record.visitors[2].departures.clear();
        facts.record.steps[9] = ended(9_050, 3, "a_2", "EXPIRED");
        facts.record.visitors[2].errors.push(Trouble {
            route: "resume".into(),
            code: "STORE_UNAVAILABLE".into(),
            status: 503,
            at: tried_at,
            in_fault: true,
        });
    };
    assert_eq!(broken(|facts| expired(facts, 3_500)), [""; 0]);
    assert_eq!(broken(|facts| expired(facts, 60_000)), [FORGOTTEN]);
    let heard = |facts: &mut Facts| {
        expired(facts, 3_500);
        let mut place = facts.record.visitors[2].places[0].clone();
        (place.asked_at, place.at, place.returned) = (5_000, 5_001, true);
        facts.record.visitors[2].places.push(place);
    };
    assert_eq!(broken(heard), [FORGOTTEN]);
}

#[test]
fn whoever_was_let_in_and_never_told_is_found() {
    assert_eq!(broken(|facts| facts.record.visitors[0].admissions.clear()), [FORGOTTEN]);
    let reset = |facts: &mut Facts| {
        facts.record.visitors[4].told_ended.push(ToldEnded { reason: "GONE".into(), at: 2_001 });
    };
    assert_eq!(broken(reset), [FORGOTTEN]);
    let other_place = |facts: &mut Facts| {
        let mut place = facts.record.visitors[3].places[0].clone();
        (place.seq, place.asked_at, place.at, place.returned) = (6, 4_100, 4_200, true);
        facts.record.steps.insert(9, joined(4_150, &[(6, "a_3")]));
        facts.record.steps.insert(10, gone(4_300, &[(6, "a_3")], "LEFT"));
        facts.record.visitors[3].places.push(place);
    };
    assert_eq!(broken(other_place), [FORGOTTEN]);
}

#[test]
fn a_leaked_slot_is_found() {
    let active = |facts: &mut Facts| {
        facts.record.steps.remove(9);
        facts.queue.active.insert("a_2".into(), 303_050);
        facts.queue.sessions.insert("a_2".into(), 3);
    };
    assert_eq!(broken(active), [RETURNED]);
    let hold = |facts: &mut Facts| facts.tickets.holds.insert("r_7".into(), Hold::default());
    assert_eq!(broken(hold), [RETURNED]);
    assert_eq!(broken(|facts| facts.tickets.held.insert("A-1-3".into())), [RETURNED]);
    assert_eq!(broken(|facts| facts.tickets.tallies.insert("floor".into(), (1, 2))), [RETURNED]);
    assert_eq!(broken(|facts| facts.tickets.pins.insert("r_7".into())), [RETURNED]);
    assert_eq!(broken(|facts| facts.ledger.unsent.push((7, jti(1)))), [RETURNED]);
    assert_eq!(broken(|facts| facts.ledger.open_orders.push(("r_7".into(), "o_7".into()))), [RETURNED]);
    assert_eq!(broken(|facts| facts.ledger.orders.get_mut("o_2").unwrap().is_due = true), [RETURNED]);
}

#[test]
fn an_unmatched_payment_is_found() {
    assert_eq!(broken(|facts| facts.record.payments[0].amount_minor = 999), [PAYMENTS]);
    assert_eq!(broken(|facts| facts.record.payments[2].status = "AUTHORIZED".into()), [PAYMENTS]);
    assert_eq!(broken(|facts| facts.record.payments[2].status = "CAPTURED".into()), [PAYMENTS]);
    assert_eq!(broken(|facts| facts.record.payments[0].status = "VOIDED".into()), [PAYMENTS]);
    assert_eq!(broken(|facts| facts.record.payments.remove(0)), [PAYMENTS]);
    let unknown = |facts: &mut Facts| facts.record.payments[2].payment_id = "o_x".into();
    assert_eq!(broken(unknown), [""; 0], "declined, and of nobody");
    let taken = |facts: &mut Facts| {
        unknown(facts);
        facts.record.payments[2].status = "CAPTURED".into();
    };
    assert_eq!(broken(taken), [PAYMENTS]);
    let twice = |facts: &mut Facts| {
        let mut again = facts.record.payments[0].history.clone();
        facts.record.payments[0].history.append(&mut again);
    };
    assert_eq!(broken(twice), [PAYMENTS]);
}

#[test]
fn balances_are_held_against_their_entries() {
    let key = ("a_0".to_owned(), "EUR".to_owned());
    let with = |amount, sum| {
        let key = key.clone();
        move |facts: &mut Facts| {
            facts.ledger.balances.insert(key.clone(), amount);
            facts.ledger.balance_sums.insert(key, sum);
        }
    };
    assert_eq!(broken(with(5, 5)), [""; 0]);
    assert_eq!(broken(with(-1, -1)), [PAYMENTS]);
    assert_eq!(broken(with(5, 4)), [PAYMENTS]);
}

#[test]
fn a_key_with_two_answers_is_found() {
    let again = |facts: &mut Facts, state: &str| {
        let order = &mut facts.record.visitors[0].orders[0];
        let repeat = Repeat {
            at: 9_000,
            status: order.status,
            code: order.code.clone(),
            order_id: order.order_id.clone(),
            state: Some(state.into()),
        };
        order.repeats.push(repeat);
    };
    assert_eq!(broken(|facts| again(facts, "CONFIRMED")), [""; 0]);
    assert_eq!(broken(|facts| again(facts, "FAILED")), [KEYS]);
    let two_orders = |facts: &mut Facts| {
        let order = facts.ledger.orders["o_2"].clone();
        facts.ledger.orders.insert("o_2b".into(), order);
    };
    assert_eq!(broken(two_orders), [KEYS]);
    assert_eq!(broken(|facts| facts.ledger.keys[0].1 = Some(402)), [KEYS]);
}

#[test]
fn a_record_with_a_gap_is_found() {
    assert_eq!(broken(|facts| facts.queue.admitted = 4), [COMPLETE]);
    assert_eq!(broken(|facts| facts.queue.waiting.insert(9, "a_9".into())), [COMPLETE]);
}
