//! A whole server: ledger, engine, office, listeners. `main` runs one; tests run several in a process.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use queue_core::{
    ids::EventId,
    service::{
        caps::AddressRate,
        config::SharedConfig,
        http::{Bound, HttpOptions},
        keyfiles::{self, StateDir},
        ops::{Guard, OPS_CONNECTIONS_MAX, OpsApp},
        redis::{Options, Store, StoreUrl},
        run::{self, Lifecycle},
        secret::Secret,
        users::UserTokens,
    },
};
use tokio::sync::mpsc;

use crate::{
    balance::{SimulatedMemory, StoredValue},
    clock::Clock,
    config::{Config, FeedConfig, OrderConfig, PaymentsConfig, QueueConfig, StoreConfig},
    engine::{Engine, MemoryEngine, RedisEngine},
    gate::{self, Gate},
    ledger::{self, Ledger, LedgerUrl},
    meters,
    office::Office,
    orders::{Notifier, Orders},
    payments::{self, Guarded, HttpProvider, Payments, Provider, Simulated},
    peer::Peer,
    relay::{Feed, Inventories, Letters, Relay, Sink, Stream, Target},
    routes::{OperatorApp, PublicApp},
    sessions::{Asked, Sessions, Told},
    webhooks::Webhooks,
};

/// The reason against readiness while the store cannot be asked.
const STORE: &str = "store";
/// The reason against readiness until all events are loaded.
const LOADING: &str = "loading";
/// Begins the names of the request metrics.
const METRICS_PREFIX: &str = "usher_ticket_";

/// Connections beside those that follow seats, at most.
const OTHER_CONNECTIONS_MAX: usize = 2_048;

/// A server that has its addresses and its office, and serves nobody yet.
pub struct Server {
    public: Bound,
    ops: Bound,
    app: PublicApp,
    ops_app: OpsApp<OperatorApp>,
    options: HttpOptions,
}

/// The secrets of a server, given or made.
struct Secrets {
    operator: Secret,
    peer: Secret,
}

impl Secrets {
    fn find(shared: &SharedConfig) -> anyhow::Result<Self> {
        // The folder is opened only for what nobody gives: it may not even be writable.
        let secret = |given: &Option<Secret>, name: &str| match given {
            Some(given) => Ok(given.clone()),
            None => StateDir::open(&shared.state_dir)?.secret(name),
        };
        Ok(Self {
            operator: secret(&shared.operator_token, keyfiles::OPERATOR_TOKEN)?,
            peer: secret(&shared.peer_token, keyfiles::PEER_TOKEN)?,
        })
    }
}

