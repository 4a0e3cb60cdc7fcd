//! A server in this process, and a client that says what it got.

use std::{path::PathBuf, time::Duration};

pub use queue_core::service::testing::{Answer, Ask, eventually};
use queue_core::{
    service::{
        keyfiles::{OPERATOR_TOKEN, PEER_TOKEN, PLACE_SECRET, SigningKeys, StateDir, place_keys},
        run::Lifecycle,
        testing::{client, settings},
    },
    token::place::PlaceKeys,
};
use queue_server::{
    config::{Config, PROGRAM},
    server::Server,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server with a state folder of its own.
pub struct TestServer {
    pub url: String,
    pub ops: String,
    pub operator: String,
    pub peer: String,
    pub life: Lifecycle,
    client: reqwest::Client,
    state: StateDir,
    _folder: TempDir,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let given = flags.iter().find_map(|flag| flag.strip_prefix("--state-dir=")).map(PathBuf::from);
        let state = StateDir::open(&given.unwrap_or_else(|| folder.path().join("state"))).unwrap();
        let state_flag = format!("--state-dir={}", state.path().display());
        let own = ["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", &state_flag];
        let others = flags.iter().filter(|flag| !flag.starts_with("--state-dir="));
        let args: Vec<_> = own.iter().chain(others).copied().collect();
        let config = settings(&PROGRAM, &args, Config::read).unwrap();
        let life = Lifecycle::new(Duration::from_secs(5));
        let server = Server::start(config, &life).await.unwrap();
        let (url, ops) = (format!("http://{}", server.address()), format!("http://{}", server.ops_address()));
        tokio::spawn(server.serve(life.clone()));
        let secret = |name: &str| state.secret(name).unwrap().expose().to_owned();
        let (operator, peer) = (secret(OPERATOR_TOKEN), secret(PEER_TOKEN));
        Self { url, ops, operator, peer, life, client: client(), state, _folder: folder }
    }

    /// With an event of this policy.
    pub async fn with_event(event: &str, policy: Value) -> Self {
        let server = Self::start().await;
        server.configure(event, policy).await;
        server
    }

    pub async fn configure(&self, event: &str, policy: Value) -> Answer {
        let answer = self.operate(Method::PUT, &format!("admin/{event}"), Some(policy)).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer
    }

    /// A request to the public listener.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// `check`, `leave`, `release`: a request to a visitor's route.
    pub fn post(&self, verb: &str, event: &str) -> RequestBuilder {
        self.request(Method::POST, &format!("/api/v1/queue/{verb}/{event}"))
    }

    pub fn status(&self, event: &str) -> RequestBuilder {
        self.get(&format!("/api/v1/queue/status/{event}"))
    }

    /// A request to the operations listener, without a token.
    pub fn ops_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.ops))
    }

    /// What an operator asks for.
    pub async fn operate(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.ops_request(method, &format!("/api/v1/queue/{path}")).bearer_auth(&self.operator);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.answer().await
    }

    /// Joins anew and gives the status.
    pub async fn join(&self, event: &str) -> Value {
        let answer = self.post("check", event).answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    /// The status of a place.
    pub async fn status_of(&self, event: &str, place: &str) -> Value {
        let answer = self.status(event).header("x-usher-place", place).answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    /// Asks until the status of a place is this one.
    pub async fn await_status(&self, event: &str, place: &str, wanted: &str) -> Value {
        eventually(wanted, async || {
            let status = self.status_of(event, place).await;
            (status["status"] == wanted).then_some(status)
        })
        .await
    }

    /// Where its keys are.
    pub fn state_dir(&self) -> String {
        self.state.path().display().to_string()
    }

    pub fn signing_keys(&self) -> SigningKeys {
        self.state.signing_keys().unwrap()
    }

    pub fn place_keys(&self) -> PlaceKeys {
        place_keys(&self.state.secret(PLACE_SECRET).unwrap()).unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.life.shut_down();
    }
}

/// The text of a JSON value that is one.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A policy of this capacity.
pub fn capacity(capacity: u32) -> Value {
    json!({ "capacity": capacity })
}
