//! What a row needs: servers, events, visitors with tokens, and the hello-world of the same answer size.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{
    Round, Row,
    load::{Load, Script},
};
use crate::{
    api::{self, Operator, Queue, Tickets, hall},
    hello::Hello,
    process::{Child, free_port},
    random,
    servers::{Redis, Server, Setup},
};

/// Joins under way at a time while visitors are prepared.
const JOINING_MAX: usize = 64;
const STATUS_VISITORS: usize = 100_000;
const VERIFY_VISITORS: usize = 500;
const HOLD_VISITORS: usize = 12_500;
const HOLD_ROWS: u32 = 400;
const HOLD_SEATS_PER_ROW: u32 = 250;
/// More than any number of sessions prepared here.
const ROOM_FOR_ALL: u32 = 100_000;

/// A queue server to compare ours with, and its Redis.
#[derive(Debug)]
struct Twin {
    queue: Server,
    redis: Redis,
}

/// Servers and visitors of one row.
#[derive(Debug)]
pub struct Scene {
    row: Row,
    folder: PathBuf,
    operator_token: String,
    redis: Vec<Redis>,
    queue: Server,
    tickets: Option<Server>,
    hello: Option<Hello>,
    /// The same server on a Redis of its own, with other settings.
    twin: Option<Twin>,
    http: reqwest::Client,
    args: Option<Vec<String>>,
}

impl Scene {
    /// Starts the servers of `row`.
    pub async fn set(row: Row, folder: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().tempdir_in(folder)?.keep();
        let operator_token = random::secret()?;
        let mut redis = Vec::new();
        let names: &[&str] = match row {
            Row::JoinMemory => &[],
            Row::Hold => &["redis-queue", "redis-tickets"],
            _ => &["redis-queue"],
        };
        for name in names {
            redis.push(Redis::start(name, &folder).await?);
        }
        let twin_redis = if row == Row::JoinTogether { Some(Redis::start("redis-twin", &folder).await?) } else { None };
        let twin_store = twin_redis.as_ref().map(Redis::url).unwrap_or_default();
        let store = |number: usize| redis.get(number).map_or_else(|| "memory".to_owned(), Redis::url);
        let setup = |name, listen, ops, store, flags| {
            let state_dir = folder.as_path();
            Setup { name, listen, ops, store, state_dir, operator_token: &operator_token, flags, threads: Some(1) }
        };
        let (public, ops, queue_store, tickets_store) = (free_port()?, free_port()?, store(0), store(1));
        let queue = setup("queue-server", public, ops, &queue_store, vec![]).start("queue-server", &folder).await?;
        let tickets = if row == Row::Hold {
            let flags = vec![format!("--jwks={}/.well-known/jwks.json", queue.url), format!("--queue={queue_store}")];
            let tickets = setup("ticket-server", free_port()?, free_port()?, &tickets_store, flags)
                .start("ticket-server", &folder)
                .await?;
            Some(tickets)
        } else {
            None
        };
        let twin = match twin_redis {
            Some(redis) => {
                let flags = vec!["--join-batch=1".to_owned()];
                let twin = setup("queue-twin", free_port()?, free_port()?, &twin_store, flags);
                Some(Twin { queue: twin.start("queue-server", &folder).await?, redis })
            }
            None => None,
        };
        let http = api::client()?;
        Ok(Self { row, folder, operator_token, redis, queue, tickets, hello: None, twin, http, args: None })
    }

    /// Prepares a round and says what the script needs to know. What does not change is prepared once.
    pub async fn prepare(&mut self, round: u32) -> Result<Vec<String>> {
        let args = match (self.row, &self.args) {
            (Row::JoinRedis | Row::JoinTogether | Row::JoinMemory, _) => self.prepare_join(round).await?,
            (Row::Hold, _) => self.prepare_hold(round).await?,
            (_, Some(args)) => args.clone(),
            (_, None) => self.prepare_visitors().await?,
        };
        self.args = Some(args.clone());
        Ok(args)
    }

    fn operator(&self, server: &Server) -> Operator {
        Operator::new(self.http.clone(), &server.ops_url, &self.operator_token)
    }

    async fn create(&self, event: &str, capacity: u32) -> Result<Queue> {
        self.create_on(&self.queue, event, capacity).await
    }

    async fn create_on(&self, server: &Server, event: &str, capacity: u32) -> Result<Queue> {
        let policy =
            json!({"capacity": capacity, "activeTtlSeconds": 3600, "claimSeconds": 3600, "graceSeconds": 3600});
        self.operator(server).put_queue(event, &policy).await.context("creating the queue event")?;
        Ok(Queue::new(self.http.clone(), &server.url, event))
    }

    async fn prepare_join(&mut self, round: u32) -> Result<Vec<String>> {
        let event = format!("join-{round}");
        let queue = self.create(&event, 1).await?;
        queue.check(None).await.context("filling the only slot")?;
        if let Some(twin) = &self.twin {
            let queue = self.create_on(&twin.queue, &event, 1).await?;
            queue.check(None).await.context("filling the twin's only slot")?;
            return Ok(vec![event]);
        }
        self.start_hello(&format!("{}/api/v1/queue/check/{event}", self.queue.url), reqwest::Method::POST, None)
            .await?;
        Ok(vec![event])
    }

