//! What every database must do alike.

use queue_core::ids::{Millis, VisitorId};
use ticket_server::ledger::{Booking, Decision, LedgerError};

use crate::support::*;

pub async fn a_booking_is_kept_and_answered_again(place: &Place) {
    let bench = place.fresh().await;
    let first = seats("r1", 1, &["A-1-1", "A-1-2"]);
    assert_eq!(bench.book(first.clone()).await, Decision::Confirmed(Box::new(first.clone())));
    let later = Booking { at: Millis(9_000), ..first.clone() };
    assert_eq!(bench.book(later).await, Decision::Confirmed(Box::new(first.clone())), "the first answer");
    let again = bench.another().await;
    assert_eq!(again.booking(&first.reservation).await.unwrap(), Some(first.clone()));
    assert_eq!(again.bookings_of(&event(), &first.visitor).await.unwrap(), std::slice::from_ref(&first));
    let unsent = again.unsent(0, 10).await.unwrap();
    assert_eq!(unsent.len(), 1, "one outbox row, whatever was repeated");
    assert_eq!((&unsent[0].reservation, unsent[0].jti), (&first.reservation, jti(1)));
}

pub async fn a_conflict_leaves_its_neighbours_alone(place: &Place) {
    let bench = place.fresh().await;
    let owner = seats("r0", 1_000, &["A-1-1"]);
    bench.book(owner.clone()).await;
    // They go in one batch, or in several: the outcome is the same.
    let tasks: Vec<_> = (1..100)
        .map(|n| {
            let ledger = bench.ledger.clone();
            let seat = if n % 3 == 0 { "A-1-1".to_owned() } else { format!("B-1-{n}") };
            let booking = seats(&format!("r{n}"), n, &[&format!("C-1-{n}"), &seat]);
            (n, tokio::spawn(async move { ledger.book(booking).await.unwrap() }))
        })
        .collect();
    for (n, task) in tasks {
        match task.await.unwrap() {
            Decision::Confirmed(_) => assert_ne!(n % 3, 0, "r{n}"),
            Decision::SeatsSold(owners) => assert_eq!((n % 3, owners), (0, vec![owner.clone()])),
            other => panic!("{other:?}"),
        }
    }
    let all = bench.ledger.bookings(&event(), None, 500).await.unwrap();
    assert_eq!(all.len(), 1 + 66);
    assert_eq!(bench.ledger.unsent(0, 500).await.unwrap().len(), 67);
    // What a refused booking asked for beside is free, and so is its own name.
    assert!(matches!(bench.book(seats("r3", 3, &["C-1-3"])).await, Decision::Confirmed(_)));
}

pub async fn names_are_compared_byte_for_byte(place: &Place) {
    let bench = place.fresh().await;
    for (id, name) in [("r1", "A-1"), ("r2", "a-1"), ("R1", "A-1.")] {
        assert!(matches!(bench.book(seats(id, 1, &[name])).await, Decision::Confirmed(_)), "{name}");
    }
}

pub async fn whoever_comes_first_decides(place: &Place) {
    let bench = place.fresh().await;
    let (slow, fast) = (seats("r1", 1, &["A-1-1"]), seats("r2", 2, &["A-1-2"]));
    assert_eq!(bench.ledger.fence(slow.clone()).await.unwrap(), Decision::Aborted);
    assert_eq!(bench.book(slow.clone()).await, Decision::Aborted);
    assert_eq!(bench.ledger.booking(&slow.reservation).await.unwrap(), None);
    assert!(matches!(bench.book(seats("r3", 3, &["A-1-1"])).await, Decision::Confirmed(_)), "the seat is free");
    bench.book(fast.clone()).await;
    assert_eq!(bench.ledger.fence(fast.clone()).await.unwrap(), Decision::Confirmed(Box::new(fast)));
}

pub async fn tickets_without_seats_are_counted(place: &Place) {
    let bench = place.fresh().await;
    bench.ledger.put_event(stored(1, "", "", 5)).await.unwrap();
    assert!(matches!(bench.book(tickets("r1", 1, 3)).await, Decision::Confirmed(_)));
    assert_eq!(bench.book(tickets("r2", 2, 3)).await, Decision::SoldOut);
    assert!(matches!(bench.book(tickets("r1", 1, 3)).await, Decision::Confirmed(_)), "counted once");
    assert!(matches!(bench.book(tickets("r3", 3, 2)).await, Decision::Confirmed(_)));
}

pub async fn what_is_sold_stays_in_the_event(place: &Place) {
    let bench = place.fresh().await;
    bench.ledger.put_event(stored(1, "A-1 A-2", "", 5)).await.unwrap();
    bench.book(seats("r1", 1, &["A-1"])).await;
    bench.book(tickets("r2", 2, 3)).await;
    for change in [stored(2, "A-1 A-2", "A-1", 5), stored(2, "A-2", "", 5), stored(2, "A-1 A-2", "", 2)] {
        assert_eq!(bench.ledger.put_event(change).await, Err(LedgerError::InUse));
    }
    bench.ledger.put_event(stored(2, "A-1 A-2 A-3", "A-2", 3)).await.unwrap();
    let event = bench.ledger.event(&event()).await.unwrap().unwrap();
    assert_eq!((event.revision, event.slots.as_str()), (2, "A-1 A-2 A-3"));
    assert_eq!(bench.ledger.events().await.unwrap().len(), 1);
}

pub async fn sent_rows_are_marked_by_session(place: &Place) {
    let bench = place.fresh().await;
    for (id, who, seat) in [("r1", 1, "A-1"), ("r2", 2, "A-2"), ("r3", 1, "A-3")] {
        bench.book(seats(id, who, &[seat])).await;
    }
    let ids: Vec<_> = bench.ledger.unsent(0, 10).await.unwrap().iter().map(|row| row.id).collect();
    bench.ledger.mark_sent(&event(), jti(1), ids[0]).await.unwrap();
    let left: Vec<_> = bench.ledger.unsent(0, 10).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(left, ids[1..]);
    assert_eq!(bench.ledger.unsent(ids[1], 10).await.unwrap().len(), 1);
    let closed = bench.ledger.closed_since(&event(), Millis(0)).await.unwrap();
    assert_eq!(closed, [(VisitorId::new("a_1").unwrap(), jti(1))]);
    assert!(bench.ledger.closed_since(&event(), Millis(u64::MAX)).await.unwrap().is_empty());
}
