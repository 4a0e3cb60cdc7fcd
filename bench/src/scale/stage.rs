//! Everything that runs: one Redis, the nodes, the clients, and the connections that watch them.
//!
//! Invariant: whatever way a run ends, every child has been ended by its id.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    Plan,
    control::{Order, Receiver, Said, Sender, Setup},
    record,
    resp::Connection,
};
use crate::{
    api::{self, Operator},
    process::{Child, free_port},
    random,
    servers::{self, Redis, Server},
};

/// The event of a run.
pub const EVENT: &str = "scale";
/// A client starts within this.
const CLIENT_WAIT: Duration = Duration::from_secs(30);
/// An operator's order is carried out within this.
const ORDER_WAIT: Duration = Duration::from_secs(120);
const ORDER_PAUSE: Duration = Duration::from_millis(500);
/// Messages of clients that wait to be read, at most.
const SAID_MAX: usize = 256;

/// All of it.
#[derive(Debug)]
pub struct Stage {
    pub redis: Redis,
    pub nodes: Vec<Server>,
    pub clients: Vec<Child>,
    pub operator: Operator,
    /// What clients say, by index; ends with the error of one that broke.
    pub said: mpsc::Receiver<(usize, Result<Said>)>,
    pub record: record::Shared,
    pub recording: JoinHandle<Result<()>>,
    orders: Vec<Sender>,
}

/// Starts Redis, nodes and clients, and makes the event, which lets nobody in yet.
pub async fn set(plan: &Plan, folder: &Path) -> Result<Stage> {
    let redis = Redis::start_with("redis", folder, plan.appendonly).await?;
    let operator_token = random::secret()?;
    let place_secret = random::secret()?;
    std::fs::write(folder.join("place-secret"), &place_secret)?;
    let nodes = start_nodes(plan, folder, &redis.url(), &operator_token).await?;
    let first = nodes.first().context("no nodes")?;
    let operator = Operator::new(api::client()?, &first.ops_url, &operator_token);
    let policy = json!({
        "capacity": plan.capacity, "admitPerMinute": plan.admit_per_minute(),
        "activeTtlSeconds": plan.ttl_ms() / 1_000, "claimSeconds": plan.ttl_ms() / 1_000,
    });
    operator.put_queue(EVENT, &policy).await.context("creating the event")?;
    operator.order("pause", EVENT).await.context("pausing the event")?;

    let record = record::Shared::default();
    let mut watching = Connection::open(redis.address).await?;
    watching.subscribe(&record::CHANNELS).await?;
    let recording = tokio::spawn(record::follow(watching, record.clone(), plan.ttl_ms()));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let control = listener.local_addr()?;
    let clients = start_clients(plan.clients, control, folder)?;
    let (told, said) = mpsc::channel(SAID_MAX);
    let mut stage = Stage { redis, nodes, clients, operator, said, record, recording, orders: Vec::new() };
    let addresses = stage.node_addresses()?;
    let greeting = timeout(CLIENT_WAIT, greet(&listener, plan, &addresses, &place_secret, told));
    match greeting.await.context("the clients did not start").and_then(|greeted| greeted) {
        Ok(orders) => stage.orders = orders,
        Err(error) => {
            stage.end().await;
            return Err(error);
        }
    }
    Ok(stage)
}

async fn start_nodes(plan: &Plan, folder: &Path, store: &str, operator_token: &str) -> Result<Vec<Server>> {
    let mut nodes = Vec::new();
    for number in 1..=plan.nodes {
        let setup = servers::Setup {
            name: &format!("node-{number}"),
            listen: free_port()?,
            ops: free_port()?,
            store,
            state_dir: folder,
            operator_token,
            flags: vec![
                format!("--sockets-max={}", plan.sockets_max),
                format!("--place-secret-file={}", folder.join("place-secret").display()),
            ],
            threads: Some(1),
        };
        nodes.push(setup.start("queue-server", folder).await?);
    }
    Ok(nodes)
}

