//! Two nodes at work on one Redis at once: what each does must not break what the other counts on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use queue_core::{
    ids::{EventId, Generation, Seq},
    keys::LineKeys,
    line::{Command, Configure, Outcome, Place, Summary},
    policy::Policy,
    service::testing::TestRedis,
};
use queue_server::engine::{Engine as _, redis::RedisEngine};

use crate::support::{WITHIN, connect, visitors};

const CAPACITY: u32 = 20;
const VISITORS_EACH: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn capacity_holds_whatever_two_nodes_do() {
    let redis = TestRedis::start();
    let event = EventId::new("rush").unwrap();
    let nodes = [Arc::new(connect(&redis.url(), None).await), Arc::new(connect(&redis.url(), None).await)];
    let policy = Policy::with_capacity(CAPACITY);
    let configure = Configure::new(policy, Generation(1));
    nodes[0].apply(&event, None, Command::Configure(configure)).await.unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let observer = tokio::spawn(observe(connect(&redis.url(), None).await, event.clone(), Arc::clone(&done)));
    let joins = [0, 1].map(|n| tokio::spawn(join_all(Arc::clone(&nodes[n]), event.clone(), n)));
    let (joined, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // Two on each node, who admit and release whomever they find, so that most calls come too late for some.
    let serving = [0, 1, 0, 1].map(|n| {
        let (joined, released) = (Arc::clone(&joined), Arc::clone(&released));
        tokio::spawn(serve(Arc::clone(&nodes[n]), event.clone(), joined, released))
    });
    for task in joins {
        task.await.unwrap();
    }
    joined.store(true, Ordering::SeqCst);
    for task in serving {
        task.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let (samples, highest) = observer.await.unwrap();
    assert!(highest <= i64::from(CAPACITY), "{highest} active at once");
    assert!(samples >= 100 && highest > 10, "{samples} samples, the highest {highest}");
    let summary = summary(&nodes[1], &event).await;
    assert!(summary.seq.0 >= 2 * VISITORS_EACH as u64);
    assert_eq!(summary.totals.admitted, summary.seq.0, "each place becomes one session");
    assert_eq!(summary.totals.released, summary.seq.0, "each session is released once");
    assert_eq!(released.load(Ordering::SeqCst), summary.seq.0, "each release is told once");
}

/// Counts the sessions all the time. How often, and the most there were.
async fn observe(engine: RedisEngine, event: EventId, done: Arc<AtomicBool>) -> (u64, i64) {
    let active = LineKeys::new(&event).active;
    let (mut samples, mut highest) = (0, 0);
    while !done.load(Ordering::SeqCst) {
        let count = engine.store().command("ZCARD", [active.as_str()]).await.unwrap().into_int("ZCARD").unwrap();
        (samples, highest) = (samples + 1, highest.max(count));
    }
    (samples, highest)
}

async fn join_all(node: Arc<RedisEngine>, event: EventId, n: usize) {
    for (i, batch) in visitors(&format!("n{n}v"), VISITORS_EACH).chunks(7).enumerate() {
        let join = Command::Join { visitors: batch.to_vec(), floor: Seq(0) };
        let first = node.apply(&event, None, join.clone()).await.unwrap();
        if i % 3 != 0 {
            continue;
        }
        // As after a lost reply: each place is found again. Who was served in between joins anew, at the end.
        let again = node.apply(&event, None, join).await.unwrap();
        let (Outcome::Joined(first), Outcome::Joined(again)) = (first.outcome, again.outcome) else { panic!() };
        let end = first.places.iter().filter_map(seq).max();
        for (first, again) in first.places.iter().zip(&again.places) {
            assert!(seq(again) == seq(first) || seq(again) > end, "{first:?} {again:?}");
        }
    }
}

const fn seq(place: &Place) -> Option<Seq> {
    match place {
        Place::Waiting { seq, .. } | Place::Active { seq, .. } => Some(*seq),
        Place::Closed | Place::Full => None,
    }
}

async fn serve(node: Arc<RedisEngine>, event: EventId, joined: Arc<AtomicBool>, released: Arc<AtomicU64>) {
    let deadline = Instant::now() + WITHIN * 3;
    let sessions = LineKeys::new(&event).sessions;
    loop {
        assert!(Instant::now() < deadline, "everybody is served in time");
        let all_joined = joined.load(Ordering::SeqCst);
        node.apply(&event, None, Command::Admit { max: 7 }).await.unwrap();
        let mut found = node.store().command("HGETALL", [sessions.as_str()]).await.unwrap().into_reply("").unwrap();
        let mut live = Vec::new();
        while !found.is_empty() {
            let (visitor, session) = (found.text().unwrap(), found.text().unwrap());
            if let Some((seq, _)) = session.split_once(':') {
                live.push((visitor.parse().unwrap(), Seq(seq.parse().unwrap())));
            }
        }
        let applied = node.apply(&event, None, Command::Release(live)).await.unwrap();
        let Outcome::Released(now) = applied.outcome else { panic!("{applied:?}") };
        released.fetch_add(now.iter().filter(|now| **now).count() as u64, Ordering::SeqCst);
        if all_joined {
            let summary = summary(&node, &event).await;
            if summary.waiting + summary.active == 0 {
                return;
            }
        }
    }
}

async fn summary(node: &RedisEngine, event: &EventId) -> Summary {
    match node.apply(event, None, Command::Describe).await.unwrap().outcome {
        Outcome::Described(description) => description.summary,
        other => panic!("{other:?}"),
    }
}
