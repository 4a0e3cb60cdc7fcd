//! Real `queue-server` processes, what is asked of them, and user tokens.

use std::{path::Path, process::Command};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
pub use queue_core::service::testing::{Answer, Ask, WITHIN, eventually};
use queue_core::service::{
    keyfiles::{OPERATOR_TOKEN, PEER_TOKEN, StateDir},
    testing::{Program, client},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// A running server, killed at the end.
pub struct Server {
    pub program: Program,
    pub operator: String,
    pub peer: String,
    http: reqwest::Client,
}

impl Server {
    /// A server with this state folder and these flags.
    pub fn start(state: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_queue-server"));
        command.arg("--drain-seconds=1").args(flags).env_clear().env("USHER_STATE_DIR", state);
        let program = Program::start(&mut command);
        let state = StateDir::open(state).unwrap();
        let secret = |name: &str| state.secret(name).unwrap().expose().to_owned();
        Self { program, operator: secret(OPERATOR_TOKEN), peer: secret(PEER_TOKEN), http: client() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.program.url()))
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
        self.http.request(method, format!("{}/api/v1/queue/{path}", self.program.ops_url()))
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
