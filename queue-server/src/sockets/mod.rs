//! WebSockets: the handshake, and what a message of a client means. One task per socket, which sleeps until the
//! peer speaks; what the node says is written without waking it.

mod closing;
mod connection;
mod presented;
mod reading;
mod talk;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use queue_core::service::{
    http::{ApiError, Request, Response},
    websocket::Handshake,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connection::Connection, presented::Presented, talk::Lobby};
use crate::{entrance::Entrance, node::Node};

/// Answers `GET /ws` with 101 and follows the socket in a task of `sockets`.
pub async fn upgrade(
    node: &Arc<Node>,
    entrance: &Arc<Entrance>,
    sockets: &TaskTracker,
    mut request: Request,
) -> Result<Response, ApiError> {
    request.require_origin_if_browser()?;
    let handshake = Handshake::of(&request)?;
    let user = entrance.user(&request, node.now()).await?;
    let presented = Presented::of(&request, user, entrance.wants_users())?;
    let counted = entrance.socket(request.client_ip())?;
    let trace = request.trace();
    let upgrade = request.upgrade();
    let lobby = Lobby { node: node.clone(), entrance: entrance.clone(), presented };
    let open = async move {
        // A peer that went away during the handshake is no error.
        let socket = upgrade.complete().await.ok()?;
        Some(Connection::new(socket, lobby, trace, counted))
    };
    sockets.spawn(Socket::Opening(Box::pin(open)));
    Ok(handshake.answer())
}

/// A socket as a task: no larger than it has to be once it is open.
enum Socket {
    /// Until the handshake is answered.
    Opening(Pin<Box<dyn Future<Output = Option<Connection>> + Send>>),
    Open(Connection),
}

impl Future for Socket {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Some(connection) => *this = Self::Open(connection),
                    None => return Poll::Ready(()),
                },
                Self::Open(connection) => return Pin::new(connection).poll(cx),
            }
        }
    }
}

/// Sends all sockets away once the server drains; ends with `stopping`.
pub async fn send_away(node: Arc<Node>, draining: CancellationToken, stopping: CancellationToken) {
    tokio::select! {
        () = draining.cancelled() => node.outlets().drain(),
        () = stopping.cancelled() => {}
    }
}
