//! The settings that both servers have.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Env, Raw, Setting};
use crate::service::http::{Origins, TrustedProxies};
use crate::service::log::{LogFormat, check_filter};
use crate::service::ops::OpsHost;
use crate::service::secret::Secret;
use crate::service::spans::SpanConfig;

/// Operator and peer tokens are at least so long.
pub const OPERATOR_TOKEN_CHARS_MIN: usize = 32;
const WORKER_THREADS_MAX: u64 = 1024;
const DRAIN_SECONDS_MAX: u64 = 3600;
const ADDRESS_REQUESTS_MAX: u64 = 1_000_000;

/// The table of what both servers have, but for the two listeners, whose defaults differ.
pub const SHARED: &[Setting] = &[
    Setting::value(
        "store",
        "USHER_STORE",
        "URL",
        "Where the state lives: memory, or redis://, rediss://, redis-sentinel://, redis-cluster://, unix:",
    )
    .or("memory")
    .secret(),
    Setting::value(
        "state-dir",
        "USHER_STATE_DIR",
        "DIR",
        "Where keys and secrets that nobody gives are made [default: $XDG_STATE_HOME/usher]",
    ),
    Setting::secret_file(
        "operator-token-file",
        "USHER_OPERATOR_TOKEN",
        "A file with the operator's token, at least 32 characters",
    ),
    Setting::secret_file(
        "peer-token-file",
        "USHER_PEER_TOKEN",
        "A file with the token that the two servers use between them, at least 32 characters",
    ),
    Setting::list(
        "allowed-origins",
        "USHER_ALLOWED_ORIGINS",
        "ORIGIN",
        "Origins whose pages may call this server, beside its own",
    ),
    Setting::list(
        "trusted-proxies",
        "USHER_TRUSTED_PROXIES",
        "CIDR",
        "Networks whose Forwarded and X-Forwarded-* count",
    ),
    Setting::list(
        "ops-hosts",
        "USHER_OPS_HOSTS",
        "HOST",
        "Names that the operations listener answers to, beside its address",
    ),
    Setting::value(
        "drain-seconds",
        "USHER_DRAIN_SECONDS",
        "SECONDS",
        "How long requests may take to finish after SIGTERM",
    )
    .or("20"),
    Setting::value(
        "address-requests-per-second",
        "USHER_ADDRESS_REQUESTS_PER_SECOND",
        "COUNT",
        "Requests that one client address may send; 0 means no limit",
    )
    .or("0"),
    Setting::value("issuer", "USHER_ISSUER", "NAME", "The issuer of active tokens").or("usher"),
    Setting::value("audience", "USHER_AUDIENCE", "NAME", "The audience of active tokens").or("tickets"),
    Setting::value("log-format", "USHER_LOG_FORMAT", "FORMAT", "auto, json or text").or("auto"),
    Setting::value("log", "USHER_LOG", "FILTER", "What is logged, as in info,queue_core=debug").or("info"),
    Setting::value(
        "otlp-endpoint",
        "USHER_OTLP_ENDPOINT",
        "URL",
        "A collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318 [default: none]",
    ),
    Setting::value(
        "trace-ratio",
        "USHER_TRACE_RATIO",
        "RATIO",
        "The part of the traces begun here that the collector gets, 0 to 1",
    )
    .or("1"),
    Setting::value("worker-threads", "USHER_WORKER_THREADS", "COUNT", "Threads that do the work; 0 means one per core")
        .or("0"),
];

/// The settings that both servers have, read.
#[derive(Clone, Debug)]
pub struct SharedConfig {
    /// The public listener.
    pub listen: SocketAddr,
    /// The operations listener.
    pub ops_listen: SocketAddr,
    /// Where the state lives: `memory`, or a URL that may have a password in it; unchecked.
    pub store: Secret,
    /// The state folder; it need not be there yet.
    pub state_dir: PathBuf,
    /// The operator's token, when one is given.
    pub operator_token: Option<Secret>,
    /// The token between the two servers, when one is given.
    pub peer_token: Option<Secret>,
    /// Origins allowed beside the own host.
    pub origins: Origins,
    /// Whose word on the client's address counts.
    pub proxies: TrustedProxies,
    /// Names of the operations listener.
    pub ops_hosts: Vec<OpsHost>,
    /// How long a drain may take.
    pub drain: Duration,
    /// Requests a second of one client address; 0 means no limit.
    pub address_requests_per_second: u32,
    /// The issuer of active tokens.
    pub issuer: String,
    /// The audience of active tokens.
    pub audience: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_filter: String,
    /// Where spans go, if anywhere.
    pub spans: Option<SpanConfig>,
    /// Threads that do the work; 0 means one per core.
    pub worker_threads: usize,
}

