//! The writing side of one socket: whoever has something to say writes it at once, and the socket's own task
//! sleeps on. Only what the system does not take, and the end, are left to the task.
//!
//! Invariants: whole frames follow each other, whoever writes them; what waits for a slow reader is the rest of
//! the frames that were begun, [`REST_BYTES_MAX`] at most, and one last word. No queue, no channel, no timer.

use std::{
    io,
    pin::Pin,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
pub use queue_core::service::uptime::uptime_ms;
use queue_core::{close::CloseCode, limits::WS_FIRST_MESSAGE_MS};
use socket2::SockRef;
use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf};
use tokio_tungstenite::tungstenite::{
    Utf8Bytes,
    protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    },
};

/// What may wait for a peer that does not read, beside the last word.
const REST_BYTES_MAX: usize = 32 * 1024;
/// No deadline: the socket has asked for something.
const NEVER: u64 = u64::MAX;

/// The frame of a message from us: never masked, never in parts.
fn frame(opcode: OpCode, payload: &[u8], into: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    into.reserve(header.len(payload.len() as u64) + payload.len());
    // Writing to memory does not fail.
    let _ = header.format(payload.len() as u64, into);
    into.extend_from_slice(payload);
}

/// A text message as it goes over the wire.
pub fn text_frame(text: &[u8], into: &mut Vec<u8>) {
    frame(OpCode::Data(Data::Text), text, into);
}

static PING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut ping = Vec::new();
    frame(OpCode::Control(Control::Ping), &[], &mut ping);
    ping
});

/// The peer is gone, or does not read: nothing can be said any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The end of a socket: what is said last, if anything, and why it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    pub text: Option<Utf8Bytes>,
    pub code: CloseCode,
}

/// What the socket's task is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: all is said.
    Idle,
    /// Wait until the peer reads, and listen to nothing else meanwhile.
    Stuffed,
    /// Say this, then close.
    Last(Last),
    /// Drop the connection.
    Gone,
}

/// What waits in an outlet without a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// A whole frame.
    Frame(Box<[u8]>),
    Ping,
    Last(Last),
    Gone,
}

/// The writing side of one socket.
#[derive(Debug)]
pub struct Outlet {
    heard_ms: AtomicU64,
    /// Until when something must have been asked for.
    deadline_ms: AtomicU64,
    /// Where the register of open sockets has it.
    pub(super) place: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Rest(Vec<u8>);

#[derive(Debug)]
struct Inner {
    /// `None`: the socket has ended.
    tcp: Option<OwnedWriteHalf>,
    waker: Option<Waker>,
    /// What the system did not take of frames that were begun; not there while there is none.
    rest: Option<Box<Rest>>,
    /// A whole frame that is next: the last word wins.
    next: Option<Box<[u8]>>,
    last: Option<Box<Last>>,
    ping: bool,
    /// Something else is said first: what the node says waits.
    corked: bool,
    /// Only the socket's own task writes now.
    sealed: bool,
    gone: bool,
}

impl Outlet {
    /// Of a connection whose peer was just heard, and has to ask for something soon.
    pub fn new(tcp: OwnedWriteHalf) -> Self {
        Self::of(Some(tcp))
    }

    /// Of no connection: everything waits for [`Outlet::poll_word`]. For whoever follows a place by other means.
    pub fn unconnected() -> Self {
        Self::of(None)
    }

    fn of(tcp: Option<OwnedWriteHalf>) -> Self {
        let now = uptime_ms();
        let inner = Inner {
            corked: tcp.is_none(),
            tcp,
            waker: None,
            rest: None,
            next: None,
            last: None,
            ping: false,
            sealed: false,
            gone: false,
        };
        Self {
            heard_ms: now.into(),
            deadline_ms: (now + WS_FIRST_MESSAGE_MS).into(),
            place: usize::MAX.into(),
            inner: Mutex::new(inner),
        }
    }

    /// The peer gave a sign of life.
    pub fn hear(&self) {
        self.heard_ms.store(uptime_ms(), Ordering::Relaxed);
    }

    /// When the peer was last heard, by [`uptime_ms`].
    pub fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// Until when something must have been asked for, if it was not yet; by [`uptime_ms`].
    pub fn deadline_ms(&self) -> Option<u64> {
        let deadline = self.deadline_ms.load(Ordering::Relaxed);
        (deadline != NEVER).then_some(deadline)
    }

