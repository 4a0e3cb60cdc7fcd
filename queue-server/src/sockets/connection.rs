//! One socket from its first message to its end.

use std::{fmt, pin::Pin, sync::Arc, task::Poll, time::Duration};

use futures_util::{FutureExt, SinkExt, StreamExt};
use queue_core::{
    close::CloseCode,
    codes::Code,
    ids::EventId,
    limits::{WS_FIRST_MESSAGE_MS, WS_MESSAGE_BYTES_MAX, WS_SILENT_MS},
    service::{
        http::{ApiError, UpgradedSocket},
        trace::TraceId,
    },
    wire::{ClientMessage, JoinQueue, ServerMessage},
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{closing, presented::Presented, window::Window};
use crate::{
    entrance::{Entrance, Shown},
    node::{Following, Node, Push, Who},
};

/// What is read at once: messages are small, and there are many sockets.
const READ_BUFFER_BYTES: usize = 512;
/// What may wait for a peer that does not read.
const WRITE_BUFFER_BYTES_MAX: usize = 32 * 1024;
/// A peer that takes no frame for so long is dropped.
const SEND: Duration = Duration::from_secs(10);

/// Why a socket ends.
enum End {
    /// With a close frame of ours.
    Close(CloseCode),
    /// The peer closed it, or is gone.
    Gone,
}

type Flow = Result<(), End>;

enum Event {
    Frame(Option<Result<Message, tungstenite::Error>>),
    Push(Push),
    Draining,
    Late,
}

struct Connection {
    node: Arc<Node>,
    entrance: Arc<Entrance>,
    ws: WebSocketStream<TcpStream>,
    presented: Presented,
    trace: TraceId,
    window: Window,
    /// What the socket follows, once it has joined.
    following: Option<Following>,
    /// Until it has joined: when it must have said something.
    deadline: Option<Pin<Box<Sleep>>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Follows a socket to its end. `full`: the node has more than it takes.
pub async fn serve(
    node: Arc<Node>,
    entrance: Arc<Entrance>,
    socket: UpgradedSocket,
    presented: Presented,
    trace: TraceId,
    draining: CancellationToken,
    full: bool,
) {
    let UpgradedSocket { tcp, leading, guard } = socket;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
    let ws = WebSocketStream::from_partially_read(tcp, leading.to_vec(), Role::Server, Some(config)).await;
    let mut connection = Connection {
        node,
        entrance,
        ws,
        presented,
        trace,
        window: Window::new(),
        following: None,
        deadline: Some(Box::pin(tokio::time::sleep(Duration::from_millis(WS_FIRST_MESSAGE_MS)))),
        draining: Box::pin(draining.cancelled_owned()),
    };
    let end = if full { End::Close(CloseCode::Overloaded) } else { connection.run().await };
    // Nothing is pushed to a socket that ends.
    drop(connection.following.take());
    match end {
        End::Close(code) => closing::close(&mut connection.ws, code).await,
        End::Gone => {}
    }
    drop(guard);
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            let flow = match self.next().await {
                Event::Frame(Some(Ok(message))) => self.frame(message).await,
                Event::Frame(Some(Err(error))) => Err(broken(&error)),
                Event::Frame(None) => Err(End::Gone),
                Event::Push(push) => self.push(push).await,
                Event::Draining => Err(End::Close(CloseCode::Restart)),
                Event::Late => Err(End::Close(CloseCode::NothingAsked)),
            };
            if let Err(end) = flow {
                return end;
            }
        }
    }

    /// Whatever comes first. What the node says goes before what the peer says.
    async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| {
            if self.draining.poll_unpin(cx).is_ready() {
                return Poll::Ready(Event::Draining);
            }
            if let Some(following) = &self.following
                && let Poll::Ready(push) = following.slot().poll(cx)
            {
                return Poll::Ready(Event::Push(push));
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.poll_unpin(cx).is_ready()
            {
                return Poll::Ready(Event::Late);
            }
            self.ws.poll_next_unpin(cx).map(Event::Frame)
        })
        .await
    }

    async fn frame(&mut self, message: Message) -> Flow {
        if !message.is_close() && !self.window.allow() {
            return Err(End::Close(CloseCode::Policy));
        }
        if let Some(following) = &self.following {
            following.heard();
        }
        match message {
            Message::Text(text) => self.text(&text).await,
            Message::Binary(_) => Err(End::Close(CloseCode::Unsupported)),
            Message::Pong(_) => {
                if let Some(following) = &mut self.following {
                    following.claim().await;
                }
                Ok(())
            }
            // The library answers pings and close frames while it is read.
            Message::Ping(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn text(&mut self, text: &str) -> Flow {
        if self.following.is_none() {
            // It has said something: it may be silent for as long as any socket.
            let late = Instant::now() + Duration::from_millis(WS_SILENT_MS);
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(late))).as_mut().reset(late);
        }
        let answer = match parse(text) {
            Ok(ClientMessage::JoinQueue(join)) => self.join(join).await,
            Ok(ClientMessage::LeaveQueue(leave)) => self.leave(&leave.event_id).await,
            Err(error) => self.error(error).await,
        };
        if answer.is_ok()
            && let Some(following) = &mut self.following
        {
            following.claim().await;
        }
        answer
    }

    async fn join(&mut self, join: JoinQueue) -> Flow {
        if let Some(following) = &self.following {
            return if following.event() == &join.event_id {
                self.again().await
            } else {
                self.error(ApiError::invalid("data.eventId", "one event per socket")).await
            };
        }
        let who = self
            .place(&join)
            .and_then(|place| self.entrance.who(self.presented.user.clone(), place, self.presented.from));
        let who = match who {
            Ok(who) => who,
            Err(error) => {
                // Another token, or a little later: only a bad place token is the end.
                let bad = error.code() == Code::PlaceTokenInvalid;
                self.error(error).await?;
                return if bad { Err(End::Close(CloseCode::Policy)) } else { Ok(()) };
            }
        };
        // Whoever is known, by place or by login, may have another socket, here or on another node.
        let resumes = who != Who::Anonymous;
        let joining = match self.node.join(&join.event_id, who).await {
            Ok(joining) => joining,
            Err(error) => {
                let unknown = error.code() == Code::EventNotFound;
                self.error(error).await?;
                return if unknown { Err(End::Close(CloseCode::NoSuchEvent)) } else { Ok(()) };
            }
        };
        let message = joining.message();
        // Followed before it is answered, so that nothing that happens meanwhile is missed.
        self.following = Some(self.node.follow(joining, resumes).await);
        self.deadline = None;
        self.presented = Presented::used();
        self.send(Message::Text(message)).await
    }

    /// The place token of a join: in the message, else as the handshake presented it.
    fn place(&self, join: &JoinQueue) -> Result<Option<Shown>, ApiError> {
        let keys = self.node.keys();
        if let Some(token) = join.place_token.as_deref().or(self.presented.explicit()) {
            let claims = keys.open_place(&join.event_id, token)?;
            return Ok(Some(Shown { claims, explicitly: true }));
        }
        // A stale or foreign cookie is none.
        let cookie = self.presented.cookie(&join.event_id);
        let claims = cookie.and_then(|token| keys.open_place(&join.event_id, token).ok());
        Ok(claims.map(|claims| Shown { claims, explicitly: false }))
    }

    /// A join of what is followed already: where the visitor stands.
    async fn again(&mut self) -> Flow {
        let Some(following) = &self.following else { return Ok(()) };
        match following.resume().await {
            Ok(text) => self.send(Message::Text(text)).await,
            Err(error) => self.error(error).await,
        }
    }

    async fn leave(&mut self, event: &EventId) -> Flow {
        let Some(following) = self.following.as_ref().filter(|following| following.event() == event) else {
            return self.error(ApiError::invalid("data.eventId", "this socket has not joined that event")).await;
        };
        match following.leave().await {
            Ok(text) => {
                self.send(Message::Text(text)).await?;
                Err(End::Close(CloseCode::Done))
            }
            Err(error) => self.error(error).await,
        }
    }

    async fn push(&mut self, push: Push) -> Flow {
        match push {
            Push::Text(text) => self.send(Message::Text(text)).await,
            Push::Ping => self.send(Message::Ping(bytes::Bytes::new())).await,
            Push::Last(text, code) => {
                if let Some(text) = text {
                    self.send(Message::Text(text)).await?;
                }
                Err(End::Close(code))
            }
            Push::Drop => Err(End::Gone),
        }
    }

    async fn error(&mut self, error: ApiError) -> Flow {
        let (code, internal) = (error.info().name, error.internal_message().unwrap_or_default());
        // Whatever clients do wrong must not fill the log; overload and an absent store are told by metrics.
        if error.code() == Code::Internal {
            tracing::error!(code, internal, "a message failed");
        } else {
            tracing::debug!(code, internal, "a message refused");
        }
        let text = crate::node::text(&ServerMessage::Error(error.body(self.trace)));
        self.send(Message::Text(text)).await
    }

    async fn send(&mut self, message: Message) -> Flow {
        match tokio::time::timeout(SEND, self.ws.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // It does not read, or is gone.
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

/// Where a message is wrong. What is wrong there may be a token in the wrong place, so it is not repeated.
struct Place<'e>(&'e serde_json::Error);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at line {} column {}", self.0.line(), self.0.column())
    }
}

fn parse(text: &str) -> Result<ClientMessage, ApiError> {
    let invalid = || ApiError::invalid("event", "must be join-queue or leave-queue with its data, and nothing else");
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| ApiError::new(Code::MalformedBody))?;
    // A list would be taken for an object with its fields in order.
    if !value.is_object() || !value["data"].is_object() {
        return Err(invalid());
    }
    serde_json::from_str(text).map_err(|error| invalid().log(Place(&error)))
}

/// What a frame that cannot be read is answered with.
fn broken(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Utf8(_) => End::Close(CloseCode::InvalidUtf8),
        tungstenite::Error::Capacity(_) => End::Close(CloseCode::TooBig),
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        tungstenite::Error::Protocol(_) => End::Close(CloseCode::Protocol),
        _ => End::Gone,
    }
}
