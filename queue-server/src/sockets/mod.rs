//! WebSockets: the handshake, and what a message of a client means. One task per socket, which sleeps until the
//! peer speaks; what the node says is written without waking it.

mod closing;
mod connection;
mod presented;
mod reading;
mod talk;
mod window;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    HeaderValue, StatusCode, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use queue_core::{
    codes::Code,
    service::http::{ApiError, Request, Response, empty},
    wire::WS_SUBPROTOCOL,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
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
    let accept = accept_key(&request)?;
    let user = entrance.user(&request, node.now()).await?;
    let presented = Presented::of(&request, user, entrance.wants_users())?;
    let counted = entrance.socket(request.client_ip())?;
    let trace = request.trace();
    let offered = has_token(&request, SEC_WEBSOCKET_PROTOCOL.as_str(), WS_SUBPROTOCOL);
    let upgrade = request.upgrade();
    let lobby = Lobby { node: node.clone(), entrance: entrance.clone(), presented };
    let open = async move {
        // A peer that went away during the handshake is no error.
        let socket = upgrade.complete().await.ok()?;
        Some(Connection::new(socket, lobby, trace, counted))
    };
    sockets.spawn(Socket::Opening(Box::pin(open)));
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if offered {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WS_SUBPROTOCOL));
    }
    Ok(response)
}

/// Checks the handshake (RFC 6455, section 4.2.1) and answers its key.
fn accept_key(request: &Request) -> Result<HeaderValue, ApiError> {
    let not_a_handshake = || {
        ApiError::new(Code::UpgradeRequired)
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
    };
    // HTTP/1.0 knows no upgrades: the connection would end instead.
    let upgrades = request.version() >= Version::HTTP_11
        && has_token(request, CONNECTION.as_str(), "upgrade")
        && has_token(request, "upgrade", "websocket");
    if !upgrades || request.header(SEC_WEBSOCKET_VERSION.as_str()) != Some("13") {
        return Err(not_a_handshake());
    }
    // Sixteen bytes in base64.
    let key = request.header(SEC_WEBSOCKET_KEY.as_str()).map(str::trim).filter(|key| key.len() == 24);
    let key = key.ok_or_else(not_a_handshake)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| not_a_handshake())
}

fn has_token(request: &Request, header: &str, token: &str) -> bool {
    let values = request.headers().get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
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
