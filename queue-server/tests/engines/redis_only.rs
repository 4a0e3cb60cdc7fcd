//! What only Redis can show: channels and streams for other processes, a store that goes away and comes back.

use std::time::{Duration, Instant};

use queue_core::{
    ids::{EventId, Generation, Rank, Seq},
    limits::{ADMIT_BATCH_MAX, ENDED_KEPT_MS},
    line::{Admitted, Command, Configure, Outcome, Refusal, Standing},
    policy::Policy,
    positions::PositionIndex,
    service::{redis::StoreUrl, testing::TestRedis},
    wire::{BOOKING_DONE_CHANNEL, BOOKING_DONE_LOG, BookingDone, EndReason, Message, SESSION_ENDED_CHANNEL},
};
use queue_server::engine::{
    Engine as _, EngineError, Health, Signal,
    redis::{Options, RedisEngine, scripts::TEST_BASE_RANKS},
};
use tokio::sync::broadcast::Receiver;

use crate::support::{TestClock, WITHIN, connect, start, visitor, visitors};

fn event() -> EventId {
    EventId::new("faults").unwrap()
}

async fn create(engine: &RedisEngine) {
    let policy = Policy::with_capacity(2);
    let configure = Configure::new(policy, Generation(7));
    engine.apply(&event(), None, Command::Configure(configure)).await.unwrap();
}

async fn next(signals: &mut Receiver<Signal>, wanted: impl Fn(&Signal) -> bool) -> Signal {
    let search = async {
        loop {
            let signal = signals.recv().await.unwrap();
            if wanted(&signal) {
                return signal;
            }
        }
    };
    tokio::time::timeout(WITHIN, search).await.expect("a signal within the bound")
}

fn booking_done(seq: u64) -> String {
    format!(
        r#"{{"type":"BOOKING_DONE","eventId":"faults","visitorId":"a","jti":"0000000000000007.{seq}","outcome":"BOOKED","at":"2026-11-20T10:00:00.000Z"}}"#
    )
}

fn is_done(signal: &Signal, seq: u64) -> bool {
    matches!(signal, Signal::BookingDone(BookingDone { jti, .. }) if jti.seq == Seq(seq))
}

#[tokio::test]
async fn ended_sessions_are_told_on_channel_and_stream() {
    let redis = TestRedis::start();
    let engine = connect(&redis.url(), None).await;
    let mut channel = engine.store().subscribe([SESSION_ENDED_CHANNEL]);
    channel.recv().await;
    create(&engine).await;
    engine.apply(&event(), None, Command::Join { visitors: visitors("v", 2), floor: Seq(0) }).await.unwrap();
    let left = engine.apply(&event(), None, Command::Leave(visitor("v1"))).await.unwrap();
    let queue_core::service::redis::Event::Message(told) = channel.recv().await else { panic!("no message") };
    let stream = engine.store().read_stream("usher:{faults}:session-ended", "0", 10).await.unwrap();
    assert_eq!(stream.len(), 1);
    assert_eq!(stream[0].field("body"), Some(&told.payload));
    let Message::SessionEnded(ended) = serde_json::from_slice(&told.payload).unwrap() else { panic!() };
    assert_eq!((ended.jti.to_string().as_str(), ended.at), ("0000000000000007.2", left.now));
    let written = serde_json::to_string(&Message::SessionEnded(ended)).unwrap();
    assert_eq!(written.as_bytes(), &told.payload[..], "byte for byte what the type gives");
}

