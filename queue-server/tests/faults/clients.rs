//! Visitors on WebSockets.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use super::support::{EVENT, WITHIN};

/// What a socket said.
#[derive(Debug)]
pub enum Said {
    Event(Value),
    Closed(Option<CloseFrame>),
}

pub struct Socket {
    ws: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Connects to a node and joins; fails if the node is not there.
    pub async fn join(address: SocketAddr, place: Option<&str>) -> Option<Self> {
        let tcp = TcpStream::connect(address).await.ok()?;
        let (ws, _) = client_async(format!("ws://{address}/ws"), tcp).await.ok()?;
        let mut socket = Self { ws };
        socket.ask(place).await.then_some(socket)
    }

    /// Asks to join; whether that could be sent.
    pub async fn ask(&mut self, place: Option<&str>) -> bool {
        let mut data = json!({"eventId": EVENT});
        if let Some(place) = place {
            data["placeToken"] = place.into();
        }
        let text = json!({"event": "join-queue", "data": data}).to_string();
        self.ws.send(Message::text(text)).await.is_ok()
    }

    /// Asks again after an error that says that this may help: the store took too long on a busy machine.
    pub async fn ask_again(&mut self, error: &Value, place: Option<&str>) {
        assert_eq!(error["data"]["retryable"], true, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        // If that fails the socket is closed, which is heard next.
        self.ask(place).await;
    }

    /// What comes next. A connection that breaks is a socket that closes without a word.
    pub async fn next(&mut self) -> Said {
        loop {
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) => return Said::Event(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Said::Closed(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Said::Closed(None),
            }
        }
    }

    /// The first event of this name; what else is said before it does not matter, but a close does.
    pub async fn named(&mut self, name: &str) -> Value {
        let search = async {
            loop {
                match self.next().await {
                    Said::Event(event) if event["event"] == name => return event["data"].clone(),
                    Said::Event(_) => {}
                    Said::Closed(frame) => panic!("closed before {name}: {frame:?}"),
                }
            }
        };
        tokio::time::timeout(WITHIN, search).await.unwrap_or_else(|_| panic!("waited too long for {name}"))
    }

    /// The code of its close, after whatever else is said.
    pub async fn closed(&mut self) -> Option<u16> {
        let search = async {
            loop {
                if let Said::Closed(frame) = self.next().await {
                    return frame.map(|frame| frame.code.into());
                }
            }
        };
        tokio::time::timeout(WITHIN, search).await.expect("the socket is closed in time")
    }
}
