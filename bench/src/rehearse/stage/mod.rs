//! Everything that runs: two Redis, the ledger's database, the payment provider, queue nodes and ticket servers.
//!
//! Invariant: whatever way a run ends, every child is ended by its id.

mod ledger;
mod provider;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use queue_core::{ids::EventId, token::place::PlaceKeys};

use self::provider::Manners;
pub use self::{
    ledger::{Database, Deed},
    provider::{BAD_CARD, Provider},
};
use super::{
    record::Sources,
    scenario::{EVENT, Scenario},
    watch::Watch,
};
use crate::{
    api::{self, Operator},
    process::{Child, free_port},
    random,
    servers::{Redis, Server, Setup},
};

/// File descriptors of a node that are not for sockets.
const FILES_RESERVED: u64 = 3_000;
/// One node has at most so many sockets.
const SOCKETS_MAX: u64 = 60_000;

/// A server that can be killed and started again where it was.
pub struct Post {
    pub name: String,
    binary: &'static str,
    listen: SocketAddr,
    ops: SocketAddr,
    store: String,
    flags: Vec<String>,
    running: Option<Server>,
    starts: u32,
}

const QUEUE: &str = "queue-server";
const TICKETS: &str = "ticket-server";

/// What all servers share.
pub struct Home {
    folder: PathBuf,
    state: PathBuf,
    operator_token: String,
}

impl Home {
    /// Where logs and sockets lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// All of it.
pub struct Stage {
    pub queue_redis: Redis,
    pub ticket_redis: Redis,
    pub database: Database,
    pub provider: Arc<Provider>,
    pub nodes: Vec<Post>,
    pub shops: Vec<Post>,
    pub place_keys: Arc<PlaceKeys>,
    /// What the queue's store does, from the beginning.
    pub watch: Watch,
    pub home: Arc<Home>,
}

impl Post {
    fn new(name: String, binary: &'static str, store: &str, flags: Vec<String>) -> Result<Self> {
        let (listen, ops) = (free_port()?, free_port()?);
        Ok(Self { name, binary, listen, ops, store: store.to_owned(), flags, running: None, starts: 0 })
    }

    /// Its public address.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its operations address.
    pub fn ops_url(&self) -> String {
        format!("http://{}", self.ops)
    }

    /// Its process, while it runs.
    pub fn child(&self) -> Option<&Child> {
        self.running.as_ref().map(|server| &server.child)
    }

    /// Whether it ended by itself; what it last wrote then.
    fn fell(&mut self) -> Option<String> {
        let child = &mut self.running.as_mut()?.child;
        (!child.is_running()).then(|| last_words(child))
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(&mut self, home: &Home) -> Result<()> {
        self.starts += 1;
        // Each life has a log of its own.
        let log = if self.starts == 1 { self.name.clone() } else { format!("{}-{}", self.name, self.starts) };
        let setup = Setup {
            name: &log,
            listen: self.listen,
            ops: self.ops,
            store: &self.store,
            state_dir: &home.state,
            operator_token: &home.operator_token,
            flags: self.flags.clone(),
            threads: None,
        };
        self.running = Some(setup.start(self.binary, &home.folder).await?);
        Ok(())
    }

    /// Kills it, without a word.
    pub async fn kill(&mut self) {
        if let Some(server) = self.running.take() {
            server.child.kill().await;
        }
    }
}

impl Stage {
    /// Starts everything and makes the event, which lets people in at once.
    pub async fn set(scenario: &Scenario, folder: &Path, files: u64) -> Result<Self> {
        let state = folder.join("state");
        std::fs::create_dir(&state).context("making the state folder")?;
        let home = Home { folder: folder.to_owned(), state, operator_token: random::secret()? };
        let place_secret = write_secret(folder, "place-secret")?;
        let payment_secret = write_secret(folder, "payment-secret")?;
        let manners =
            Manners { delay_ms: scenario.payments.delay_ms, lost: scenario.payments.lost, seed: scenario.seed };
        let (queue_redis, ticket_redis, database, provider) = tokio::try_join!(
            Redis::start("redis-queue", folder),
            Redis::start("redis-tickets", folder),
            Database::start(scenario.servers.ledger, folder),
            Provider::start(&payment_secret, manners),
        )?;
        let event = EventId::new(EVENT).context("the event's id")?;
        let watch = Watch::start(queue_redis.address, &event).await?;
        let mut stage = Self {
            nodes: Vec::new(),
            shops: Vec::new(),
            place_keys: Arc::new(PlaceKeys::new(&[&place_secret]).context("the place secret")?),
            queue_redis,
            ticket_redis,
            database,
            provider: Arc::new(provider),
            watch,
            home: Arc::new(home),
        };
        if let Err(error) = stage.start(scenario, files).await {
            stage.end().await;
            return Err(error);
        }
        Ok(stage)
    }

