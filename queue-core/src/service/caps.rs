//! How much one client address may do: requests, joins, open sockets, failed attempts with a token.
//!
//! An IPv6 client has its /64 as its address: that is what one subscriber is given, and drawing another address
//! from it costs nothing. Invariants: memory is bounded however many addresses come; who is refused is told when
//! to come back.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use parking_lot::Mutex;

use super::http::ApiError;
use crate::codes::Code;

/// Addresses that are remembered by one limit, at most. Beyond that those that are quiet are forgotten, and when
/// that is not enough, all.
const ADDRESSES_MAX: usize = 100_000;
/// How many checks go by between two looks at the number of addresses.
const LOOK_EVERY: u32 = 1_024;
/// Attempts with a wrong token that an address has, and that come back within a minute.
pub const FAILURES_PER_MINUTE: u32 = 10;

/// A client, as far as limits tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

type Limiter = DefaultKeyedRateLimiter<ClientAddress>;

/// So many a second or minute for each address, all of them at once if need be.
pub struct AddressRate {
    quota: Quota,
    limiter: ArcSwap<Limiter>,
    checks: AtomicU32,
    /// Addresses that were charged more than they had, and until when.
    over: Mutex<HashMap<ClientAddress, Instant>>,
}

impl AddressRate {
    /// So many a second; none means no limit.
    pub fn per_second(count: u32) -> Option<Self> {
        NonZeroU32::new(count).map(|count| Self::new(Quota::per_second(count)))
    }

    /// So many a minute; none means no limit.
    pub fn per_minute(count: u32) -> Option<Self> {
        NonZeroU32::new(count).map(|count| Self::new(Quota::per_minute(count)))
    }

    fn new(quota: Quota) -> Self {
        let limiter = ArcSwap::from_pointee(RateLimiter::keyed(quota));
        Self { quota, limiter, checks: 0.into(), over: Mutex::default() }
    }

    /// One more; when the address has had enough, how long until the next one.
    pub fn take(&self, address: ClientAddress) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY == LOOK_EVERY - 1 {
            self.bound();
        }
        let limiter = self.limiter.load();
        limiter.check_key(&address).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }

    /// [`AddressRate::take`], or 429.
    pub fn admit(&self, address: ClientAddress) -> Result<(), ApiError> {
        self.take(address).map_err(|wait| rate_limited(wait, "address"))
    }

    /// One more that has happened already. If the address had had enough, it is [`AddressRate::over`] its limit until
    /// it may have the next one.
    pub fn charge(&self, address: ClientAddress) {
        let Err(wait) = self.take(address) else { return };
        let now = Instant::now();
        let mut over = self.over.lock();
        if over.len() >= ADDRESSES_MAX {
            over.retain(|_, until| *until > now);
        }
        if over.len() < ADDRESSES_MAX {
            over.insert(address, now + wait);
        }
    }

    /// How long until the address may have another, if it was charged more than it had.
    pub fn over(&self, address: ClientAddress) -> Option<Duration> {
        let mut over = self.over.lock();
        let left = over.get(&address)?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            over.remove(&address);
            return None;
        }
        Some(left)
    }

    fn bound(&self) {
        let limiter = self.limiter.load();
        if limiter.len() < ADDRESSES_MAX {
            return;
        }
        limiter.retain_recent();
        limiter.shrink_to_fit();
        if limiter.len() >= ADDRESSES_MAX {
            // All begin anew: that is kinder than refusing whoever comes late.
            self.limiter.store(Arc::new(RateLimiter::keyed(self.quota)));
        }
    }
}

impl fmt::Debug for AddressRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressRate({:?})", self.quota)
    }
}

/// So many at a time for each address.
#[derive(Debug)]
pub struct AddressCount {
    most: u32,
    /// Only addresses that have one: as many as there are sockets, at most.
    open: Arc<Mutex<HashMap<ClientAddress, u32>>>,
}

/// One of an address's, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    address: ClientAddress,
    open: Arc<Mutex<HashMap<ClientAddress, u32>>>,
}

impl AddressCount {
    /// So many; none means no limit.
    pub fn new(most: u32) -> Option<Self> {
        (most > 0).then(|| Self { most, open: Arc::default() })
    }

