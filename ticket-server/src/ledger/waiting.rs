//! A ledger that goes away for a moment while a server starts.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::LedgerError;

/// It is waited for so long, as when its tables are looked at.
const WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Does `work` again while the ledger is unavailable, for a bounded time. Only for what changes nothing.
pub async fn when_there<T, F>(work: impl Fn() -> F) -> Result<T, LedgerError>
where
    F: Future<Output = Result<T, LedgerError>>,
{
    let until = Instant::now() + WAIT;
    loop {
        match work().await {
            Err(error @ LedgerError::Unavailable(_)) if Instant::now() < until => {
                tracing::info!(%error, "the ledger cannot be read yet");
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn away() -> LedgerError {
        LedgerError::Unavailable("away".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_comes_back_is_waited_for() {
        let tries = AtomicU32::new(0);
        let answer = when_there(|| async {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(away()),
                tries => Ok(tries),
            }
        });
        assert_eq!(answer.await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_away_or_refuses_is_not() {
        let began = Instant::now();
        assert_eq!(when_there(|| async { Err::<(), _>(away()) }).await, Err(away()));
        assert!(began.elapsed() >= WAIT);
        let (tries, broken) = (AtomicU32::new(0), LedgerError::Broken("odd".into()));
        let answer = when_there(|| async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(broken.clone())
        });
        assert_eq!(answer.await, Err(broken.clone()));
        assert_eq!(tries.into_inner(), 1);
    }
}
