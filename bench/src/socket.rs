//! A WebSocket client with small buffers, so that thousands fit into one process.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use queue_core::{
    ids::EventId,
    wire::{ClientMessage, JoinQueue, ServerMessage},
};
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Connecting and the handshake take at most so long.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
const BUFFER_BYTES: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 16_384;

/// What a socket brought.
#[derive(Debug)]
pub enum Incoming {
    /// A message of the contract.
    Message(Box<ServerMessage>),
    /// The server closed it, with this code, or the connection broke.
    Closed(Option<u16>),
}

/// One visitor's socket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    retry_after: Option<Duration>,
}

/// The reason of a close that bids the client come back.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Advice {
    retry_after_ms: u64,
}

impl Socket {
    /// Connects, joins an event and waits for what the server says to that.
    pub async fn joined(url: &str, event: &EventId) -> Result<Self> {
        let mut socket = Self::connect(url).await?;
        socket.join(event, None).await?;
        match socket.next().await? {
            Incoming::Message(_) => Ok(socket),
            Incoming::Closed(code) => bail!("a socket was closed at its join ({code:?})"),
        }
    }

    /// Connects to the queue server at `url` (`http://host:port`).
    pub async fn connect(url: &str) -> Result<Self> {
        let host = url.strip_prefix("http://").context("the queue's URL must begin with http://")?;
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = BUFFER_BYTES;
        config.write_buffer_size = 0;
        config.max_write_buffer_size = 2 * MESSAGE_BYTES_MAX;
        config.max_message_size = Some(MESSAGE_BYTES_MAX);
        config.max_frame_size = Some(MESSAGE_BYTES_MAX);
        let connect = async {
            let stream = TcpStream::connect(host).await?;
            stream.set_nodelay(true)?;
            let (socket, _) = client_async_with_config(format!("ws://{host}/ws"), stream, Some(config)).await?;
            Ok(Self { stream: socket, retry_after: None })
        };
        timeout(CONNECT_WAIT, connect).await.context("the WebSocket handshake took too long")?
    }

    /// Joins, or resumes with a place token.
    pub async fn join(&mut self, event: &EventId, place_token: Option<&str>) -> Result<()> {
        let join = JoinQueue { event_id: event.clone(), place_token: place_token.map(str::to_owned) };
        let text = serde_json::to_string(&ClientMessage::JoinQueue(join))?;
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// The next message; pings are answered on the way. Cancel-safe.
    pub async fn next(&mut self) -> Result<Incoming> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message =
                        serde_json::from_str(&text).with_context(|| format!("not of the contract: {text}"))?;
                    return Ok(Incoming::Message(Box::new(message)));
                }
                Some(Ok(Message::Close(frame))) => {
                    let advice = frame.as_ref().and_then(|frame| serde_json::from_str::<Advice>(&frame.reason).ok());
                    self.retry_after = advice.map(|advice| Duration::from_millis(advice.retry_after_ms));
                    return Ok(Incoming::Closed(frame.map(|frame| frame.code.into())));
                }
                Some(Ok(Message::Binary(_))) => bail!("a binary frame"),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Incoming::Closed(None)),
            }
        }
    }

    /// When to come back, where the server said so as it closed it.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Breaks it off with a reset, so that no port waits for what may still come.
    pub fn abort(self) {
        let _ = self.stream.get_ref().set_zero_linger();
    }

    /// Closes it in order, without waiting long for the other side.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }
}
