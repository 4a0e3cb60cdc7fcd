//! Long outages and lost signals, on virtual time: one node in this process on the memory engine, which can be told
//! to fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Millis},
    line::{Applied, Command, Standing},
    policy::Policy,
    service::secret::Secret,
    token::keys::SigningKey,
    wire::{BookingDone, EndReason, Outcome, QueueState, ServerMessage},
};
use queue_server::{
    engine::{
        Engine, EngineError, Health, Signal, TakenOver,
        audit::{AuditEntry, AuditId, AuditRecord},
        memory::MemoryEngine,
    },
    node::{Following, Found, KeyParts, Keys, Node, NodeOptions, Who},
};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::ear::{Ear, Heard};

const START: u64 = 1_760_000_010_000;

/// The memory engine behind a line that can be cut.
struct Unreliable {
    inner: MemoryEngine,
    signals: broadcast::Sender<Signal>,
    away: AtomicBool,
    /// Calls are not answered at all.
    hangs: AtomicBool,
    applied: AtomicU64,
}

#[async_trait]
impl Engine for Unreliable {
    async fn apply(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError> {
        if self.hangs.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return Err(EngineError::Unavailable("no answer".into()));
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(EngineError::Unavailable("away".into()));
        }
        if let Command::Join { visitors, .. } = &command {
            self.applied.fetch_add(visitors.len() as u64, Ordering::SeqCst);
        }
        self.inner.apply(event, expected, command).await
    }
    async fn events(&self) -> Result<Vec<EventId>, EngineError> {
        self.inner.events().await
    }
    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }
    async fn announce(&self, _: TakenOver) -> Result<(), EngineError> {
        Ok(())
    }
    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }
    fn now(&self) -> Millis {
        self.inner.now()
    }
    fn commands_total(&self) -> u64 {
        0
    }
    async fn record(&self, entry: &AuditEntry) -> Result<(), EngineError> {
        self.inner.record(entry).await
    }
    async fn audit(&self, before: Option<AuditId>, count: usize) -> Result<Vec<AuditRecord>, EngineError> {
        self.inner.audit(before, count).await
    }
    async fn was_removed(&self, event: &EventId) -> Result<bool, EngineError> {
        self.inner.was_removed(event).await
    }
    fn gathers(&self) -> bool {
        true
    }
}

/// A node on virtual time. No signal reaches it but those the test sends.
struct World {
    engine: Arc<Unreliable>,
    node: Arc<Node>,
    event: EventId,
    stop: CancellationToken,
    /// The store's clock is so far off, in milliseconds.
    offset: Arc<AtomicI64>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    async fn start(capacity: u32) -> Self {
        let (began, offset) = (Instant::now(), Arc::new(AtomicI64::new(0)));
        let off = offset.clone();
        let clock = move || {
            let now = START + began.elapsed().as_millis() as u64;
            Millis(now.saturating_add_signed(off.load(Ordering::SeqCst)))
        };
        let engine = Arc::new(Unreliable {
            inner: MemoryEngine::new(Arc::new(clock)),
            signals: broadcast::channel(1_024).0,
            away: false.into(),
            hangs: false.into(),
            applied: 0.into(),
        });
        let stop = CancellationToken::new();
        let node = Node::start(engine.clone(), keys(), NodeOptions::default(), stop.clone());
        let event = EventId::new("faults").unwrap();
        let policy = Policy { grace_seconds: 60, ..Policy::with_capacity(capacity) };
        node.configure(&event, policy).await.unwrap();
        Self { engine, node, event, stop, offset }
    }

    /// Joins on a socket.
    async fn socket(&self) -> Socket {
        let joining = self.node.join(&self.event, Who::Anonymous).await.unwrap();
        let visitor = joining.visitor.clone();
        let jti = Jti { generation: joining.generation, seq: joining.seq };
        let ear = Ear::new();
        self.node.outlets().add(&ear.outlet);
        ear.outlet.set_deadline(None);
        Socket { following: self.node.follow(joining, false, ear.outlet.clone()).await, ear, visitor, jti }
    }

