//! A server in this process, the queue that it talks to, visitors with tokens, and a client that
//! says what it got.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
pub use queue_core::service::testing::{Answer, Ask, WITHIN, eventually};
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::{
        http::{ApiError, App, HttpOptions, Method, Request, Response, Router, bind, empty},
        keyfiles::{OPERATOR_TOKEN, PEER_TOKEN, StateDir},
        redis::{Options, Store, StoreUrl},
        run::Lifecycle,
        testing::{TestRedis, client, settings},
    },
    token::{
        active::{ActiveGrant, ActiveSigner},
        jwks,
        keys::SigningKey,
    },
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use ticket_server::{
    config::{Config, PROGRAM},
    server::Server,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The queue's operations listener, as far as the ticket server asks for it.
#[derive(Clone, Default)]
pub struct Queue(Arc<Asked>);

#[derive(Default)]
struct Asked {
    /// Bodies of BOOKING_DONE.
    done: Mutex<Vec<Value>>,
    /// Sessions that have ended, and why.
    ended: Mutex<HashMap<String, &'static str>>,
    /// Sessions that were asked about.
    asked: Mutex<Vec<String>>,
    /// How often somebody had the wrong token.
    refused: AtomicUsize,
    peer: Mutex<String>,
    /// The incarnation of its line, and how many it has admitted.
    admitted: Mutex<Option<(u64, u64)>>,
    /// Whose messages are refused.
    unwanted: Mutex<Option<String>>,
}

#[derive(Clone, Copy, Debug)]
enum QueueRoute {
    Done,
    Session,
    Totals,
}

struct QueueApp {
    queue: Queue,
    router: Router<QueueRoute>,
}

impl App for QueueApp {
    type Route = QueueRoute;

    fn router(&self) -> &Router<QueueRoute> {
        &self.router
    }

    async fn handle(&self, route: QueueRoute, mut request: Request) -> Result<Response, ApiError> {
        if request.bearer() != Some(self.queue.0.peer.lock().as_str()) {
            self.queue.0.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Code::OperatorTokenInvalid.into());
        }
        match route {
            QueueRoute::Done => {
                let body: Value = request.read_json(10_000).await?;
                if self.queue.0.unwanted.lock().as_deref().is_some_and(|visitor| body["visitorId"] == visitor) {
                    return Err(ApiError::invalid("visitorId", "is not wanted"));
                }
                self.queue.0.done.lock().push(body);
                return Ok(empty(http::StatusCode::NO_CONTENT));
            }
            QueueRoute::Totals => {
                let (generation, admitted) = self.queue.0.admitted.lock().ok_or(Code::EventNotFound)?;
                let totals = json!({"eventId": "hall", "generation": format!("{generation:016x}"),
                    "admittedTotal": admitted});
                return Ok(queue_core::service::http::json(http::StatusCode::OK, &totals));
            }
            QueueRoute::Session => {}
        }
        let jti = request.param("jti").unwrap().into_owned();
        self.queue.0.asked.lock().push(jti.clone());
        match self.queue.0.ended.lock().get(&jti) {
            Some(reason) => Err(ApiError::new(Code::SessionGone).details(json!({"reason": reason}))),
            None => Ok(empty(http::StatusCode::OK)),
        }
    }
}

impl Queue {
    /// Starts it; where it is.
    async fn start(&self, peer: String) -> String {
        *self.0.peer.lock() = peer;
        let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", bound.address());
        let router = Router::new()
            .route(Method::POST, "/api/v1/queue/booking-done", QueueRoute::Done)
            .route(Method::GET, "/api/v1/queue/sessions/{eventId}/{jti}", QueueRoute::Session)
            .route(Method::GET, "/api/v1/queue/totals/{eventId}", QueueRoute::Totals);
        let app = Arc::new(QueueApp { queue: self.clone(), router });
        let (draining, killed) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(bound.serve(app, HttpOptions::new("test_queue_"), draining, killed));
        url
    }

    /// Messages so far.
    pub fn done(&self) -> Vec<Value> {
        self.0.done.lock().clone()
    }

    pub fn end(&self, visitor: &Visitor, reason: &'static str) {
        self.0.ended.lock().insert(visitor.jti.to_string(), reason);
    }

    /// So many were admitted by this incarnation of the line.
    pub fn has_admitted(&self, generation: u64, admitted: u64) {
        *self.0.admitted.lock() = Some((generation, admitted));
    }

    /// From now on only this token is good; the one that was.
    pub fn change_peer(&self, token: &str) -> String {
        std::mem::replace(&mut self.0.peer.lock(), token.to_owned())
    }

