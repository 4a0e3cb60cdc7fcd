//! An operator revokes a session at the queue server; the ticket server refuses it within two seconds, whether it
//! asks the queue over HTTP or hears of it on the queue's Redis.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench::{
    process::free_port,
    random,
    servers::{Redis, Server, Setup},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a revoked session may still take something.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

struct Stage {
    queue: Server,
    tickets: Server,
    token: String,
    http: reqwest::Client,
    _redis: Option<Redis>,
    _folder: TempDir,
}

impl Stage {
    async fn start(over_redis: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("usher-revoked-").tempdir()?;
        let state_dir = folder.path().join("state");
        std::fs::create_dir(&state_dir)?;
        let token = random::secret()?;
        let redis = if over_redis { Some(Redis::start("queue-redis", folder.path()).await?) } else { None };
        let store = redis.as_ref().map_or("memory".to_owned(), Redis::url);
        let [queue, queue_ops, tickets, tickets_ops] = [free_port()?, free_port()?, free_port()?, free_port()?];
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
        let queue_server = setup("queue-server", queue, queue_ops, store.as_str(), Vec::new());
        let told = if over_redis { store.clone() } else { format!("http://{queue_ops}") };
        let flags = vec![format!("--jwks=http://{queue}/.well-known/jwks.json"), format!("--queue={told}")];
        let ticket_server = setup("ticket-server", tickets, tickets_ops, "memory", flags);
        let queue = queue_server.start("queue-server", folder.path()).await?;
        let tickets = ticket_server.start("ticket-server", folder.path()).await?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let stage = Self { queue, tickets, token, http, _redis: redis, _folder: folder };
        stage.operate(&stage.queue, Method::PUT, "queue/admin/night", Some(json!({"capacity": 100}))).await?;
        let event = json!({
            "name": "Night", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "payment": "none",
            "maxSeatsPerVisitor": 8, "ticketTypes": [{"ticketTypeId": "std", "name": "Seat", "priceMinor": 100}],
            "sections": [{"section": "A", "ticketTypeId": "std", "rows": 20, "seatsPerRow": 50}],
        });
        stage.operate(&stage.tickets, Method::PUT, "admin/events/night", Some(event)).await?;
        Ok(stage)
    }

    async fn operate(&self, server: &Server, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self.http.request(method, format!("{}/api/v1/{path}", server.ops_url)).bearer_auth(&self.token);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    async fn reserve(&self, active: &str, seat: &str) -> Result<(StatusCode, Value)> {
        let url = format!("{}/api/v1/seats/reserve", self.tickets.url);
        let body = json!({"eventId": "night", "seatIds": [seat]});
        let answer = self.http.post(url).bearer_auth(active).json(&body).send().await?;
        Ok((answer.status(), answer.json().await?))
    }
}

async fn revoked_sessions_take_nothing(over_redis: bool) -> Result<()> {
    let stage = Stage::start(over_redis).await?;
    let joined = stage.http.post(format!("{}/api/v1/queue/check/night", stage.queue.url)).send().await?;
    let joined: Value = joined.json().await?;
    let active = joined["activeToken"].as_str().context("admitted at once")?;
    let (status, held) = stage.reserve(active, "A-1-1").await?;
    ensure!(status == 201, "{status} {held}");
    let visitor = held["visitorId"].as_str().context("a visitor")?;

    let person = format!("queue/admin/night/visitors/{visitor}");
    let seen = stage.operate(&stage.queue, Method::GET, &person, None).await?;
    ensure!(seen["status"] == "ACTIVE" && seen["jti"].is_string(), "{seen}");
    stage.operate(&stage.queue, Method::POST, &format!("{person}/revoke"), None).await?;
    let revoked_at = Instant::now();
    let seen = stage.operate(&stage.queue, Method::GET, &person, None).await?;
    ensure!(seen["status"] == "ENDED" && seen["reason"] == "REVOKED", "{seen}");

    for n in 2.. {
        let asked_at = revoked_at.elapsed();
        let (status, answer) = stage.reserve(active, &format!("A-2-{}", n % 50 + 1)).await?;
        if status == 403 {
            ensure!(answer["code"] == "SESSION_ENDED", "{answer}");
            break;
        }
        ensure!(asked_at < KNOWN_WITHIN, "still served {asked_at:?} after it was revoked: {status} {answer}");
        sleep(Duration::from_millis(50)).await;
    }
    let log = stage.operate(&stage.queue, Method::GET, "queue/admin/audit", None).await?;
    let last = &log["items"][0];
    ensure!(last["action"] == "REVOKED" && last["visitorId"] == visitor, "{log}");
    Ok(())
}

#[tokio::test]
async fn the_ticket_server_asks_over_http() -> Result<()> {
    revoked_sessions_take_nothing(false).await
}

#[tokio::test]
async fn the_ticket_server_hears_on_redis() -> Result<()> {
    revoked_sessions_take_nothing(true).await
}
