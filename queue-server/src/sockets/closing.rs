//! The end of a socket: the last word, the close frame, then reading until the peer has answered it.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use queue_core::{close::CloseCode, service::websocket::reason};
use tokio::{io::AsyncReadExt, net::tcp::OwnedReadHalf};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError, protocol::CloseFrame};

use super::reading::{Reading, Stream};
use crate::node::{Last, Outlet, text_frame};

/// A peer has so long to answer a close frame.
const ANSWER: Duration = Duration::from_secs(2);
/// What is read of a peer that was failed, at most.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;

/// A socket that has nothing more to say but the end.
pub struct Closing {
    pub read: OwnedReadHalf,
    pub outlet: Arc<Outlet>,
    pub reading: Option<Box<Reading>>,
}

impl Closing {
    /// Says the last word, closes, and reads until the peer has answered.
    pub async fn close(mut self, last: Last) {
        // A peer that does not read or answer is dropped all the same.
        let _ = tokio::time::timeout(ANSWER, async {
            if self.say(last).await && !self.answer().await {
                self.discard().await;
            }
        })
        .await;
    }

    /// What the peer sent cannot be understood, nor what follows: says so, and listens to nothing any more.
    pub async fn fail(mut self, code: CloseCode) {
        let _ = tokio::time::timeout(ANSWER, async {
            if self.say(Last { text: None, code }).await {
                self.discard().await;
            }
        })
        .await;
    }

    /// The peer has closed: it gets its answer.
    pub async fn answered(self) {
        let _ = tokio::time::timeout(ANSWER, poll_fn(|cx| self.outlet.poll_flush(cx))).await;
    }

    /// The last word and the close frame; whether the peer is still there.
    async fn say(&mut self, Last { text, code }: Last) -> bool {
        if let Some(text) = text {
            let mut frame = Vec::new();
            text_frame(text.as_bytes(), &mut frame);
            if self.outlet.send(&frame).is_err() {
                return false;
            }
        }
        let Self { read, outlet, reading } = self;
        let reading = reading.get_or_insert_with(|| Reading::of(&[]));
        let mut stream = Stream { read, outlet };
        let frame = CloseFrame { code: code.number().into(), reason: reason(code) };
        poll_fn(|cx| Poll::Ready(reading.close(frame.clone(), &mut stream, cx))).await.is_ok()
    }

    /// Reads until both sides are closed, or nothing more will come: a close that is not read to its end is an
    /// unclean one. `false`: the peer goes on with what is no frame.
    async fn answer(&mut self) -> bool {
        let Self { read, outlet, reading } = self;
        let Some(reading) = reading else { return true };
        let mut stream = Stream { read, outlet };
        loop {
            let next = poll_fn(|cx| {
                // Whether it can be written or not: only the peer's answer counts.
                let _ = outlet.poll_flush(cx);
                reading.poll(&mut stream, cx)
            });
            match next.await {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => {
                    let _ = poll_fn(|cx| outlet.poll_flush(cx)).await;
                    return true;
                }
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_)) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Says that nothing more comes, and reads what still does into nothing: closing on unread bytes would reset
    /// the connection, and a reset can reach the peer before it has read why.
    async fn discard(&mut self) {
        if poll_fn(|cx| self.outlet.poll_flush(cx)).await.is_err() {
            return;
        }
        self.outlet.shut();
        let mut scratch = [0; 1024];
        let mut left = DISCARD_BYTES_MAX;
        while let Ok(count @ 1..) = self.read.read(&mut scratch).await {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    }
}