fn start_clients(count: usize, control: SocketAddr, folder: &Path) -> Result<Vec<Child>> {
    let own = servers::beside_us("bench")?;
    let start = |index: usize| {
        let args =
            ["scale-client", "--control", &control.to_string(), "--index", &index.to_string()].map(str::to_owned);
        Child::start(&format!("client-{}", index + 1), &own, args, &[], folder)
    };
    (0..count).map(start).collect()
}

/// Lets each client in, and tells it what it must know.
async fn greet(
    listener: &TcpListener,
    plan: &Plan,
    nodes: &[SocketAddr],
    place_secret: &str,
    told: mpsc::Sender<(usize, Result<Said>)>,
) -> Result<Vec<Sender>> {
    let mut orders: Vec<Option<Sender>> = (0..plan.clients).map(|_| None).collect();
    for _ in 0..plan.clients {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (index, receiver, mut sender) = hello(stream).await?;
        let free = orders.get_mut(index).filter(|sender| sender.is_none()).context("a client twice")?;
        let setup = Setup {
            index,
            nodes: nodes.to_vec(),
            event: queue_core::ids::EventId::new(EVENT).context("the event id")?,
            place_secret: place_secret.to_owned(),
            ttl_ms: plan.ttl_ms(),
            stay_ms_max: plan.stay_ms_max,
            sampled_per_mille: plan.sampled_per_mille,
            sockets_max: plan.sockets_max,
            seed: plan.seed,
        };
        sender.send(&Order::Setup(setup)).await?;
        *free = Some(sender);
        tokio::spawn(listen(index, receiver, told.clone()));
    }
    Ok(orders.into_iter().flatten().collect())
}

async fn hello(stream: TcpStream) -> Result<(usize, Receiver, Sender)> {
    let (receiver, sender) = stream.into_split();
    let mut receiver = Receiver::new(receiver);
    let Some(Said::Hello { index }) = receiver.next().await? else { bail!("a client without a greeting") };
    Ok((index, receiver, Sender(sender)))
}

async fn listen(index: usize, mut receiver: Receiver, told: mpsc::Sender<(usize, Result<Said>)>) {
    loop {
        let said = receiver.next().await.and_then(|said| said.context("a client ended"));
        let over = said.is_err();
        if told.send((index, said)).await.is_err() || over {
            return;
        }
    }
}

impl Stage {
    fn node_addresses(&self) -> Result<Vec<SocketAddr>> {
        let address = |node: &Server| node.url.trim_start_matches("http://").parse().context("a node's address");
        self.nodes.iter().map(address).collect()
    }

    /// Tells one client.
    pub async fn tell(&mut self, index: usize, order: &Order) -> Result<()> {
        self.orders.get_mut(index).context("no such client")?.send(order).await
    }

    /// Tells all clients.
    pub async fn tell_all(&mut self, order: &Order) -> Result<()> {
        for index in 0..self.orders.len() {
            self.tell(index, order).await?;
        }
        Ok(())
    }

    /// `pause` or `resume`; as often as it takes while the store is away.
    pub async fn order(&self, verb: &str) -> Result<()> {
        let until = Instant::now() + ORDER_WAIT;
        loop {
            match self.operator.order(verb, EVENT).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_passing() && Instant::now() < until => sleep(ORDER_PAUSE).await,
                Err(error) => return Err(error).with_context(|| format!("telling the line to {verb}")),
            }
        }
    }

    /// What still runs must run: the name and the last words of what does not.
    pub fn check(&mut self) -> Result<()> {
        let children = self.nodes.iter_mut().map(|node| &mut node.child).chain(&mut self.clients);
        for child in children.chain(std::iter::once(&mut self.redis.child)) {
            ensure!(child.is_running(), "{} has ended:\n{}", child.name, child.last_lines());
        }
        ensure!(!self.recording.is_finished(), "the record has ended");
        Ok(())
    }

    /// Ends everything.
    pub async fn end(self) {
        self.recording.abort();
        drop(self.orders);
        // They have nothing to save.
        join_all(self.clients.into_iter().map(Child::kill)).await;
        join_all(self.nodes.into_iter().map(|node| node.child.kill())).await;
        self.redis.child.kill().await;
    }
}