    async fn standing(&self, socket: &Socket) -> Standing {
        let lookup = Command::Lookup(socket.visitor.clone());
        let applied = self.engine.inner.apply(&self.event, None, lookup).await.unwrap();
        let queue_core::line::Outcome::Standing(standing) = applied.outcome else { panic!() };
        standing
    }

    fn signal(&self, signal: Signal) {
        assert!(self.engine.signals.send(signal).is_ok());
    }
}

struct Socket {
    following: Following,
    ear: Ear,
    visitor: queue_core::ids::VisitorId,
    jti: Jti,
}

impl Socket {
    async fn next(&self) -> Heard {
        self.ear.next().await
    }

    /// Answers pings for this long; what else was said, to the last.
    async fn live(&mut self, time: Duration) -> Vec<Heard> {
        let mut said = Vec::new();
        let until = Instant::now() + time;
        while let Ok(push) = tokio::time::timeout_at(until, self.next()).await {
            match push {
                Heard::Ping => {
                    self.following.heard();
                    self.following.claim().await;
                }
                last @ (Heard::Last(..) | Heard::Drop) => {
                    said.push(last);
                    return said;
                }
                text => said.push(text),
            }
        }
        said
    }

    fn is_closed_with(said: &[Heard], reason: EndReason) -> bool {
        let Some(Heard::Last(Some(text), _)) = said.last() else { return false };
        let ServerMessage::QueueCleared(status) = serde_json::from_str(text).unwrap() else { return false };
        status.status == QueueState::Ended && status.reason == Some(reason)
    }
}

