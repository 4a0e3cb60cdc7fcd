//! One socket from its first message to its end: a task that sleeps until the peer speaks. What it is told
//! meanwhile does not pass through here, see [`Outlet`]. While idle it holds no buffer, no timer and no work.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use queue_core::{
    close::CloseCode,
    service::{
        caps::Counted,
        http::{ConnectionGuard, UpgradedSocket},
        trace::TraceContext,
        websocket::Window,
    },
};
use tokio::{net::tcp::OwnedReadHalf, time::Sleep};
use tokio_tungstenite::tungstenite::{self, Message, error::ProtocolError};

use super::{
    closing::Closing,
    reading::{self, Reading, Stream},
    talk::{End, Flow, Lobby, Role, Talk, claim},
};
use crate::node::{Node, Outlet, Turn};

/// A peer that takes no whole frame for so long is dropped.
const SEND: Duration = Duration::from_secs(10);

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the task is at.
enum State {
    /// Listening.
    Idle(Role),
    /// At something that the peer asked for; it is not listened to meanwhile.
    Busy(Work<(Role, Flow)>),
    /// Closing.
    Ending(Work<()>),
    Over,
}

/// A socket that was upgraded.
pub struct Connection {
    /// `None` once it is closing.
    read: Option<OwnedReadHalf>,
    /// While something has come in part.
    reading: Option<Box<Reading>>,
    state: State,
    window: Window,
    /// While the peer does not read.
    stall: Option<Pin<Box<Sleep>>>,
    trace: TraceContext,
    open: Open,
    _counted: Option<Box<Counted>>,
    _guard: ConnectionGuard,
}

/// There are as many as open sockets, each within a task.
const _: () = assert!(size_of::<Connection>() <= 160);

/// One more open socket, for as long as it lives.
struct Open {
    node: Arc<Node>,
    outlet: Arc<Outlet>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.outlet.end();
        self.node.outlets().remove(&self.outlet);
        self.node.socket_closed();
    }
}

impl Connection {
    pub fn new(socket: UpgradedSocket, lobby: Lobby, trace: TraceContext, counted: Option<Counted>) -> Self {
        let UpgradedSocket { tcp, leading, guard } = socket;
        let (read, write) = tcp.into_split();
        let outlet = Arc::new(Outlet::new(write));
        let open = Open { node: lobby.node.clone(), outlet };
        let number = open.node.outlets().add(&open.outlet);
        open.node.socket_opened();
        let full = number > open.node.options().sockets_max;
        let mut this = Self {
            read: Some(read),
            reading: (!leading.is_empty()).then(|| Reading::of(&leading)),
            state: State::Idle(Role::Lobby(Box::new(lobby))),
            window: Window::default(),
            stall: None,
            trace,
            open,
            _counted: counted.map(Box::new),
            _guard: guard,
        };
        if full {
            this.end(CloseCode::Overloaded.into());
        }
        this
    }

    /// What the peer or the node says next, and what comes of it.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Flow> {
        match self.open.outlet.poll(cx) {
            Turn::Idle => self.stall = None,
            Turn::Stuffed => {
                // It does not read: it is not listened to either, and not for long.
                let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(SEND)));
                ready!(stall.as_mut().poll(cx));
                return Poll::Ready(Err(End::Gone));
            }
            Turn::Last(last) => return Poll::Ready(Err(End::Close(last))),
            Turn::Gone => return Poll::Ready(Err(End::Gone)),
        }
        let Some(read) = &mut self.read else { return Poll::Ready(Err(End::Gone)) };
        let mut stream = Stream { read, outlet: &self.open.outlet };
        let next = ready!(reading::poll(&mut self.reading, &mut stream, cx));
        Poll::Ready(match next {
            Ok(message) => self.message(message),
            Err(error) => Err(broken(&error)),
        })
    }

    fn message(&mut self, message: Message) -> Flow {
        if !message.is_close() && !self.window.allow() {
            return Err(CloseCode::Policy.into());
        }
        let State::Idle(role) = &self.state else { return Ok(()) };
        if let Role::Follows(following) = role {
            following.heard();
        }
        let claims = matches!(role, Role::Follows(following) if following.may_claim());
        match message {
            Message::Text(text) => self.work(|role, talk| Box::pin(role.said(talk, text))),
            Message::Binary(_) => return Err(CloseCode::Unsupported.into()),
            Message::Pong(_) if claims => self.work(|role, talk| match role {
                Role::Follows(following) => Box::pin(claim(following, talk.trace)),
                lobby => Box::pin(std::future::ready((lobby, Ok(())))),
            }),
            // The library answers pings and close frames while it is read.
            Message::Pong(_) | Message::Ping(_) | Message::Close(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    /// Begins some work; what the node says meanwhile is told behind its answer.
    fn work(&mut self, work: impl FnOnce(Role, Talk) -> Work<(Role, Flow)>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Idle(role) => {
                self.open.outlet.cork();
                let talk = Talk { outlet: self.open.outlet.clone(), trace: self.trace };
                self.state = State::Busy(work(role, talk));
            }
            other => self.state = other,
        }
    }

    /// Nothing is pushed to a socket that ends: what it follows is let go first.
    fn end(&mut self, end: End) {
        self.state = State::Over;
        self.open.outlet.seal();
        let Some(read) = self.read.take() else { return };
        let closing = Closing { read, outlet: self.open.outlet.clone(), reading: self.reading.take() };
        match end {
            End::Close(last) => self.state = State::Ending(Box::pin(closing.close(last))),
            End::Fail(code) => self.state = State::Ending(Box::pin(closing.fail(code))),
            End::Closed => self.state = State::Ending(Box::pin(closing.answered())),
            End::Gone => {}
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let flow = match &mut this.state {
                State::Idle(_) => ready!(this.poll_turn(cx)),
                State::Busy(work) => {
                    let (role, flow) = ready!(work.as_mut().poll(cx));
                    this.state = State::Idle(role);
                    this.open.outlet.uncork();
                    flow
                }
                State::Ending(closing) => {
                    ready!(closing.as_mut().poll(cx));
                    return Poll::Ready(());
                }
                State::Over => return Poll::Ready(()),
            };
            if let Err(end) = flow {
                this.end(end);
            }
        }
    }
}

/// What a frame that cannot be read is answered with.
fn broken(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::ConnectionClosed => End::Closed,
        tungstenite::Error::Utf8(_) => End::Fail(CloseCode::InvalidUtf8),
        tungstenite::Error::Capacity(_) => End::Fail(CloseCode::TooBig),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        tungstenite::Error::Protocol(_) => End::Fail(CloseCode::Protocol),
        _ => End::Gone,
    }
}