    /// One more, or 429.
    pub fn admit(&self, address: ClientAddress) -> Result<Counted, ApiError> {
        let mut open = self.open.lock();
        let count = open.entry(address).or_insert(0);
        if *count >= self.most {
            return Err(rate_limited(COME_BACK, "sockets of the address"));
        }
        *count += 1;
        Ok(Counted { address, open: Arc::clone(&self.open) })
    }
}

/// When somebody may go is not known; this is often enough to ask.
const COME_BACK: Duration = Duration::from_secs(10);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Addresses that have tried too many wrong tokens: what they show is not even looked at for a while.
#[derive(Debug)]
pub struct FailedAttempts {
    rate: AddressRate,
}

impl Default for FailedAttempts {
    fn default() -> Self {
        let most = NonZeroU32::new(FAILURES_PER_MINUTE).expect("more than none");
        Self { rate: AddressRate::new(Quota::per_minute(most)) }
    }
}

impl FailedAttempts {
    /// Whether a token of this address is looked at.
    pub fn admit(&self, address: ClientAddress) -> Result<(), ApiError> {
        let left = self.rate.over(address);
        left.map_or(Ok(()), |left| Err(rate_limited(left, "failed attempts of the address")))
    }

    /// It was a wrong one.
    pub fn failed(&self, address: ClientAddress) {
        self.rate.charge(address);
    }
}

/// 429 that says when to come back, and what there is too much of.
fn rate_limited(wait: Duration, of: &'static str) -> ApiError {
    let secs = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
    ApiError::new(Code::RateLimited)
        .retry_after_secs(secs)
        .details(serde_json::json!({"limit": of, "retryAfterSeconds": secs}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_subscriber_is_one_address() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }

    #[test]
    fn a_rate_is_each_addresss_own() {
        let rate = AddressRate::per_minute(3).unwrap();
        let (one, other) = (address("192.0.2.1"), address("2001:db8::1"));
        assert!((0..3).all(|_| rate.take(one).is_ok()));
        let wait = rate.take(one).unwrap_err();
        assert!(wait <= Duration::from_secs(20) && wait > Duration::from_secs(15), "{wait:?}");
        assert!(rate.take(other).is_ok());
        assert!(AddressRate::per_second(0).is_none());
    }

    #[test]
    fn whoever_is_charged_more_than_they_have_is_over_the_limit() {
        let rate = AddressRate::per_minute(2).unwrap();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        rate.charge(one);
        rate.charge(one);
        assert_eq!(rate.over(one), None, "as much as it may have");
        rate.charge(one);
        assert!(rate.over(one).is_some_and(|left| left <= Duration::from_secs(30)));
        assert_eq!(rate.over(other), None);
        assert!(rate.take(one).is_err() && rate.take(other).is_ok());
    }

    #[test]
    fn addresses_are_bounded() {
        let rate = AddressRate::per_minute(1).unwrap();
        for i in 0..(2 * ADDRESSES_MAX as u32 + LOOK_EVERY) {
            let _ = rate.take(IpAddr::from(i.to_be_bytes()).into());
        }
        assert!(rate.limiter.load().len() <= ADDRESSES_MAX + LOOK_EVERY as usize);
    }

    #[test]
    fn what_is_closed_counts_no_more() {
        let sockets = AddressCount::new(2).unwrap();
        let first = sockets.admit(address("192.0.2.1")).unwrap();
        let _second = sockets.admit(address("192.0.2.1")).unwrap();
        assert_eq!(sockets.admit(address("192.0.2.1")).unwrap_err().code(), Code::RateLimited);
        assert!(sockets.admit(address("192.0.2.2")).is_ok());
        drop(first);
        assert!(sockets.admit(address("192.0.2.1")).is_ok());
        assert_eq!(sockets.open.lock().len(), 1, "who has none is not remembered");
    }

    #[test]
    fn who_guesses_is_locked_out() {
        let attempts = FailedAttempts::default();
        let (bad, good) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..=FAILURES_PER_MINUTE {
            assert!(attempts.admit(bad).is_ok());
            attempts.failed(bad);
        }
        assert_eq!(attempts.admit(bad).unwrap_err().code(), Code::RateLimited);
        assert!(attempts.admit(good).is_ok());
    }
}
