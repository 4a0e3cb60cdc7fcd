//! The server to compare sockets with: accepts, answers the HTTP upgrade, and does nothing more. On request it sends
//! text frames of a given size to all its sockets, in a plain loop over `send`.

use std::{
    convert::Infallible,
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use queue_core::{
    ids::{EventId, Millis},
    wire::{QueueState, QueueStatus, ServerMessage},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::derive_accept_key,
    protocol::{Role, WebSocketContext},
};

/// Sockets that are sent to without a pause.
const SLICE: usize = 256;
/// A round lasts a second, six tenths of which are for sending, as ours does.
const ROUND: Duration = Duration::from_secs(1);

/// Where it listens.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[arg(long)]
    listen: SocketAddr,
    /// Whether sockets are kept to be sent to; else they are read until they end.
    #[arg(long)]
    keep: bool,
}

#[derive(Default)]
struct Sockets {
    kept: Mutex<Vec<std::net::TcpStream>>,
    upgraded: AtomicU64,
}

/// Serves until the process ends.
pub async fn serve(options: Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen).await.context("listening")?;
    crate::process::raise_file_limit();
    let sockets = Arc::new(Sockets::default());
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let sockets = sockets.clone();
        tokio::spawn(async move {
            let answers = service_fn(move |request| answer(request, sockets.clone(), options.keep));
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new());
            let _ = connection.serve_connection(TokioIo::new(stream), answers).with_upgrades().await;
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    sockets: Arc<Sockets>,
    keep: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) {
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                sockets.upgraded.fetch_add(1, Ordering::Relaxed);
                follow(upgraded, &sockets, keep).await;
            }
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.extend(accept.ok().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
        return Ok(response);
    }
    let mut words = request.uri().path().trim_start_matches('/').split('/');
    let number = match words.next() {
        Some("send") => {
            let rounds = words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(1);
            let (send, sent) = tokio::sync::oneshot::channel();
            thread::spawn(move || send.send(send_rounds(&sockets.kept.lock(), rounds)));
            sent.await.unwrap_or_default()
        }
        _ => sockets.upgraded.load(Ordering::Relaxed),
    };
    Ok(Response::new(Full::from(number.to_string())))
}

async fn follow(upgraded: Upgraded, sockets: &Sockets, keep: bool) {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
    let mut stream = parts.io.into_inner();
    if keep {
        sockets.kept.lock().extend(stream.into_std().ok());
        return;
    }
    let mut bytes = [0; 512];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
}

/// The limit: `send` for each socket, and nothing else. Says how many were sent.
fn send_rounds(sockets: &[std::net::TcpStream], rounds: u32) -> u64 {
    let frame = position_frame();
    let slices = sockets.len().div_ceil(SLICE).max(1) as u32;
    let mut sent = 0;
    let began = Instant::now();
    for round in 0..rounds {
        for (number, slice) in sockets.chunks(SLICE).enumerate() {
            let due = began + ROUND * round + ROUND * 6 / 10 * number as u32 / slices;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            for mut socket in slice {
                sent += u64::from(socket.write(&frame).is_ok_and(|written| written == frame.len()));
            }
        }
    }
    sent
}

/// A position as our server pushes it, some thousand of which differ by a byte or two.
pub fn position_frame() -> Vec<u8> {
    let now = Millis(1_800_000_000_000);
    // An identifier that is one.
    let Ok(event) = EventId::new("push-0") else { return Vec::new() };
    let mut status = QueueStatus::bare(event, now, QueueState::Waiting);
    (status.position, status.waiting, status.eta) = (Some(500), Some(930), Some(None));
    (status.paused, status.kept_until, status.poll_after_ms) = (Some(false), Some(now), Some(6_500));
    let text = serde_json::to_string(&ServerMessage::QueueUpdated(status)).unwrap_or_default();
    let mut frame = std::io::Cursor::new(Vec::new());
    let mut server = WebSocketContext::new(Role::Server, None);
    // Writing to memory does not fail.
    let _ = server.write(&mut frame, Message::text(text));
    let _ = server.flush(&mut frame);
    frame.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_one_text_message() {
        let frame = position_frame();
        assert_eq!(
            (frame[0], frame[1], frame.len()),
            (0x81, 126, 4 + usize::from(u16::from_be_bytes([frame[2], frame[3]])))
        );
        assert!(serde_json::from_slice::<ServerMessage>(&frame[4..]).is_ok());
    }
}