    /// Gives the peer until `deadline_ms` to ask for something; `None`: it has.
    pub fn set_deadline(&self, deadline_ms: Option<u64>) {
        self.deadline_ms.store(deadline_ms.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Shows a whole frame in place of any that was not sent yet.
    pub fn show(&self, frame: &[u8]) {
        self.change(|inner| {
            if inner.sealed || inner.last.is_some() {
                return;
            }
            if inner.corked || inner.rest.is_some() {
                inner.next = Some(frame.into());
            } else {
                inner.write(frame);
            }
        });
    }

    /// Sends whole frames, in order.
    pub fn send(&self, frames: &[u8]) -> Result<(), Gone> {
        self.change(|inner| {
            inner.write(frames);
            if inner.gone { Err(Gone) } else { Ok(()) }
        })
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&self) {
        self.change(|inner| {
            if inner.sealed || inner.last.is_some() {
            } else if inner.corked || inner.rest.is_some() {
                inner.ping = true;
            } else {
                inner.write(&PING);
            }
        });
    }

    /// Says that it is over. What was said last before stays.
    pub fn finish(&self, text: Option<Utf8Bytes>, code: CloseCode) {
        self.change(|inner| {
            if !inner.sealed && inner.last.is_none() {
                inner.next = None;
                inner.last = Some(Box::new(Last { text, code }));
            }
        });
    }

    /// The peer is gone.
    pub fn give_up(&self) {
        self.change(|inner| inner.gone = true);
    }

    /// Until [`Outlet::uncork`], what the node says waits for what the socket's task sends.
    pub fn cork(&self) {
        self.inner.lock().corked = true;
    }

    /// The task has said its part. What waited goes with the next [`Outlet::poll`].
    pub fn uncork(&self) {
        self.inner.lock().corked = false;
    }

    /// From now on the node has nothing more to say here.
    pub fn seal(&self) {
        let mut inner = self.inner.lock();
        (inner.sealed, inner.next, inner.ping) = (true, None, false);
    }

    /// Tells the peer's system that nothing more comes.
    pub fn shut(&self) {
        // Dropping the half does that.
        drop(self.inner.lock().tcp.take());
    }

    /// The socket has ended: lets go of the connection.
    pub fn end(&self) {
        let mut inner = self.inner.lock();
        (inner.gone, inner.sealed) = (true, true);
        (inner.rest, inner.next, inner.last, inner.waker) = (None, None, None, None);
        if let Some(tcp) = inner.tcp.take() {
            // The reading half is dropped, too, and then all is closed.
            tcp.forget();
        }
    }

    /// What there is to do; the task is woken when that changes.
    pub fn poll(&self, cx: &mut Context<'_>) -> Turn {
        let mut inner = self.inner.lock();
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        loop {
            match inner.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Gone)) => return Turn::Gone,
                Poll::Pending => return Turn::Stuffed,
            }
            if inner.corked {
                return Turn::Idle;
            }
            if let Some(last) = inner.last.take() {
                inner.sealed = true;
                return Turn::Last(*last);
            }
            if let Some(next) = inner.next.take() {
                inner.write(&next);
            } else if std::mem::take(&mut inner.ping) {
                inner.write(&PING);
            } else {
                return Turn::Idle;
            }
        }
    }

    /// What waits while there is no connection; the last word only.
    pub fn poll_word(&self, cx: &mut Context<'_>) -> Poll<Word> {
        let mut inner = self.inner.lock();
        inner.waker = Some(cx.waker().clone());
        if inner.gone {
            return Poll::Ready(Word::Gone);
        }
        let word = match (inner.last.take(), inner.next.take()) {
            (Some(last), _) => Word::Last(*last),
            (None, Some(frame)) => Word::Frame(frame),
            (None, None) if std::mem::take(&mut inner.ping) => Word::Ping,
            (None, None) => return Poll::Pending,
        };
        Poll::Ready(word)
    }

    /// Until the peer's system has taken everything.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.inner.lock().poll_flush(cx)
    }

    /// Changes what there is to say; wakes the task if that is its part.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let idle = inner.rest.is_none();
        let result = change(&mut inner);
        let waits = inner.tcp.is_none() && (inner.next.is_some() || inner.ping);
        let wake = inner.gone || inner.last.is_some() || idle != inner.rest.is_none() || waits;
        let waker = if wake { inner.waker.take() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }
}

