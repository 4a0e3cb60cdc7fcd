//! A node is killed while thousands follow their places on it and people are let in all the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use queue_core::{
    ids::Seq,
    service::redis::{Event, Store},
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{
    clients::{Said, Socket},
    support::{Done, EVENT, World, booking_done, eventually, publish_done, text},
};

const SOCKETS: usize = 5_000;
const ADMIT_PER_MINUTE: u32 = 12_000;
/// Connections opened at a time: a process that is started by a test is not to be flooded with handshakes.
const OPENED_AT_ONCE: usize = 32;

/// What the crowd has seen.
#[derive(Default)]
struct Seen {
    /// Position when last told, by number, of those who wait.
    positions: BTreeMap<Seq, u64>,
    /// How often each was let in.
    admitted: BTreeMap<Seq, usize>,
    connected: usize,
    /// Places that came back as another one, or as none.
    lost: Vec<Value>,
}

/// One visitor: stays until told that it is their turn, whatever happens to the node.
async fn visitor(
    mut address: watch::Receiver<SocketAddr>,
    seen: Arc<Mutex<Seen>>,
    doors: Arc<Semaphore>,
    done: Done,
    world: Arc<World>,
) {
    let mut place: Option<String> = None;
    let mut seq = Seq(0);
    loop {
        let current = *address.borrow_and_update();
        let socket = {
            let _door = doors.acquire().await.unwrap();
            let mut socket = Socket::join(current, place.as_deref()).await;
            let first = if let Some(socket) = &mut socket { Some(socket.next().await) } else { None };
            first.zip(socket)
        };
        let Some((mut said, mut socket)) = socket else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        seen.lock().connected += 1;
        loop {
            match said {
                Said::Event(event) => {
                    let data = &event["data"];
                    if let Some(token) = data["placeToken"].as_str() {
                        let claims = world.claims(token);
                        if place.is_some() && claims.seq != seq {
                            seen.lock().lost.push(event.clone());
                        }
                        (seq, place) = (claims.seq, Some(token.to_owned()));
                    }
                    match event["event"].as_str() {
                        Some("queue-updated") => {
                            seen.lock().positions.insert(seq, data["position"].as_u64().unwrap());
                        }
                        Some("queue-entry-allowed") => {
                            let mut seen = seen.lock();
                            seen.positions.remove(&seq);
                            *seen.admitted.entry(seq).or_default() += 1;
                            seen.connected -= 1;
                            let _ = done.send(booking_done(text(&data["activeToken"])));
                            return;
                        }
                        Some("error") => socket.ask_again(&event, place.as_deref()).await,
                        _ => seen.lock().lost.push(event.clone()),
                    }
                }
                Said::Closed(_) => break,
            }
            said = socket.next().await;
        }
        seen.lock().connected -= 1;
    }
}

/// The numbers of those who are let in, in the order of the store.
async fn watch_order(store: Store) -> Arc<Mutex<Vec<u64>>> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut subscription = store.subscribe([queue_core::keys::ADMITTED_CHANNEL]);
    assert_eq!(subscription.recv().await, Event::Resync);
    let seqs = order.clone();
    tokio::spawn(async move {
        loop {
            if let Event::Message(message) = subscription.recv().await {
                let admitted: Value = serde_json::from_slice(&message.payload).unwrap();
                let sessions = admitted["sessions"].as_array().unwrap().iter();
                seqs.lock().extend(sessions.map(|session| session[1].as_u64().unwrap()));
            }
        }
    });
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_sockets_of_a_killed_node_find_their_places_on_another() {
    let world = Arc::new(World::start());
    let (mut doomed, other) = (world.node(), world.node());
    world.await_ready(&doomed).await;
    world.await_ready(&other).await;
    let store = world.store().await;
    let order = watch_order(store.clone()).await;
    let policy = json!({"capacity": 300, "admitPerMinute": ADMIT_PER_MINUTE});
    world.configure(&doomed, EVENT, policy).await;
    let pause = world.operate(&doomed, reqwest::Method::POST, &format!("admin/pause/{EVENT}"), None);
    assert_eq!(pause.send().await.unwrap().status(), 200);

    let seen = Arc::new(Mutex::new(Seen::default()));
    let address = watch::Sender::new(doomed.public);
    let doors = Arc::new(Semaphore::new(OPENED_AT_ONCE));
    let (done, mut finished) = mpsc::unbounded_channel();
    for _ in 0..SOCKETS {
        let (address, done) = (address.subscribe(), done.clone());
        tokio::spawn(visitor(address, seen.clone(), doors.clone(), done, world.clone()));
    }
    let ticket_server = tokio::spawn(async move {
        while let Some(session) = finished.recv().await {
            publish_done(&store, &session).await;
        }
    });
    eventually("all are connected", async || (seen.lock().connected == SOCKETS).then_some(())).await;

    let resume = world.operate(&other, reqwest::Method::POST, &format!("admin/resume/{EVENT}"), None);
    assert_eq!(resume.send().await.unwrap().status(), 200);
    let began = Instant::now();
    eventually("people are let in", async || (seen.lock().admitted.len() >= 200).then_some(())).await;
    address.send_replace(other.public);
    doomed.kill();
    let before = seen.lock().admitted.len();

    // Everybody is back: in line on the other node, or let in.
    eventually("all are back", async || {
        let seen = seen.lock();
        (seen.connected + seen.admitted.len() == SOCKETS).then_some(())
    })
    .await;
    let back = began.elapsed();
    eventually("people are let in all the time", async || (seen.lock().admitted.len() >= before + 400).then_some(()))
        .await;
    let pause = world.operate(&other, reqwest::Method::POST, &format!("admin/pause/{EVENT}"), None);
    assert_eq!(pause.send().await.unwrap().status(), 200);
    // A join that was answered 503 on a busy machine may have taken a place that nobody has a token of.
    let held =
        |seen: &Seen| seen.positions.keys().chain(seen.admitted.keys()).map(|seq| seq.0).collect::<BTreeSet<_>>();
    let overview = eventually("all who were let in are done", async || {
        let overview = world.overview(&other, EVENT).await;
        let (held, order) = (held(&seen.lock()), order.lock().clone());
        let done = order.iter().filter(|seq| held.contains(seq)).count();
        (overview["releasedTotal"] == done && overview["admittedTotal"] == order.len()).then_some(overview)
    })
    .await;
    println!("all are back {back:?} after the first was let in; {overview}");

    let number = |name: &str| overview[name].as_u64().unwrap();
    let places: u64 = world.meta("seq").parse().unwrap();
    assert_eq!(number("waiting") + number("admittedTotal"), places, "{overview}");
    assert!(places < SOCKETS as u64 * 11 / 10, "{overview}");
    assert_eq!(number("abandonedTotal"), 0, "{overview}");
    // In their order, nobody twice.
    assert_eq!(*order.lock(), (1..=number("admittedTotal")).collect::<Vec<_>>());
    eventually("all positions are told", async || {
        let seen = seen.lock();
        let told: Vec<u64> = seen.positions.values().copied().collect();
        let exact = places > SOCKETS as u64 || told == (1..=number("waiting")).collect::<Vec<_>>();
        (exact && told.windows(2).all(|pair| pair[0] < pair[1])).then_some(())
    })
    .await;
    let seen = seen.lock();
    assert_eq!(seen.lost, [] as [Value; 0]);
    assert_eq!(held(&seen).len(), SOCKETS, "everybody has the one place they had");
    assert!(seen.admitted.values().all(|times| *times == 1));
    drop(done);
    ticket_server.abort();
}