impl Server {
    /// Takes the addresses, opens the ledger, connects to the stores and starts what runs in the background.
    pub async fn start(config: Config, life: &Lifecycle) -> anyhow::Result<Self> {
        let shared = &config.shared;
        // First, since it fails for the simplest reasons, and before anything is written.
        let (public, ops) = (run::bind(shared.listen).await?, run::bind(shared.ops_listen).await?);
        meters::start();
        let secrets = Secrets::find(shared)?;
        let guard = Guard {
            address: ops.address(),
            hosts: shared.ops_hosts.clone(),
            operator: secrets.operator.digest(),
            peer: None,
        };
        let options = HttpOptions {
            origins: shared.origins.clone(),
            proxies: shared.proxies.clone(),
            connections_max: config.live.most + OTHER_CONNECTIONS_MAX,
            address_requests: AddressRate::per_second(shared.address_requests_per_second).map(Arc::new),
            ..HttpOptions::new(METRICS_PREFIX)
        };
        let keys = gate::keys(config.jwks.clone(), &shared.issuer, &shared.audience).map_err(anyhow::Error::msg)?;
        let users = config.users.clone().map(UserTokens::new).transpose().map_err(anyhow::Error::msg)?;
        make_folder_of(&config.ledger)?;
        let ledger = Ledger::open(&config.ledger, Clock::Real).await;
        let ledger = ledger.with_context(|| format!("the ledger {}", config.ledger))?;
        let (sessions, target) = match &config.queue {
            QueueConfig::Http(url) => {
                let peer = Peer::new(url, secrets.peer).map_err(anyhow::Error::msg)?;
                (Sessions::Asked(Asked::new(peer.clone())), Target::Http(peer))
            }
            QueueConfig::Redis(url) => {
                let store = Store::connect(url, Options::default());
                (Sessions::Told(Told::new(store.clone())), Target::Redis(store))
            }
        };
        let (engine, store) = connect(&config.store);
        let (office, reloads) =
            Office::new(engine, ledger, sessions, Clock::Real, config.live, config.synonyms, store.clone());
        ledger::when_there(|| office.read_catalog()).await.context("reading the events")?;
        let letters = Letters::new(Arc::clone(&office), config.feed.dead_letter_after);
        spawn_all(&office, reloads, (target, letters.clone()), store, life);
        let feed = Feed::new(Arc::clone(&office), letters, sinks_of(&config.feed));
        life.spawn("telling of bookings", feed.run(life.stopping.clone()));
        let pruning = Arc::clone(&office).prune_outbox(config.outbox_keep, life.stopping.clone());
        life.spawn("dropping sent messages", pruning);
        let ops_app =
            OpsApp::new(OperatorApp::new(Arc::clone(&office)), guard, life.readiness.clone(), life.metrics.clone());
        let orders = orders_of(&config.orders, &office)?;
        life.spawn("orders", orders.clone().recover(life.stopping.clone()));
        let webhooks = Webhooks::new(match &config.orders.payments {
            PaymentsConfig::Http(_, secret) => Some(secret),
            PaymentsConfig::Off | PaymentsConfig::Simulated(_) => None,
        });
        let app = PublicApp::new(office, orders, webhooks, Gate::new(keys, users), config.site, life.sockets.clone());
        Ok(Self { public, ops, app, ops_app, options })
    }

    /// Where visitors are served.
    pub fn address(&self) -> SocketAddr {
        self.public.address()
    }

    /// Where operators are served.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops.address()
    }

    /// Serves until the process is told to end.
    pub async fn serve(self, life: Lifecycle) {
        let ops_options = HttpOptions { connections_max: OPS_CONNECTIONS_MAX, ..HttpOptions::new(METRICS_PREFIX) };
        let public = (self.public, Arc::new(self.app), self.options);
        life.serve(public, (self.ops, Arc::new(self.ops_app), ops_options)).await;
    }
}

/// Orders, with whoever takes the money for them.
fn orders_of(config: &OrderConfig, office: &Arc<Office>) -> anyhow::Result<Orders> {
    let ledger = &office.ledger;
    let provider: Option<Arc<dyn Provider>> = match &config.payments {
        PaymentsConfig::Off => None,
        PaymentsConfig::Simulated(behaviour) => {
            tracing::warn!("payments are simulated: no money moves");
            let memory = Arc::new(SimulatedMemory(ledger.clone()));
            Some(Arc::new(Simulated::new(behaviour.clone(), memory)))
        }
        PaymentsConfig::Http(url, secret) => {
            let provider = HttpProvider::new(url.clone(), secret, config.timeout, Clock::Real);
            Some(Arc::new(provider.map_err(anyhow::Error::msg)?))
        }
    };
    let patience = payments::Patience { call: config.timeout, ..payments::Patience::default() };
    let guarded = provider.map(|provider| Arc::new(Guarded::new(provider, patience)) as Arc<dyn Provider>);
    let simulated = matches!(config.payments, PaymentsConfig::Simulated(_));
    let payments = Payments::new(guarded, simulated, Arc::new(StoredValue(ledger.clone())));
    let notifier = config.notify.as_ref().map(|notify| Notifier::new(notify.url.clone(), &notify.secret, Clock::Real));
    let notifier = notifier.transpose().map_err(anyhow::Error::msg)?.map(Arc::new);
    Ok(Orders::new(Arc::clone(office), Arc::new(payments), notifier, config.patience))
}