impl Inner {
    /// Writes what the system takes, and keeps the rest.
    fn write(&mut self, frames: &[u8]) {
        let Some(tcp) = self.tcp.as_ref().filter(|_| !self.gone) else { return };
        let mut written = 0;
        if self.rest.is_none() {
            // Straight to the system, which knows best whether it has room: the runtime's record of that would be
            // one more look into cold memory. The task asks the runtime when there is something to wait for.
            match SockRef::from(tcp.as_ref()).send(frames) {
                Ok(count) => written = count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return self.gone = true,
            }
        }
        let left = &frames[written..];
        if left.is_empty() {
            return;
        }
        let Rest(rest) = &mut **self.rest.get_or_insert_default();
        if rest.len() + left.len() > REST_BYTES_MAX {
            self.gone = true;
        } else {
            rest.extend_from_slice(left);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Some(tcp) = self.tcp.as_mut().filter(|_| !self.gone) else { return Poll::Ready(Err(Gone)) };
        while let Some(Rest(rest)) = self.rest.as_deref_mut() {
            match Pin::new(&mut *tcp).poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count == rest.len() => self.rest = None,
                Poll::Ready(Ok(count)) => drop(rest.drain(..count)),
                Poll::Ready(Err(_)) => {
                    self.gone = true;
                    return Poll::Ready(Err(Gone));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// There are as many as open sockets.
const _: () = assert!(size_of::<Outlet>() <= 112);

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (Arc<Outlet>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (read, write) = listener.accept().await.unwrap().0.into_split();
        // Only written to here; closing it would end the connection.
        std::mem::forget(read);
        write.writable().await.unwrap();
        (Arc::new(Outlet::new(write)), peer)
    }

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        text_frame(text.as_bytes(), &mut bytes);
        bytes
    }

    impl Inner {
        fn rest_bytes(&self) -> usize {
            self.rest.as_ref().map_or(0, |rest| rest.0.len())
        }
    }

    async fn turn(outlet: &Outlet) -> Turn {
        poll_fn(|cx| Poll::Ready(outlet.poll(cx))).await
    }

    /// The next text that comes; pings are passed over.
    async fn read_text(peer: &mut TcpStream) -> String {
        loop {
            let (first, length) = (peer.read_u8().await.unwrap(), peer.read_u8().await.unwrap());
            let length = if length == 126 { peer.read_u16().await.unwrap() } else { length.into() };
            let mut payload = vec![0; length.into()];
            peer.read_exact(&mut payload).await.unwrap();
            match first {
                0x81 => return String::from_utf8(payload).unwrap(),
                0x89 => assert!(payload.is_empty()),
                other => panic!("a frame that begins with {other:#x}"),
            }
        }
    }

    #[tokio::test]
    async fn what_is_shown_goes_out_at_once() {
        let (outlet, mut peer) = pair().await;
        outlet.show(&text("one"));
        outlet.ping();
        outlet.send(&text(&"x".repeat(300))).unwrap();
        assert_eq!(read_text(&mut peer).await, "one");
        assert_eq!(read_text(&mut peer).await.len(), 300);
        assert_eq!(turn(&outlet).await, Turn::Idle);
    }

    #[tokio::test]
    async fn a_slow_reader_gets_whole_frames_and_the_last_word() {
        let (outlet, mut peer) = pair().await;
        let mut shown = 0;
        let number = |n: u32| format!("{n}:{}", "x".repeat(3_000));
        while turn(&outlet).await != Turn::Stuffed {
            shown += 1;
            outlet.show(&text(&number(shown)));
        }
        // The system is full: of these only the last is kept.
        for _ in 0..1_000 {
            shown += 1;
            outlet.show(&text(&number(shown)));
            outlet.ping();
        }
        {
            let inner = outlet.inner.lock();
            assert!(inner.rest_bytes() < 4_000 && inner.next.is_some());
        }
        let flush = tokio::spawn({
            let outlet = outlet.clone();
            async move { poll_fn(|cx| if outlet.poll(cx) == Turn::Idle { Poll::Ready(()) } else { Poll::Pending }).await }
        });
        let mut seen = 0;
        while seen < shown {
            let text = read_text(&mut peer).await;
            let n = text.split(':').next().unwrap().parse().unwrap();
            assert!(n > seen && text == number(n));
            seen = n;
        }
        flush.await.unwrap();
        assert!(outlet.inner.lock().rest.is_none(), "an idle socket keeps no buffer");
    }

    #[tokio::test]
    async fn answers_that_are_not_read_are_bounded() {
        let (outlet, _peer) = pair().await;
        let answer = text(&"x".repeat(1_000));
        let mut sent = 0_usize;
        while outlet.send(&answer).is_ok() {
            sent += answer.len();
            assert!(sent < 64 << 20, "a bound there is");
            assert!(outlet.inner.lock().rest_bytes() <= REST_BYTES_MAX);
        }
        assert_eq!(turn(&outlet).await, Turn::Gone);
        assert_eq!(outlet.send(&answer), Err(Gone));
    }

    #[tokio::test]
    async fn an_answer_goes_before_what_the_node_says_meanwhile() {
        let (outlet, mut peer) = pair().await;
        outlet.cork();
        outlet.show(&text("first"));
        outlet.show(&text("second"));
        assert_eq!(turn(&outlet).await, Turn::Idle);
        outlet.send(&text("answer")).unwrap();
        outlet.uncork();
        assert_eq!(turn(&outlet).await, Turn::Idle);
        assert_eq!(read_text(&mut peer).await, "answer");
        assert_eq!(read_text(&mut peer).await, "second");
    }

    #[tokio::test]
    async fn the_end_is_said_once_and_nothing_after_it() {
        let (outlet, mut peer) = pair().await;
        outlet.finish(Some("over".into()), CloseCode::Done);
        outlet.finish(None, CloseCode::TakenOver);
        outlet.show(&text("too late"));
        assert_eq!(turn(&outlet).await, Turn::Last(Last { text: Some("over".into()), code: CloseCode::Done }));
        outlet.show(&text("too late"));
        outlet.finish(None, CloseCode::TakenOver);
        assert_eq!(turn(&outlet).await, Turn::Idle);
        outlet.send(&text("over")).unwrap();
        assert_eq!(read_text(&mut peer).await, "over");
        outlet.end();
        assert_eq!(turn(&outlet).await, Turn::Gone);
    }
}
