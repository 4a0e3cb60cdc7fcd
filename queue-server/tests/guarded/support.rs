//! Real `queue-server` processes, what is asked of them, and user tokens.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use queue_core::service::keyfiles::{OPERATOR_TOKEN, PEER_TOKEN, StateDir};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// What is expected within seconds has not happened after so long.
pub const WITHIN: Duration = Duration::from_secs(30);

/// A running server, killed at the end.
pub struct Server {
    child: Child,
    /// `host:port` of the public listener.
    pub public: String,
    ops: String,
    pub operator: String,
    pub peer: String,
    http: reqwest::Client,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Answer {
    /// Status and code.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.json["code"].as_str().unwrap_or_default())
    }
}

impl Server {
    /// A server with this state folder and these flags.
    pub fn start(state: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_queue-server"))
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--drain-seconds", "1"])
            .args(flags)
            .env_clear()
            .env("USHER_STATE_DIR", state)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().unwrap().contains("visitors on")).unwrap().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let mut addresses = line.split("http://").skip(1).map(|rest| rest.split([',', ' ']).next().unwrap().to_owned());
        let (public, ops) = (addresses.next().unwrap(), addresses.next().unwrap());
        let state = StateDir::open(state).unwrap();
        let secret = |name: &str| state.secret(name).unwrap().expose().to_owned();
        let http = reqwest::Client::builder().no_proxy().timeout(WITHIN).build().unwrap();
        Self { child, public, ops, operator: secret(OPERATOR_TOKEN), peer: secret(PEER_TOKEN), http }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.public))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn check(&self, event: &str) -> RequestBuilder {
        self.request(Method::POST, &format!("/api/v1/queue/check/{event}"))
    }

    pub fn status(&self, event: &str) -> RequestBuilder {
        self.get(&format!("/api/v1/queue/status/{event}"))
    }

    pub fn leave(&self, event: &str) -> RequestBuilder {
        self.request(Method::POST, &format!("/api/v1/queue/leave/{event}"))
    }

    /// A request to the operations listener, without a token.
    pub fn ops(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}/api/v1/queue/{path}", self.ops))
    }

    /// What an operator asks for.
    pub async fn operate(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.ops(method, path).bearer_auth(&self.operator);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.answer().await
    }

    /// An event of this capacity.
    pub async fn event(&self, event: &str, capacity: u32) {
        let answer = self.operate(Method::PUT, &format!("admin/{event}"), Some(json!({"capacity": capacity}))).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and reads the whole answer.
pub trait Ask {
    fn answer(self) -> impl Future<Output = Answer>;
}

impl Ask for RequestBuilder {
    async fn answer(self) -> Answer {
        let response = self.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or_default() }
    }
}

/// Tries until there is something.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub const ISSUER: &str = "https://id.example/";
pub const AUDIENCE: &str = "queue";
pub const USER_SECRET: &str = "a-secret-of-user-tokens-for-tests-only";

/// What a site's login would say about `subject`.
pub fn claims(subject: &str) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now + 300})
}

/// A JWT of these parts.
pub fn jwt(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = B64.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A good user token, signed with the shared secret.
pub fn user_token(subject: &str) -> String {
    signed(&claims(subject))
}

/// These claims, signed with the shared secret.
pub fn signed(claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, USER_SECRET.as_bytes());
    jwt(&json!({"alg": "HS256"}), claims, |message| hmac::sign(&key, message).as_ref().to_vec())
}

/// The settings for such tokens; the secret is put beside the state.
pub fn user_flags(state: &Path) -> Vec<String> {
    let file = state.join("user-secret");
    std::fs::write(&file, USER_SECRET).unwrap();
    let file = format!("--user-hs256-file={}", file.display());
    vec![file, format!("--user-issuer={ISSUER}"), format!("--user-audience={AUDIENCE}")]
}
