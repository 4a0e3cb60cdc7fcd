//! The settings of `queue-server`: what there is, and what it must look like.
//!
//! Keys that nobody gives are made in the state folder at the start, never while settings are
//! only checked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use queue_core::{
    limits::JOIN_BATCH_MAX,
    service::{
        config::{Env, Program, Raw, SHARED, Setting, SharedConfig},
        keyfiles::{self, SECRET_CHARS_MIN, SigningKeys},
        pages::web_address,
        redis::StoreUrl,
        secret::Secret,
        users::{USER_SETTINGS, UserConfig},
    },
};

use crate::routes::{EVENT_PLACEHOLDER, Site};

/// The program, for the command line.
pub const PROGRAM: Program = Program {
    name: "queue-server",
    version: env!("CARGO_PKG_VERSION"),
    about: "Virtual waiting rooms: joins, positions, admission, active tokens",
    tables: &[OWN, USER_SETTINGS, SHARED],
    // The ticket server's own settings: both often run in one environment.
    foreign_env: &[
        "USHER_LEDGER",
        "USHER_JWKS",
        "USHER_QUEUE",
        "USHER_LIVE_MAX",
        "USHER_ADDRESS_LIVE",
        "USHER_SYNONYMS",
        "USHER_OUTBOX_KEEP_HOURS",
        "USHER_PAYMENTS",
        "USHER_PAYMENT_SECRET",
        "USHER_PAYMENT_SECRET_FILE",
        "USHER_SIMULATED_PAYMENTS",
        "USHER_PAYMENT_TIMEOUT_MS",
        "USHER_PAYMENT_WAIT_SECONDS",
        "USHER_NOTIFY_URL",
        "USHER_NOTIFY_SECRET",
        "USHER_NOTIFY_SECRET_FILE",
        "USHER_EVENTS_REDIS",
        "USHER_EVENTS_STREAM",
        "USHER_EVENTS_STREAM_LENGTH",
        "USHER_EVENTS_KAFKA",
        "USHER_EVENTS_KAFKA_TOPIC",
        "USHER_DEAD_LETTER_AFTER",
    ],
};

/// What only this server has.
pub const OWN: &[Setting] = &[
    Setting::value("listen", "USHER_LISTEN", "ADDRESS", "Where visitors are served").or("127.0.0.1:3003"),
    Setting::value("ops-listen", "USHER_OPS_LISTEN", "ADDRESS", "Where operators, probes and metrics are served")
        .or("127.0.0.1:9003"),
    Setting::value(
        "signing-keys",
        "USHER_SIGNING_KEYS",
        "DIR",
        "Ed25519 keys (*.pem) of active tokens: the newest name signs, all verify [default: one made in the state folder]",
    ),
    Setting::secret_file(
        "place-secret-file",
        "USHER_PLACE_SECRET",
        "A file with the secret of place tokens, at least 32 characters, the same on all nodes; several, separated by commas: the first signs, all verify [default: one made in the state folder]",
    ),
    Setting::value(
        "key-publish-seconds",
        "USHER_KEY_PUBLISH_SECONDS",
        "SECONDS",
        "How long a signing key or place secret that turns up while the server runs is only published before it signs",
    )
    .or("90"),
    Setting::value(
        "tickets-url",
        "USHER_TICKETS_URL",
        "URL",
        "Where people go after admission: an address with {eventId}, or a base to which /tickets/{eventId} is added",
    )
    .or("http://127.0.0.1:3002"),
    Setting::value(
        "queue-url",
        "USHER_QUEUE_URL",
        "URL",
        "This server's public address, for redirects from other sites: with {eventId}, or a base to which /wait/{eventId} is added",
    ),
    Setting::list(
        "return-urls",
        "USHER_RETURN_URLS",
        "URL",
        "Addresses on other sites to which the waiting page may hand the active token over",
    ),
    Setting::value(
        "sockets-max",
        "USHER_SOCKETS_MAX",
        "COUNT",
        "WebSockets that this node has open at most; one more is closed with 1013. Mind the limit of open files",
    )
    .or("16384"),
    Setting::value(
        "join-batch",
        "USHER_JOIN_BATCH",
        "COUNT",
        "Joins that go to Redis in one call, at most (1-112); with 1 each goes by itself",
    )
    .or("112"),
    Setting::value(
        "address-joins-per-minute",
        "USHER_ADDRESS_JOINS_PER_MINUTE",
        "COUNT",
        "New places that one client address may take; 0 means no limit",
    )
    .or("0"),
    Setting::value(
        "address-sockets",
        "USHER_ADDRESS_SOCKETS",
        "COUNT",
        "WebSockets that one client address may have open; 0 means no limit",
    )
    .or("0"),
];

