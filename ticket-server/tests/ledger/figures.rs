//! What is read of a sale as a whole.

use queue_core::ids::Millis;
use ticket_server::ledger::{Booking, Completion, Counted, Decision, SoldIn, Tickets};

use crate::support::*;

fn at(ms: u64, booking: Booking) -> Booking {
    Booking { at: Millis(ms), ..booking }
}

pub async fn bookings_are_ranked_by_when_they_were_made(place: &Place) {
    let bench = place.fresh().await;
    bench.ledger.put_event(stored(1, "", "", 9)).await.unwrap();
    let mut booked = [
        at(70_000, seats("r1", 1, &["A-1", "A-2"])),
        at(60_000, seats("r9", 2, &["A-3"])),
        at(60_000, tickets("r3", 3, 2)),
        at(60_000, seats("r2", 4, &["A-4"])),
    ];
    for booking in booked.iter().cloned() {
        assert!(matches!(bench.book(booking).await, Decision::Confirmed(_)));
    }
    bench.ledger.fence(at(1, seats("r0", 9, &["A-9"]))).await.unwrap();
    booked.sort_by(|a, b| (a.at, a.reservation.as_str()).cmp(&(b.at, b.reservation.as_str())));
    let expected: Vec<_> = booked.iter().cloned().map(Completion::of).collect();
    assert_eq!(expected.iter().map(|item| item.seats).collect::<Vec<_>>(), [1, 2, 1, 2]);
    let ledger = bench.another().await;
    assert_eq!(ledger.completions(&event(), 0, 10).await.unwrap(), expected);
    assert_eq!(ledger.completions(&event(), 1, 2).await.unwrap(), expected[1..3]);
    assert_eq!(ledger.completions_total(&event()).await.unwrap(), 4);
    for (n, booking) in booked.iter().enumerate() {
        let before = ledger.completions_before(&event(), booking.at, &booking.reservation).await.unwrap();
        assert_eq!(before, n as u64, "{}", booking.reservation);
    }
    assert!(ledger.cancel_booking(&booked[0].reservation).await.unwrap());
    assert_eq!(ledger.completions(&event(), 0, 10).await.unwrap(), expected[1..]);
}

pub async fn what_was_sold_is_counted_by_type_and_minute(place: &Place) {
    let bench = place.fresh().await;
    bench.ledger.put_event(stored(1, "", "", 9)).await.unwrap();
    let unknown = Booking { tickets: Tickets::default(), ..at(200_000, seats("r4", 4, &["A-4"])) };
    for booking in [
        at(60_000, seats("r1", 1, &["A-1", "A-2"])),
        at(119_999, seats("r2", 2, &["A-5", "A-6"])),
        at(120_000, seats("r3", 1, &["A-3"])),
        unknown,
        at(61_000, tickets("r5", 3, 4)),
        at(62_000, seats("r6", 6, &["A-7"])),
        Booking { tickets: "STD=1".parse().unwrap(), ..at(240_000, seats("r7", 4, &["A-8"])) },
    ] {
        assert!(matches!(bench.book(booking).await, Decision::Confirmed(_)));
    }
    bench.ledger.cancel_booking(&seats("r6", 6, &[]).reservation).await.unwrap();
    let row =
        |minute, text: &str, bookings| SoldIn { minute: Millis(minute), tickets: text.parse().unwrap(), bookings };
    let mut sold = bench.ledger.sold(&event()).await.unwrap();
    sold.sort_by_key(|sold| sold.tickets.to_string());
    assert_eq!(
        sold,
        [row(0, "", 1), row(0, "STD=1", 1), row(0, "standing=4", 1), row(0, "std=1", 1), row(0, "std=2", 2)]
    );
    let minutes = bench.ledger.sold_by_minute(&event(), Millis(u64::MAX >> 2), 9).await.unwrap();
    let expected = [
        row(240_000, "STD=1", 1),
        row(180_000, "", 1),
        row(120_000, "std=1", 1),
        row(60_000, "standing=4", 1),
        row(60_000, "std=2", 2),
    ];
    assert_eq!(minutes, expected);
    let older = bench.ledger.sold_by_minute(&event(), Millis(180_000), 1).await.unwrap();
    assert_eq!(older, expected[2..3]);
    assert_eq!(bench.ledger.sessions_booked(&event()).await.unwrap(), 4, "one booked twice, one took it back");
}

pub async fn what_was_counted_only_grows(place: &Place) {
    let bench = place.fresh().await;
    let counted =
        |source: &str, taken, expired| Counted { source: source.into(), taken, expired, ..Counted::default() };
    let keep = async |ledger: &ticket_server::ledger::Ledger, counted: Counted| {
        ledger.keep_counts(vec![(event(), counted)]).await.unwrap();
    };
    let other = bench.another().await;
    keep(&bench.ledger, counted("store-1", 5, 1)).await;
    keep(&other, counted("store-1", 7, 2)).await;
    keep(&bench.ledger, counted("store-1", 6, 1)).await;
    keep(&bench.ledger, counted("store-1", 7, 2)).await;
    keep(&other, Counted { admitted: 40, ..counted("line-1", 0, 0) }).await;
    keep(&other, counted("store-2", 1, 0)).await;
    let mut counts = bench.ledger.counts(&event()).await.unwrap();
    counts.sort_by(|a, b| a.source.cmp(&b.source));
    let line = Counted { admitted: 40, ..counted("line-1", 0, 0) };
    assert_eq!(counts, [line, counted("store-1", 7, 2), counted("store-2", 1, 0)]);
}

pub async fn bookings_are_kept_whole_however_many_are_written_at_once(place: &Place) {
    let bench = place.fresh().await;
    bench.ledger.put_event(stored(1, "", "", 99)).await.unwrap();
    let mut booked: Vec<_> = (10..40)
        .map(|n| match n % 3 {
            0 => tickets(&format!("r{n}"), n, 2),
            1 => seats(&format!("r{n}"), n, &[&format!("A-{n}"), &format!("B-{n}")]),
            _ => Booking {
                admitted_at: None,
                tickets: Tickets::default(),
                ..seats(&format!("r{n}"), n, &[&format!("C-{n}")])
            },
        })
        .collect();
    let booking = booked.iter().cloned().map(|booking| {
        let ledger = bench.ledger.clone();
        tokio::spawn(async move { ledger.book(booking).await.unwrap() })
    });
    for booking in booking.collect::<Vec<_>>() {
        assert!(matches!(booking.await.unwrap(), Decision::Confirmed(_)));
    }
    booked.sort_by(|a, b| a.reservation.as_str().cmp(b.reservation.as_str()));
    assert_eq!(bench.ledger.bookings(&event(), None, 99).await.unwrap(), booked);
}
