//! A whole server: keys, engine, node, listeners. `main` runs one; tests run several in a process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use queue_core::service::{
    caps::{AddressCount, AddressRate},
    http::{Bound, HttpOptions},
    keyfiles::{self, StateDir},
    metrics::MetricsHandle,
    ops::{Guard, OPS_CONNECTIONS_MAX, OpsApp, Readiness},
    run::{self, Lifecycle},
    secret::Secret,
    users::UserTokens,
};

use crate::{
    clock,
    config::{Config, StoreConfig},
    engine::{
        Engine, Health,
        memory::MemoryEngine,
        redis::{Options as RedisOptions, RedisEngine},
    },
    entrance::Entrance,
    key_places::KeyPlaces,
    node::{KeyParts, Keys, Node, NodeOptions},
    routes::{OperatorApp, PublicApp},
};

/// The reason against readiness while the store cannot be asked.
const STORE: &str = "store";
/// How long the start waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// Connections that are left for requests when there are as many sockets as there may be.
const CONNECTIONS_BESIDE_SOCKETS: usize = 2_048;
/// Begins the names of the request metrics.
const METRICS_PREFIX: &str = "usher_queue_";

/// A server that has its addresses and its node, and serves nobody yet.
pub struct Server {
    public: Bound,
    ops: Bound,
    app: PublicApp,
    ops_app: OpsApp<OperatorApp>,
    options: HttpOptions,
    node: Arc<Node>,
}

/// The secrets of a server, given or made.
struct Secrets {
    operator: Secret,
    peer: Secret,
}

impl Server {
    /// Takes the addresses, finds or makes the keys, connects to the store and starts the node.
    pub async fn start(config: Config, life: &Lifecycle) -> anyhow::Result<Self> {
        let shared = &config.shared;
        // First, since it fails for the simplest reasons, and before anything is written.
        let (public, ops) = (run::bind(shared.listen).await?, run::bind(shared.ops_listen).await?);
        let secrets = Secrets::find(shared.state_dir.as_path(), &config)?;
        let guard = Guard {
            address: ops.address(),
            hosts: shared.ops_hosts.clone(),
            operator: secrets.operator.digest(),
            peer: Some(secrets.peer.digest()),
        };
        let options = HttpOptions {
            origins: shared.origins.clone(),
            proxies: shared.proxies.clone(),
            connections_max: config.sockets_max + CONNECTIONS_BESIDE_SOCKETS,
            address_requests: AddressRate::per_second(shared.address_requests_per_second).map(Arc::new),
            ..HttpOptions::new(METRICS_PREFIX)
        };
        let entrance = Entrance {
            users: config.users.clone().map(UserTokens::new).transpose().map_err(anyhow::Error::msg)?,
            joins: AddressRate::per_minute(config.address_joins_per_minute),
            sockets: AddressCount::new(config.address_sockets),
        };
        let node_options = NodeOptions {
            sockets_max: config.sockets_max,
            join_batch: config.join_batch,
            user_tokens: entrance.wants_users(),
            ..NodeOptions::default()
        };
        let places = KeyPlaces::find(&config)?;
        let keys = keys(&places, &config)?;
        let engine = connect(&config.store).await?;
        life.readiness.set(STORE, *engine.health().borrow() == Health::Up);
        let node = Node::start(engine, keys, node_options, life.stopping.clone());
        life.tasks.spawn(watch_store(node.clone(), life.clone()));
        let away = crate::sockets::send_away(node.clone(), life.draining.clone(), life.stopping.clone());
        life.tasks.spawn(away);
        let reload = life.reload.subscribe();
        life.spawn("keys", crate::key_places::watch(places, node.clone(), reload, life.stopping.clone()));
        let app = PublicApp::new(node.clone(), config.site, entrance, life.sockets.clone());
        let ops_app = ops_app(node.clone(), guard, life.readiness.clone(), life.metrics.clone());
        Ok(Self { public, ops, app, ops_app, options, node })
    }

    /// Where visitors are served.
    pub fn address(&self) -> SocketAddr {
        self.public.address()
    }

    /// Where operators are served.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops.address()
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Serves until the process is told to end.
    pub async fn serve(self, life: Lifecycle) {
        let ops_options = HttpOptions { connections_max: OPS_CONNECTIONS_MAX, ..HttpOptions::new(METRICS_PREFIX) };
        let public = (self.public, Arc::new(self.app), self.options);
        life.serve(public, (self.ops, Arc::new(self.ops_app), ops_options)).await;
        self.node.tell_heard().await;
    }
}

fn ops_app(node: Arc<Node>, guard: Guard, readiness: Readiness, metrics: MetricsHandle) -> OpsApp<OperatorApp> {
    OpsApp::new(OperatorApp::new(node), guard, readiness, metrics)
}

async fn connect(store: &StoreConfig) -> anyhow::Result<Arc<dyn Engine>> {
    match store {
        StoreConfig::Memory => Ok(Arc::new(MemoryEngine::new(clock::system()))),
        StoreConfig::Redis(url) => {
            let engine = RedisEngine::connect(url, RedisOptions::default());
            // A store that is away at the start is a store that is away: it may come back.
            if let Err(error) = engine.wait_ready(STORE_WAIT).await {
                tracing::warn!(%error, "starting without the store");
            }
            Ok(Arc::new(engine))
        }
    }
}

/// Readiness follows the store, until the node stops.
async fn watch_store(node: Arc<Node>, life: Lifecycle) {
    let mut health = node.health();
    loop {
        let up = *health.borrow_and_update() == Health::Up;
        life.readiness.set(STORE, up);
        tokio::select! {
            () = life.stopping.cancelled() => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

impl Secrets {
    fn find(folder: &std::path::Path, config: &Config) -> anyhow::Result<Self> {
        let shared = &config.shared;
        // The folder is opened only for what nobody gives: it may not even be writable.
        let secret = |given: &Option<Secret>, name: &str| match given {
            Some(given) => Ok(given.clone()),
            None => StateDir::open(folder)?.secret(name),
        };
        Ok(Self {
            operator: secret(&shared.operator_token, keyfiles::OPERATOR_TOKEN)?,
            peer: secret(&shared.peer_token, keyfiles::PEER_TOKEN)?,
        })
    }
}

fn keys(places: &KeyPlaces, config: &Config) -> anyhow::Result<Keys> {
    let parts = KeyParts {
        signing: places.signing()?,
        place: places.place(config.place_secret.as_ref())?,
        issuer: &config.shared.issuer,
        audience: &config.shared.audience,
        lead: config.key_publish,
    };
    Ok(Keys::new(parts, clock::now())?)
}
