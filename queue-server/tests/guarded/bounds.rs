//! What waits for a store that does not answer is bounded, and whoever comes then is told so at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use queue_core::{
    close::CloseCode,
    codes::Code,
    ids::{EventId, Generation, Jti, Millis, VisitorId},
    limits::JOIN_BATCH_MAX,
    line::{Applied, Command, Configure},
    policy::Policy,
    service::secret::Secret,
    token::{keys::SigningKey, place::PlaceClaims},
    wire::{BookingDone, Outcome, QueueState},
};
use queue_server::{
    clock,
    engine::{
        Engine, EngineError, Health, Signal, TakenOver,
        audit::{AuditEntry, AuditId, AuditRecord},
        memory::MemoryEngine,
    },
    node::{Found, KeyParts, Keys, Node, NodeOptions, Who},
};
use reqwest::Method;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{
    ear::{Ear, Heard},
    support::{Ask as _, Server},
};

/// Joins that wait on a node, at most: those in line and those of the batch under way.
const WAITING_MAX: usize = 8_192 + JOIN_BATCH_MAX;

/// An event in a part of the store that never answers.
const HANGS: &str = "hangs";
/// An event in a part of the store that may be away.
const AWAY: &str = "away";

/// The memory engine, whose joins and questions stand still until they are let go. Signals are what the test sends.
struct Slow {
    engine: MemoryEngine,
    gate: Semaphore,
    questions: Semaphore,
    away: AtomicBool,
    signals: broadcast::Sender<Signal>,
    /// How often it was asked to let people in.
    admits: AtomicUsize,
}

impl Slow {
    fn new() -> Self {
        let engine = MemoryEngine::new(clock::system());
        let (gate, questions) = (Semaphore::new(0), Semaphore::new(0));
        Self { engine, gate, questions, away: false.into(), signals: broadcast::channel(1_024).0, admits: 0.into() }
    }
}

#[async_trait]
impl Engine for Slow {
    async fn apply(
        &self,
        event: &EventId,
        expected: Option<Generation>,
        command: Command,
    ) -> Result<Applied, EngineError> {
        match event.as_str() {
            HANGS => std::future::pending().await,
            AWAY if self.away.load(Ordering::Relaxed) => return Err(EngineError::Unavailable("away".into())),
            _ => {}
        }
        if matches!(command, Command::Join { .. }) {
            self.gate.acquire().await.expect("it is never closed").forget();
        }
        if matches!(command, Command::Status(_)) {
            self.questions.acquire().await.expect("it is never closed").forget();
        }
        if matches!(command, Command::Admit { .. }) {
            self.admits.fetch_add(1, Ordering::Relaxed);
        }
        self.engine.apply(event, expected, command).await
    }