/// Who is told of bookings, beside the queue.
fn sinks_of(config: &FeedConfig) -> Vec<Arc<dyn Sink>> {
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
    if let Some(stream) = &config.stream {
        sinks.push(Arc::new(Stream::connect(&stream.url, stream.name.clone(), stream.length)));
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &config.kafka {
        sinks.push(Arc::new(crate::relay::Kafka::new(&kafka.brokers, kafka.topic.clone())));
    }
    sinks
}

/// The state folder may not be there yet when every secret is given.
fn make_folder_of(ledger: &LedgerUrl) -> anyhow::Result<()> {
    let Some(folder) = ledger.path().and_then(|path| path.parent()).filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))
}

fn connect(store: &StoreConfig) -> (Arc<dyn Engine>, Option<Store>) {
    match store {
        StoreConfig::Memory => (Arc::new(MemoryEngine::new(Clock::Real)), None),
        StoreConfig::Redis(url) => {
            let store = open_store(url);
            (Arc::new(RedisEngine::new(store.clone())), Some(store))
        }
    }
}

fn open_store(url: &StoreUrl) -> Store {
    Store::connect(url, Options::default())
}

/// What runs in the background as long as the server does.
fn spawn_all(
    office: &Arc<Office>,
    reloads: mpsc::Receiver<EventId>,
    (target, letters): (Target, Letters),
    store: Option<Store>,
    life: &Lifecycle,
) {
    let stop = &life.stopping;
    life.readiness.fail(LOADING);
    if let Some(store) = store.clone() {
        life.spawn("events of other servers", Arc::clone(office).follow_news(store, stop.clone()));
    }
    life.spawn("loading", load_when_connected(Arc::clone(office), store, life.clone()));
    let (following, draining) = (Arc::clone(office), life.draining.clone());
    life.tasks.spawn(async move { following.live.end_with(draining).await });
    life.spawn("reloading", Arc::clone(office).load_events(reloads, stop.clone()));
    life.spawn("expiring holds", Arc::clone(office).expire_holds(stop.clone()));
    life.spawn("keeping counts", Arc::clone(office).keep_counts(stop.clone()));
    life.spawn("settling holds", Arc::clone(office).settle_holds(stop.clone()));
    let target = Arc::new(target);
    life.spawn("relaying", Relay::new(Arc::clone(office), Arc::clone(&target), letters).run(stop.clone()));
    life.spawn("telling what is left", Inventories::new(Arc::clone(office), target).run(stop.clone()));
    life.spawn("sessions", crate::sessions::run(Arc::clone(office), stop.clone()));
}

/// Loads all events at the start, and again whenever another server or another history of it answers:
/// a failover can lose the last writes, and the marker that says "loaded" survives it.
async fn load_when_connected(office: Arc<Office>, store: Option<Store>, life: Lifecycle) {
    let Some(store) = store else {
        meters::store_up(true);
        office.load_all(&life.stopping).await;
        life.readiness.pass(LOADING);
        return life.stopping.cancelled().await;
    };
    let mut health = store.health();
    let mut loaded = None;
    loop {
        let now = health.borrow_and_update().clone();
        life.readiness.set(STORE, now.up);
        meters::store_up(now.up);
        let catch_up = async {
            if now.up && loaded.as_ref() != Some(&now.server) {
                office.load_all(&life.stopping).await;
                life.readiness.pass(LOADING);
                loaded = Some(now.server);
            } else if now.up {
                // The same data, but what ended meanwhile could not be marked.
                office.replay_sessions().await;
            }
            life.stopping.cancelled().await;
        };
        // What is cut short by another change of the connection is begun again.
        tokio::select! {
            () = catch_up => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}
