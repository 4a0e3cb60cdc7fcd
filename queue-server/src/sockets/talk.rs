//! What a message of a peer means, before and after its join. Each is a piece of work of its own, which takes the
//! socket's state and gives the next one back: while nobody speaks, nothing of it is kept.

use std::{fmt, sync::Arc};

use queue_core::{
    close::CloseCode,
    codes::Code,
    ids::EventId,
    limits::WS_SILENT_MS,
    service::{context, http::ApiError, trace::TraceContext},
    wire::{ClientMessage, JoinQueue, ServerMessage},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::presented::Presented;
use crate::{
    entrance::{Entrance, Shown},
    node::{Following, Last, Node, Outlet, Who, text, text_frame, uptime_ms},
};

/// Why a socket ends.
pub enum End {
    /// With something of ours.
    Close(Last),
    /// What came cannot be understood.
    Fail(CloseCode),
    /// The peer has closed it in order.
    Closed,
    /// The peer is gone.
    Gone,
}

impl From<CloseCode> for End {
    fn from(code: CloseCode) -> Self {
        Self::Close(Last { text: None, code })
    }
}

/// Whether the socket goes on.
pub type Flow = Result<(), End>;

/// A socket that has not joined yet.
pub struct Lobby {
    pub node: Arc<Node>,
    pub entrance: Arc<Entrance>,
    pub presented: Presented,
}

/// What a socket is for.
pub enum Role {
    Lobby(Box<Lobby>),
    Follows(Following),
}

/// Where answers go.
pub struct Talk {
    pub outlet: Arc<Outlet>,
    pub trace: TraceContext,
}

impl Role {
    /// The peer has said something.
    pub async fn said(self, talk: Talk, text: Utf8Bytes) -> (Self, Flow) {
        context::scope(talk.trace, async move {
            let (mut role, flow) = match self {
                Self::Lobby(lobby) => lobby.said(&talk, &text).await,
                Self::Follows(following) => {
                    context::note_event(following.event());
                    context::note_visitor(following.visitor());
                    let flow = talk.following(&following, &text).await;
                    (Self::Follows(following), flow)
                }
            };
            if let (Ok(()), Self::Follows(following)) = (&flow, &mut role) {
                following.claim().await;
            }
            (role, flow)
        })
        .await
    }
}

/// Claims the session of somebody who was heard after being let in.
pub async fn claim(mut following: Following, trace: TraceContext) -> (Role, Flow) {
    context::scope(trace, async move {
        context::note_event(following.event());
        context::note_visitor(following.visitor());
        following.claim().await;
        (Role::Follows(following), Ok(()))
    })
    .await
}

impl Lobby {
    async fn said(self: Box<Self>, talk: &Talk, text: &str) -> (Role, Flow) {
        // It has said something: it may be silent for as long as any socket.
        talk.outlet.set_deadline(Some(uptime_ms() + WS_SILENT_MS));
        let refused = match parse(text) {
            Ok(ClientMessage::JoinQueue(join)) => return self.join(talk, join).await,
            Ok(ClientMessage::LeaveQueue(_)) => not_joined(),
            Err(error) => error,
        };
        (Role::Lobby(self), talk.refuse(refused))
    }

    async fn join(self: Box<Self>, talk: &Talk, join: JoinQueue) -> (Role, Flow) {
        let who = self.place(&join).and_then(|place| self.entrance.who(self.presented.user.clone(), place));
        let who = match who {
            Ok(who) => who,
            // Another token, or a little later: only a bad place token is the end.
            Err(error) => {
                let end = (error.code() == Code::PlaceTokenInvalid).then_some(CloseCode::Policy);
                let flow = talk.refuse_and(error, end);
                return (Role::Lobby(self), flow);
            }
        };
        // Whoever is known, by place or by login, may have another socket, here or on another node.
        let resumes = who != Who::Anonymous;
        let joining = match self.entrance.join(&self.node, &join.event_id, who, self.presented.from).await {
            Ok(joining) => joining,
            Err(error) => {
                let end = (error.code() == Code::EventNotFound).then_some(CloseCode::NoSuchEvent);
                let flow = talk.refuse_and(error, end);
                return (Role::Lobby(self), flow);
            }
        };
        let message = joining.message();
        // Followed before it is answered, so that nothing that happens meanwhile is missed.
        let following = self.node.follow(joining, resumes, talk.outlet.clone()).await;
        talk.outlet.set_deadline(None);
        (Role::Follows(following), talk.send(&message))
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
}

impl Talk {
    async fn following(&self, following: &Following, text: &str) -> Flow {
        match parse(text) {
            // A join of what is followed already: where the visitor stands.
            Ok(ClientMessage::JoinQueue(join)) if join.event_id == *following.event() => {
                match following.resume().await {
                    Ok(text) => self.send(&text),
                    Err(error) => self.refuse(error),
                }
            }
            Ok(ClientMessage::JoinQueue(_)) => self.refuse(ApiError::invalid("data.eventId", "one event per socket")),
            Ok(ClientMessage::LeaveQueue(leave)) => self.leave(following, &leave.event_id).await,
            Err(error) => self.refuse(error),
        }
    }

    async fn leave(&self, following: &Following, event: &EventId) -> Flow {
        if following.event() != event {
            return self.refuse(not_joined());
        }
        match following.leave().await {
            Ok(text) => Err(End::Close(Last { text: Some(text), code: CloseCode::Done })),
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&self, error: ApiError) -> Flow {
        let (code, internal) = (error.info().name, error.internal_message().unwrap_or_default());
        // Whatever clients do wrong must not fill the log; overload and an absent store are told by metrics.
        if error.code() == Code::Internal {
            tracing::error!(code, internal, "a message failed");
        } else {
            tracing::debug!(code, internal, "a message refused");
        }
        self.send(&text(&ServerMessage::Error(error.body(self.trace.id))))
    }

    /// Refuses, and ends the socket if that is the end of it.
    fn refuse_and(&self, error: ApiError, end: Option<CloseCode>) -> Flow {
        self.refuse(error)?;
        end.map_or(Ok(()), |code| Err(code.into()))
    }

    fn send(&self, text: &Utf8Bytes) -> Flow {
        let mut frame = Vec::new();
        text_frame(text.as_bytes(), &mut frame);
        self.outlet.send(&frame).map_err(|_| End::Gone)
    }
}

fn not_joined() -> ApiError {
    ApiError::invalid("data.eventId", "this socket has not joined that event")
}

/// Where a message is wrong. What is wrong there may be a token in the wrong place, so it is not repeated.
struct Place<'e>(&'e serde_json::Error);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at line {} column {}", self.0.line(), self.0.column())
    }
}

fn parse(text: &str) -> Result<ClientMessage, ApiError> {
    // Nearly all are plain: with no list in it, it is what it seems to be.
    let plain = text.starts_with('{') && !text.contains('[');
    if let (true, Ok(message)) = (plain, serde_json::from_str(text)) {
        return Ok(message);
    }
    let invalid = || ApiError::invalid("event", "must be join-queue or leave-queue with its data, and nothing else");
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| ApiError::new(Code::MalformedBody))?;
    // A list would be taken for an object with its fields in order.
    if !value.is_object() || !value["data"].is_object() {
        return Err(invalid());
    }
    serde_json::from_str(text).map_err(|error| invalid().log(Place(&error)))
}