#[tokio::test]
async fn booking_done_comes_over_the_channel_and_from_the_log() {
    let redis = TestRedis::start();
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", &booking_done(1)]);
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", "nonsense"]);
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "other", "field"]);
    let engine = start(&redis.url(), None);
    let mut signals = engine.signals();
    next(&mut signals, |signal| matches!(signal, Signal::Resync)).await;
    next(&mut signals, |signal| is_done(signal, 1)).await;
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", &booking_done(2)]);
    next(&mut signals, |signal| is_done(signal, 2)).await;
    assert!(engine.malformed_total() >= 2);

    let before = engine.malformed_total();
    redis.cli(&["PUBLISH", BOOKING_DONE_CHANNEL, "{}"]);
    redis.cli(&["PUBLISH", "usher:admitted", "[]"]);
    redis.cli(&["PUBLISH", "usher:events-changed", "no event"]);
    redis.cli(&["PUBLISH", SESSION_ENDED_CHANNEL, &booking_done(3)]);
    redis.cli(&["PUBLISH", BOOKING_DONE_CHANNEL, &booking_done(3)]);
    next(&mut signals, |signal| is_done(signal, 3)).await;
    assert_eq!(engine.malformed_total(), before + 4);
    // What came over the channel does not come again from the log.
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", &booking_done(3)]);
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", &booking_done(4)]);
    let signal = next(&mut signals, |signal| matches!(signal, Signal::BookingDone(_))).await;
    assert!(is_done(&signal, 4), "{signal:?}");
    // Somebody else's name for the same session is another message, and hides nothing.
    let foreign = booking_done(5).replace(r#""visitorId":"a""#, r#""visitorId":"b""#);
    redis.cli(&["PUBLISH", BOOKING_DONE_CHANNEL, &foreign]);
    next(&mut signals, |signal| is_done(signal, 5)).await;
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", &booking_done(5)]);
    let own = |signal: &Signal| matches!(signal, Signal::BookingDone(done) if done.visitor_id == visitor("a"));
    next(&mut signals, |signal| own(signal) && is_done(signal, 5)).await;
}

#[tokio::test]
async fn slots_whose_sessions_somebody_has_deleted_are_given_back() {
    let redis = TestRedis::start();
    let engine = connect(&redis.url(), None).await;
    create(&engine).await;
    let apply = async |command| engine.apply(&event(), None, command).await.unwrap().outcome;
    apply(Command::Join { visitors: visitors("v", 3), floor: Seq(0) }).await;
    redis.cli(&["DEL", "usher:{faults}:sessions"]);
    let standing = apply(Command::Lookup(visitor("v0"))).await;
    assert!(matches!(standing, Outcome::Standing(Standing::Ended { reason: EndReason::Expired, .. })), "{standing:?}");
    apply(Command::Status(visitor("v0"))).await;
    assert!(matches!(apply(Command::ClearActive).await, Outcome::Cleared(1)), "of two, one has gone");
    let Outcome::Admitted(admitted) = apply(Command::Admit { max: 9 }).await else { panic!() };
    assert_eq!(admitted.sessions.len(), 1, "who waits is let in");
}

#[tokio::test]
async fn a_lost_subscription_is_resynchronized() {
    let redis = TestRedis::start();
    redis.cli(&["XADD", BOOKING_DONE_LOG, "*", "body", &booking_done(1)]);
    let engine = start(&redis.url(), None);
    let mut signals = engine.signals();
    next(&mut signals, |signal| matches!(signal, Signal::Resync)).await;
    next(&mut signals, |signal| is_done(signal, 1)).await;
    // The first signals may come before the subscription is there: only a kill that hits one counts.
    while redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).trim() == "0" {
        tokio::task::yield_now().await;
    }
    next(&mut signals, |signal| matches!(signal, Signal::Resync)).await;
    next(&mut signals, |signal| is_done(signal, 1)).await;
}

#[tokio::test]
async fn a_long_log_is_read_page_by_page() {
    let redis = TestRedis::start();
    // One entry for each of the numbers 1 to 1201.
    let filler = "for i = 1, 1201 do
        local body = string.gsub(ARGV[1], '%.1\"', '.' .. i .. '\"')
        redis.call('XADD', KEYS[1], '*', 'body', body)
    end";
    redis.cli(&["EVAL", filler, "1", BOOKING_DONE_LOG, &booking_done(1)]);
    let engine = start(&redis.url(), None);
    let mut signals = engine.signals();
    next(&mut signals, |signal| is_done(signal, 1201)).await;
}

