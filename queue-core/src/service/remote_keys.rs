//! Keys that somebody else publishes, from an address or a file.
//!
//! They are fetched when the first token comes, so that a server starts before whoever publishes them; a token with
//! an unknown key has them fetched again, at most once in ten seconds, whoever sends how many. Known keys stay in
//! use while nothing newer can be had. Fetching is bounded in time and size, and there is one at a time.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::{io::AsyncReadExt as _, sync::Mutex};

use crate::token::jwks::JWKS_BYTES_MAX;

/// Fetching takes at most so long.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A token with an unknown key has the keys fetched at most this often.
pub const REFETCH_AFTER: Duration = Duration::from_secs(10);
/// As long as there are no keys at all, fetching is tried this often.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Keys are fetched again after so long, so that retired ones go.
const OLD_AFTER: Duration = Duration::from_secs(300);

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// An address of the web.
    Url(String),
    /// A file.
    File(PathBuf),
}

impl KeySource {
    /// An http or https address, else the path of a file.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return match reqwest::Url::parse(text) {
                Ok(url) if url.has_host() => Ok(Self::Url(text.to_owned())),
                _ => Err("not an address"),
            };
        }
        if text.is_empty() || text.contains("://") {
            return Err("neither an http or https address nor a file");
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

/// Which way to the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight: it is one of ours.
    Direct,
    /// Through the proxy that the environment names, if it names one.
    AsEnvironmentSays,
}

type Read<K> = Box<dyn Fn(&[u8]) -> Result<K, String> + Send + Sync>;

/// Keys of kind `K`, and where they come from. Clones share them.
pub struct RemoteKeys<K>(Arc<Inner<K>>);

impl<K> Clone for RemoteKeys<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<K> {
    source: KeySource,
    http: reqwest::Client,
    read: Read<K>,
    current: ArcSwapOption<K>,
    /// When fetching was tried last; held while it is tried.
    tried: Mutex<Option<Instant>>,
    /// When it succeeded last, or was begun because that was long ago.
    fetched: parking_lot::Mutex<Option<Instant>>,
}

impl<K: Send + Sync + 'static> RemoteKeys<K> {
    /// Keys of that source; `read` makes them of the document. Nothing is fetched yet.
    pub fn new(
        source: KeySource,
        way: Way,
        read: impl Fn(&[u8]) -> Result<K, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .connect_timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        let client = if way == Way::Direct { client.no_proxy() } else { client };
        Ok(Self(Arc::new(Inner {
            source,
            http: client.build().map_err(|error| chain(&error))?,
            read: Box::new(read),
            current: ArcSwapOption::empty(),
            tried: Mutex::default(),
            fetched: parking_lot::Mutex::default(),
        })))
    }

    /// The keys; `None` while none could be had.
    pub async fn current(&self) -> Option<Arc<K>> {
        let Some(current) = self.0.current.load_full() else {
            self.fetch(None, RETRY_AFTER).await;
            return self.0.current.load_full();
        };
        if self.is_old() {
            let (keys, known) = (self.clone(), Arc::clone(&current));
            tokio::spawn(async move { keys.fetch(Some(&known), REFETCH_AFTER).await });
        }
        Some(current)
    }

    /// Whether the keys should be looked at again: true for one caller, who does it.
    fn is_old(&self) -> bool {
        let mut fetched = self.0.fetched.lock();
        let old = fetched.is_some_and(|at| at.elapsed() > OLD_AFTER);
        if old {
            *fetched = Some(Instant::now());
        }
        old
    }

    /// Newer keys than those, if there are any.
    pub async fn newer_than(&self, known: &Arc<K>) -> Option<Arc<K>> {
        self.fetch(Some(known), REFETCH_AFTER).await;
        self.0.current.load_full().filter(|current| !Arc::ptr_eq(current, known))
    }

    /// Fetches unless somebody else did meanwhile, or it was tried a moment ago.
    async fn fetch(&self, known: Option<&Arc<K>>, after: Duration) {
        let mut tried = self.0.tried.lock().await;
        let current = self.0.current.load_full();
        let newer = match (known, &current) {
            (Some(known), Some(current)) => !Arc::ptr_eq(known, current),
            (None, Some(_)) => true,
            _ => false,
        };
        if newer || tried.is_some_and(|at| at.elapsed() < after) {
            return;
        }
        // Before it is tried: a caller that goes away meanwhile drops this future, and must not make it free.
        *tried = Some(Instant::now());
        let document = self.0.document().await;
        // And after it: whoever waited meanwhile does not wait as long once more.
        *tried = Some(Instant::now());
        match document.and_then(|document| (self.0.read)(&document)) {
            Ok(keys) => {
                *self.0.fetched.lock() = Some(Instant::now());
                self.0.current.store(Some(Arc::new(keys)));
            }
            Err(error) => tracing::warn!(source = ?self.0.source, error, "keys cannot be read"),
        }
    }
}

impl<K> Inner<K> {
    async fn document(&self) -> Result<Vec<u8>, String> {
        let mut document = Vec::new();
        match &self.source {
            KeySource::Url(url) => {
                let mut response = self.http.get(url).send().await.map_err(|error| chain(&error))?;
                if !response.status().is_success() {
                    return Err(format!("answered {}", response.status()));
                }
                while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
                    if document.len() + chunk.len() > JWKS_BYTES_MAX {
                        return Err(format!("longer than {JWKS_BYTES_MAX} bytes"));
                    }
                    document.extend_from_slice(&chunk);
                }
            }
            KeySource::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
                // One byte more than allowed, so that what is too long is refused instead of cut.
                let read = file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut document).await;
                read.map_err(|error| error.to_string())?;
            }
        }
        Ok(document)
    }
}

/// An error with its causes: the client's own text leaves out what went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "remote_keys_tests.rs"]
mod tests;
