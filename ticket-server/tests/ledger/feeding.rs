//! The feed and refused messages, on every database.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use queue_core::ids::{Millis, VisitorId};
use ticket_server::ledger::{
    Booking, Decision, FeedEntry, FeedKind, FeedPlace, Ledger, Message, NUMBERS, Refusal, Verdict, book_in, sql::sql,
};

use crate::support::*;

const OWNER: &str = "server-1";
/// Later than anything.
const END: Millis = Millis(1 << 50);

async fn begin(ledger: &Ledger) {
    assert_eq!(ledger.take_marks(&[NUMBERS], OWNER, END).await.unwrap(), [NUMBERS]);
}

async fn number_all(ledger: &Ledger) {
    while ledger.number_feed().await.unwrap() > 0 {}
}

fn names(entries: &[FeedEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.booking.reservation.as_str()).collect()
}

fn at(id: &str, who: u64, at: u64) -> Booking {
    Booking { at: Millis(at), ..seats(id, who, &[&format!("S-{id}")]) }
}

/// A transaction that began first and ends last: its id is smaller than one that was numbered before.
pub async fn what_is_committed_late_is_not_passed_over(place: &Place) {
    let bench = place.fresh().await;
    let other = bench.another().await;
    begin(&other).await;
    let begun = Arc::new(AtomicBool::new(false));
    let (slow, told) = (bench.ledger.clone(), Arc::clone(&begun));
    let slow = tokio::spawn(async move {
        let booking = seats("slow", 1, &["A-1"]);
        let change = slow.change((booking, told), |(booking, told), tx| {
            Box::pin(async move {
                let Verdict::Keep(decision) = book_in(tx, booking).await? else { panic!("it is free") };
                told.store(true, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(400)).await;
                Ok(Verdict::Keep(decision))
            })
        });
        change.await.unwrap()
    });
    while !begun.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fast = other.book(seats("fast", 2, &["A-2"])).await.unwrap();
    assert!(matches!(fast, Decision::Confirmed(_)));
    number_all(&other).await;
    let mut seen = other.feed_after(0, 10).await.unwrap();
    assert!(matches!(slow.await.unwrap(), Decision::Confirmed(_)));
    number_all(&other).await;
    let last = seen.last().unwrap().seq;
    seen.extend(bench.ledger.feed_after(last, 10).await.unwrap());
    let found: BTreeSet<_> = names(&seen).into_iter().collect();
    assert_eq!((found, seen.len()), (BTreeSet::from(["fast", "slow"]), 2));
}

/// Two servers book and both number, while somebody follows by the last number alone.
pub async fn a_follower_sees_everything_once(place: &Place) {
    const EACH: u64 = 150;
    let bench = place.fresh().await;
    let servers = [bench.ledger.clone(), bench.another().await];
    begin(&servers[0]).await;
    let booking = servers.iter().enumerate().map(|(at, ledger)| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let books = (0..EACH).map(|n| {
                let ledger = ledger.clone();
                let booking = seats(&format!("r{at}-{n}"), n, &[&format!("A-{at}-{n}")]);
                tokio::spawn(async move { ledger.book(booking).await.unwrap() })
            });
            for book in books.collect::<Vec<_>>() {
                assert!(matches!(book.await.unwrap(), Decision::Confirmed(_)));
            }
        })
    });
    let booking: Vec<_> = booking.collect();
    let done = Arc::new(AtomicBool::new(false));
    let numbering = servers.clone().map(|ledger| {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                ledger.number_feed().await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    });
    let (mut last, mut seen) = (0, BTreeSet::new());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while seen.len() < 2 * EACH as usize {
        assert!(std::time::Instant::now() < deadline, "{} were seen", seen.len());
        for entry in bench.ledger.feed_after(last, 50).await.unwrap() {
            let seq = entry.seq;
            assert!(seq > last, "{seq} after {last}");
            last = seq;
            assert!(seen.insert(entry.booking.reservation.to_string()), "twice");
        }
    }
    done.store(true, Ordering::SeqCst);
    for task in booking.into_iter().chain(numbering) {
        task.await.unwrap();
    }
    assert_eq!(servers[1].mark(NUMBERS).await.unwrap().unwrap().seq, last);
}

