//! The settings of `ticket-server`: what there is, and what it must look like.

use std::{path::PathBuf, time::Duration};

use queue_core::service::{
    config::{Env, Program, Raw, SHARED, Setting, SharedConfig},
    pages::web_address,
    redis::StoreUrl,
    users::{USER_SETTINGS, UserConfig},
};

mod feed;
mod orders;

pub use self::{
    feed::{FEED_SETTINGS, FeedConfig, KafkaConfig, StreamConfig},
    orders::{NotifyConfig, ORDER_SETTINGS, OrderConfig, PaymentsConfig},
};
use crate::{
    gate::KeySource,
    ledger::LedgerUrl,
    live,
    office::{
        Synonyms,
        pruning::{OUTBOX_KEEP_HOURS_MAX, OUTBOX_KEEP_HOURS_MIN},
    },
    routes::Site,
};

/// The program, for the command line.
pub const PROGRAM: Program = Program {
    name: "ticket-server",
    version: env!("CARGO_PKG_VERSION"),
    about: "Seats, holds and bookings for those whom the queue has admitted",
    tables: &[OWN, ORDER_SETTINGS, FEED_SETTINGS, USER_SETTINGS, SHARED],
    // The queue server's own settings: both often run in one environment.
    foreign_env: &[
        "USHER_SIGNING_KEYS",
        "USHER_PLACE_SECRET",
        "USHER_KEY_PUBLISH_SECONDS",
        "USHER_TICKETS_URL",
        "USHER_RETURN_URLS",
        "USHER_SOCKETS_MAX",
        "USHER_ADDRESS_JOINS_PER_MINUTE",
        "USHER_ADDRESS_SOCKETS",
    ],
};

/// What only this server has.
pub const OWN: &[Setting] = &[
    Setting::value("listen", "USHER_LISTEN", "ADDRESS", "Where visitors are served").or("127.0.0.1:3002"),
    Setting::value("ops-listen", "USHER_OPS_LISTEN", "ADDRESS", "Where operators, probes and metrics are served")
        .or("127.0.0.1:9002"),
    Setting::value("jwks", "USHER_JWKS", "URL", "The keys of active tokens: an address or a file")
        .or("http://127.0.0.1:3003/.well-known/jwks.json"),
    Setting::value(
        "queue",
        "USHER_QUEUE",
        "URL",
        "Where the queue is told of bookings and asked about sessions: its operations listener, or its Redis",
    )
    .or("http://127.0.0.1:9003")
    .secret(),
    Setting::value(
        "ledger",
        "USHER_LEDGER",
        "URL",
        "Where bookings are kept: sqlite:FILE, postgres://…, mysql://… [default: tickets.db in the state folder]",
    )
    .secret(),
    Setting::value(
        "outbox-keep-hours",
        "USHER_OUTBOX_KEEP_HOURS",
        "HOURS",
        "How long the ledger keeps messages that the queue was sent, 25 or more",
    )
    .or("48"),
    Setting::value(
        "queue-url",
        "USHER_QUEUE_URL",
        "URL",
        "The queue's public address, where people without a token go",
    )
    .or("http://127.0.0.1:3003"),
    Setting::value(
        "synonyms",
        "USHER_SYNONYMS",
        "FILE",
        "Words that mean the same when events are looked for: a file with lines such as concert, gig, 콘서트",
    ),
    Setting::value(
        "live-max",
        "USHER_LIVE_MAX",
        "COUNT",
        "Streams and WebSockets that follow seats, open at a time at most. Mind the limit of open files",
    )
    .or("16384"),
    Setting::value(
        "address-live",
        "USHER_ADDRESS_LIVE",
        "COUNT",
        "Streams and WebSockets that one client address may have open; 0 means no limit",
    )
    .or("0"),
];

/// More streams and sockets than any one process has room for.
const LIVE_MAX: u64 = 1_000_000;

/// The ledger's file in the state folder.
const LEDGER_FILE: &str = "tickets.db";

/// Where the state of sales is kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In this process.
    Memory,
    /// In Redis.
    Redis(Box<StoreUrl>),
}

/// How the queue is reached.
#[derive(Clone, Debug)]
pub enum QueueConfig {
    /// At its operations listener.
    Http(String),
    /// At its Redis.
    Redis(Box<StoreUrl>),
}

/// The settings, checked.
pub struct Config {
    pub shared: SharedConfig,
    pub store: StoreConfig,
    pub queue: QueueConfig,
    pub jwks: KeySource,
    pub ledger: LedgerUrl,
    /// How long the ledger keeps what the queue was sent.
    pub outbox_keep: Duration,
    /// Who signs user tokens, if they are on.
    pub users: Option<UserConfig>,
    pub site: Site,
    /// How orders are paid, and who is told.
    pub orders: OrderConfig,
    /// Who is told of bookings.
    pub feed: FeedConfig,
    /// Words that mean the same when events are looked for.
    pub synonyms: Synonyms,
    /// How many may follow seats.
    pub live: live::Limits,
}