#[tokio::test]
async fn a_store_that_hangs_is_unavailable_and_then_resynchronized() {
    let redis = TestRedis::start();
    let engine = RedisEngine::connect(&StoreUrl::parse(&redis.url()).unwrap(), Options::default());
    engine.wait_ready(WITHIN).await.unwrap();
    create(&engine).await;
    let (mut signals, mut health) = (engine.signals(), engine.health());
    redis.pause();
    let asked = Instant::now();
    let hung = engine.apply(&event(), None, Command::Describe).await;
    assert!(matches!(hung, Err(EngineError::Unavailable(_))), "{hung:?}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let down = health.wait_for(|health| matches!(health, Health::Down(_)));
    tokio::time::timeout(WITHIN, down).await.unwrap().unwrap();
    let failed = engine.apply(&event(), None, Command::Describe).await;
    assert!(matches!(failed, Err(EngineError::Unavailable(_))), "at once: {failed:?}");
    redis.resume();
    next(&mut signals, |signal| matches!(signal, Signal::Resync)).await;
    tokio::time::timeout(WITHIN, health.wait_for(|health| *health == Health::Up)).await.unwrap().unwrap();
    engine.apply(&event(), Some(Generation(7)), Command::Describe).await.unwrap();
}

#[tokio::test]
async fn lost_data_is_told_from_what_was_removed() {
    let mut redis = TestRedis::start();
    let engine = connect(&redis.url(), None).await;
    create(&engine).await;
    let other = connect(&redis.url(), None).await;
    engine.apply(&event(), None, Command::Remove).await.unwrap();
    assert!(other.was_removed(&event()).await.unwrap(), "for all nodes");
    create(&engine).await;
    assert!(!other.was_removed(&event()).await.unwrap(), "it is there again");
    let mut signals = engine.signals();
    redis.restart();
    next(&mut signals, |signal| matches!(signal, Signal::Resync)).await;
    engine.wait_ready(WITHIN).await.unwrap();
    // The subscription may be back before the connection for commands is.
    let deadline = Instant::now() + WITHIN;
    let lost = loop {
        match engine.apply(&event(), None, Command::Describe).await {
            Err(EngineError::Unavailable(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => break other,
        }
    };
    assert!(matches!(lost, Err(EngineError::Refused(Refusal::NoSuchEvent))), "{lost:?}");
    assert!(!engine.was_removed(&event()).await.unwrap());
}

#[tokio::test]
async fn a_full_store_takes_nobody_in_and_lets_everybody_go() {
    let redis = TestRedis::start();
    let engine = connect(&redis.url(), None).await;
    create(&engine).await;
    engine.apply(&event(), None, Command::Join { visitors: visitors("v", 4), floor: Seq(0) }).await.unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = engine.apply(&event(), None, Command::Join { visitors: visitors("w", 1), floor: Seq(0) }).await;
    assert!(matches!(refused, Err(EngineError::Unavailable(_))), "{refused:?}");
    for command in [
        Command::Status(visitor("v0")),
        Command::Snapshot,
        Command::Leave(visitor("v3")),
        Command::Release(vec![(visitor("v0"), Seq(1))]),
        Command::Expire,
        Command::ClearWaiting { upto: queue_core::ids::Rank(9), reason: queue_core::wire::EndReason::Cleared },
        Command::ClearActive,
    ] {
        let applied = engine.apply(&event(), None, command.clone()).await;
        assert!(applied.is_ok(), "{command:?}: {applied:?}");
        if let Outcome::Snapshot(snapshot) = applied.unwrap().outcome {
            // Two were let in.
            assert_eq!(
                (snapshot.first_byte, &snapshot.present[..], snapshot.summary.waiting),
                (0, &[0b0001_1000][..], 2)
            );
        }
    }
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    engine.apply(&event(), None, Command::Join { visitors: visitors("w", 1), floor: Seq(0) }).await.unwrap();
}

#[tokio::test]
async fn the_stores_clock_is_known() {
    let redis = TestRedis::start();
    let engine = connect(&redis.url(), None).await;
    create(&engine).await;
    let applied = engine.apply(&event(), None, Command::Describe).await.unwrap();
    let told = engine.now();
    assert!(told >= applied.now && told.since(applied.now) < 1_000, "{told} {}", applied.now);
}

#[tokio::test]
async fn a_snapshot_is_one_call_whatever_waits() {
    let redis = TestRedis::start();
    let engine = connect(&redis.url(), None).await;
    create(&engine).await;
    engine.apply(&event(), None, Command::Join { visitors: visitors("v", 2_000), floor: Seq(0) }).await.unwrap();
    engine.apply(&event(), None, Command::Snapshot).await.unwrap();
    let before = engine.store().command_counts().await.unwrap();
    let Outcome::Snapshot(snapshot) = engine.apply(&event(), None, Command::Snapshot).await.unwrap().outcome else {
        panic!("no snapshot");
    };
    assert_eq!(snapshot.summary.waiting, 1_998);
    let after = engine.store().command_counts().await.unwrap();
    let called = |name| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    assert_eq!((called("evalsha"), called("getrange"), called("zrank")), (1, 1, 0));
}

#[tokio::test]
async fn bitmaps_follow_the_head_of_the_line() {
    let (redis, clock) = (TestRedis::start(), TestClock::new());
    let engine = connect(&redis.url(), Some(&clock)).await;
    create(&engine).await;
    let apply = async |command| engine.apply(&event(), None, command).await.unwrap().outcome;
    apply(Command::Join { visitors: visitors("v", 4_000), floor: Seq(0) }).await;
    let policy = Policy::with_capacity(3_000);
    apply(Command::Configure(Configure::new(policy, Generation(7)))).await;
    while apply(Command::Admit { max: ADMIT_BATCH_MAX }).await
        != Outcome::Admitted(Admitted { sessions: vec![], rate_opens: None })
    {}
    let size = |what| redis.cli(&["STRLEN", &format!("usher:{{faults}}:{what}")]).trim().parse::<u64>().unwrap();
    assert_eq!(size("present"), 4_000 / 8 + 1);
    // Whoever was abandoned before may come back for two hours at most, at their own rank.
    for hour in 0..3 {
        assert_eq!(size("present"), 4_000 / 8 + 1, "after {hour} hours");
        clock.advance(ENDED_KEPT_MS);
        apply(Command::Leave(visitor(&format!("v{}", 3_990 + hour)))).await;
        apply(Command::Trim).await;
    }
    // The head is at rank 3,001, the tail at 4,000.
    assert!(size("present") <= (1_000 + TEST_BASE_RANKS) / 8 + 1, "{}", size("present"));
    apply(Command::Join { visitors: visitors("w", 1), floor: Seq(0) }).await;
    let Outcome::Snapshot(snapshot) = apply(Command::Snapshot).await else { panic!("no snapshot") };
    let index = PositionIndex::new(snapshot.first_byte, snapshot.present);
    assert_eq!((index.place(Rank(3_000)), index.place(Rank(3_001)), index.waiting()), (None, Some(1), 998));
    assert_eq!((index.place(Rank(3_991)), index.place(Rank(4_001))), (None, Some(998)));
    let seen = format!("seen:{}", clock.now().period());
    assert!(size(&seen) <= (1_000 + TEST_BASE_RANKS) / 8 + 2, "{}", size(&seen));
}

#[tokio::test]
async fn many_sent_at_once_are_known_to_be_there() {
    let redis = TestRedis::start();
    let engine = std::sync::Arc::new(connect(&redis.url(), None).await);
    create(&engine).await;
    // The scripts are unknown to a store that was told to forget them.
    redis.cli(&["SCRIPT", "FLUSH"]);
    let joins: Vec<_> = visitors("v", 100)
        .into_iter()
        .map(|visitor| {
            let engine = std::sync::Arc::clone(&engine);
            let join = Command::Join { visitors: vec![visitor], floor: Seq(0) };
            tokio::spawn(async move { engine.apply(&event(), None, join).await })
        })
        .collect();
    for join in joins {
        join.await.unwrap().unwrap();
    }
    let Outcome::Described(description) = engine.apply(&event(), None, Command::Describe).await.unwrap().outcome else {
        panic!("not described");
    };
    assert_eq!(description.summary.seq, Seq(100), "each ran once");
}
