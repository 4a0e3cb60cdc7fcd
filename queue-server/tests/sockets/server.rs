//! A real `queue-server` process on free ports, its operator, and a WebSocket client.

use std::{process::Command, time::Duration};

use futures_util::{SinkExt, StreamExt};
use queue_core::service::testing::{Program, client};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};

pub const OPERATOR: &str = "an-operator-token-of-at-least-32-characters";
pub const PLACE_SECRET: &str = "a-place-secret-of-at-least-32-bytes-for-tests";
/// Nothing in these tests takes longer, unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub program: Program,
    pub http: reqwest::Client,
    _state: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(arguments: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_queue-server"));
        command.arg("--drain-seconds=5").args(arguments).env("USHER_STATE_DIR", state.path());
        command.env("USHER_OPERATOR_TOKEN", OPERATOR).env("USHER_PLACE_SECRET", PLACE_SECRET);
        let program = Program::start(&mut command);
        Self { program, http: client(), _state: state }
    }

    pub async fn operator(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("http://{}/api/v1/queue/admin/{path}", self.program.ops);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(OPERATOR);
        let answer = request.json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap_or_default()
    }

    /// An event of this capacity.
    pub async fn event(&self, event: &str, capacity: u32) {
        self.operator("PUT", event, json!({"capacity": capacity})).await;
    }

    /// Joins over HTTP.
    pub async fn check(&self, event: &str) -> Value {
        let url = format!("http://{}/api/v1/queue/check/{event}", self.program.public);
        self.http.post(url).send().await.unwrap().json().await.unwrap()
    }

    /// Leaves over HTTP.
    pub async fn leave(&self, event: &str, place: &Value) {
        let url = format!("http://{}/api/v1/queue/leave/{event}", self.program.public);
        let answer = self.http.post(url).header("x-usher-place", place.as_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    pub async fn socket(&self) -> Socket {
        let (ws, _) = tokio_tungstenite::client_async(
            format!("ws://{}/ws", self.program.public),
            MaybeTlsStream::Plain(TcpStream::connect(&self.program.public).await.unwrap()),
        )
        .await
        .unwrap();
        Socket { ws }
    }

    /// Joins over a socket of its own; the socket and the answer.
    pub async fn join(&self, event: &str, place: Option<&Value>) -> (Socket, Value) {
        let mut socket = self.socket().await;
        socket.join(event, place).await;
        let answer = socket.event().await;
        (socket, answer)
    }
}

pub struct Socket {
    pub ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub async fn send(&mut self, text: impl Into<String>) {
        self.ws.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn join(&mut self, event: &str, place: Option<&Value>) {
        let mut data = json!({"eventId": event});
        if let Some(place) = place {
            data["placeToken"] = place.clone();
        }
        self.send(json!({"event": "join-queue", "data": data}).to_string()).await;
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.ws.next()).await;
        next.expect("something comes in time").expect("the socket is open").unwrap()
    }

    /// The next message, whatever it is.
    pub async fn event(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The first message for which `wanted` holds.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.event().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    /// The first message of this name.
    pub async fn named(&mut self, name: &str) -> Value {
        self.until(|event| event["event"] == name).await["data"].clone()
    }

    /// How the server closes, after whatever else it says.
    pub async fn closed(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.expect("a code");
            }
        }
    }
}
