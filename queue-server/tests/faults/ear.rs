//! Follows a place without a connection, so that virtual time waits for no network: what a socket would be told.

use std::{future::poll_fn, sync::Arc};

use queue_core::close::CloseCode;
use queue_server::node::{Last, Outlet, Word};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// What a socket is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Text(Utf8Bytes),
    Ping,
    /// The end, with what is said last.
    Last(Option<Utf8Bytes>, CloseCode),
    /// The peer is taken to be gone.
    Drop,
}

/// Hears what a socket is told.
pub struct Ear {
    pub outlet: Arc<Outlet>,
}

impl Ear {
    pub fn new() -> Self {
        Self { outlet: Arc::new(Outlet::unconnected()) }
    }

    /// The last word that was not heard yet.
    pub async fn next(&self) -> Heard {
        match poll_fn(|cx| self.outlet.poll_word(cx)).await {
            Word::Frame(frame) => Heard::Text(text(&frame)),
            Word::Ping => Heard::Ping,
            Word::Last(Last { text, code }) => Heard::Last(text, code),
            Word::Gone => Heard::Drop,
        }
    }
}

fn text(frame: &[u8]) -> Utf8Bytes {
    assert_eq!(frame[0], 0x81, "a whole text");
    let payload = if frame[1] == 126 { &frame[4..] } else { &frame[2..] };
    std::str::from_utf8(payload).unwrap().into()
}
