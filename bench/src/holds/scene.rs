//! A ticket server, its Redis, halls, visitors with tokens, and hello-world.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    token::{
        active::{ActiveGrant, ActiveSigner},
        jwks,
        keys::SigningKey,
    },
};

use super::keys;
use crate::{
    api::{self, Operator, Tickets, hall},
    figures::micros,
    hello::Hello,
    random,
    servers::{Alone, Redis, Server},
    wrk::load::{Load, Script, Turns},
};

/// Seats of a row: whole holds of one and of four fit.
const SEATS_PER_ROW: u32 = 200;
/// What one visitor may hold.
const VISITOR_SEATS: u32 = 8;
/// Requests under way at a time while things are prepared.
const PREPARING_MAX: usize = 64;
/// Visitors who ask for what is taken.
const REFUSED_VISITORS: u32 = 1_000;

/// Whether the server has seen the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    Shown,
    New,
}

/// What a request cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub requests: u64,
    pub refused: u64,
    pub per_second: f64,
    pub server_us: f64,
    pub redis_us: f64,
    /// Of the requests, how large a part showed a token for the first time in the round.
    pub first: f64,
}

pub struct Scene {
    folder: PathBuf,
    operator: Operator,
    signer: ActiveSigner,
    load: Load,
    turns: Turns,
    queue_redis: Redis,
    redis: Redis,
    tickets: Server,
    hello: Option<Hello>,
    http: reqwest::Client,
    keys_rounds: u32,
}

impl Scene {
    /// Starts the servers.
    pub async fn set(wrk: PathBuf, folder: &Path, turns: Turns) -> Result<Self> {
        let seed: [u8; 32] = random::secret()?.as_bytes()[..32].try_into()?;
        let signer = ActiveSigner::new("usher", "tickets", SigningKey::from_seed(&seed)?);
        let jwks = folder.join("jwks.json");
        std::fs::write(&jwks, jwks::to_json([signer.public()]))?;
        let queue_redis = Redis::start("redis-queue", folder).await?;
        let redis = Redis::start("redis-tickets", folder).await?;
        let flags = vec![format!("--jwks={}", jwks.display()), format!("--queue={}", queue_redis.url())];
        let alone = Alone { store: &redis.url(), folder, threads: Some(1), flags };
        let (tickets, operator) = alone.start("ticket-server").await?;
        Ok(Self {
            folder: folder.to_owned(),
            signer,
            load: Load::new(wrk, folder, turns),
            turns,
            queue_redis,
            redis,
            tickets,
            hello: None,
            http: api::client()?,
            operator,
            keys_rounds: 0,
        })
    }

    /// Makes an event of so many seats, and visitors who together may hold them all. Gives what wrk must know.
    pub async fn event(&mut self, event: &str, count: u32, seats: u32, tokens: Tokens) -> Result<Vec<String>> {
        self.put_event(event, seats).await?;
        let tokens_of = self.tokens(event, seats / VISITOR_SEATS)?;
        if tokens == Tokens::Shown {
            self.show(event, &tokens_of).await?;
        }
        if self.hello.is_none() {
            self.start_hello(event, &tokens_of[0], seats).await?;
        }
        self.args(event, &tokens_of, count, seats)
    }

    /// Makes an event whose first seats are taken, and visitors who want them.
    pub async fn taken(&mut self, event: &str) -> Result<Vec<String>> {
        self.put_event(event, 100_000).await?;
        let tokens = self.tokens(event, REFUSED_VISITORS)?;
        self.show(event, &tokens).await?;
        let tickets = Tickets::new(self.http.clone(), &self.tickets.url, event);
        for (first, token) in (1..=SEATS_PER_ROW).step_by(VISITOR_SEATS as usize).zip(&tokens) {
            let seats: Vec<_> = (first..first + VISITOR_SEATS).map(|number| format!("A-1-{number}")).collect();
            tickets.reserve(token, &seats).await?;
        }
        self.args(event, &tokens, 1, SEATS_PER_ROW)
    }

    async fn put_event(&self, event: &str, seats: u32) -> Result<()> {
        let body = hall("Bench", "2030-06-01T20:00:00.000Z", &[("A", seats / SEATS_PER_ROW, SEATS_PER_ROW, 1_000)]);
        self.operator.put_event(event, &body).await.context("creating the event")?;
        Ok(())
    }

