//! What every database must do alike.

use queue_core::ids::{Millis, VisitorId};
use ticket_server::{
    ids::TicketTypeId,
    ledger::{
        Booking, Decision, Ledger, LedgerError, StoredEvent, Verdict,
        sql::{number, sql, text},
    },
};

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
    // What is taken out is not booked any more, whoever held it; what is back can be.
    assert_eq!(bench.book(seats("r3", 3, &["A-2"])).await, Decision::SeatsSold(Vec::new()));
    bench.ledger.put_event(stored(3, "A-1 A-2 A-3", "A-3", 3)).await.unwrap();
    assert!(matches!(bench.book(seats("r4", 4, &["A-2"])).await, Decision::Confirmed(_)));
    assert_eq!(bench.ledger.put_event(stored(4, "A-1 A-2 A-3", "A-2 A-3", 3)).await, Err(LedgerError::InUse));
    bench.ledger.put_event(stored(2, "A-1 A-2 A-3", "", 3)).await.unwrap();
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
    let closed = bench.ledger.closed_since(&event(), Millis(0), None, 9).await.unwrap();
    assert_eq!(closed, [(VisitorId::new("a_1").unwrap(), jti(1))]);
    assert!(bench.ledger.closed_since(&event(), Millis(u64::MAX), None, 9).await.unwrap().is_empty());
    bench.ledger.mark_sent(&event(), jti(2), ids[1]).await.unwrap();
    let (mut pages, mut after) = (Vec::new(), None);
    while let [(_, jti)] = bench.ledger.closed_since(&event(), Millis(0), after, 1).await.unwrap()[..] {
        pages.push(jti);
        after = Some(jti);
    }
    assert_eq!(pages, [jti(1), jti(2)], "a page at a time");
}