/// More sockets than any one process has room for.
const SOCKETS_MAX: u64 = 1_000_000;
/// Limits of one client address are at most this high.
const ADDRESS_LIMIT_MAX: u64 = 1_000_000;
/// Keys wait at most so long before they sign.
const KEY_PUBLISH_SECONDS_MAX: u64 = 3_600;

/// Where lines are kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In this process.
    Memory,
    /// In Redis.
    Redis(Box<StoreUrl>),
}

/// The settings, checked.
pub struct Config {
    pub shared: SharedConfig,
    pub store: StoreConfig,
    /// The keys of active tokens; `None`: those of the state folder.
    pub signing_keys: Option<SigningKeys>,
    /// Where they are.
    pub signing_keys_dir: Option<PathBuf>,
    /// The file of the secret of place tokens, when it stands in one.
    pub place_secret_path: Option<PathBuf>,
    /// From publishing a key to signing with it.
    pub key_publish: Duration,
    /// The secret of place tokens, or several with commas between them; `None`: that of the state folder.
    pub place_secret: Option<Secret>,
    /// Who signs user tokens; `None`: visitors are anonymous.
    pub users: Option<UserConfig>,
    /// New places a minute for one client address; 0: no limit.
    pub address_joins_per_minute: u32,
    /// Open WebSockets of one client address; 0: no limit.
    pub address_sockets: u32,
    /// Open WebSockets, at most.
    pub sockets_max: usize,
    /// Joins in one call of the store, at most.
    pub join_batch: usize,
    pub site: Site,
}

impl Config {
    /// Reads the settings; what is wrong with them is collected in `raw`.
    pub fn read(raw: &mut Raw, env: Env<'_>) -> Self {
        let shared = SharedConfig::read(raw, env);
        let store = read_store(raw, shared.store.expose());
        let signing_keys = raw.optional("signing-keys", "a folder with Ed25519 keys in files named *.pem", |folder| {
            keyfiles::read_signing_keys(Path::new(folder))
        });
        let site = Site {
            tickets_url: raw.value("tickets-url", URL, url),
            queue_url: raw.optional("queue-url", URL, url),
            return_urls: raw.list("return-urls", "an address such as https://shop.example/done", web_address),
        };
        Self {
            shared,
            store,
            signing_keys_dir: raw.text("signing-keys").map(PathBuf::from),
            signing_keys,
            place_secret_path: raw.secret_path("place-secret-file"),
            place_secret: place_secret(raw),
            users: UserConfig::read(raw),
            address_joins_per_minute: raw.number("address-joins-per-minute", 0, ADDRESS_LIMIT_MAX) as u32,
            address_sockets: raw.number("address-sockets", 0, ADDRESS_LIMIT_MAX) as u32,
            sockets_max: raw.number("sockets-max", 1, SOCKETS_MAX) as usize,
            join_batch: raw.number("join-batch", 1, JOIN_BATCH_MAX as u64) as usize,
            key_publish: Duration::from_secs(raw.number("key-publish-seconds", 0, KEY_PUBLISH_SECONDS_MAX)),
            site,
        }
    }
}

const URL: &str = "an address such as https://shop.example or https://shop.example/events/{eventId}";

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

fn place_secret(raw: &mut Raw) -> Option<Secret> {
    let secret = raw.secret("place-secret-file", SECRET_CHARS_MIN)?;
    if let Err(error) = keyfiles::place_keys(&secret) {
        raw.problem("place-secret-file", &format!("one secret, or several separated by commas ({error})"));
    }
    Some(secret)
}

