//! WebSockets: seats as they change, by the names of messages that older clients know. One task per socket, which owns
//! the connection and sleeps until the peer speaks or there is something to tell.

mod connection;
mod messages;

use std::sync::Arc;

use queue_core::{
    codes::Code,
    service::{
        context,
        http::{ApiError, Request, Response},
        websocket::Handshake,
    },
};
use tokio_util::task::TaskTracker;

use crate::{gate::Gate, office::Office};

/// Answers `GET /ws` with 101 and follows the socket in a task of `sockets`.
pub async fn upgrade(
    office: &Arc<Office>,
    gate: &Arc<Gate>,
    sockets: &TaskTracker,
    mut request: Request,
) -> Result<Response, ApiError> {
    request.require_origin_if_browser()?;
    let handshake = Handshake::of(&request)?;
    // A token is only needed to tell others what one looks at: one that is missing or bad is not missed before.
    // Cookies count only beside an allowed origin, as anywhere that a page may act for somebody.
    let may_show = request.bearer().is_some() || request.origin_allowed();
    let callers = match may_show {
        true => gate.shown(&request, office.now()).await.map(|shown| shown.live().cloned().collect()),
        false => Ok(Vec::new()),
    };
    let admission = match office.live.admit("ws", request.client_ip().into()) {
        Ok(admission) => Some(admission),
        // Told by a close frame, which says when to come back.
        Err(error) if error.code() == Code::Overloaded => None,
        Err(error) => return Err(error),
    };
    let (trace, draining) = (request.trace(), request.draining().clone());
    let upgrade = request.upgrade();
    let connection = connection::Setup {
        office: Arc::clone(office),
        gate: Arc::clone(gate),
        callers: callers.unwrap_or_default(),
        trace: trace.id,
        draining,
    };
    let serve = async move {
        // A peer that went away during the handshake is no error.
        let Ok(socket) = upgrade.complete().await else { return };
        connection::serve(connection, socket, admission).await;
    };
    sockets.spawn(context::scope(trace, serve));
    Ok(handshake.answer())
}