    /// Refuses what is said of that visitor from now on, or of nobody.
    #[allow(dead_code, reason = "made for another suite")]
    pub fn refuse(&self, visitor: Option<&str>) {
        *self.0.unwanted.lock() = visitor.map(str::to_owned);
    }

    /// How often somebody had the wrong token.
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::SeqCst)
    }

    pub fn was_asked_about(&self, visitor: &Visitor) -> bool {
        self.0.asked.lock().contains(&visitor.jti.to_string())
    }
}

/// Somebody whom the queue admitted.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub id: VisitorId,
    pub event: EventId,
    pub jti: Jti,
    pub token: String,
}

/// Where state is kept, and how the queue is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory, and the queue over HTTP.
    Memory,
    /// Redis for the store, and another for the queue.
    Redis,
}

/// A server with a folder of its own.
pub struct TestServer {
    pub url: String,
    pub ops: String,
    pub queue: Queue,
    pub store: Option<TestRedis>,
    pub queue_store: Option<TestRedis>,
    pub operator: String,
    pub life: Lifecycle,
    flags: Vec<String>,
    serving: JoinHandle<()>,
    client: reqwest::Client,
    signer: ActiveSigner,
    pub folder: TempDir,
}

pub fn now() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

async fn serve(flags: &[String]) -> (Lifecycle, String, String, JoinHandle<()>) {
    let own = ["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", "--allowed-origins=https://shop.example"];
    let args: Vec<_> = own.into_iter().chain(flags.iter().map(String::as_str)).collect();
    let config = settings(&PROGRAM, &args, Config::read).unwrap();
    let life = Lifecycle::new(Duration::from_secs(5));
    let server = Server::start(config, &life).await.unwrap();
    let (url, ops) = (format!("http://{}", server.address()), format!("http://{}", server.ops_address()));
    let serving = tokio::spawn(server.serve(life.clone()));
    (life, url, ops, serving)
}

impl TestServer {
    pub async fn start(kind: Kind) -> Self {
        Self::start_with(kind, |_, _| {}).await
    }

    /// `change` changes the flags; it is given the folder.
    pub async fn start_with(kind: Kind, change: impl FnOnce(&mut Vec<String>, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let secret = |name: &str| state.secret(name).unwrap().expose().to_owned();
        let (operator, peer) = (secret(OPERATOR_TOKEN), secret(PEER_TOKEN));
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let keys = folder.path().join("jwks.json");
        std::fs::write(&keys, jwks::to_json([key.public()])).unwrap();
        let queue = Queue::default();
        let (store, queue_store) = match kind {
            Kind::Memory => (None, None),
            Kind::Redis => (Some(TestRedis::start()), Some(TestRedis::start())),
        };
        let told = match &queue_store {
            Some(redis) => redis.url(),
            None => queue.start(peer).await,
        };
        let mut flags = vec![
            format!("--state-dir={}", state.path().display()),
            format!("--jwks={}", keys.display()),
            format!("--queue={told}"),
            format!("--store={}", store.as_ref().map_or("memory".into(), TestRedis::url)),
        ];
        change(&mut flags, folder.path());
        let (life, url, ops, serving) = serve(&flags).await;
        let client = client();
        let signer = ActiveSigner::new("usher", "tickets", key);
        let server =
            Self { url, ops, queue, store, queue_store, operator, life, flags, serving, client, signer, folder };
        server.ready().await;
        server
    }

    /// With an event `hall`: section A of 2 × 5 seats, 10 standing tickets, no payment, 4 for each.
    pub async fn with_hall(kind: Kind) -> Self {
        let server = Self::start(kind).await;
        server.put("hall", hall()).await.ok(201);
        server
    }

    pub async fn ready(&self) {
        eventually("readiness", async || {
            let ready = self.client.get(format!("{}/readyz", self.ops)).send().await.ok()?;
            (ready.status() == 200).then_some(())
        })
        .await;
    }

    /// Ends the server, as a signal would, and starts another one with the same folder.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        self.start_again().await;
        self
    }

    pub async fn stop(&mut self) {
        self.life.shut_down();
        (&mut self.serving).await.unwrap();
        assert!(!self.life.has_failed());
    }

    pub async fn start_again(&mut self) {
        (self.life, self.url, self.ops, self.serving) = serve(&self.flags).await;
        self.ready().await;
    }

    /// Starts another server with the same store, ledger and queue, and talks to that one from now on. What ends
    /// the first one.
    pub async fn move_to_second(&mut self) -> Lifecycle {
        let first = self.life.clone();
        self.start_again().await;
        first
    }

    /// A client of the ticket server's store.
    pub async fn store_client(&self) -> Store {
        connect(self.store.as_ref().unwrap()).await
    }

    /// A client of the queue's Redis.
    pub async fn queue_client(&self) -> Store {
        connect(self.queue_store.as_ref().unwrap()).await
    }

