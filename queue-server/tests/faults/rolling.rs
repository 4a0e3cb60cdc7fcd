//! Three nodes are replaced one after the other while people join, wait, are let in and finish.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use queue_core::{ids::VisitorId, keys::LineKeys};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    clients::{Said, Socket},
    support::{Done, EVENT, World, booking_done, eventually, publish_done, text},
};

const CAPACITY: i64 = 10;
const VISITORS: usize = 600;

/// The nodes that may be asked, one after the other: a load balancer.
#[derive(Default)]
struct Balancer {
    addresses: RwLock<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Balancer {
    fn pick(&self) -> SocketAddr {
        let addresses = self.addresses.read();
        addresses[self.next.fetch_add(1, Ordering::Relaxed) % addresses.len()]
    }
}

#[derive(Default)]
struct Seen {
    /// How often each was let in, as another session than before.
    admitted: Mutex<BTreeMap<VisitorId, Vec<Value>>>,
    /// Sockets that were told to come again.
    restarts: AtomicUsize,
    /// Joins that were told to come again: they may have taken a place that nobody has a token of.
    refused: AtomicUsize,
    lost: Mutex<Vec<String>>,
}

async fn visitor(balancer: Arc<Balancer>, seen: Arc<Seen>, world: Arc<World>, done: Done) {
    let mut place: Option<String> = None;
    loop {
        let Some(mut socket) = Socket::join(balancer.pick(), place.as_deref()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            match socket.next().await {
                Said::Event(event) => {
                    let data = &event["data"];
                    if let Some(token) = data["placeToken"].as_str() {
                        let (is, was) = (world.claims(token), place.as_deref().map(|place| world.claims(place)));
                        if was.is_some_and(|was| was.seq != is.seq) {
                            seen.lost.lock().push(event.to_string());
                        }
                        place = Some(token.to_owned());
                    }
                    match event["event"].as_str() {
                        Some("queue-updated") => {}
                        Some("queue-entry-allowed") => {
                            let session = booking_done(text(&data["activeToken"]));
                            let visitor: VisitorId = text(&session["visitorId"]).parse().unwrap();
                            seen.admitted.lock().entry(visitor).or_default().push(session["jti"].clone());
                            done.send(session).unwrap();
                            return;
                        }
                        Some("error") => {
                            seen.refused.fetch_add(usize::from(place.is_none()), Ordering::Relaxed);
                            socket.ask_again(&event, place.as_deref()).await;
                        }
                        _ => seen.lost.lock().push(event.to_string()),
                    }
                }
                Said::Closed(frame) => {
                    if let Some(frame) = frame {
                        assert_eq!(u16::from(frame.code), 1012, "{frame:?}");
                        let reason: Value = serde_json::from_str(&frame.reason).unwrap();
                        assert!(reason["retryAfterMs"].is_u64(), "{reason}");
                        seen.restarts.fetch_add(1, Ordering::Relaxed);
                    }
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_replaced_and_nothing_is_lost() {
    let world = Arc::new(World::start());
    let mut nodes = vec![world.node(), world.node(), world.node()];
    for node in &nodes {
        world.await_ready(node).await;
    }
    world.configure(&nodes[0], EVENT, json!({"capacity": CAPACITY, "admitPerMinute": 3600})).await;
    let balancer = Arc::new(Balancer::default());
    *balancer.addresses.write() = nodes.iter().map(|node| node.public).collect();
    let (seen, store) = (Arc::new(Seen::default()), world.store().await);
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();

    // Never more sessions than there may be.
    let over = Arc::new(AtomicBool::new(false));
    let (observed, active, watching) = (over.clone(), LineKeys::new(&EVENT.parse().unwrap()).active, store.clone());
    let observer = tokio::spawn(async move {
        let mut highest = 0;
        while !observed.load(Ordering::Relaxed) {
            // A busy machine may take too long to say.
            if let Ok(count) = watching.command("ZCARD", [active.as_str()]).await {
                highest = highest.max(count.into_int("ZCARD").unwrap());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        highest
    });
    // The ticket server: each message over the channel and the log.
    let publisher = tokio::spawn(async move {
        while let Some(session) = finished.recv().await {
            publish_done(&store, &session).await;
        }
    });
    // People come all the time.
    let crowd = tokio::spawn({
        let (balancer, seen, world) = (balancer.clone(), seen.clone(), world.clone());
        async move {
            let mut visitors = Vec::new();
            for _ in 0..VISITORS {
                visitors.push(tokio::spawn(visitor(balancer.clone(), seen.clone(), world.clone(), done.clone())));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for visitor in visitors {
                visitor.await.unwrap();
            }
        }
    });
    for node in &mut nodes {
        let let_in = seen.admitted.lock().len();
        eventually("people are let in", async || (seen.admitted.lock().len() >= let_in + 40).then_some(())).await;
        // The balancer sees that it is not ready any more.
        let gone = node.public;
        node.signal("-TERM");
        balancer.addresses.write().retain(|address| *address != gone);
        assert_eq!(node.ended().await.code(), Some(0));
        *node = world.node();
        world.await_ready(node).await;
        balancer.addresses.write().push(node.public);
    }
    let through = tokio::time::timeout(super::support::WITHIN, crowd).await;
    if through.is_err() {
        let overview = world.overview(&nodes[2], EVENT).await;
        panic!("{} got through; {overview}", seen.admitted.lock().len());
    }
    let overview = eventually("all are done", async || {
        let overview = world.overview(&nodes[2], EVENT).await;
        (overview["releasedTotal"] == VISITORS && overview["waiting"] == 0).then_some(overview)
    })
    .await;
    over.store(true, Ordering::Relaxed);
    publisher.abort();

    assert_eq!(*seen.lost.lock(), [] as [String; 0]);
    assert!(seen.restarts.load(Ordering::Relaxed) > 0);
    let highest = observer.await.unwrap();
    let admitted = seen.admitted.lock();
    assert_eq!(admitted.len(), VISITORS);
    assert!(admitted.values().all(|sessions| sessions.len() == 1));
    assert!(highest <= CAPACITY, "{highest} sessions at once");
    let number = |name: &str| overview[name].as_u64().unwrap() as usize;
    let refused = seen.refused.load(Ordering::Relaxed);
    assert_eq!((number("releasedTotal"), number("abandonedTotal")), (VISITORS, 0), "{overview}");
    assert!((VISITORS..=VISITORS + refused).contains(&number("admittedTotal")), "{refused}: {overview}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_end_drains() {
    let world = World::start();
    let mut node = world.node();
    let other = world.node();
    world.await_ready(&node).await;
    world.configure(&node, EVENT, json!({"capacity": 1})).await;
    let active = world.check(&node, None).await;
    let mut socket = Socket::join(node.public, None).await.unwrap();
    let place = socket.named("queue-updated").await["placeToken"].clone();
    // A request that is still on its way when the end is near.
    let mut slow = TcpStream::connect(node.public).await.unwrap();
    let head = format!("host: {}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n", node.public);
    let request = format!("POST /api/v1/queue/check/{EVENT} HTTP/1.1\r\n{head}\r\n{{");
    slow.write_all(request.as_bytes()).await.unwrap();
    // The node has taken it up before it is told to end.
    world.status(&node, text(&place)).await;
    node.signal("-TERM");
    assert_eq!(socket.closed().await, Some(1012));
    let ready = eventually("not ready", async || Some(world.ready(&node).await).filter(|ready| ready.0 == 503)).await;
    assert!(ready.1.contains("draining"), "{ready:?}");
    slow.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(node.ended().await.code(), Some(0));
    let released = world.visitor(&other, "release", EVENT, Some(text(&active["activeToken"]))).send().await.unwrap();
    assert_eq!(released.status(), 204);
    // The place is where it was.
    let status = world.await_status(&other, text(&place), "ACTIVE").await;
    assert_eq!(status["status"], "ACTIVE");
}