    fn tokens(&self, event: &str, count: u32) -> Result<Vec<String>> {
        let now = Millis(crate::clock::now_ms());
        let event = EventId::new(event)?;
        let grant = |n: u32| ActiveGrant {
            visitor: VisitorId::anonymous(
                u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes(),
            ),
            event: event.clone(),
            jti: Jti { generation: Generation(1), seq: Seq(u64::from(n) + 1) },
            issued_at: now,
            expires_at: now.plus(3_600_000),
        };
        Ok((0..count).map(|n| self.signer.sign(&grant(n))).collect())
    }

    /// Shows each token once.
    async fn show(&self, event: &str, tokens: &[String]) -> Result<()> {
        let url = format!("{}/api/v1/reservations/my?eventId={event}", self.tickets.url);
        let shown = stream::iter(tokens).map(|token| self.http.get(&url).bearer_auth(token).send());
        let shown = shown.buffer_unordered(PREPARING_MAX).map_err(anyhow::Error::from);
        shown
            .try_for_each(|answer| async move {
                ensure!(answer.status().is_success(), "a token was answered {}", answer.status());
                Ok(())
            })
            .await
    }

    fn args(&self, event: &str, tokens: &[String], count: u32, last: u32) -> Result<Vec<String>> {
        let file = self.folder.join(format!("{event}.tokens"));
        std::fs::write(&file, tokens.join("\n"))?;
        let numbers = [SEATS_PER_ROW, count, last].map(|number| number.to_string());
        Ok([vec![event.to_owned(), file.display().to_string()], numbers.to_vec()].concat())
    }

    /// A hello-world that answers as many bytes as a hold.
    async fn start_hello(&mut self, event: &str, token: &str, seats: u32) -> Result<()> {
        let tickets = Tickets::new(self.http.clone(), &self.tickets.url, event);
        let last = format!("A-{}-{SEATS_PER_ROW}", seats / SEATS_PER_ROW);
        let length = tickets.reserve_length(token, &[last]).await.context("a first hold")?;
        self.hello = Some(Hello::start(&self.http, length, &self.folder).await?);
        Ok(())
    }

    /// A round of ours.
    pub async fn round(&self, args: &[String]) -> Result<Cost> {
        let before = (self.tickets.child.cpu()?, self.redis.child.cpu()?);
        let counted = self.load.run(&self.tickets.url, Script::HOLDS, args).await?;
        let server = self.tickets.child.cpu()? - before.0;
        let redis = self.redis.child.cpu()? - before.1;
        Ok(Cost {
            requests: counted.requests,
            refused: counted.refused,
            per_second: counted.per_second,
            server_us: micros(server, counted.requests),
            redis_us: micros(redis, counted.requests),
            first: tokens_in(args)?.min(counted.requests) as f64 / counted.requests.max(1) as f64,
        })
    }

    /// The same requests to hello-world.
    pub async fn hello_round(&self, args: &[String]) -> Result<Cost> {
        let hello = self.hello.as_ref().context("hello does not run")?;
        let before = hello.child.cpu()?;
        let counted = self.load.run(&hello.url, Script::HOLDS, args).await?;
        let server_us = micros(hello.child.cpu()? - before, counted.requests);
        let (requests, refused, per_second) = (counted.requests, counted.refused, counted.per_second);
        Ok(Cost { requests, refused, per_second, server_us, redis_us: 0.0, first: 0.0 })
    }

    /// One key per seat, in the same Redis.
    pub async fn keys_round(&mut self) -> Result<Cost> {
        self.keys_rounds += 1;
        let before = self.redis.child.cpu()?;
        let duration = Duration::from_secs(self.turns.seconds);
        let requests = keys::hold(&self.redis.url(), self.keys_rounds, self.turns.connections.into(), duration).await?;
        let redis_us = micros(self.redis.child.cpu()? - before, requests);
        let per_second = requests as f64 / duration.as_secs_f64();
        Ok(Cost { requests, refused: 0, per_second, server_us: 0.0, redis_us, first: 0.0 })
    }

    /// Ends everything.
    pub async fn end(self) {
        if let Some(hello) = self.hello {
            hello.child.kill().await;
        }
        self.tickets.child.stop().await;
        self.redis.child.stop().await;
        self.queue_redis.child.stop().await;
    }
}

/// How many visitors take turns.
fn tokens_in(args: &[String]) -> Result<u64> {
    let file = args.get(1).context("no file of tokens")?;
    Ok(std::fs::read_to_string(file)?.lines().count() as u64)
}