impl SharedConfig {
    /// Reads them; the program's tables have [`SHARED`] and the settings `listen` and `ops-listen`.
    pub fn read(raw: &mut Raw, env: Env<'_>) -> Self {
        let address = "an address and port such as 127.0.0.1:3003";
        let listen: SocketAddr = raw.parse("listen", address);
        let ops_listen: SocketAddr = raw.parse("ops-listen", address);
        if listen == ops_listen && listen.port() != 0 {
            raw.problem("ops-listen", "another address than that of listen");
        }
        Self {
            listen,
            ops_listen,
            store: Secret::new(raw.text("store").unwrap_or("memory").to_owned()),
            state_dir: state_dir(raw, env),
            operator_token: raw.secret("operator-token-file", OPERATOR_TOKEN_CHARS_MIN),
            peer_token: raw.secret("peer-token-file", OPERATOR_TOKEN_CHARS_MIN),
            origins: Origins::new(raw.list("allowed-origins", "an origin such as https://shop.example", |text| {
                Origins::parse(text).ok_or("not an origin")
            })),
            proxies: TrustedProxies::new(raw.list("trusted-proxies", "a network such as 10.0.0.0/8", |text| {
                TrustedProxies::parse(text).ok_or("not a network")
            })),
            ops_hosts: raw.list("ops-hosts", "a name such as ops.example or ops.example:9003", |text| {
                OpsHost::parse(text).ok_or("not a host name")
            }),
            drain: Duration::from_secs(raw.number("drain-seconds", 1, DRAIN_SECONDS_MAX)),
            address_requests_per_second: raw.number("address-requests-per-second", 0, ADDRESS_REQUESTS_MAX) as u32,
            issuer: raw.value("issuer", "a name", name),
            audience: raw.value("audience", "a name", name),
            log_format: raw.parse("log-format", "auto, json or text"),
            log_filter: raw.value("log", "a filter such as info", |text| check_filter(text).map(|()| text.to_owned())),
            spans: spans(raw),
            worker_threads: raw.number("worker-threads", 0, WORKER_THREADS_MAX) as usize,
        }
    }
}

fn spans(raw: &mut Raw) -> Option<SpanConfig> {
    let ratio = raw.value("trace-ratio", "a number from 0 to 1", |text| match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("not such a number"),
    });
    let endpoint = raw.optional("otlp-endpoint", "an address such as http://127.0.0.1:4318", |text| {
        let url = reqwest::Url::parse(text).map_err(|_| "not an address")?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && plain && url.fragment().is_none();
        if fits { Ok(text.to_owned()) } else { Err("not an http or https address without user, query and fragment") }
    });
    endpoint.map(|endpoint| SpanConfig { endpoint, ratio })
}

fn name(text: &str) -> Result<String, &'static str> {
    let visible = !text.is_empty() && text.len() <= 255 && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if visible { Ok(text.to_owned()) } else { Err("not 1 to 255 visible characters") }
}

/// As the XDG base directory specification has it: a relative `XDG_STATE_HOME` does not count.
fn state_dir(raw: &mut Raw, env: Env<'_>) -> PathBuf {
    let given = raw
        .optional("state-dir", "a folder", |text| if text.is_empty() { Err("empty") } else { Ok(PathBuf::from(text)) });
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given
        .or_else(|| absolute("XDG_STATE_HOME").map(|path| path.join("usher")))
        .or_else(|| absolute("HOME").map(|path| path.join(".local/state/usher")))
        .unwrap_or_else(|| {
            raw.problem("state-dir", "a folder: neither XDG_STATE_HOME nor HOME says where it could be");
            PathBuf::new()
        })
}
