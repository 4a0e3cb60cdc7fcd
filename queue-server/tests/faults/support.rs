//! Nodes as processes on one Redis, and what operators, visitors and the ticket server ask of them.

use std::{process::Command, time::Duration};

use base64::Engine as _;
pub use queue_core::service::testing::{WITHIN, eventually};
use queue_core::{
    service::{
        keyfiles::{OPERATOR_TOKEN, PEER_TOKEN, PLACE_SECRET, StateDir, place_keys},
        redis::{Options, Store, StoreUrl},
        testing::{Program, TestRedis, client},
    },
    token::place::{PlaceClaims, PlaceKeys},
    wire::{BOOKING_DONE_CHANNEL, BOOKING_DONE_LOG, MESSAGE_FIELD},
};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const EVENT: &str = "faults";

/// A Redis, and the keys that its nodes share.
pub struct World {
    pub redis: TestRedis,
    pub http: Client,
    operator: String,
    peer: String,
    places: PlaceKeys,
    state: StateDir,
    _folder: TempDir,
}

impl World {
    /// A Redis that forgets everything when it is restarted.
    pub fn start() -> Self {
        Self::on(TestRedis::start())
    }

    /// A Redis that keeps its data.
    pub fn durable() -> Self {
        Self::on(TestRedis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]))
    }

    fn on(redis: TestRedis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let secret = |name| state.secret(name).unwrap();
        state.signing_keys().unwrap();
        Self {
            redis,
            http: client(),
            operator: secret(OPERATOR_TOKEN).expose().to_owned(),
            peer: secret(PEER_TOKEN).expose().to_owned(),
            places: place_keys(&secret(PLACE_SECRET)).unwrap(),
            state,
            _folder: folder,
        }
    }

    /// A node on this Redis.
    pub fn node(&self) -> Node {
        self.node_at(&self.redis.url())
    }

    /// A node that reaches its store at `url`.
    pub fn node_at(&self, url: &str) -> Node {
        let mut command = Command::new(env!("CARGO_BIN_EXE_queue-server"));
        command.arg("--drain-seconds=5").arg(format!("--store={url}")).env_clear();
        Program::start(command.arg(format!("--state-dir={}", self.state.path().display())))
    }

    /// What an operator asks of a node, under `/api/v1/queue/`.
    pub fn operate(&self, node: &Node, method: Method, path: &str, body: Option<Value>) -> RequestBuilder {
        let request = self.http.request(method, format!("http://{}/api/v1/queue/{path}", node.ops));
        let request = request.bearer_auth(&self.operator);
        if let Some(body) = body { request.json(&body) } else { request }
    }

    /// What a ticket server asks of a node.
    pub fn peer(&self, node: &Node, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}/api/v1/queue/{path}", node.ops)).bearer_auth(&self.peer)
    }

    pub async fn configure(&self, node: &Node, event: &str, policy: Value) {
        let answer = self.operate(node, Method::PUT, &format!("admin/{event}"), Some(policy)).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub async fn overview(&self, node: &Node, event: &str) -> Value {
        let answer = self.operate(node, Method::GET, &format!("admin/{event}"), None).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// A request of a visitor: `check`, `status`, `leave`, `release`.
    pub fn visitor(&self, node: &Node, verb: &str, event: &str, token: Option<&str>) -> RequestBuilder {
        let method = if verb == "status" { Method::GET } else { Method::POST };
        let request = self.http.request(method, format!("http://{}/api/v1/queue/{verb}/{event}", node.public));
        if let Some(token) = token { request.bearer_auth(token) } else { request }
    }

    /// Joins, or finds the place again.
    pub async fn check(&self, node: &Node, place: Option<&str>) -> Value {
        let answer = self.visitor(node, "check", EVENT, place).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    pub async fn status(&self, node: &Node, place: &str) -> Value {
        let answer = self.visitor(node, "status", EVENT, Some(place)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// Whether a node is ready, and what it says.
    pub async fn ready(&self, node: &Node) -> (u16, String) {
        let answer = self.http.get(format!("http://{}/readyz", node.ops)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn await_ready(&self, node: &Node) {
        eventually("a node is ready", async || (self.ready(node).await.0 == 200).then_some(())).await;
    }

    /// Until a place has this status.
    pub async fn await_status(&self, node: &Node, place: &str, wanted: &str) -> Value {
        eventually(wanted, async || {
            let answer = self.visitor(node, "status", EVENT, Some(place)).send().await.ok()?;
            let status: Value = answer.json().await.ok()?;
            (status["status"] == wanted).then_some(status)
        })
        .await
    }

    pub fn claims(&self, place: &str) -> PlaceClaims {
        self.places.verify(place).unwrap()
    }

    /// A connection of the test's own to the Redis.
    pub async fn store(&self) -> Store {
        let store = Store::connect(&StoreUrl::parse(&self.redis.url()).unwrap(), Options::default());
        store.wait_ready(WITHIN).await.unwrap();
        store
    }

    /// One field of the line's state.
    pub fn meta(&self, field: &str) -> String {
        self.redis.cli(&["HGET", &format!("usher:{{{EVENT}}}:meta"), field])
    }
}

/// A node.
pub use queue_core::service::testing::Program as Node;

/// Where visitors say that they are done.
pub type Done = tokio::sync::mpsc::UnboundedSender<Value>;

/// The body of a BOOKING_DONE for the session of an active token.
pub fn booking_done(active: &str) -> Value {
    let claims = jwt(active);
    let at = "2026-01-01T00:00:00.000Z";
    json!({"type": "BOOKING_DONE", "eventId": claims["evt"], "visitorId": claims["sub"], "jti": claims["jti"],
        "outcome": "BOOKED", "at": at})
}

/// Says it as the ticket server does: until the store has taken it, at least once.
pub async fn publish_done(store: &Store, body: &Value) {
    let body = body.to_string();
    let said = async || {
        store.append_and_publish(BOOKING_DONE_LOG, 100_000, MESSAGE_FIELD, BOOKING_DONE_CHANNEL, body.as_str()).await
    };
    let until = tokio::time::Instant::now() + WITHIN;
    while let Err(error) = said().await {
        assert!(tokio::time::Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The claims of an active token, unchecked.
pub fn jwt(token: &str) -> Value {
    let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// Status and code of a refusal, and whether it says when to come again.
pub async fn refusal(answer: Response) -> (u16, String, bool) {
    let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    let body: Value = answer.json().await.unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned(), again)
}

pub fn unavailable() -> (u16, String, bool) {
    (503, "STORE_UNAVAILABLE".to_owned(), true)
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
