//! Tests of the accept loop that need no client.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::service::http::{ApiError, Request, Response, Router};

struct Nothing(Router<()>);

impl App for Nothing {
    type Route = ();

    fn router(&self) -> &Router<()> {
        &self.0
    }

    async fn handle(&self, (): (), _: Request) -> Result<Response, ApiError> {
        Err(Code::NotFound.into())
    }
}

struct OutOfDescriptors(AtomicU32);

impl Listen for OutOfDescriptors {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::from_raw_os_error(24))
    }
}

#[tokio::test(start_paused = true)]
async fn accept_errors_do_not_spin() {
    let shared = Shared { options: HttpOptions::new("usher_test_"), draining: CancellationToken::new() };
    let service = Arc::new(Service {
        app: Arc::new(Nothing(Router::new())),
        metrics: RequestMetrics::new("usher_test_", [].into_iter()),
        http1: connection::http1_builder(),
        shared: Arc::new(shared),
    });
    let accepting = Accepting {
        permits: Arc::new(Semaphore::new(1)),
        refusals: Arc::new(Semaphore::new(1)),
        tracker: TaskTracker::new(),
        killed: CancellationToken::new(),
    };
    let listener = OutOfDescriptors(AtomicU32::new(0));
    let ten_seconds = Duration::from_secs(10);
    assert!(tokio::time::timeout(ten_seconds, accepting.run(&listener, &service)).await.is_err());
    // 5, 10, … 640 ms, then once a second.
    let tries = listener.0.load(Ordering::Relaxed);
    assert!((10..=20).contains(&tries), "{tries} tries in ten seconds");
}

#[test]
fn the_refusal_is_a_whole_answer() {
    let refusal = refusal();
    let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1"));
    assert!(head.contains(&format!("content-length: {}", body.len())));
    let body: crate::wire::ErrorBody = serde_json::from_str(body).unwrap();
    assert_eq!((body.code.as_str(), body.retryable), ("OVERLOADED", true));
}
