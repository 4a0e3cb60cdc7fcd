//! Orders against other ways to the same booking.

use queue_core::ids::Millis;
use ticket_server::{
    ledger::{
        Beginning, Begun, Booking, Decision, Effect, KeyNow, Known, Lease, LedgerError, Moved, Recorded, StoredEvent,
    },
    orders::{Item, Kept, Key, Kind, Order, OrderId, Saga, Stage},
    payments::Method,
};

use crate::support::*;

/// An order of that booking, of which nothing is done yet.
fn order_of(booking: &Booking) -> Order {
    let now = Millis(1_000);
    let mut order = Order {
        id: OrderId::random(Kind::Order).unwrap(),
        saga: Saga::new(Kind::Order, Millis(60_000)),
        event: booking.event.clone(),
        visitor: booking.visitor.clone(),
        jti: booking.jti,
        item: Some(Item {
            reservation: booking.reservation.clone(),
            ordered: booking.ordered.clone(),
            tickets: booking.tickets.clone(),
            held_at: Millis(500),
            hold_end: booking.hold_end,
        }),
        method: Method::Card,
        total_minor: booking.total_minor,
        currency: booking.currency.clone(),
        admitted_at: booking.admitted_at,
        rev: 0,
        attempts: 0,
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        created_at: now,
        steps: Vec::new(),
    };
    order.enter(now);
    order
}

fn key() -> Key {
    Key::of("a key", &["a body"])
}

fn begin(order: &Order) -> Beginning {
    let lease = Lease { owner: "this run".into(), until: Millis(u64::MAX >> 2) };
    Beginning { order: order.clone(), key: key(), lease }
}

/// The next move of an order.
fn go_to(order: &Order, stage: Stage, effect: Effect, key: KeyNow) -> Moved {
    let mut order = order.clone();
    (order.saga.stage, order.rev) = (stage, order.rev + 1);
    order.enter(Millis(2_000));
    let closes = !order.saga.is_open();
    Moved { order, effect, closes, key, notification: None, next_at: Some(Millis(2_000)) }
}

pub async fn an_order_is_read_as_it_was_written(place: &Place) {
    let bench = place.fresh().await;
    let order = order_of(&seats("r1", 1, &["A-1"]));
    assert_eq!(bench.ledger.begin_order(begin(&order)).await.unwrap(), Begun::New);
    assert_eq!(bench.ledger.order(&order.id).await.unwrap(), Some(order));
}

/// Whoever books first has booked: the other is not paid for.
pub async fn an_order_pays_for_its_own_booking_alone(place: &Place) {
    let bench = place.fresh().await;
    let other = bench.another().await;
    let races = (0..60).map(|n| {
        let (ledger, other) = (bench.ledger.clone(), other.clone());
        let free = seats(&format!("r{n}"), n, &[&format!("S{n}")]);
        let paid = Booking { at: Millis(2_000), ..free.clone() };
        let order = order_of(&paid);
        tokio::spawn(async move {
            assert_eq!(ledger.begin_order(begin(&order)).await.unwrap(), Begun::New);
            let booking = go_to(&order, Stage::Capturing, Effect::Book(paid.clone()), KeyNow::Same);
            let (recorded, _) = tokio::join!(ledger.record(booking), other.book(free));
            let kept = ledger.booking(&paid.reservation).await.unwrap().unwrap();
            let expected = if kept == paid { Recorded::Done } else { Recorded::Decided(true) };
            assert_eq!(recorded.unwrap(), expected);
        })
    });
    for race in races.collect::<Vec<_>>() {
        race.await.unwrap();
    }
}

/// A seat or a type is sold, or taken out of the event, whoever comes first.
pub async fn what_is_taken_out_is_not_sold_at_the_same_time(place: &Place) {
    let bench = place.fresh().await;
    let other = bench.another().await;
    for n in 0..40 {
        let names = format!("S{n} T{n}");
        bench.ledger.put_event(stored(1, &names, "", 5)).await.unwrap();
        let booking =
            if n % 2 == 0 { seats(&format!("r{n}"), n, &[&format!("S{n}")]) } else { tickets(&format!("r{n}"), n, 1) };
        let (slots, kept) = (format!("S{n}"), StoredEvent { quantities: Vec::new(), ..stored(2, &names, "", 5) });
        let change = if n % 2 == 0 { stored(2, &names, &slots, 5) } else { kept };
        let (booked, changed) = tokio::join!(other.book(booking.clone()), bench.ledger.put_event(change));
        let sold = matches!(booked.unwrap(), Decision::Confirmed(_));
        assert_eq!(changed, if sold { Err(LedgerError::InUse) } else { Ok(()) }, "{n}");
        if sold {
            other.cancel_booking(&booking.reservation).await.unwrap();
        }
    }
}

pub async fn a_key_that_is_freed_serves_again(place: &Place) {
    let bench = place.fresh().await;
    let order = order_of(&seats("r1", 1, &["A-1"]));
    assert_eq!(bench.ledger.begin_order(begin(&order)).await.unwrap(), Begun::New);
    let freed = go_to(&order, Stage::Done, Effect::None, KeyNow::Free);
    assert_eq!(bench.ledger.record(freed).await.unwrap(), Recorded::Done);
    assert_eq!(bench.ledger.known_key(&order.visitor, &key(), Millis(1_000)).await.unwrap(), None);
    let again = order_of(&seats("r1", 1, &["A-1"]));
    assert_eq!(bench.ledger.begin_order(begin(&again)).await.unwrap(), Begun::New);
    let answer = Kept { status: 201, body: "{}".into() };
    let answered = go_to(&again, Stage::Done, Effect::None, KeyNow::Answers(answer.clone()));
    assert_eq!(bench.ledger.record(answered).await.unwrap(), Recorded::Done);
    let known = bench.ledger.known_key(&again.visitor, &key(), Millis(1_000)).await.unwrap();
    assert_eq!(known, Some(Known::Answered(answer)));
}
