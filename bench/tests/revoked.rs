//! An operator revokes a session at the queue server; the ticket server refuses it within two seconds, whether it
//! asks the queue over HTTP or hears of it on the queue's Redis.

mod support;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::Value;
use support::Stage;
use tokio::time::{Instant, sleep};

/// How long a revoked session may still take something.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

async fn revoked_sessions_take_nothing(over_redis: bool) -> Result<()> {
    let stage = Stage::start(over_redis, &[]).await?;
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
