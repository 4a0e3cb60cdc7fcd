//! One connection: what it is doing, since when, and when it has done nothing for too long.
//!
//! hyper's own head time-out arms a timer per request and knows one duration for the first head and
//! for idling. Here each connection has one lazy timer: a request only writes down what happens, and
//! the timer, when it fires, looks whether the connection is really overdue.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::linger::LingeringTcp;
use super::pipeline::{App, Service, Shared, answer};

/// A request's head is at most so large.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A request's head has at most so many fields.
pub const HEADERS_MAX: usize = 64;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From opening to the end of the first request's head.
    pub head: Duration,
    /// From the end of an answer to the end of the next request's head.
    pub idle: Duration,
    /// For a request's body.
    pub body: Duration,
    /// For the peer to take a chunk of a streamed answer.
    pub stall: Duration,
    /// For the rest of a head, and for a slow reader to take the rest of an answer, once the server
    /// drains.
    pub drain_head: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(10),
            stall: Duration::from_secs(60),
            drain_head: Duration::from_secs(5),
        }
    }
}

/// What a connection is doing.
const OPENING: u8 = 0;
const HANDLING: u8 = 1;
const SENDING: u8 = 2;
const IDLE: u8 = 3;

/// What is known of a connection; it counts as open for as long as this lives.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) shared: Arc<Shared>,
    opened: Instant,
    state: AtomicU8,
    /// When it entered the state, in milliseconds after it was opened.
    since_ms: AtomicU64,
    /// Until it is upgraded: then what it becomes has it.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr, permit: OwnedSemaphorePermit, shared: Arc<Shared>) -> Self {
        Self {
            peer,
            local,
            shared,
            opened: Instant::now(),
            state: AtomicU8::new(OPENING),
            since_ms: AtomicU64::new(0),
            permit: Mutex::new(Some(permit)),
        }
    }

    // One task drives a connection and everything of it: the orderings need not order anything.
    fn enter(&self, state: u8, now: Instant) {
        let since = now.saturating_duration_since(self.opened).as_millis();
        self.since_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }

    /// A whole head is here.
    pub(super) fn begin(&self, now: Instant) {
        self.enter(HANDLING, now);
    }

    /// When the connection is overdue as things stand; `None` while it is our turn. While the server
    /// drains, nobody has time to begin a request.
    fn overdue_at(&self, timeouts: &Timeouts, drains: bool) -> Option<Instant> {
        let since = self.opened + Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        match self.state.load(Ordering::Relaxed) {
            OPENING | IDLE if drains => Some(since),
            OPENING => Some(since + timeouts.head),
            SENDING => Some(since + timeouts.stall),
            IDLE => Some(since + timeouts.idle),
            _ => None,
        }
    }
}

/// Lives as long as an answer is being made and sent.
pub(super) struct AnswerGuard {
    connection: Arc<Connection>,
    /// When the answer was made: one that is whole by then is handed over at once, and needs no clock.
    sent: Option<Instant>,
}

impl AnswerGuard {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, sent: None }
    }

    /// The answer was made at this instant.
    pub(super) fn sent_at(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// A streamed answer was asked for its next chunk; whether it had one. Until it is asked again,
    /// the peer has to read.
    pub(super) fn chunk(&mut self, given: bool) {
        self.sent = None;
        self.connection.enter(if given { SENDING } else { HANDLING }, Instant::now());
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        self.connection.enter(IDLE, self.sent.unwrap_or_else(Instant::now));
    }
}