/// Adds to what is sold of two types, in that order.
async fn count(ledger: &Ledger, kinds: [&'static str; 2]) -> Result<(), LedgerError> {
    let change = ledger.change(kinds, |kinds, tx| {
        Box::pin(async move {
            for kind in kinds {
                let query = sql("UPDATE sold_quantities SET sold = sold + 1 WHERE ticket_type_id = ?").bind(*kind);
                tx.execute(query).await?;
            }
            Ok(Verdict::Keep(()))
        })
    });
    change.await
}

async fn sold_of(ledger: &Ledger, kind: &str) -> u64 {
    let query = sql("SELECT sold FROM sold_quantities WHERE ticket_type_id = ?").bind(kind);
    number(&ledger.fetch_optional(query).await.unwrap().unwrap(), "sold").unwrap()
}

pub async fn a_fence_and_a_confirmation_on_two_servers_agree(place: &Place) {
    let bench = place.fresh().await;
    let other = bench.another().await;
    let races = (0..60).map(|n| {
        let (ledger, other, booking) =
            (bench.ledger.clone(), other.clone(), seats(&format!("r{n}"), n, &[&format!("S{n}")]));
        tokio::spawn(async move { tokio::join!(ledger.book(booking.clone()), other.fence(booking)) })
    });
    let mut confirmed = 0;
    for race in races.collect::<Vec<_>>() {
        let (booked, fenced) = race.await.unwrap();
        assert_eq!(booked, fenced, "both know who came first");
        confirmed += usize::from(matches!(booked.unwrap(), Decision::Confirmed(_)));
    }
    assert_eq!(other.bookings(&event(), None, 500).await.unwrap().len(), confirmed);
    assert_eq!(other.unsent(0, 500).await.unwrap().len(), confirmed);
}

pub async fn two_servers_sell_a_seat_once(place: &Place) {
    let bench = place.fresh().await;
    let servers = [bench.ledger.clone(), bench.another().await];
    let wanted = (0..120_u64).map(|n| {
        let ledger = servers[n as usize % 2].clone();
        // Pairs that overlap, in both orders.
        let (one, two) = (n / 2 % 30, (n / 2 + 1) % 30);
        let names = if n % 2 == 0 { [one, two] } else { [two, one] }.map(|at| format!("A-{at}"));
        let booking = seats(&format!("r{n}"), n, &[&names[0], &names[1]]);
        tokio::spawn(async move { (names, ledger.book(booking).await.unwrap()) })
    });
    let mut sold = std::collections::HashSet::new();
    for task in wanted.collect::<Vec<_>>() {
        match task.await.unwrap() {
            (names, Decision::Confirmed(_)) => names.into_iter().for_each(|name| assert!(sold.insert(name))),
            (_, Decision::SeatsSold(owners)) => assert!(!owners.is_empty()),
            (_, other) => panic!("{other:?}"),
        }
    }
    let all = servers[1].bookings(&event(), None, 500).await.unwrap();
    assert_eq!((all.len() * 2, servers[0].unsent(0, 500).await.unwrap().len()), (sold.len(), all.len()));
}

pub async fn two_servers_share_an_inventory(place: &Place) {
    let bench = place.fresh().await;
    let servers = [bench.ledger.clone(), bench.another().await];
    bench.ledger.put_event(stored(1, "", "", 50)).await.unwrap();
    let wanted = (0..120_u64).map(|n| {
        let (ledger, booking) = (servers[n as usize % 2].clone(), tickets(&format!("r{n}"), n, 1));
        tokio::spawn(async move { ledger.book(booking).await.unwrap() })
    });
    let mut confirmed = 0;
    for task in wanted.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Decision::Confirmed(_) => confirmed += 1,
            Decision::SoldOut => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((confirmed, sold_of(&bench.ledger, "standing").await), (50, 50));
}

/// What one refuses or cannot do at all leaves its neighbours in the batch alone.
pub async fn changes_are_kept_or_undone_each_by_itself(place: &Place) {
    let bench = place.fresh().await;
    let changes = (0..60_u64).map(|n| {
        let ledger = bench.ledger.clone();
        tokio::spawn(async move {
            let change = ledger.change(n, |&n, tx| {
                Box::pin(async move {
                    let row = sql("INSERT INTO writers (writer, batch, seen_at) VALUES (?, 0, ?)");
                    assert!(tx.insert_new(row.bind(format!("w{n}")).bind(u64::MAX), 1).await?);
                    match n % 3 {
                        0 => Ok(Verdict::Keep(n)),
                        1 => Ok(Verdict::Undo(n)),
                        // Nobody can go on after that, however they try.
                        _ => {
                            let wrong = tx.execute(sql("INSERT INTO nowhere (a) VALUES (1)")).await;
                            assert!(matches!(wrong, Err(LedgerError::Broken(_))), "{wrong:?}");
                            Ok(Verdict::Keep(n))
                        }
                    }
                })
            });
            (n, change.await)
        })
    });
    for change in changes.collect::<Vec<_>>() {
        let (n, result) = change.await.unwrap();
        assert!(matches!((n % 3, &result), (0 | 1, Ok(_)) | (2, Err(LedgerError::Broken(_)))), "{n}: {result:?}");
    }
    let rows = bench.ledger.fetch_all(sql("SELECT writer FROM writers WHERE writer LIKE 'w%'")).await.unwrap();
    let mut names: Vec<_> = rows.iter().map(|row| text(row, "writer").unwrap()).collect();
    names.sort_by_key(|name| name[1..].parse::<u64>().unwrap());
    assert_eq!(names, (0..60).step_by(3).map(|n| format!("w{n}")).collect::<Vec<_>>());
}

/// Each waits for what the other has: the database ends one of them, and it is run again.
pub async fn two_servers_that_lock_each_other_out_both_go_on(place: &Place) {
    let bench = place.fresh().await;
    let other = bench.another().await;
    let kinds = ["one", "two"].map(|kind| (TicketTypeId::new(kind).unwrap(), 1_000));
    bench.ledger.put_event(StoredEvent { quantities: kinds.to_vec(), ..stored(1, "", "", 0) }).await.unwrap();
    let changes = (0..40).map(|n| {
        let (ledger, kinds) =
            if n % 2 == 0 { (bench.ledger.clone(), ["one", "two"]) } else { (other.clone(), ["two", "one"]) };
        tokio::spawn(async move { count(&ledger, kinds).await })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap().unwrap();
    }
    assert_eq!((sold_of(&other, "one").await, sold_of(&other, "two").await), (40, 40));
}

pub async fn several_servers_may_start_at_once(place: &Place) {
    let url = place.address();
    let starting: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { open(&url).await })
        })
        .collect();
    for (n, server) in starting.into_iter().enumerate() {
        let ledger = server.await.unwrap();
        let booked = ledger.book(seats(&format!("r{n}"), 1, &[&format!("A-{n}")])).await.unwrap();
        assert!(matches!(booked, Decision::Confirmed(_)));
    }
}

pub async fn messages_keep_the_order_of_their_bookings(place: &Place) {
    let bench = place.fresh().await;
    for n in 0..5 {
        bench.book(seats(&format!("z{}", 9 - n), n, &[&format!("A-{n}")])).await;
    }
    let order: Vec<_> = bench.ledger.unsent(0, 10).await.unwrap().iter().map(|row| row.jti).collect();
    assert_eq!(order, (0..5).map(jti).collect::<Vec<_>>());
    assert_eq!(bench.ledger.unsent(0, 2).await.unwrap().len(), 2);
}

pub async fn messages_that_were_sent_long_ago_are_dropped(place: &Place) {
    let bench = place.fresh().await;
    for n in 0..6 {
        bench.book(seats(&format!("r{n}"), n, &[&format!("A-{n}")])).await;
    }
    let last = bench.ledger.unsent(0, 10).await.unwrap().last().unwrap().id;
    for n in 0..4 {
        bench.ledger.mark_sent(&event(), jti(n), last).await.unwrap();
    }
    assert_eq!(bench.ledger.prune_outbox(Millis(1), 10).await.unwrap(), 0, "they are young");
    let later = Millis(u64::MAX >> 2);
    assert_eq!(bench.ledger.prune_outbox(later, 3).await.unwrap(), 3, "so many at once");
    assert_eq!(bench.ledger.prune_outbox(later, 3).await.unwrap(), 1);
    assert_eq!(bench.ledger.unsent(0, 10).await.unwrap().len(), 2, "what was not sent stays");
    assert_eq!(bench.ledger.bookings(&event(), None, 10).await.unwrap().len(), 6);
}
