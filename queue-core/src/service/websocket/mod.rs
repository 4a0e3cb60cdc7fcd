//! WebSockets, as far as both servers need the same: the handshake, how often a peer may speak, and the end.

mod closing;
mod window;

use http::{
    HeaderValue, StatusCode, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio_tungstenite::tungstenite::{self, handshake::derive_accept_key};

pub use self::{
    closing::{close, finish, reason},
    window::Window,
};
use super::http::{ApiError, Request, Response, empty};
use crate::{close::CloseCode, codes::Code, wire::WS_SUBPROTOCOL};

/// A handshake that was checked.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    offered: bool,
}

impl Handshake {
    /// Checks the handshake (RFC 6455, section 4.2.1) and answers its key.
    pub fn of(request: &Request) -> Result<Self, ApiError> {
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
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| not_a_handshake())?;
        Ok(Self { accept, offered: has_token(request, SEC_WEBSOCKET_PROTOCOL.as_str(), WS_SUBPROTOCOL) })
    }

    /// 101, after which the connection speaks WebSocket.
    pub fn answer(self) -> Response {
        let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if self.offered {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WS_SUBPROTOCOL));
        }
        response
    }
}

fn has_token(request: &Request, header: &str, token: &str) -> bool {
    let values = request.headers().get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// What a frame that cannot be read is answered with; nothing when the peer is gone.
pub fn broken(error: &tungstenite::Error) -> Option<CloseCode> {
    match error {
        tungstenite::Error::Utf8(_) => Some(CloseCode::InvalidUtf8),
        tungstenite::Error::Capacity(_) => Some(CloseCode::TooBig),
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}