/// Keeps an upgraded connection counted among the listener's connections.
pub struct ConnectionGuard(#[allow(dead_code)] Option<OwnedSemaphorePermit>);

/// A connection on its way from HTTP to something else.
pub struct Upgrade {
    on: OnUpgrade,
    guard: ConnectionGuard,
}

/// A connection that speaks no HTTP any more.
pub struct UpgradedSocket {
    /// The connection.
    pub tcp: TcpStream,
    /// What the peer sent already behind the request's head.
    pub leading: Bytes,
    /// Keep it as long as the connection.
    pub guard: ConnectionGuard,
}

impl Upgrade {
    pub(super) fn new(request: &mut http::Request<Incoming>, connection: &Connection) -> Self {
        Self { on: hyper::upgrade::on(request), guard: ConnectionGuard(connection.permit.lock().take()) }
    }

    /// Waits until the 101 was sent. Spawn it: it ends only after the handler has answered.
    pub async fn complete(self) -> Result<UpgradedSocket, hyper::Error> {
        let upgraded = self.on.await?;
        let parts = upgraded.downcast::<LingeringTcp>().expect("the listener gives hyper nothing else");
        // A copy, mostly of nothing: a part of hyper's buffer would keep all 8 KiB of it for as long as the socket.
        let leading = Bytes::copy_from_slice(&parts.read_buf);
        Ok(UpgradedSocket { tcp: parts.io.into_inner(), leading, guard: self.guard })
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<A: App>(
    service: Arc<Service<A>>,
    stream: TcpStream,
    connection: Arc<Connection>,
    draining: CancellationToken,
    killed: CancellationToken,
) {
    let handler = {
        let connection = connection.clone();
        let service = service.clone();
        hyper::service::service_fn(move |request| answer(&service, &connection, request))
    };
    let http = service.http1.serve_connection(LingeringTcp::new(stream), handler).with_upgrades();
    let begin_to_drain = AtomicBool::new(false);
    let watch = watch(&connection, &draining, &killed, &begin_to_drain);
    tokio::pin!(http, watch);
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = http.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(peer = %connection.peer, %error, "connection ended");
                }
                return Poll::Ready(());
            }
            let Some(rung) = alarm.rung(cx.waker()) else { return Poll::Pending };
            if watch.as_mut().poll(&mut Context::from_waker(&rung)).is_ready() {
                return Poll::Ready(());
            }
            if !begin_to_drain.swap(false, Ordering::Relaxed) {
                return Poll::Pending;
            }
            http.as_mut().graceful_shutdown();
        }
    })
    .await;
}

/// Ends when the connection is overdue or killed; tells when it is to drain.
async fn watch(
    connection: &Connection,
    draining: &CancellationToken,
    killed: &CancellationToken,
    begin_to_drain: &AtomicBool,
) {
    let timeouts = connection.shared.options.timeouts;
    // Whatever the connection does next, it is not overdue before this has passed.
    let soonest = timeouts.idle.min(timeouts.stall);
    let timer = sleep_until(connection.opened + timeouts.head.min(soonest));
    tokio::pin!(timer);
    let mut drains = false;
    loop {
        tokio::select! {
            biased;
            () = timer.as_mut() => {
                let now = Instant::now();
                let overdue = connection.overdue_at(&timeouts, drains);
                if overdue.is_some_and(|at| at <= now) {
                    return;
                }
                let next = now + soonest;
                timer.as_mut().reset(overdue.map_or(next, |at| at.min(next)));
            }
            () = draining.cancelled(), if !drains => {
                drains = true;
                begin_to_drain.store(true, Ordering::Relaxed);
                timer.as_mut().reset(Instant::now() + timeouts.drain_head);
            }
            () = killed.cancelled() => return,
        }
    }
}

/// Wakes a task and says that it was not for the connection's sake: timers and tokens are looked at only then,
/// and not with each request.
#[derive(Default)]
struct Alarm(Option<Arc<Ring>>);

struct Ring {
    rung: AtomicBool,
    task: Waker,
}

impl Alarm {
    /// The waker to look with, if it rang, or if nobody has looked for this task yet.
    fn rung(&mut self, task: &Waker) -> Option<Waker> {
        match &self.0 {
            Some(ring) if ring.task.will_wake(task) => {
                ring.rung.swap(false, Ordering::Acquire).then(|| Waker::from(ring.clone()))
            }
            _ => {
                let ring = Arc::new(Ring { rung: AtomicBool::new(false), task: task.clone() });
                self.0 = Some(ring.clone());
                Some(Waker::from(ring))
            }
        }
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// How hyper is set up for all connections of a listener.
pub(super) fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The time-outs are ours (see above); so is the count of fields, since hyper would put each
    // request's fields on the heap to count to anything but 100.
    builder.header_read_timeout(None).max_header_size(HEAD_BYTES_MAX).max_buf_size(MAX_BUFFER_BYTES);
    builder
}

/// What hyper reads ahead of a slow handler, or keeps for a slow reader, at most.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
const _: () = assert!(MAX_BUFFER_BYTES > HEAD_BYTES_MAX);

/// The type of answers as hyper sees it.
pub(super) type HyperResponse = http::Response<Body>;