pub async fn bookings_are_read_by_time(place: &Place) {
    let bench = place.fresh().await;
    let ledger = &bench.ledger;
    for (id, time) in [("r1", 3_000), ("r2", 1_000), ("r3", 2_000), ("r4", 2_000), ("r5", 2_000), ("r6", 4_000)] {
        bench.book(at(id, 1, time)).await;
    }
    assert!(ledger.cancel_booking(&at("r4", 1, 0).reservation).await.unwrap());
    begin(ledger).await;
    number_all(ledger).await;
    let read = async |from, to, after, limit| ledger.completed(Millis(from), Millis(to), after, limit).await.unwrap();
    assert_eq!(names(&read(0, 10_000, None, 10).await), ["r2", "r3", "r4", "r5", "r1", "r6"], "what was cancelled too");
    assert_eq!(names(&read(2_000, 4_000, None, 10).await), ["r3", "r4", "r5", "r1"]);
    let (mut after, mut paged) = (None, Vec::new());
    loop {
        let page = read(1_000, 4_000, after, 2).await;
        paged.extend(names(&page).into_iter().map(str::to_owned));
        let Some(last) = page.last() else { break };
        after = Some(FeedPlace { at: last.at, id: last.id });
    }
    assert_eq!(paged, ["r2", "r3", "r4", "r5", "r1"]);
    assert!(read(4_001, 10_000, None, 10).await.is_empty());
    let feed = ledger.feed_after(0, 10).await.unwrap();
    let last = feed.last().unwrap();
    assert_eq!((feed.len(), last.kind, last.booking.reservation.as_str()), (7, FeedKind::Cancelled, "r4"));
    assert_eq!(last.booking.at, Millis(2_000), "when it was booked");
}

/// A ledger that is older than the feed.
pub async fn what_was_booked_before_is_in_the_feed(place: &Place) {
    let bench = place.fresh().await;
    for (id, time) in [("r1", 3_000), ("r2", 1_000), ("r3", 2_000)] {
        bench.book(at(id, 1, time)).await;
    }
    assert!(bench.ledger.cancel_booking(&at("r1", 1, 0).reservation).await.unwrap());
    let undo = bench.ledger.change((), |(), tx| {
        Box::pin(async move {
            for text in ["DROP TABLE feed", "DROP TABLE feed_marks", "DROP TABLE letters"] {
                tx.execute(sql(text)).await?;
            }
            tx.execute(sql("DELETE FROM _sqlx_migrations WHERE version = 6")).await?;
            Ok(Verdict::Keep(()))
        })
    });
    undo.await.unwrap();
    let ledger = bench.another().await;
    begin(&ledger).await;
    ledger.book(at("r4", 1, 500)).await.unwrap();
    number_all(&ledger).await;
    let feed = ledger.feed_after(0, 10).await.unwrap();
    assert_eq!(names(&feed), ["r2", "r3", "r1", "r1", "r4"]);
    let kinds: Vec<_> = feed.iter().map(|entry| entry.kind).collect();
    assert_eq!((kinds[2], kinds[3]), (FeedKind::Completed, FeedKind::Cancelled));
}

pub async fn one_server_has_a_mark_at_a_time(place: &Place) {
    let bench = place.fresh().await;
    let (one, two) = (bench.ledger.clone(), bench.another().await);
    assert_eq!(one.take_marks(&[NUMBERS, "redis"], "one", END).await.unwrap(), [NUMBERS, "redis"]);
    assert_eq!(two.take_marks(&[NUMBERS, "kafka"], "two", END).await.unwrap(), ["kafka"]);
    assert!(one.move_mark("redis", "one", 7).await.unwrap());
    assert!(!two.move_mark("redis", "two", 9).await.unwrap());
    let mark = two.mark("redis").await.unwrap().unwrap();
    assert_eq!((mark.seq, mark.owner.as_str()), (7, "one"));
    let generation = two.mark(NUMBERS).await.unwrap().unwrap().generation;
    assert_eq!(generation.len(), 16);
    // One that was not renewed in time is anybody's, and so is one that was given up.
    assert_eq!(one.take_marks(&["redis"], "one", Millis(1)).await.unwrap(), ["redis"]);
    one.leave_marks("one").await.unwrap();
    assert_eq!(two.take_marks(&[NUMBERS, "redis"], "two", END).await.unwrap(), [NUMBERS, "redis"]);
    assert!(!one.move_mark("redis", "one", 8).await.unwrap());
    assert_eq!(two.mark("redis").await.unwrap().unwrap().seq, 7);
    assert_eq!(one.mark(NUMBERS).await.unwrap().unwrap().generation, generation, "the same feed");
}

