//! Where the store is: the URL forms that `--store` takes. A password is never shown.

use std::fmt;

use fred::types::config::{Config, ServerConfig};

/// The forms that are taken, for messages.
pub const STORE_URL_FORMS: &str = "redis://[user:password@]host[:port][/db], rediss://… (TLS), \
    redis-sentinel://host:port[/db]?sentinelServiceName=NAME[&node=host:port], \
    redis-cluster://host:port[?node=host:port], unix:/path/to/socket[?db=N]";

const SCHEMES: [&str; 6] = ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];
const PARAMETERS: [&str; 4] = ["node", "sentinelServiceName", "sentinelUsername", "sentinelPassword"];

/// Why a URL cannot be used. Never holds the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// The part before the colon is none of ours.
    #[error("unknown scheme; expected {STORE_URL_FORMS}")]
    Scheme,
    /// A parameter that nothing reads, most likely misspelled.
    #[error("unknown parameter {0:?}; expected {STORE_URL_FORMS}")]
    Parameter(String),
    /// Anything else.
    #[error("{0}; expected {STORE_URL_FORMS}")]
    Other(String),
}

/// A checked URL of a Redis, a Sentinel group, a cluster or a socket.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    shown: String,
    config: Config,
}

impl StoreUrl {
    /// Checks `text`.
    pub fn parse(text: &str) -> Result<Self, StoreUrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(StoreUrlError::Scheme)?;
        let config = match scheme {
            "unix" | "redis+unix" => socket(rest)?,
            _ if SCHEMES.contains(&scheme) && rest.starts_with("//") => server(text)?,
            _ => return Err(StoreUrlError::Scheme),
        };
        Ok(Self { shown: redact(text), config })
    }

    /// Whether it names a cluster.
    pub fn is_cluster(&self) -> bool {
        self.config.server.is_clustered()
    }

    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }
}

/// Without user, password and parameters.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = StoreUrlError;
    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        Self::parse(text)
    }
}

fn server(text: &str) -> Result<Config, StoreUrlError> {
    for (name, _) in parameters(text) {
        if !PARAMETERS.contains(&name) {
            return Err(StoreUrlError::Parameter(name.to_owned()));
        }
    }
    // The details of the client's error name what is wrong, without quoting the URL.
    Config::from_url(text).map_err(|error| StoreUrlError::Other(error.details().to_owned()))
}

fn socket(rest: &str) -> Result<Config, StoreUrlError> {
    let path = rest.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.len() < 2 {
        return Err(StoreUrlError::Other("a socket needs an absolute path".to_owned()));
    }
    let mut config = Config { server: ServerConfig::Unix { path: path.into() }, ..Config::default() };
    for (name, value) in parameters(rest) {
        match name {
            "db" => {
                let number = value.parse().map_err(|_| StoreUrlError::Other("db must be 0-255".to_owned()))?;
                config.database = Some(number);
            }
            "username" => config.username = Some(value.to_owned()),
            "password" => config.password = Some(value.to_owned()),
            _ => return Err(StoreUrlError::Parameter(name.to_owned())),
        }
    }
    Ok(config)
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn redact(text: &str) -> String {
    let bare = text.split('?').next().unwrap_or_default();
    match (bare.split_once("://"), bare.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &bare[at + 1..]),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("redis://127.0.0.1:6380/3", "redis://127.0.0.1:6380/3"),
            ("redis://[::1]:6379", "redis://[::1]:6379"),
            ("redis://user:p%40ss@h:1/2", "redis://h:1/2"),
            ("redis://:secret@h", "redis://h"),
            ("rediss://user:secret@h", "rediss://h"),
            ("redis-sentinel://:secret@h:26379/1?sentinelServiceName=m&node=i:26379", "redis-sentinel://h:26379/1"),
            ("redis-cluster://h:7000?node=i:7001", "redis-cluster://h:7000"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
            ("unix:///run/redis.sock?db=2&password=secret", "unix:///run/redis.sock"),
        ] {
            let url = StoreUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        assert!(StoreUrl::parse("redis-cluster://h:7000").unwrap().is_cluster());
        assert_eq!(StoreUrl::parse("unix:/s?db=2").unwrap().config().database, Some(2));
        assert_eq!(StoreUrl::parse("redis://u:p%40ss@h").unwrap().config().password.as_deref(), Some("p@ss"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "",
            "memory",
            "localhost:6379",
            "http://h",
            "redis:h",
            "redis+tls://:secret@h",
            "redis://",
            "redis://:secret@h:99999",
            "redis://:secret@h/notanumber",
            "redis://:secret@h/300",
            "redis://:secret@h?tiemout=secret",
            "redis-sentinel://:secret@h:26379",
            "redis-cluster://:secret@h:7000?node=i",
            "unix:",
            "unix:relative",
            "unix:/s?db=x&password=secret",
            "unix:/s?pasword=secret",
        ] {
            let error = StoreUrl::parse(text).expect_err(text).to_string();
            assert!(!error.contains("secret") && error.contains("expected"), "{text}: {error}");
        }
    }
}
