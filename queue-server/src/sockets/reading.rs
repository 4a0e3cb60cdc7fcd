//! What a peer sends. The library's state exists only while a frame or message has come in part: an idle socket
//! reads into the stack and keeps nothing.

use std::{
    io::{self, Cursor, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use queue_core::limits::WS_MESSAGE_BYTES_MAX;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::tcp::OwnedReadHalf,
};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{FrameHeader, coding::OpCode},
    },
};

use crate::node::Outlet;

/// What is read at once: messages are small, and there are many sockets.
const READ_BYTES: usize = 512;
/// The library hands on at once what it writes; an answer to a ping or a close is what it has at most.
const WRITE_BYTES_MAX: usize = 1024;
/// The longest head a frame can have (RFC 6455, section 5.2).
const HEAD_BYTES_MAX: usize = 14;

/// Both directions of a socket.
pub struct Stream<'a> {
    pub read: &'a mut OwnedReadHalf,
    pub outlet: &'a Outlet,
}

/// A message, or several, on the way.
pub struct Reading {
    ws: WebSocketContext,
    boundary: Boundary,
}

impl Reading {
    /// Goes on from what was read already.
    pub fn of(bytes: &[u8]) -> Box<Self> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BYTES_MAX)
            .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
        let mut boundary = Boundary::default();
        boundary.pass(bytes);
        let ws = WebSocketContext::from_partially_read(bytes.to_vec(), Role::Server, Some(config));
        Box::new(Self { ws, boundary })
    }

    /// The next message; pings and close frames are answered on the way.
    pub fn poll(&mut self, stream: &mut Stream<'_>, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        match self.ws.read(&mut Io { stream, cx, boundary: &mut self.boundary }) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            other => Poll::Ready(other),
        }
    }

    /// Begins to close. Then [`Reading::poll`] until it fails: both sides are closed, or the peer is gone.
    pub fn close(&mut self, frame: CloseFrame, stream: &mut Stream<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        self.ws.close(&mut Io { stream, cx, boundary: &mut self.boundary }, Some(frame))
    }
}

/// The next message. `reading` is there only as long as something has come in part.
pub fn poll(
    reading: &mut Option<Box<Reading>>,
    stream: &mut Stream<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Message, Error>> {
    let begun = match reading {
        Some(begun) => begun,
        None => {
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *stream.read).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)));
            }
            reading.insert(Reading::of(buffer.filled()))
        }
    };
    let next = begun.poll(stream, cx);
    if next.is_pending() && begun.boundary.is_clean() {
        *reading = None;
    }
    next
}

/// The socket as the library sees it during one call.
struct Io<'a, 's, 'c> {
    stream: &'a mut Stream<'s>,
    cx: &'a mut Context<'c>,
    boundary: &'a mut Boundary,
}

impl Read for Io<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        match Pin::new(&mut *self.stream.read).poll_read(self.cx, &mut buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        self.boundary.pass(buffer.filled());
        Ok(buffer.filled().len())
    }
}

impl Write for Io<'_, '_, '_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        // Taken as a whole, so that nothing comes between the parts of a frame.
        self.stream.outlet.send(frames).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows what the library is given, to know whether a frame or message is left in it: it does not tell.
#[derive(Debug, Default)]
struct Boundary {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Bytes of the payload that are still to come.
    payload_bytes: u64,
    /// A message came in part.
    fragmented: bool,
    /// What came is no frame: the library says so, too.
    broken: bool,
}

impl Boundary {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.broken {
            let inside = self.payload_bytes.min(bytes.len() as u64);
            if inside > 0 {
                self.payload_bytes -= inside;
                bytes = &bytes[inside as usize..];
                continue;
            }
            let Some(room) = self.head.get_mut(self.head_bytes) else {
                self.broken = true;
                return;
            };
            *room = bytes[0];
            self.head_bytes += 1;
            bytes = &bytes[1..];
            match FrameHeader::parse(&mut Cursor::new(&self.head[..self.head_bytes])) {
                Ok(None) => {}
                Ok(Some((header, length))) => {
                    (self.head_bytes, self.payload_bytes) = (0, length);
                    if matches!(header.opcode, OpCode::Data(_)) {
                        self.fragmented = !header.is_final;
                    }
                }
                Err(_) => self.broken = true,
            }
        }
    }

    /// Whether everything that came is a whole message.
    const fn is_clean(&self) -> bool {
        !self.broken && !self.fragmented && self.head_bytes == 0 && self.payload_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A masked frame.
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match payload {
            0..126 => frame.push(0x80 | payload as u8),
            _ => {
                frame.push(0xfe);
                frame.extend((payload as u16).to_be_bytes());
            }
        }
        frame.extend([7; 4]);
        frame.resize(frame.len() + payload, b'x');
        frame
    }

    proptest! {
        #[test]
        fn it_is_clean_only_behind_a_whole_message(
            frames in proptest::collection::vec((prop_oneof![Just(1u8), Just(0x81), Just(0x80), Just(0), Just(0x89), Just(0x8a)], prop_oneof![0usize..10, 120usize..300]), 1..8),
            cuts in proptest::collection::vec(1usize..50, 1..400),
        ) {
            let mut bytes = Vec::new();
            // Where nothing is left of a frame, and whether a message is.
            let mut ends = std::collections::HashMap::from([(0, true)]);
            let mut open = false;
            for (first, payload) in frames {
                bytes.extend(frame(first, payload));
                if first & 8 == 0 {
                    open = first & 0x80 == 0;
                }
                ends.insert(bytes.len(), !open);
            }
            let mut boundary = Boundary::default();
            let mut at = 0;
            for cut in cuts.into_iter().cycle() {
                let to = (at + cut).min(bytes.len());
                boundary.pass(&bytes[at..to]);
                at = to;
                prop_assert_eq!(boundary.is_clean(), ends.get(&at).copied().unwrap_or(false), "at {}", at);
                if at == bytes.len() {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_never_clean() {
        for bytes in [&[0x83, 0x80, 0, 0, 0, 0][..], &[0x8b, 0x80, 0, 0, 0, 0]] {
            let mut boundary = Boundary::default();
            boundary.pass(bytes);
            assert!(!boundary.is_clean());
        }
    }
}