fn letter(id: &str, place: u64, who: u64) -> Message {
    let booking = seats(id, who, &["A-1"]);
    Message {
        id: format!("{id}:done"),
        place,
        event: booking.event,
        visitor: booking.visitor,
        reservation: booking.reservation,
        body: format!("{{\"of\":\"{id}\"}}"),
        traceparent: None,
    }
}

fn refusal(due_at: Option<Millis>) -> Refusal {
    Refusal { reason: "422 no\nthanks".into(), due_at }
}

pub async fn refused_messages_are_tried_in_order_and_kept_when_given_up(place: &Place) {
    let bench = place.fresh().await;
    let ledger = &bench.ledger;
    let due = async || {
        let letters = ledger.due_letters("queue", END).await.unwrap();
        letters.into_iter().map(|letter| letter.message.id).collect::<Vec<_>>()
    };
    assert!(ledger.hold_letter("queue", letter("r1", 1, 1), Some(refusal(Some(Millis(1))))).await.unwrap());
    assert!(!ledger.hold_letter("queue", letter("r1", 1, 1), Some(refusal(None))).await.unwrap(), "it is here");
    assert!(ledger.hold_letter("queue", letter("r2", 2, 1), None).await.unwrap());
    assert!(ledger.hold_letter("queue", letter("r3", 3, 2), Some(refusal(Some(END)))).await.unwrap());
    assert!(ledger.hold_letter("kafka", letter("r1", 1, 1), None).await.unwrap(), "another receiver");
    assert_eq!(due().await, ["r1:done", "r3:done"], "r2 waits for r1");
    assert!(
        ledger.due_letters("queue", Millis(500)).await.unwrap().iter().all(|letter| letter.message.id == "r1:done")
    );
    let mut held = ledger.held_visitors("queue", 10).await.unwrap();
    held.sort_by_key(ToString::to_string);
    assert_eq!(held, ["a_1", "a_2"].map(|id| VisitorId::new(id).unwrap()));
    // Given up: the next one goes on.
    let first = ledger.due_letters("queue", Millis(500)).await.unwrap().remove(0);
    assert!(ledger.refuse_letter(&first, refusal(None)).await.unwrap());
    assert!(!ledger.refuse_letter(&first, refusal(None)).await.unwrap(), "it counts once");
    assert_eq!(due().await, ["r2:done", "r3:done"]);
    let dead = ledger.dead_letters(Some("queue"), 0, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].attempts, dead[0].reason.as_str(), dead[0].dead), (1, 2, "422 nothanks", true));
    assert_eq!(dead[0].message, first.message);
    assert_eq!((ledger.count_dead("queue").await.unwrap(), ledger.count_dead("kafka").await.unwrap()), (1, 0));
    assert!(ledger.dead_letters(None, dead[0].id, 10).await.unwrap().is_empty());
    assert!(ledger.oldest_held("queue").await.unwrap().is_some());
    // Only what is dead is an operator's.
    let waiting = ledger.due_letters("queue", END).await.unwrap();
    assert_eq!(ledger.retry_letter(waiting[0].id).await.unwrap(), None);
    assert_eq!(ledger.discard_letter(waiting[0].id).await.unwrap(), None);
    assert!(ledger.retry_letter(dead[0].id).await.unwrap().is_some());
    assert!(due().await.contains(&"r1:done".to_owned()));
    for letter in ledger.due_letters("queue", END).await.unwrap() {
        ledger.drop_letter(letter.id).await.unwrap();
    }
    assert!(due().await.is_empty() && ledger.dead_letters(None, 0, 10).await.unwrap().is_empty());
    assert!(ledger.hold_letter("kafka", letter("r9", 9, 9), Some(refusal(None))).await.unwrap());
    let dead = ledger.dead_letters(None, 0, 10).await.unwrap();
    assert_eq!(ledger.discard_letter(dead[0].id).await.unwrap().as_ref(), dead.first());
    assert_eq!(ledger.discard_letter(dead[0].id).await.unwrap(), None);
}
