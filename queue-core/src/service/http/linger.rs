//! A TCP stream that closes gently.
//!
//! A request may be answered before its body was read (401, 404, 413). Closing a socket on unread
//! bytes resets the connection, and a reset can reach the client before it has read the answer. So
//! closing means: say that nothing more comes, then read what still comes, for a while, into nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a closed connection is read.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read of a closed connection, at most.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are read without letting others work.
const LINGER_TURN_BYTES: usize = 256 * 1024;

/// Pieces that together are no longer are copied together before they are sent.
const JOINED_BYTES_MAX: usize = 4096;

thread_local! {
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection as hyper gets it.
pub(super) struct LingeringTcp {
    inner: TokioIo<TcpStream>,
    closing: Option<Closing>,
}

struct Closing {
    timer: Pin<Box<Sleep>>,
    bytes: usize,
}

impl LingeringTcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { inner: TokioIo::new(stream), closing: None }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.inner.into_inner()
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.closing.get_or_insert_with(|| Closing { timer: Box::pin(sleep(LINGER)), bytes: 0 });
        if closing.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let stream = self.inner.inner();
        let mut scratch = [0; 4096];
        let turn_ends = closing.bytes + LINGER_TURN_BYTES;
        while closing.bytes < LINGER_BYTES_MAX {
            if closing.bytes >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match stream.try_read(&mut scratch) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => closing.bytes += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(stream.poll_read_ready(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl Read for LingeringTcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for LingeringTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        self.poll_discard(cx).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total > JOINED_BYTES_MAX || bufs.len() < 2 {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        }
        // A head and its body in one piece: copying so little costs less than the kernel's way through two.
        JOINED.with_borrow_mut(|joined| {
            joined.clear();
            bufs.iter().for_each(|buf| joined.extend_from_slice(buf));
            Pin::new(&mut self.inner).poll_write(cx, joined)
        })
    }
}