    /// Tokens of visitors that wait (status) or are active (verify).
    async fn prepare_visitors(&mut self) -> Result<Vec<String>> {
        let event = "visitors".to_owned();
        let url = &self.queue.url;
        if self.row == Row::Status {
            let queue = self.create(&event, 1).await?;
            queue.check(None).await?;
            let file = self.join(&queue, STATUS_VISITORS, |status| status.place_token).await?;
            let (url, token) = (format!("{url}/api/v1/queue/status/{event}"), first_line(&file)?);
            self.start_hello(&url, reqwest::Method::GET, Some(("x-usher-place", token))).await?;
            return Ok(vec![event, file]);
        }
        let queue = self.create(&event, ROOM_FOR_ALL).await?;
        let file = self.join(&queue, VERIFY_VISITORS, |status| status.active_token).await?;
        let (url, bearer) =
            (format!("{url}/api/v1/queue/verify?event={event}"), format!("Bearer {}", first_line(&file)?));
        self.start_hello(&url, reqwest::Method::GET, Some(("authorization", bearer))).await?;
        Ok(vec![event, file])
    }

    async fn prepare_hold(&mut self, round: u32) -> Result<Vec<String>> {
        let event = format!("hold-{round}");
        let tickets = self.tickets.as_ref().context("no ticket server")?;
        let body = hall("Bench", "2030-06-01T20:00:00.000Z", &[("A", HOLD_ROWS + 1, HOLD_SEATS_PER_ROW, 1_000)]);
        self.operator(tickets).put_event(&event, &body).await.context("creating the ticket event")?;
        let queue = self.create(&event, ROOM_FOR_ALL).await?;
        let file = self.join(&queue, HOLD_VISITORS, |status| status.active_token).await?;
        if self.hello.is_none() {
            // A seat of the last row, which no round reaches.
            let seats = Tickets::new(self.http.clone(), &tickets.url, &event);
            let seat = format!("A-{}-1", HOLD_ROWS + 1);
            let length = seats.reserve_length(&first_line(&file)?, &[seat]).await.context("a first hold")?;
            self.start_hello_of(length).await?;
        }
        let numbers = [HOLD_SEATS_PER_ROW, 1, HOLD_ROWS * HOLD_SEATS_PER_ROW].map(|number| number.to_string());
        Ok([vec![event, file], numbers.to_vec()].concat())
    }

    /// Joins so many visitors and writes what `pick` takes from each answer into a file, one per line.
    async fn join(
        &self,
        queue: &Queue,
        count: usize,
        pick: fn(queue_core::wire::QueueStatus) -> Option<String>,
    ) -> Result<String> {
        let joins = stream::iter(0..count).map(|_| queue.check(None)).buffer_unordered(JOINING_MAX);
        let tokens: Vec<_> = joins.map(|answer| answer.map(pick)).collect().await;
        let mut text = String::new();
        for token in tokens {
            text.push_str(&token?.context("an answer without the token")?);
            text.push('\n');
        }
        let file = self.folder.join(format!("{}.tokens", queue.event()));
        std::fs::write(&file, text)?;
        Ok(file.display().to_string())
    }

    /// Starts the hello-world, whose answer is as long as ours to this request.
    async fn start_hello(&mut self, url: &str, method: reqwest::Method, header: Option<(&str, String)>) -> Result<()> {
        if self.hello.is_some() {
            return Ok(());
        }
        let mut request = self.http.request(method, url);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
        let length = answer.bytes().await?.len();
        self.start_hello_of(length).await
    }

    async fn start_hello_of(&mut self, length: usize) -> Result<()> {
        self.hello = Some(Hello::start(&self.http, length, &self.folder).await?);
        Ok(())
    }

    /// A round of ours.
    pub async fn round(&self, load: &Load, script: Script, args: &[String]) -> Result<Round> {
        let server = self.tickets.as_ref().unwrap_or(&self.queue);
        round_of(&server.child, &server.url, self.redis.last(), load, script, args).await
    }

    /// The same round against what it is compared with.
    pub async fn other_round(&self, load: &Load, script: Script, args: &[String]) -> Result<Round> {
        if let Some(Twin { queue, redis }) = &self.twin {
            return round_of(&queue.child, &queue.url, Some(redis), load, script, args).await;
        }
        let hello = self.hello.as_ref().context("hello does not run")?;
        round_of(&hello.child, &hello.url, None, load, script, args).await
    }

    /// Ends everything.
    pub async fn end(self) {
        if let Some(hello) = self.hello {
            hello.child.kill().await;
        }
        if let Some(tickets) = self.tickets {
            tickets.child.stop().await;
        }
        if let Some(Twin { queue, redis }) = self.twin {
            queue.child.stop().await;
            redis.child.stop().await;
        }
        self.queue.child.stop().await;
        for redis in self.redis {
            redis.child.stop().await;
        }
    }
}

async fn round_of(
    server: &Child,
    url: &str,
    redis: Option<&Redis>,
    load: &Load,
    script: Script,
    args: &[String],
) -> Result<Round> {
    let redis_now = async || -> Result<(Duration, u64)> {
        match redis {
            Some(redis) => Ok((redis.child.cpu()?, redis.commands_total().await?)),
            None => Ok((Duration::ZERO, 0)),
        }
    };
    let before = (server.cpu()?, redis_now().await?);
    let counted = load.run(url, script, args).await?;
    let after = (server.cpu()?, redis_now().await?);
    Ok(Round {
        requests: counted.requests,
        per_second: counted.per_second,
        refused: counted.refused,
        server: after.0 - before.0,
        redis: after.1.0 - before.1.0,
        commands: after.1.1 - before.1.1,
    })
}

fn first_line(file: &str) -> Result<String> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.lines().next().context("no tokens")?.to_owned())
}
