//! What the tests of the pages run against: both servers, one or two nodes of the queue, a page of somebody else's,
//! and a line between browser and server that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use bench::{
    api::{self, Operator, Queue, Tickets},
    process::free_port,
    random,
    servers::{Redis, Server, Setup},
};
use queue_core::wire::QueueStatus;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Both servers, with an operator.
pub struct Stage {
    pub queue: Server,
    pub tickets: Server,
    /// A second node of the queue, where there is one.
    pub other: Option<Server>,
    redis: Option<Redis>,
    token: String,
    _folder: TempDir,
}

impl Stage {
    /// On the memory engine, the queue with these flags beside the usual ones.
    pub async fn start(flags: &[String]) -> Result<Self> {
        Self::build(flags, false).await
    }

    /// Two nodes of the queue on one Redis.
    pub async fn two_nodes() -> Result<Self> {
        Self::build(&[], true).await
    }

    async fn build(flags: &[String], two: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("usher-pages-").tempdir()?;
        let state_dir = folder.path().join("state");
        std::fs::create_dir(&state_dir)?;
        let token = random::secret()?;
        let [queue, queue_ops, tickets, tickets_ops] = [free_port()?, free_port()?, free_port()?, free_port()?];
        let redis = if two { Some(Redis::start("redis", folder.path()).await?) } else { None };
        let store = redis.as_ref().map_or_else(|| "memory".to_owned(), Redis::url);
        let setup = |name, listen, ops, store, flags| Setup {
            name,
            listen,
            ops,
            store,
            state_dir: &state_dir,
            operator_token: &token,
            flags,
            threads: Some(2),
        };
        let by_name = format!("http://localhost:{}", queue.port());
        let origins = format!("--allowed-origins=http://{queue},http://{tickets},{by_name}");
        let mut own = vec![origins.clone(), format!("--tickets-url=http://{tickets}")];
        own.extend(flags.iter().cloned());
        let queue_server =
            setup("queue-server", queue, queue_ops, &store, own.clone()).start("queue-server", folder.path()).await?;
        let other = if two {
            let (listen, ops) = (free_port()?, free_port()?);
            Some(setup("queue-server-2", listen, ops, &store, own).start("queue-server", folder.path()).await?)
        } else {
            None
        };
        let flags = vec![
            origins,
            format!("--queue-url=http://{queue}"),
            format!("--jwks=http://{queue}/.well-known/jwks.json"),
            format!("--queue=http://{queue_ops}"),
        ];
        let ticket_server =
            setup("ticket-server", tickets, tickets_ops, "memory", flags).start("ticket-server", folder.path()).await?;
        Ok(Self { queue: queue_server, tickets: ticket_server, other, redis, token, _folder: folder })
    }

    /// An event for one visitor at a time, the place already taken. Gives who took it.
    pub async fn event(&self, event: &str) -> Result<(Queue, QueueStatus)> {
        let hall =
            api::hall("Faults in the Night", "2030-12-24T19:00:00.000Z", &[("A", 6, 12, 12_000), ("B", 8, 12, 6_500)]);
        let http = api::client()?;
        Operator::new(http.clone(), &self.tickets.ops_url, &self.token).put_event(event, &hall).await?;
        self.policy(event, &json!({"capacity": 1})).await?;
        let first = Queue::new(http, &self.queue.url, event);
        let status = first.check(None).await?;
        ensure!(status.active_token.is_some(), "the first visitor should be let in at once");
        Ok((first, status))
    }

    /// Tickets without seats.
    pub async fn standing_only(&self, event: &str) -> Result<()> {
        let types = json!([
            {"ticketTypeId": "floor", "name": "Floor", "priceMinor": 5_900, "quantity": 300},
            {"ticketTypeId": "balcony", "name": "Balcony, standing", "priceMinor": 4_500, "quantity": 40},
        ]);
        let hall = json!({
            "name": "Faults at Large", "startsAt": "2030-12-25T19:00:00.000Z", "venue": "Usher Hall", "currency": "EUR",
            "payment": "none", "maxSeatsPerVisitor": 4, "ticketTypes": types, "sections": [],
        });
        Operator::new(api::client()?, &self.tickets.ops_url, &self.token).put_event(event, &hall).await?;
        Ok(())
    }

    /// Creates or changes a line.
    pub async fn policy(&self, event: &str, policy: &Value) -> Result<()> {
        self.operator()?.put_queue(event, policy).await?;
        Ok(())
    }

    /// Whoever may change lines.
    pub fn operator(&self) -> Result<Operator> {
        Ok(Operator::new(api::client()?, &self.queue.ops_url, &self.token))
    }

    /// How many wait.
    pub async fn waiting(&self, event: &str) -> Result<u64> {
        let line = self.operator()?.queue(event).await?;
        line["waiting"].as_u64().with_context(|| format!("no number of waiters in {line}"))
    }

    /// The seats that are sold.
    pub async fn sold(&self, event: &str) -> Result<Vec<String>> {
        let seats = Tickets::new(api::client()?, &self.tickets.url, event).seats().await?;
        Ok(seats.into_iter().filter(|seat| seat.state == "SOLD").map(|seat| seat.seat_id).collect())
    }

    pub async fn stop(self) {
        self.tickets.child.stop().await;
        self.queue.child.stop().await;
        if let Some(other) = self.other {
            other.child.stop().await;
        }
        if let Some(redis) = self.redis {
            redis.child.stop().await;
        }
    }
}

/// Whoever was let in first makes room.
pub async fn let_go((queue, status): &(Queue, QueueStatus)) -> Result<()> {
    let place = status.place_token.as_deref().context("the first visitor has no place token")?;
    Ok(queue.leave(place).await?)
}

/// Somebody else's site: one page, whatever is asked for.
pub struct Foreign {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Foreign {
    const PAGE: &'static str =
        "<!doctype html><html lang=en><link rel=icon href=data:,><title>foreign</title><p>Somebody else's page.";

    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::answer(stream));
            }
        });
        Ok(Self { address, task })
    }

    async fn answer(mut stream: TcpStream) -> Result<()> {
        let mut head = vec![0; 16 * 1024];
        let mut read = 0;
        while !head[..read].windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut head[read..]).await? {
                0 => return Ok(()),
                more => read += more,
            }
        }
        let (page, length) = (Self::PAGE, Self::PAGE.len());
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
        );
        Ok(stream.write_all(answer.as_bytes()).await?)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A line between browser and server that can be cut: what is connected breaks off, and nobody gets through.
pub struct Cable {
    pub url: String,
    cut: Arc<AtomicBool>,
    cutting: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Cable {
    pub async fn to(server: &str) -> Result<Self> {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let cut = Arc::new(AtomicBool::new(false));
        let (cutting, seen) = watch::channel(0);
        let is_cut = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if is_cut.load(Ordering::Relaxed) {
                    continue;
                }
                let (server, mut seen) = (server.clone(), seen.clone());
                seen.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = seen.changed() => {}
                    }
                });
            }
        });
        Ok(Self { url, cut, cutting, task })
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.cutting.send_modify(|times| *times += 1);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}