    /// Signs as the queue does.
    pub fn sign(&self, grant: &ActiveGrant) -> String {
        self.signer.sign(grant)
    }

    pub fn visitor(&self, n: u64) -> Visitor {
        self.visitor_of("hall", n, 300_000)
    }

    pub fn visitor_of(&self, event: &str, n: u64, lasts_ms: i64) -> Visitor {
        let (id, event) = (VisitorId::new(&format!("a_{n}")).unwrap(), EventId::new(event).unwrap());
        let jti = Jti { generation: Generation(1), seq: Seq(n + 1) };
        let grant = ActiveGrant {
            visitor: id.clone(),
            event: event.clone(),
            jti,
            issued_at: Millis(now().0 - 600_000),
            expires_at: Millis(now().0.checked_add_signed(lasts_ms).unwrap()),
        };
        Visitor { id, event, jti, token: self.signer.sign(&grant) }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).answer().await
    }

    pub async fn get_as(&self, visitor: &Visitor, path: &str) -> Answer {
        self.request(Method::GET, path).bearer_auth(&visitor.token).answer().await
    }

    pub async fn post_as(&self, visitor: &Visitor, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path).bearer_auth(&visitor.token).json(&body).answer().await
    }

    pub async fn put(&self, event: &str, body: Value) -> Answer {
        let path = format!("{}/api/v1/admin/events/{event}", self.ops);
        self.client.put(path).bearer_auth(&self.operator).json(&body).answer().await
    }

    /// Asks for one of the operator's routes.
    #[allow(dead_code, reason = "made for another suite")]
    pub async fn operate(&self, method: Method, path: &str) -> Answer {
        self.client.request(method, format!("{}{path}", self.ops)).bearer_auth(&self.operator).answer().await
    }

    /// Another session of the same visitor.
    #[allow(dead_code, reason = "made for another suite")]
    pub fn again(&self, visitor: &Visitor, session: u64) -> Visitor {
        let jti = Jti { generation: Generation(2), seq: Seq(session) };
        let grant = ActiveGrant {
            visitor: visitor.id.clone(),
            event: visitor.event.clone(),
            jti,
            issued_at: Millis(now().0 - 600_000),
            expires_at: now().plus(300_000),
        };
        Visitor { jti, token: self.signer.sign(&grant), ..visitor.clone() }
    }

    pub async fn ops_get(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.ops)).send().await.unwrap().text().await.unwrap()
    }

    pub async fn reserve(&self, visitor: &Visitor, seats: &[&str]) -> Answer {
        self.post_as(visitor, "/api/v1/seats/reserve", json!({"eventId": "hall", "seatIds": seats})).await
    }

    /// Holds seats; the reservation's id.
    pub async fn hold(&self, visitor: &Visitor, seats: &[&str]) -> String {
        self.reserve(visitor, seats).await.ok(201)["reservationId"].as_str().unwrap().to_owned()
    }

    pub async fn act(&self, visitor: &Visitor, id: &str, verb: &str) -> Answer {
        self.post_as(visitor, &format!("/api/v1/reservations/{id}/{verb}"), json!({})).await
    }

    pub async fn state_of(&self, seat: &str) -> String {
        let map = self.get("/api/v1/seats/events/hall").await.ok(200);
        let seats = map["seats"].as_array().unwrap();
        let found = seats.iter().find(|shown| shown["seatId"] == seat).unwrap_or_else(|| panic!("no {seat}"));
        found["state"].as_str().unwrap().to_owned()
    }

    pub async fn await_state(&self, seat: &str, wanted: &str) {
        eventually(wanted, async || (self.state_of(seat).await == wanted).then_some(())).await;
    }
}

async fn connect(redis: &TestRedis) -> Store {
    let store = Store::connect(&StoreUrl::parse(&redis.url()).unwrap(), Options::default());
    store.wait_ready(WITHIN).await.unwrap();
    store
}

pub fn hall() -> Value {
    json!({
        "name": "Night of the Proms", "startsAt": "2030-06-01T20:00:00.000Z", "venue": "Hall", "currency": "EUR",
        "payment": "none", "maxSeatsPerVisitor": 4,
        "ticketTypes": [
            {"ticketTypeId": "std", "name": "Seat", "priceMinor": 5000},
            {"ticketTypeId": "standing", "name": "Standing", "priceMinor": 2000, "quantity": 10},
        ],
        "sections": [{"section": "A", "ticketTypeId": "std", "rows": 2, "seatsPerRow": 5}],
    })
}

/// Runs each scenario on both engines.
#[macro_export]
macro_rules! on_both {
    ($($name:ident;)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Memory).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Redis).await; })*
        }
    };
}