/// An absolute address of the web; it may have the placeholder.
fn url(text: &str) -> Result<String, &'static str> {
    web_address(&text.replace(EVENT_PLACEHOLDER, "e"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use queue_core::{
        service::{config::Problems, testing},
        token::keys::SigningKey,
    };

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
        assert_eq!(config.shared.listen.port(), 3003);
        assert_eq!(config.shared.ops_listen.port(), 9003);
        assert!(matches!(config.store, StoreConfig::Memory));
        assert!(config.signing_keys.is_none() && config.place_secret.is_none());
    }

    #[test]
    fn all_problems_are_named() {
        let found = problems(&[
            "--listen=nowhere",
            "--store=mysql://x",
            "--signing-keys=/does/not/exist",
            "--tickets-url=shop.example",
            "--return-urls=https://a.example/x,javascript:alert(1)",
            "--user-jwks=https://id.example/keys",
            "--drain-seconds=0",
        ]);
        let user = ["user-issuer", "user-audience"];
        let others = ["listen", "store", "signing-keys", "tickets-url", "return-urls", "drain-seconds"];
        for key in others.into_iter().chain(user) {
            assert!(found.iter().any(|k| k == key), "{key} in {found:?}");
        }
    }

    #[test]
    fn user_tokens_need_all_their_settings() {
        let named = ["--user-issuer=https://id.example/", "--user-audience=queue"];
        let with = |first: &[&'static str]| [first, &named].concat();
        assert!(read(&with(&["--user-jwks=https://id.example/keys"])).unwrap().users.is_some());
        assert!(read(&with(&["--user-jwks=/etc/keys.json"])).unwrap().users.is_some());
        assert_eq!(problems(&named), ["user-issuer", "user-audience"], "of no use alone");
        assert_eq!(problems(&with(&["--user-jwks=ftp://id.example/keys"])), ["user-jwks"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s".repeat(31)).unwrap();
        let flag: &'static str = format!("--user-hs256-file={}", file.display()).leak();
        assert_eq!(problems(&with(&[flag])), ["user-hs256-file"]);
        std::fs::write(&file, "s".repeat(32)).unwrap();
        assert!(read(&with(&[flag])).unwrap().users.is_some());
        assert_eq!(problems(&with(&[flag, "--user-jwks=/etc/keys.json"])), ["user-hs256-file"], "one of the two");
    }

    #[test]
    fn the_newest_name_signs() {
        let folder = tempfile::tempdir().unwrap();
        let key = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
        for (name, seed) in [("2026-02.pem", 2), ("2026-01.pem", 1), ("2026-03.pem", 3)] {
            std::fs::write(folder.path().join(name), key(seed).to_pem()).unwrap();
        }
        std::fs::write(folder.path().join("README"), "not a key").unwrap();
        let flag = format!("--signing-keys={}", folder.path().display());
        let keys = read(&[&flag]).unwrap().signing_keys.unwrap();
        assert_eq!(keys.signer.public(), key(3).public());
        assert_eq!(keys.public, [1, 2, 3].map(|seed| key(seed).public().clone()));
        std::fs::write(folder.path().join("2026-04.pem"), "junk").unwrap();
        assert_eq!(problems(&[&flag]), ["signing-keys"]);
    }

    #[test]
    fn place_secrets_rotate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let flag = format!("--place-secret-file={}", file.display());
        std::fs::write(&file, format!("{},{}\n", "n".repeat(32), "o".repeat(40))).unwrap();
        assert!(read(&[&flag]).unwrap().place_secret.is_some());
        std::fs::write(&file, "short").unwrap();
        assert_eq!(problems(&[&flag]), ["place-secret-file"]);
        std::fs::write(&file, format!("{},short", "n".repeat(32))).unwrap();
        assert_eq!(problems(&[&flag]), ["place-secret-file"]);
    }

    #[test]
    fn addresses_are_checked() {
        assert!(url("https://a.example/{eventId}?x=1").is_ok());
        assert!(url("https://a.example/{event}").is_err());
    }
}
