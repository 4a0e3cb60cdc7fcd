//! The end of a socket: the close frame, then reading until the peer has answered it.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Utf8Bytes, protocol::CloseFrame},
};

use crate::{close::CloseCode, service::trace::random_u64};

/// A peer has so long to answer a close frame.
const ANSWER: Duration = Duration::from_secs(2);
/// Peers that are to reconnect do so after at least this, and at most ten times as long.
const RETRY_MS_MIN: u64 = 500;

/// Closes a socket with `code`.
pub async fn close(ws: &mut WebSocketStream<TcpStream>, code: CloseCode) {
    let frame = CloseFrame { code: code.number().into(), reason: reason(code) };
    let closing = async {
        if ws.close(Some(frame)).await.is_ok() {
            finish(ws).await;
        }
    };
    // A peer that does not read or answer is dropped all the same.
    let _ = tokio::time::timeout(ANSWER, closing).await;
}

/// Reads until both sides are closed: a close that is not read to its end is an unclean one.
pub async fn finish(ws: &mut WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = ws.next().await {}
}

/// What a close frame says beside its code: when to come back, spread so that not all come at once.
pub fn reason(code: CloseCode) -> Utf8Bytes {
    if !code.reconnect() {
        return Utf8Bytes::default();
    }
    let retry_after_ms = RETRY_MS_MIN + random_u64() % (9 * RETRY_MS_MIN);
    format!("{{\"retryAfterMs\":{retry_after_ms}}}").into()
}
