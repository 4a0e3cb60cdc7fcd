//! A provider that moves no money, for trying things out and for rehearsals: as slow, as unwilling and as
//! unreliable as it is told to be. What it was asked is kept, so that a restart forgets no payment.

use std::{ops::RangeInclusive, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use queue_core::service::trace::random_u64;

use super::{Operation, Payment, PaymentError, PaymentStatus, Provider};

/// The slowest answer that can be asked for.
const DELAY_MS_MAX: u64 = 600_000;

/// How it behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// How long an answer takes, in milliseconds: evenly spread over the orders of magnitude between the two.
    pub delay_ms: RangeInclusive<u64>,
    /// The share of authorizations that are declined.
    pub decline: f64,
    /// The share of requests that are not done and never answered.
    pub timeout: f64,
    /// The share of requests that are done and never answered.
    pub lost: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { delay_ms: 0..=0, decline: 0.0, timeout: 0.0, lost: 0.0 }
    }
}

impl FromStr for Behaviour {
    type Err = &'static str;

    /// `delay=20..200,decline=0.05,timeout=0.01,lost=0.02`; whatever is not said is 0.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut behaviour = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or("a part without =")?;
            let share = || value.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("a share is 0 to 1");
            match key {
                "delay" => behaviour.delay_ms = delay(value).ok_or("a delay is such as 20..200, in milliseconds")?,
                "decline" => behaviour.decline = share()?,
                "timeout" => behaviour.timeout = share()?,
                "lost" => behaviour.lost = share()?,
                _ => return Err("a part that is not known"),
            }
        }
        Ok(behaviour)
    }
}

fn delay(text: &str) -> Option<RangeInclusive<u64>> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && to <= DELAY_MS_MAX).then_some(from..=to)
}

/// Where it keeps what it was asked.
#[async_trait]
pub trait Memory: Send + Sync + 'static {
    /// Brings a payment to where an operation leads, `declined` where an authorization is; where it stands then.
    async fn note(&self, payment: &Payment, operation: Operation, declined: bool) -> Result<PaymentStatus, String>;
}

/// The provider.
pub struct Simulated {
    behaviour: Behaviour,
    memory: Arc<dyn Memory>,
}

impl Simulated {
    /// A provider that behaves like that.
    pub fn new(behaviour: Behaviour, memory: Arc<dyn Memory>) -> Self {
        Self { behaviour, memory }
    }

    fn pause(&self) -> Duration {
        let (from, to) = (*self.behaviour.delay_ms.start() as f64, *self.behaviour.delay_ms.end() as f64);
        let (from, to) = ((from + 1.0).ln(), (to + 1.0).ln());
        Duration::from_secs_f64(((from + (to - from) * share()).exp() - 1.0).max(0.0) / 1000.0)
    }
}

/// From 0 to 1, without 1.
fn share() -> f64 {
    (random_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[async_trait]
impl Provider for Simulated {
    async fn ask(&self, operation: Operation, payment: &Payment) -> Result<PaymentStatus, PaymentError> {
        tokio::time::sleep(self.pause()).await;
        if share() < self.behaviour.timeout {
            return std::future::pending().await;
        }
        let declined = operation == Operation::Authorize && share() < self.behaviour.decline;
        let status = self.memory.note(payment, operation, declined).await.map_err(PaymentError::unknown)?;
        if share() < self.behaviour.lost {
            return std::future::pending().await;
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_behaviour_is_read_or_refused() {
        let read: Behaviour = "delay=20..200, decline=0.05,timeout=0.01,lost=0.02".parse().unwrap();
        assert_eq!(read, Behaviour { delay_ms: 20..=200, decline: 0.05, timeout: 0.01, lost: 0.02 });
        assert_eq!("".parse(), Ok(Behaviour::default()));
        assert_eq!("delay=7".parse::<Behaviour>().unwrap().delay_ms, 7..=7);
        for bad in ["delay=9..1", "delay=x", "decline=2", "decline=NaN", "lost", "fun=1", "delay=0..99999999"] {
            assert!(bad.parse::<Behaviour>().is_err(), "{bad}");
        }
    }
}