    async fn events(&self) -> Result<Vec<EventId>, EngineError> {
        self.engine.events().await
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    async fn announce(&self, taken: TakenOver) -> Result<(), EngineError> {
        self.engine.announce(taken).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.engine.health()
    }

    fn now(&self) -> Millis {
        self.engine.now()
    }

    fn commands_total(&self) -> u64 {
        self.engine.commands_total()
    }

    async fn was_removed(&self, event: &EventId) -> Result<bool, EngineError> {
        self.engine.was_removed(event).await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), EngineError> {
        self.engine.record(entry).await
    }

    async fn audit(&self, before: Option<AuditId>, count: usize) -> Result<Vec<AuditRecord>, EngineError> {
        self.engine.audit(before, count).await
    }

    fn gathers(&self) -> bool {
        true
    }
}

fn keys() -> Keys {
    let parts = KeyParts {
        signing: vec![Found { key: SigningKey::from_seed(&[1; 32]).unwrap(), since: Millis(0) }],
        place: vec![Found { key: Secret::new("s".repeat(32)), since: Millis(0) }],
        issuer: "usher",
        audience: "tickets",
        lead: Duration::ZERO,
    };
    Keys::new(parts, clock::now()).unwrap()
}

#[tokio::test]
async fn waiting_joins_are_bounded() {
    let engine = Arc::new(Slow::new());
    let event = EventId::new("e").unwrap();
    let configure = Configure::new(Policy::with_capacity(1), Generation(1));
    engine.apply(&event, None, Command::Configure(configure)).await.unwrap();
    let stop = CancellationToken::new();
    let node = Node::start(engine.clone(), keys(), NodeOptions::default(), stop.clone());
    node.overview(&event).await.unwrap();
    let crowd: Vec<_> = (0..WAITING_MAX + 1_000)
        .map(|_| {
            let (node, event) = (node.clone(), event.clone());
            tokio::spawn(async move { node.check(&event, Who::Anonymous).await.map_err(|error| error.code()) })
        })
        .collect();
    let full = super::support::eventually("an answer for whoever comes too late", async || {
        let done = crowd.iter().filter(|join| join.is_finished()).count();
        (done >= 1_000).then_some(done)
    })
    .await;
    assert!((1_000..=1_000 + JOIN_BATCH_MAX).contains(&full), "{full} were told at once");
    engine.gate.add_permits(1_000_000);
    let (mut joined, mut refused) = (0, 0);
    for join in crowd {
        match join.await.unwrap() {
            Ok(_) => joined += 1,
            Err(Code::Overloaded) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, full);
    assert_eq!(joined, WAITING_MAX + 1_000 - full);
    stop.cancel();
}

#[tokio::test]
async fn questions_at_the_store_are_bounded_and_leave_room_for_joins() {
    const QUESTIONS_MAX: usize = 256;
    const TOO_MANY: usize = 50;
    let engine = Arc::new(Slow::new());
    engine.gate.add_permits(1_000);
    let event = EventId::new("e").unwrap();
    let configure = Configure::new(Policy::with_capacity(1), Generation(1));
    engine.apply(&event, None, Command::Configure(configure)).await.unwrap();
    let stop = CancellationToken::new();
    let node = Node::start(engine.clone(), keys(), NodeOptions::default(), stop.clone());
    // Who is in is not among those who wait, so that the store has to be asked.
    let joining = node.join(&event, Who::Anonymous).await.unwrap();
    let (visitor, seq, generation) = (joining.visitor, joining.seq, joining.generation);
    let place = PlaceClaims { event: event.clone(), visitor, seq, generation };
    let crowd: Vec<_> = (0..QUESTIONS_MAX + TOO_MANY)
        .map(|_| {
            let (node, event, place) = (node.clone(), event.clone(), place.clone());
            tokio::spawn(async move { node.status(&event, place).await.map_err(|error| error.code()) })
        })
        .collect();
    super::support::eventually("an answer for whoever comes too late", async || {
        let done = crowd.iter().filter(|question| question.is_finished()).count();
        (done == TOO_MANY).then_some(())
    })
    .await;
    node.join(&event, Who::Anonymous).await.expect("a join is not held up");
    engine.questions.add_permits(1_000);
    let mut told = 0;
    for question in crowd {
        match question.await.unwrap() {
            Ok(status) => told += usize::from(status.status == QueueState::Active),
            Err(code) => assert_eq!(code, Code::Overloaded),
        }
    }
    assert_eq!(told, QUESTIONS_MAX);
    node.status(&event, place).await.expect("there is room again");
    stop.cancel();
}

#[tokio::test]
async fn a_part_of_the_store_that_is_away_holds_up_no_signals() {
    let engine = Arc::new(Slow::new());
    engine.gate.add_permits(1_000);
    let (near, away) = (EventId::new("near").unwrap(), EventId::new(AWAY).unwrap());
    for event in [&near, &away] {
        let configure = Configure::new(Policy::with_capacity(1), Generation(1));
        engine.apply(event, None, Command::Configure(configure)).await.unwrap();
    }
    let stop = CancellationToken::new();
    let node = Node::start(engine.clone(), keys(), NodeOptions::default(), stop.clone());
    let mut sessions = Vec::new();
    for event in [&near, &away] {
        let joining = node.join(event, Who::Anonymous).await.unwrap();
        let jti = Jti { generation: joining.generation, seq: joining.seq };
        sessions.push(BookingDone {
            event_id: event.clone(),
            visitor_id: joining.visitor,
            jti,
            outcome: Outcome::Booked,
            reservation_id: None,
            at: engine.now(),
            traceparent: None,
        });
    }
    let active = |event: &EventId| engine.engine.with_lines(|lines| lines.line(event).unwrap().sessions.len());
    let say = |signal| assert!(engine.signals.send(signal).is_ok());

    engine.away.store(true, Ordering::Relaxed);
    say(Signal::EventChanged(EventId::new(HANGS).unwrap()));
    (0..200).for_each(|_| say(Signal::BookingDone(sessions[1].clone())));
    say(Signal::BookingDone(sessions[0].clone()));
    super::support::eventually("a release that needs another part", async || (active(&near) == 0).then_some(())).await;
    assert_eq!(active(&away), 1);
    engine.away.store(false, Ordering::Relaxed);
    super::support::eventually("the other release", async || (active(&away) == 0).then_some(())).await;
    stop.cancel();
}

#[tokio::test]
async fn a_rate_that_holds_people_back_is_not_asked_for_each_of_them() {
    const RELEASED: u64 = 100;
    let engine = Arc::new(Slow::new());
    engine.gate.add_permits(1_000_000);
    let event = EventId::new("e").unwrap();
    let policy = Policy { admit_per_minute: Some(6_000), ..Policy::with_capacity(1_000) };
    let configure = Configure::new(policy, Generation(1));
    engine.apply(&event, None, Command::Configure(configure)).await.unwrap();
    let stop = CancellationToken::new();
    let node = Node::start(engine.clone(), keys(), NodeOptions::default(), stop.clone());
    let mut visitors = Vec::new();
    for _ in 0..500 {
        let joining = node.join(&event, Who::Anonymous).await.unwrap();
        visitors.push((joining.visitor.clone(), joining.seq));
    }
    // Each release says that somebody may be let in now; the rate says no.
    for (visitor, seq) in visitors.into_iter().take(RELEASED as usize) {
        node.release(&event, &visitor, Jti { generation: Generation(1), seq }).await.unwrap();
    }
    let admitted = super::support::eventually("two seconds' admissions", async || {
        let totals = engine.engine.with_lines(|lines| lines.line(&event).unwrap().totals);
        (totals.admitted >= RELEASED + 200).then_some(totals.admitted)
    })
    .await;
    let asked = engine.admits.load(Ordering::Relaxed) as u64;
    assert!(asked * 2 < admitted, "asked {asked} times for {admitted}");
    stop.cancel();
}

#[tokio::test]
async fn a_node_that_never_met_its_store_calls_no_good_token_bad() {
    let folder = tempfile::tempdir().unwrap();
    let well = Server::start(folder.path(), &[]);
    well.event("e", 1).await;
    let token = well.check("e").answer().await.json["activeToken"].as_str().unwrap().to_owned();
    // Of the same keys, and with a store at an address where nobody listens.
    let alone = Server::start(folder.path(), &["--store=redis://127.0.0.1:1"]);
    let release = alone.request(Method::POST, "/api/v1/queue/release/e").bearer_auth(&token).answer().await;
    assert_eq!(release.refusal(), (503, "STORE_UNAVAILABLE"));
    let verify = alone.get("/api/v1/queue/verify?event=e").bearer_auth(&token).answer().await;
    assert_eq!(verify.refusal(), (503, "STORE_UNAVAILABLE"));
}

#[tokio::test]
async fn each_session_of_a_socket_is_claimed_and_one_that_is_over_is_told() {
    let engine = Arc::new(MemoryEngine::new(clock::system()));
    let event = EventId::new("e").unwrap();
    let configure = Configure::new(Policy::with_capacity(1), Generation(1));
    engine.apply(&event, None, Command::Configure(configure)).await.unwrap();
    let stop = CancellationToken::new();
    let node = Node::start(engine.clone(), keys(), NodeOptions::default(), stop.clone());
    let claimed = |visitor: &VisitorId| {
        engine.with_lines(|lines| lines.line(&event).unwrap().sessions.get(visitor).map(|s| s.ends == s.expires))
    };

    let joining = node.join(&event, Who::Anonymous).await.unwrap();
    let visitor = joining.visitor.clone();
    let ear = Ear::new();
    let mut following = node.follow(joining, false, ear.outlet.clone()).await;
    following.claim().await;
    assert_eq!(claimed(&visitor), Some(true));
    // The node hears of this end only when the test waits for something: the socket is sooner.
    engine.apply(&event, None, Command::Leave(visitor.clone())).await.unwrap();
    following.resume().await.unwrap();
    assert_eq!(claimed(&visitor), Some(false), "another session");
    following.claim().await;
    assert_eq!(claimed(&visitor), Some(true));
    node.leave(&event, &visitor).await.unwrap();

    let joining = node.join(&event, Who::Anonymous).await.unwrap();
    node.leave(&event, &joining.visitor).await.unwrap();
    // So that the node hears of it, and finds no socket.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let ear = Ear::new();
    let mut following = node.follow(joining, false, ear.outlet.clone()).await;
    following.claim().await;
    match ear.next().await {
        Heard::Last(Some(text), CloseCode::Done) => assert!(text.contains("queue-cleared") && text.contains("LEFT")),
        other => panic!("{other:?}"),
    }
    stop.cancel();
}
