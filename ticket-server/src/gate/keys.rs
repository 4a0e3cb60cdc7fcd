//! The public keys that tokens are checked with, from an address or a file.
//!
//! They are fetched when the first token comes, so that this server starts before the queue; a
//! token with an unknown key has them fetched again, at most once in ten seconds. Known keys stay
//! in use while nothing newer can be had.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use queue_core::token::{
    active::ActiveVerifier,
    jwks::{self, JWKS_BYTES_MAX},
};
use tokio::{io::AsyncReadExt as _, sync::Mutex};

use crate::peer::{chain, client, read_bounded};

/// Fetching takes at most so long.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A token with an unknown key has the keys fetched at most this often.
const REFETCH_AFTER: Duration = Duration::from_secs(10);
/// As long as there are no keys at all, fetching is tried this often.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Keys are fetched again after so long, so that retired ones go.
const OLD_AFTER: Duration = Duration::from_secs(300);

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// An address of the web.
    Url(String),
    /// A file.
    File(PathBuf),
}

/// The keys and where they come from.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    source: KeySource,
    http: reqwest::Client,
    /// Without keys: what issuer and audience must be.
    demands: ActiveVerifier,
    current: ArcSwapOption<ActiveVerifier>,
    fetch: Mutex<Option<Instant>>,
    fetched: parking_lot::Mutex<Option<Instant>>,
}

impl Keys {
    /// Keys of that source for tokens of `issuer` for `audience`. Nothing is fetched yet.
    pub fn new(source: KeySource, issuer: &str, audience: &str) -> Result<Self, String> {
        Ok(Self(Arc::new(Inner {
            source,
            http: client(FETCH_TIMEOUT)?,
            demands: ActiveVerifier::new(issuer, audience, []),
            current: ArcSwapOption::empty(),
            fetch: Mutex::default(),
            fetched: parking_lot::Mutex::default(),
        })))
    }

    /// The keys; `None` while none could be had.
    pub async fn current(&self) -> Option<Arc<ActiveVerifier>> {
        let Some(current) = self.0.current.load_full() else {
            self.fetch(None, RETRY_AFTER).await;
            return self.0.current.load_full();
        };
        let old = self.0.fetched.lock().is_some_and(|at| at.elapsed() > OLD_AFTER);
        if old {
            let (keys, known) = (self.clone(), Arc::clone(&current));
            // So that one request starts it.
            *self.0.fetched.lock() = Some(Instant::now());
            tokio::spawn(async move { keys.fetch(Some(&known), REFETCH_AFTER).await });
        }
        Some(current)
    }

    /// Newer keys than those, if there are any.
    pub async fn newer_than(&self, known: &Arc<ActiveVerifier>) -> Option<Arc<ActiveVerifier>> {
        self.fetch(Some(known), REFETCH_AFTER).await;
        self.0.current.load_full().filter(|current| !Arc::ptr_eq(current, known))
    }

    /// Fetches unless somebody else did meanwhile, or it was tried a moment ago.
    async fn fetch(&self, known: Option<&Arc<ActiveVerifier>>, after: Duration) {
        let mut last = self.0.fetch.lock().await;
        let current = self.0.current.load_full();
        let newer = match (known, &current) {
            (Some(known), Some(current)) => !Arc::ptr_eq(known, current),
            (None, Some(_)) => true,
            _ => false,
        };
        if newer || last.is_some_and(|at| at.elapsed() < after) {
            return;
        }
        let result = self.0.read().await;
        *last = Some(Instant::now());
        match result {
            Ok(verifier) => {
                *self.0.fetched.lock() = Some(Instant::now());
                self.0.current.store(Some(Arc::new(verifier)));
            }
            Err(error) => tracing::warn!(source = ?self.0.source, error, "the keys of active tokens cannot be read"),
        }
    }
}

impl Inner {
    async fn read(&self) -> Result<ActiveVerifier, String> {
        let document = match &self.source {
            KeySource::Url(url) => {
                let response = self.http.get(url).send().await.map_err(|error| chain(&error))?;
                if !response.status().is_success() {
                    return Err(format!("answered {}", response.status()));
                }
                read_bounded(response, JWKS_BYTES_MAX).await?
            }
            KeySource::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
                let mut bytes = Vec::new();
                let read = file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await;
                read.map_err(|error| error.to_string())?;
                bytes.into()
            }
        };
        let keys = jwks::from_json(&document).map_err(|error| error.to_string())?;
        Ok(self.demands.with_keys(&keys))
    }
}
