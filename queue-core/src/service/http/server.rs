//! A listener: accepts, bounds, hands connections over, drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Connection, Timeouts};
use super::cors::Origins;
use super::forwarded::TrustedProxies;
use super::pipeline::{App, Service, Shared};
use super::request_metrics::RequestMetrics;
use crate::codes::Code;
use crate::service::caps::AddressRate;
use crate::service::trace::TraceId;

/// Open connections of a public listener, upgraded ones included, unless said otherwise.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections that wait to be accepted, as far as the system allows.
const BACKLOG: u32 = 4096;
/// Connections over the bound that are told so at one time; more are closed without a word.
const REFUSALS_MAX: usize = 256;
/// How long a connection over the bound is listened to, so that it reads the refusal.
const REFUSAL_LINGER: Duration = Duration::from_millis(500);
/// The first pause after accepting failed; each failure doubles it.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// The longest pause after accepting failed.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How a listener serves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Begins the names of the request metrics, as in `usher_queue_`.
    pub metrics_prefix: &'static str,
    /// The allowed origins beside the own host.
    pub origins: Origins,
    /// Whose word on the client's address counts.
    pub proxies: TrustedProxies,
    /// How long a connection may take for what.
    pub timeouts: Timeouts,
    /// Open connections, upgraded ones included, at most.
    pub connections_max: usize,
    /// Requests of one client address, when they are limited.
    pub address_requests: Option<Arc<AddressRate>>,
}

impl HttpOptions {
    /// The usual bounds; nobody allowed, nobody trusted.
    pub fn new(metrics_prefix: &'static str) -> Self {
        Self {
            metrics_prefix,
            origins: Origins::default(),
            proxies: TrustedProxies::default(),
            timeouts: Timeouts::default(),
            connections_max: CONNECTIONS_MAX,
            address_requests: None,
        }
    }
}

/// A listener that has its address and serves nobody yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes an address.
pub async fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart the old connections still linger; they must not keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// The address it has, with the port that was chosen for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `draining` fires, then lets go of the address, tells the connections to end and
    /// waits for them, or until `killed` fires, which ends them where they are.
    pub async fn serve<A: App>(
        self,
        app: Arc<A>,
        options: HttpOptions,
        draining: CancellationToken,
        killed: CancellationToken,
    ) {
        let labels: Vec<_> = app.router().endpoints().iter().map(|endpoint| endpoint.pattern).collect();
        let service = Arc::new(Service {
            app,
            metrics: RequestMetrics::new(options.metrics_prefix, labels.into_iter()),
            http1: connection::http1_builder(),
            shared: Arc::new(Shared { options, draining: draining.clone() }),
        });
        let tracker = TaskTracker::new();
        let accepting = Accepting {
            permits: Arc::new(Semaphore::new(service.shared.options.connections_max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            tracker: tracker.clone(),
            killed: killed.clone(),
        };
        tokio::select! {
            () = draining.cancelled() => {}
            () = killed.cancelled() => {}
            () = accepting.run(&self.listener, &service) => {}
        }
        drop(self.listener);
        tracker.close();
        tracker.wait().await;
    }
}

struct Accepting {
    permits: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tracker: TaskTracker,
    killed: CancellationToken,
}

/// Where connections come from; a trait so that a test can let it fail.
trait Listen {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)>;
}

impl Listen for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

impl Accepting {
    async fn run<A: App>(&self, listener: &impl Listen, service: &Arc<Service<A>>) {
        let mut backoff = BACKOFF_MIN;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    backoff = BACKOFF_MIN;
                    self.admit(stream, peer, service);
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: trying again at once would spin.
                    tracing::warn!(%error, pause_ms = backoff.as_millis() as u64, "cannot accept connections");
                    tokio::time::sleep(backoff).await;
                    backoff = (2 * backoff).min(BACKOFF_MAX);
                }
            }
        }
    }

    fn admit<A: App>(&self, stream: TcpStream, peer: SocketAddr, service: &Arc<Service<A>>) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            return self.refuse(stream);
        };
        // Both fail only on connections that are gone.
        let _ = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return };
        let connection = Arc::new(Connection::new(peer, local, permit, service.shared.clone()));
        // A token of its own: all connections asking one for each request would queue at its lock.
        let draining = service.shared.draining.child_token();
        let killed = self.killed.child_token();
        self.tracker.spawn(connection::serve(service.clone(), stream, connection, draining, killed));
    }

    fn refuse(&self, mut stream: TcpStream) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _permit = permit;
            let _ = tokio::time::timeout(REFUSAL_LINGER, async {
                stream.write_all(refusal().as_bytes()).await?;
                stream.shutdown().await?;
                // Closing on unread bytes would reset the connection and take the refusal with it.
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await? > 0 {}
                io::Result::Ok(())
            })
            .await;
        });
    }
}

/// 503 for a connection over the bound, before it has said anything.
fn refusal() -> String {
    let trace = TraceId::random();
    let info = Code::Overloaded.info();
    let body = format!(
        r#"{{"code":"{}","message":"{}","traceId":"{trace}","retryable":{}}}"#,
        info.name, info.message, info.retryable
    );
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nx-trace-id: {trace}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Errors of one connection that was about to be accepted; the next may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
