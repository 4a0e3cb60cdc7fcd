//! The client's end of a WebSocket at the least cost: one shared read buffer, no buffer per socket while it is idle,
//! and of most frames nothing but the head is looked at.
//!
//! Only what a server sends is read: unmasked, unfragmented frames. Anything else breaks the socket.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Connecting and the handshake take at most so long.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 4_096;
const MESSAGE_BYTES_MAX: usize = 16_384;
const READ_BYTES: usize = 16_384;

/// The key of RFC 6455's example, and what a server must answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// An empty pong; a mask of zeros is a mask.
const PONG: [u8; 6] = [0x8A, 0x80, 0, 0, 0, 0];
/// An answer to a close frame: 1000.
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];

/// What all sockets of a process read into.
#[derive(Debug)]
pub struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; READ_BYTES].into()))
    }
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    /// With the server's code.
    Close(Option<u16>),
}

/// A socket.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// The beginning of a frame that has not come to its end.
    rest: Vec<u8>,
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Socket {
    /// Connects to `node` from `source` and shakes hands.
    pub async fn connect(node: SocketAddr, source: IpAddr, scratch: &Scratch) -> io::Result<Self> {
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind((source, 0).into())?;
            let mut stream = socket.connect(node).await?;
            stream.set_nodelay(true)?;
            let request = format!(
                "GET /ws HTTP/1.1\r\nHost: {node}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            let rest = head(&stream, scratch).await?;
            Ok(Self { stream, rest })
        };
        timeout(CONNECT_WAIT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        let mut frame = vec![0x81];
        match text.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            long if long < MESSAGE_BYTES_MAX => {
                frame.push(0x80 | 126);
                frame.extend((long as u16).to_be_bytes());
            }
            _ => return Err(broken("a message without bounds")),
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.stream.write_all(&frame).await
    }

    /// Waits until something has come and hands it over frame by frame; pings and close frames are answered here.
    /// Ends with an error when the peer has. Cancel-safe.
    pub async fn read(&mut self, scratch: &Scratch, mut frame: impl FnMut(Frame<'_>)) -> io::Result<()> {
        if !self.rest.is_empty() && self.take_rest(&mut frame)? {
            return Ok(());
        }
        loop {
            self.stream.readable().await?;
            let mut scratch = scratch.0.borrow_mut();
            let read = match self.stream.try_read(&mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            if self.rest.is_empty() {
                let used = self.frames(&scratch[..read], &mut frame)?;
                self.rest = scratch[used..read].to_vec();
            } else {
                self.rest.extend_from_slice(&scratch[..read]);
                self.take_rest(&mut frame)?;
            }
            return Ok(());
        }
    }

    /// Whether there was a whole frame among what was left.
    fn take_rest(&mut self, frame: &mut impl FnMut(Frame<'_>)) -> io::Result<bool> {
        let bytes = std::mem::take(&mut self.rest);
        let used = self.frames(&bytes, frame)?;
        self.rest = bytes[used..].to_vec();
        Ok(used > 0)
    }

    /// Hands over the whole frames in `bytes`; says how many bytes they were.
    fn frames(&self, bytes: &[u8], frame: &mut impl FnMut(Frame<'_>)) -> io::Result<usize> {
        let mut at = 0;
        while let Some((opcode, payload)) = split(&bytes[at..])? {
            at += payload.end;
            let payload = &bytes[at - payload.end..][payload];
            match opcode {
                0x1 => frame(Frame::Text(payload)),
                0x8 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    // Who does not take the answer is gone anyway.
                    let _ = self.stream.try_write(&CLOSE);
                    frame(Frame::Close(code));
                }
                0x9 => {
                    if self.stream.try_write(&PONG)? != PONG.len() {
                        return Err(broken("no room for a pong"));
                    }
                }
                0xA => {}
                _ => return Err(broken("a frame that no server of ours sends")),
            }
        }
        Ok(at)
    }
}

/// The first frame's opcode and where its payload is; `None` if it is not whole.
fn split(bytes: &[u8]) -> io::Result<Option<(u8, std::ops::Range<usize>)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Err(broken("a masked or fragmented frame"));
    }
    let (start, length) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => return Err(broken("a frame without bounds")),
        short => (2, usize::from(*short)),
    };
    if length > MESSAGE_BYTES_MAX {
        return Err(broken("a frame without bounds"));
    }
    let end = start + length;
    Ok((bytes.len() >= end).then_some((first & 0x0F, start..end)))
}

/// Reads the answer to the handshake; gives what came behind it.
async fn head(stream: &TcpStream, scratch: &Scratch) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    loop {
        stream.readable().await?;
        {
            let mut scratch = scratch.0.borrow_mut();
            match stream.try_read(&mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => answer.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..end]);
            if !text.starts_with("HTTP/1.1 101") {
                return Err(io::Error::other(text.lines().next().unwrap_or_default().to_owned()));
            }
            if !text.contains(ACCEPT) {
                return Err(broken("the handshake was answered wrongly"));
            }
            return Ok(answer.split_off(end + 4));
        }
        if answer.len() > HEAD_BYTES_MAX {
            return Err(broken("a head without bounds"));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    #[test]
    fn frames_are_split() {
        assert_eq!(split(&[0x81]).unwrap(), None);
        assert_eq!(split(&[0x81, 2, b'h']).unwrap(), None);
        assert_eq!(split(&[0x81, 2, b'h', b'i', 0x89]).unwrap(), Some((1, 2..4)));
        assert_eq!(split(&[0x81, 126, 1]).unwrap(), None);
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256][..]].concat();
        assert_eq!(split(&long).unwrap(), Some((1, 4..260)));
        assert!(split(&[0x81, 0x82, 0, 0]).is_err(), "masked");
        assert!(split(&[0x01, 0]).is_err(), "fragmented");
        assert!(split(&[0x81, 127, 0]).is_err(), "too long");
    }

    /// Frames that come in pieces, with a ping between, are put together, and the ping is answered.
    #[tokio::test]
    async fn pieces_are_put_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].ends_with(b"\r\n\r\n"));
            let answer = format!("HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n\x01");
            stream.write_all(&answer.as_bytes()[..answer.len() - 1]).await.unwrap();
            for piece in [&[0x81, 3, b'o'][..], &[b'n', b'e', 0x89, 0, 0x81], &[1, b'2', 0x88, 2, 0x03, 0xE8]] {
                stream.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut said = vec![0; PONG.len() + CLOSE.len()];
            stream.read_exact(&mut said).await.unwrap();
            said
        });
        let scratch = Scratch::default();
        let mut socket = Socket::connect(node, [127, 0, 0, 1].into(), &scratch).await.unwrap();
        let mut frames = Vec::new();
        while frames.len() < 3 {
            socket.read(&scratch, |frame| frames.push(format!("{frame:?}"))).await.unwrap();
        }
        assert_eq!(frames, ["Text([111, 110, 101])", "Text([50])", "Close(Some(1000))"]);
        assert_eq!(server.await.unwrap(), [&PONG[..], &CLOSE[..]].concat());
    }
}