impl Config {
    /// Reads the settings; what is wrong with them is collected in `raw`.
    pub fn read(raw: &mut Raw, env: Env<'_>) -> Self {
        let shared = SharedConfig::read(raw, env);
        let store = read_store(raw, shared.store.expose());
        let ledger = raw.optional("ledger", "sqlite:FILE, postgres://… or mysql://…", str::parse);
        let ledger = ledger.unwrap_or_else(|| LedgerUrl::file(shared.state_dir.join(LEDGER_FILE)));
        Self {
            store,
            queue: raw.value("queue", "an address such as http://127.0.0.1:9003, or a store's URL", queue),
            jwks: raw.value("jwks", "an address such as http://127.0.0.1:3003/.well-known/jwks.json, or a file", keys),
            ledger,
            outbox_keep: Duration::from_secs(
                3_600 * raw.number("outbox-keep-hours", OUTBOX_KEEP_HOURS_MIN, OUTBOX_KEEP_HOURS_MAX),
            ),
            users: UserConfig::read(raw),
            orders: OrderConfig::read(raw, shared.listen.ip().is_loopback()),
            feed: FeedConfig::read(raw),
            synonyms: raw
                .optional("synonyms", "a file with lines of words parted by commas", |path| {
                    Synonyms::read(path.as_ref())
                })
                .unwrap_or_default(),
            live: live::Limits {
                most: raw.number("live-max", 1, LIVE_MAX) as usize,
                of_address: raw.number("address-live", 0, LIVE_MAX) as u32,
            },
            site: Site { queue_url: raw.value("queue-url", "an address such as https://queue.example", web_address) },
            shared,
        }
    }
}

fn read_store(raw: &mut Raw, text: &str) -> StoreConfig {
    if text == "memory" {
        return StoreConfig::Memory;
    }
    match StoreUrl::parse(text) {
        Ok(url) => StoreConfig::Redis(Box::new(url)),
        Err(error) => {
            raw.problem("store", &format!("memory or a store's URL ({error})"));
            StoreConfig::Memory
        }
    }
}

fn queue(text: &str) -> Result<QueueConfig, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return web_address(text).map(QueueConfig::Http).map_err(str::to_owned);
    }
    StoreUrl::parse(text).map(|url| QueueConfig::Redis(Box::new(url))).map_err(|error| error.to_string())
}

fn keys(text: &str) -> Result<KeySource, &'static str> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return web_address(text).map(KeySource::Url);
    }
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.is_empty() || path.contains("://") {
        Err("neither address nor file")
    } else {
        Ok(KeySource::File(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use queue_core::service::{config::Problems, testing};

    use super::*;

    fn read(args: &[&str]) -> Result<Config, Problems> {
        testing::settings(&PROGRAM, args, Config::read)
    }

    fn problems(args: &[&str]) -> Vec<String> {
        testing::problems(read(args))
    }

    #[test]
    fn nothing_need_be_said() {
        let config = read(&[]).unwrap();
        assert_eq!((config.shared.listen.port(), config.shared.ops_listen.port()), (3002, 9002));
        assert!(matches!(config.store, StoreConfig::Memory));
        assert!(matches!(config.queue, QueueConfig::Http(url) if url == "http://127.0.0.1:9003"));
        assert_eq!(config.ledger, LedgerUrl::file("/nowhere/.local/state/usher/tickets.db"));
        assert_eq!(config.jwks, KeySource::Url("http://127.0.0.1:3003/.well-known/jwks.json".into()));
    }

    #[test]
    fn all_problems_are_named() {
        let args = [
            "--store=mysql://x",
            "--ledger=oracle://x",
            "--queue=ftp://x",
            "--jwks=ftp://x",
            "--queue-url=queue.example",
            "--events-redis=http://x",
            "--events-kafka=x",
            "--dead-letter-after=0",
            "--user-jwks=https://id.example/keys",
        ];
        let found = problems(&args);
        let own = ["store", "ledger", "queue", "jwks", "queue-url", "user-issuer", "user-audience"];
        for key in own.into_iter().chain(["events-redis", "events-kafka", "dead-letter-after"]) {
            assert!(found.iter().any(|k| k == key), "{key} in {found:?}");
        }
    }

    #[test]
    fn files_and_stores_are_recognized() {
        let config = read(&["--ledger=sqlite:/x/y.db", "--queue=redis://127.0.0.1:1", "--jwks=/x/keys.json"]).unwrap();
        assert_eq!(config.ledger, LedgerUrl::file("/x/y.db"));
        assert!(matches!(config.queue, QueueConfig::Redis(_)));
        assert_eq!(config.jwks, KeySource::File("/x/keys.json".into()));
    }
}