    async fn start(&mut self, scenario: &Scenario, files: u64) -> Result<()> {
        let folder = self.home.folder.clone();
        let sockets_max = files.saturating_sub(FILES_RESERVED).clamp(100, SOCKETS_MAX);
        for number in 1..=scenario.servers.queue_nodes {
            let secret = folder.join("place-secret");
            let flags =
                vec![format!("--sockets-max={sockets_max}"), format!("--place-secret-file={}", secret.display())];
            let mut node = Post::new(format!("queue-{number}"), QUEUE, &self.queue_redis.url(), flags)?;
            // One after the other: the first one makes the keys that all of them share.
            node.start(&self.home).await?;
            self.nodes.push(node);
        }
        let keys = self.save_keys().await?;
        for number in 1..=scenario.servers.ticket_servers {
            let flags = vec![
                format!("--jwks={}", keys.display()),
                format!("--queue={}", self.queue_redis.url()),
                format!("--ledger={}", self.database.url),
                format!("--payments={}", self.provider.url()),
                format!("--payment-secret-file={}", folder.join("payment-secret").display()),
            ];
            let name = format!("tickets-{number}");
            let mut shop = Post::new(name, TICKETS, &self.ticket_redis.url(), flags)?;
            shop.start(&self.home).await?;
            self.shops.push(shop);
        }
        self.make_event(scenario).await
    }

    /// The public keys as a file, so that no ticket server depends on one certain node.
    async fn save_keys(&self) -> Result<PathBuf> {
        let node = self.nodes.first().context("no queue node")?;
        let url = format!("{}/.well-known/jwks.json", node.url());
        let keys = api::client()?.get(url).send().await?.error_for_status()?.bytes().await?;
        let file = self.home.folder.join("jwks.json");
        std::fs::write(&file, keys).context("writing the public keys")?;
        Ok(file)
    }

    async fn make_event(&self, scenario: &Scenario) -> Result<()> {
        let shop = self.shops.first().context("no ticket server")?;
        let operator = self.operator(&shop.ops_url())?;
        operator.put_event(EVENT, &scenario.event_body()).await.context("creating the event")?;
        let operator = self.operator(&self.nodes[0].ops_url())?;
        operator.put_queue(EVENT, &scenario.policy()).await.context("creating the queue")?;
        Ok(())
    }

    fn operator(&self, ops_url: &str) -> Result<Operator> {
        Ok(Operator::new(api::client()?, ops_url, &self.home.operator_token))
    }

    /// Where the auditor looks.
    pub fn sources(&self) -> Sources {
        let both = |posts: &[Post]| posts.iter().map(|post| (post.url(), post.ops_url())).collect();
        Sources {
            queue_redis: self.queue_redis.address,
            ticket_redis: self.ticket_redis.address,
            ledger: self.database.url.clone(),
            queue: both(&self.nodes),
            tickets: both(&self.shops),
            operator_token: self.home.operator_token.clone(),
        }
    }

    /// Takes a queue node or a ticket server out, for something to be done to it.
    pub fn take_out(&mut self, name: &str) -> Result<Post> {
        for posts in [&mut self.nodes, &mut self.shops] {
            if let Some(at) = posts.iter().position(|post| post.name == name) {
                return Ok(posts.remove(at));
            }
        }
        bail!("there is no {name} now")
    }

    /// Puts it back.
    pub fn put_back(&mut self, post: Post) {
        let posts = if post.binary == QUEUE { &mut self.nodes } else { &mut self.shops };
        posts.push(post);
    }

    /// What fell, though nobody killed it.
    pub fn fallen(&mut self) -> Option<String> {
        let servers = self.nodes.iter_mut().chain(&mut self.shops).find_map(Post::fell);
        let mut redis = [&mut self.queue_redis, &mut self.ticket_redis].into_iter();
        servers.or_else(|| redis.find_map(|redis| redis.has_fallen().then(|| last_words(&redis.child))))
    }

    /// Every process with its name; the database's is not a child of this kind.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let posts = self.nodes.iter().chain(&self.shops);
        let servers = posts.filter_map(|post| Some((post.name.clone(), post.child()?.pid)));
        let redis = [&self.queue_redis, &self.ticket_redis].map(|redis| (redis.child.name.clone(), redis.child.pid));
        let own = ("crowd".to_owned(), std::process::id());
        servers.chain(redis).chain(self.database.pid().map(|pid| ("ledger".to_owned(), pid))).chain([own]).collect()
    }

    /// Every server's operations address.
    pub fn ops_urls(&self) -> Vec<String> {
        self.nodes.iter().chain(&self.shops).map(Post::ops_url).collect()
    }

    /// Ends all: first who uses a store, then the stores.
    pub async fn end(self) {
        // A process that stands still does not end in order.
        self.queue_redis.child.thaw();
        self.ticket_redis.child.thaw();
        let posts = self.nodes.into_iter().chain(self.shops);
        join_all(posts.filter_map(|post| post.running).map(|server| server.child.kill())).await;
        tokio::join!(self.queue_redis.child.kill(), self.ticket_redis.child.kill());
        // The database blocks while it ends.
        let database = self.database;
        let _ = tokio::task::spawn_blocking(move || drop(database)).await;
    }
}

fn last_words(child: &Child) -> String {
    format!("{} ended; its last lines:\n{}", child.name, child.last_lines())
}

fn write_secret(folder: &Path, name: &str) -> Result<String> {
    let secret = random::secret().context("making a secret")?;
    std::fs::write(folder.join(name), &secret).with_context(|| format!("writing {name}"))?;
    Ok(secret)
}

/// A stage that several tasks look at and change.
pub type Shared = Arc<tokio::sync::Mutex<Stage>>;
