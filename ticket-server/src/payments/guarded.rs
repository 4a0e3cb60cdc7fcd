//! A provider behind a time-out, retries with growing pauses, and a circuit breaker; all three show in the metrics.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use recloser::{AsyncRecloser, Error as Broken, Recloser};
use tokio::time::{Instant, timeout};

use super::{Operation, Payment, PaymentError, PaymentStatus, Provider, Trouble};

/// How long and how often a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One call.
    pub call: Duration,
    /// Calls in a row; an authorization is sent once, and then asked about.
    pub attempts: usize,
    /// Between the first two; it doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: Duration::from_secs(5), attempts: 3, pause: Duration::from_millis(100) }
    }
}

/// The breaker looks at so many calls…
const WATCHED_CALLS: usize = 20;
/// …opens when that many of them failed…
const FAILURE_RATE: f32 = 0.5;
/// …for so long…
const OPEN_FOR: Duration = Duration::from_secs(5);
/// …and looks at so many before it closes again.
const PROBES: usize = 4;

/// A provider that is not asked for ever.
pub struct Guarded {
    provider: Arc<dyn Provider>,
    breaker: AsyncRecloser,
    patience: Patience,
}

impl Guarded {
    /// Guards a provider.
    pub fn new(provider: Arc<dyn Provider>, patience: Patience) -> Self {
        let breaker = Recloser::custom()
            .error_rate(FAILURE_RATE)
            .closed_len(WATCHED_CALLS)
            .half_open_len(PROBES)
            .open_wait(OPEN_FOR)
            .build();
        metrics::gauge!("usher_ticket_payment_breaker_open").set(0.0);
        Self { provider, breaker: breaker.into(), patience }
    }

    async fn once(&self, operation: Operation, payment: &Payment) -> Result<PaymentStatus, PaymentError> {
        let began = Instant::now();
        let call = async {
            let answer = timeout(self.patience.call, self.provider.ask(operation, payment)).await;
            answer.unwrap_or_else(|_| Err(PaymentError::unknown("no answer in time")))
        };
        let (result, rejected) = match self.breaker.call(call).await {
            Ok(status) => (Ok(status), false),
            Err(Broken::Inner(error)) => (Err(error), false),
            Err(Broken::Rejected) => (Err(PaymentError::not_sent("the circuit breaker is open")), true),
        };
        metrics::gauge!("usher_ticket_payment_breaker_open").set(f64::from(u8::from(rejected)));
        let outcome = match &result {
            Ok(status) => status.name(),
            Err(_) if rejected => "BREAKER_OPEN",
            Err(error) if error.trouble == Trouble::NotSent => "NOT_SENT",
            Err(_) => "UNKNOWN",
        };
        metrics::histogram!("usher_ticket_payment_seconds", "operation" => operation.name(), "outcome" => outcome)
            .record(began.elapsed());
        result
    }
}

#[async_trait]
impl Provider for Guarded {
    async fn ask(&self, operation: Operation, payment: &Payment) -> Result<PaymentStatus, PaymentError> {
        // Whether money was promised is asked for with another question, not by promising it again.
        let attempts = if operation == Operation::Authorize { 1 } else { self.patience.attempts };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.patience.pause)
            .with_factor(2.0)
            .with_max_times(attempts.saturating_sub(1))
            .with_jitter();
        (|| self.once(operation, payment))
            .retry(pauses)
            .notify(|error: &PaymentError, pause| {
                metrics::counter!("usher_ticket_payment_retries_total", "operation" => operation.name()).increment(1);
                tracing::debug!(operation = operation.name(), %error, ?pause, "a payment provider is asked again");
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Fails so many times, and then says `AUTHORIZED`.
    struct Failing(AtomicUsize, AtomicUsize);

    #[async_trait]
    impl Provider for Failing {
        async fn ask(&self, _: Operation, _: &Payment) -> Result<PaymentStatus, PaymentError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map_or(Ok(PaymentStatus::Authorized), |_| Err(PaymentError::unknown("it failed")))
        }
    }

    fn guarded(failures: usize) -> (Arc<Failing>, Guarded) {
        let failing = Arc::new(Failing(AtomicUsize::new(failures), AtomicUsize::new(0)));
        let patience = Patience { pause: Duration::from_millis(1), ..Patience::default() };
        (Arc::clone(&failing), Guarded::new(failing, patience))
    }

    fn payment() -> Payment {
        Payment { id: "o_1".into(), amount_minor: 1, currency: "EUR".into(), visitor: "a_1".into(), token: None }
    }

    #[tokio::test]
    async fn what_is_safe_to_repeat_is_repeated() {
        let (provider, guarded) = guarded(2);
        assert_eq!(guarded.ask(Operation::Lookup, &payment()).await, Ok(PaymentStatus::Authorized));
        assert_eq!(provider.1.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn an_authorization_is_sent_once() {
        let (provider, guarded) = guarded(1);
        let error = guarded.ask(Operation::Authorize, &payment()).await.unwrap_err();
        assert_eq!((error.trouble, provider.1.load(Ordering::SeqCst)), (Trouble::Unknown, 1));
    }

    #[tokio::test]
    async fn the_breaker_opens_and_says_that_nothing_was_sent() {
        let (provider, guarded) = guarded(usize::MAX);
        for _ in 0..WATCHED_CALLS + 1 {
            let _ = guarded.ask(Operation::Authorize, &payment()).await;
        }
        let asked = provider.1.load(Ordering::SeqCst);
        let error = guarded.ask(Operation::Authorize, &payment()).await.unwrap_err();
        assert_eq!((error.trouble, provider.1.load(Ordering::SeqCst)), (Trouble::NotSent, asked));
    }
}
