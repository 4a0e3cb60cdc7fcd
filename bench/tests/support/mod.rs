//! Both servers as processes, for tests that need them together.

use std::time::Duration;

use anyhow::{Result, ensure};
use bench::{
    process::free_port,
    random,
    servers::{Redis, Server, Setup},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Both servers, with an event `night` of 1,000 seats and nothing to pay.
pub struct Stage {
    pub queue: Server,
    pub tickets: Server,
    pub http: reqwest::Client,
    token: String,
    _redis: Option<Redis>,
    _folder: TempDir,
}

impl Stage {
    /// With the queue on Redis, which the ticket server then writes to, or on memory; `both` are flags of both servers.
    pub async fn start(over_redis: bool, both: &[String]) -> Result<Self> {
        Self::start_with(over_redis, both, &[]).await
    }

    /// The same, with flags of the ticket server alone.
    pub async fn start_with(over_redis: bool, both: &[String], tickets_only: &[String]) -> Result<Self> {
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
        let queue_server = setup("queue-server", queue, queue_ops, store.as_str(), both.to_vec());
        let told = if over_redis { store.clone() } else { format!("http://{queue_ops}") };
        let mut flags = vec![format!("--jwks=http://{queue}/.well-known/jwks.json"), format!("--queue={told}")];
        flags.extend_from_slice(both);
        flags.extend_from_slice(tickets_only);
        let ticket_server = setup("ticket-server", tickets, tickets_ops, "memory", flags);
        let queue = queue_server.start("queue-server", folder.path()).await?;
        let tickets = ticket_server.start("ticket-server", folder.path()).await?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let stage = Self { queue, tickets, http, token, _redis: redis, _folder: folder };
        stage.operate(&stage.queue, Method::PUT, "queue/admin/night", Some(json!({"capacity": 100}))).await?;
        let event = json!({
            "name": "Night", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "payment": "none",
            "maxSeatsPerVisitor": 8, "ticketTypes": [{"ticketTypeId": "std", "name": "Seat", "priceMinor": 100}],
            "sections": [{"section": "A", "ticketTypeId": "std", "rows": 20, "seatsPerRow": 50}],
        });
        stage.operate(&stage.tickets, Method::PUT, "admin/events/night", Some(event)).await?;
        Ok(stage)
    }

    /// An operator's request.
    pub async fn operate(&self, server: &Server, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self.http.request(method, format!("{}/api/v1/{path}", server.ops_url)).bearer_auth(&self.token);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Holds a seat.
    #[allow(dead_code, reason = "not every test takes one")]
    pub async fn reserve(&self, active: &str, seat: &str) -> Result<(StatusCode, Value)> {
        let url = format!("{}/api/v1/seats/reserve", self.tickets.url);
        let body = json!({"eventId": "night", "seatIds": [seat]});
        let answer = self.http.post(url).bearer_auth(active).json(&body).send().await?;
        Ok((answer.status(), answer.json().await?))
    }
}