fn keys() -> Keys {
    let found = |key| Found { key, since: Millis(0) };
    let parts = KeyParts {
        signing: vec![found(SigningKey::from_seed(&[7; 32]).unwrap())],
        place: vec![Found {
            key: Secret::new("a-place-secret-of-at-least-32-bytes-for-tests".into()),
            since: Millis(0),
        }],
        issuer: "usher",
        audience: "tickets",
        lead: Duration::ZERO,
    };
    Keys::new(parts, Millis(START)).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn sockets_outlive_an_outage_of_many_minutes() {
    let world = World::start(1).await;
    let (mut active, mut waiting) = (world.socket().await, world.socket().await);
    let silent = world.socket().await;
    world.engine.away.store(true, Ordering::SeqCst);
    let (told, said) = tokio::join!(active.live(MINUTE * 10), waiting.live(MINUTE * 10));
    assert_eq!((told, said), (vec![], vec![]), "they are asked for signs of life, and nothing else");
    assert!(matches!(silent.next().await, Heard::Drop), "a peer that is gone is gone");
    world.engine.away.store(false, Ordering::SeqCst);
    world.signal(Signal::Resync);
    // The session is over; who waited is let in, and nobody was swept who was there.
    let (told, said) = tokio::join!(active.live(MINUTE), waiting.live(MINUTE));
    assert!(Socket::is_closed_with(&told, EndReason::Expired), "{told:?}");
    assert!(matches!(said.last(), Some(Heard::Text(text)) if text.contains("queue-entry-allowed")), "{said:?}");
    assert!(matches!(world.standing(&waiting).await, Standing::Active { .. }));
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_sweeps_nobody_who_is_there() {
    let world = World::start(1).await;
    let mut sockets = [world.socket().await, world.socket().await, world.socket().await];
    let gone = world.socket().await;
    let Some((active, waiting)) = sockets.split_first_mut() else { panic!() };
    let (_, _) = tokio::join!(active.live(MINUTE), join_all(waiting.iter_mut().map(|socket| socket.live(MINUTE))));
    for offset in [-3_600_000, -7_200_000, 3_600_000] {
        world.offset.store(offset, Ordering::SeqCst);
        let said = join_all(waiting.iter_mut().map(|socket| socket.live(MINUTE))).await;
        for said in said {
            assert!(!said.iter().any(|push| matches!(push, Heard::Last(..) | Heard::Drop)), "{said:?}");
        }
    }
    drop(gone);
    for socket in waiting {
        assert!(matches!(world.standing(socket).await, Standing::Waiting { .. } | Standing::Active { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_end_was_not_heard_of_is_closed_after_the_next_resynchronization() {
    let world = World::start(1).await;
    let (mut active, mut waiting) = (world.socket().await, world.socket().await);
    // Its first answer claims the session, and would find the end.
    assert_eq!(active.live(MINUTE / 60).await, []);
    let release = Command::Release(vec![(active.visitor.clone(), active.jti.seq)]);
    world.engine.inner.apply(&world.event, None, release).await.unwrap();
    let (told, said) = tokio::join!(active.live(MINUTE / 4), waiting.live(MINUTE / 4));
    assert_eq!(told, [], "the message was lost");
    assert!(matches!(said.last(), Some(Heard::Text(text)) if text.contains("queue-entry-allowed")), "{said:?}");
    world.signal(Signal::Resync);
    let (told, said) = tokio::join!(active.live(MINUTE / 4), waiting.live(MINUTE / 4));
    assert!(Socket::is_closed_with(&told, EndReason::Released), "{told:?}");
    assert_eq!(said, [], "who is in is not told again");
}

#[tokio::test(start_paused = true)]
async fn a_booking_done_that_could_not_be_carried_out_is_tried_again() {
    let world = World::start(1).await;
    let (active, mut waiting) = (world.socket().await, world.socket().await);
    world.engine.away.store(true, Ordering::SeqCst);
    world.signal(Signal::BookingDone(BookingDone {
        event_id: world.event.clone(),
        visitor_id: active.visitor.clone(),
        jti: active.jti,
        outcome: Outcome::Booked,
        reservation_id: None,
        at: Millis(START),
        traceparent: None,
    }));
    assert_eq!(waiting.live(MINUTE / 2).await, []);
    world.engine.away.store(false, Ordering::SeqCst);
    let said = waiting.live(MINUTE / 20).await;
    assert!(matches!(said.last(), Some(Heard::Text(text)) if text.contains("queue-entry-allowed")), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn joins_without_an_answer_are_told_so_in_time_and_not_sent_later() {
    let world = World::start(1).await;
    world.engine.hangs.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let joins = join_all((0..5_000).map(|_| world.node.check(&world.event, Who::Anonymous))).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for refused in joins {
        assert_eq!(refused.unwrap_err().code(), Code::StoreUnavailable);
    }
    world.engine.hangs.store(false, Ordering::SeqCst);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.engine.applied.load(Ordering::SeqCst), 0, "nobody holds their tokens");
    assert_eq!(world.socket().await.jti.seq.0, 1);
}

#[tokio::test(start_paused = true)]
async fn sockets_of_a_removed_event_are_closed() {
    let world = World::start(1).await;
    let mut socket = world.socket().await;
    let late = world.node.join(&world.event, Who::Anonymous).await.unwrap();
    let leave = |visitor| world.engine.inner.apply(&world.event, None, Command::Leave(visitor));
    leave(socket.visitor.clone()).await.unwrap();
    leave(late.visitor.clone()).await.unwrap();
    // On another node, and no message comes.
    world.engine.inner.apply(&world.event, None, Command::Remove).await.unwrap();
    let said = socket.live(MINUTE).await;
    assert!(Socket::is_closed_with(&said, EndReason::Gone), "{said:?}");
    // One that joined before and follows only now.
    let ear = Ear::new();
    let mut late = Socket {
        visitor: late.visitor.clone(),
        jti: Jti { generation: late.generation, seq: late.seq },
        following: world.node.follow(late, false, ear.outlet.clone()).await,
        ear,
    };
    let said = late.live(MINUTE).await;
    assert!(Socket::is_closed_with(&said, EndReason::Gone), "{said:?}");
}
