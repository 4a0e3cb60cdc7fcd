//! Everything is sold: who still waits is told so, and nobody joins any more; whichever way the servers talk.

mod support;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use support::Stage;
use tokio::time::{Instant, sleep};

/// Not how long it may take, but when to give up.
const GIVE_UP: Duration = Duration::from_secs(30);

async fn joined(stage: &Stage) -> Result<Value> {
    Ok(stage.http.post(format!("{}/api/v1/queue/check/tiny", stage.queue.url)).send().await?.json().await?)
}

async fn buy(stage: &Stage, active: &str, seat: &str) -> Result<()> {
    let url = format!("{}/api/v1", stage.tickets.url);
    let held = stage.http.post(format!("{url}/seats/reserve")).bearer_auth(active);
    let held: Value = held.json(&json!({"eventId": "tiny", "seatIds": [seat]})).send().await?.json().await?;
    let id = held["reservationId"].as_str().with_context(|| held.to_string())?;
    let booked = stage.http.post(format!("{url}/reservations/{id}/confirm")).bearer_auth(active).send().await?;
    ensure!(booked.status() == 200, "{booked:?}");
    Ok(())
}

async fn sold_out(over_redis: bool) -> Result<()> {
    let stage = Stage::start(over_redis, &[]).await?;
    stage.operate(&stage.queue, Method::PUT, "queue/admin/tiny", Some(json!({"capacity": 1}))).await?;
    let event = json!({
        "name": "Tiny", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "payment": "none",
        "maxSeatsPerVisitor": 1, "ticketTypes": [{"ticketTypeId": "std", "name": "Seat", "priceMinor": 100}],
        "sections": [{"section": "A", "ticketTypeId": "std", "rows": 1, "seatsPerRow": 1}],
    });
    stage.operate(&stage.tickets, Method::PUT, "admin/events/tiny", Some(event)).await?;
    let first = joined(&stage).await?;
    let second = joined(&stage).await?;
    ensure!(second["status"] == "WAITING", "{second}");
    let place = second["placeToken"].as_str().context("a place")?;
    let status = async || -> Result<Value> {
        let url = format!("{}/api/v1/queue/status/tiny", stage.queue.url);
        Ok(stage.http.get(url).header("x-usher-place", place).send().await?.json().await?)
    };
    let until = Instant::now() + GIVE_UP;
    while status().await?["ticketsLeft"] != 1 {
        ensure!(Instant::now() < until, "nobody is told what is left: {}", status().await?);
        sleep(Duration::from_millis(50)).await;
    }
    buy(&stage, first["activeToken"].as_str().context("in at once")?, "A-1-1").await?;
    // The slot is free now, so whoever waits may have been let in before the queue heard that nothing is left.
    let ended = loop {
        let now = status().await?;
        if now["status"] == "ENDED" {
            break now;
        }
        if let Some(active) = now["activeToken"].as_str() {
            let release = format!("{}/api/v1/queue/release/tiny", stage.queue.url);
            stage.http.post(release).bearer_auth(active).send().await?;
        }
        ensure!(Instant::now() < until, "still {now}");
        sleep(Duration::from_millis(50)).await;
    };
    ensure!(matches!(ended["reason"].as_str(), Some("SOLD_OUT" | "RELEASED")), "{ended}");
    loop {
        let late = stage.http.post(format!("{}/api/v1/queue/check/tiny", stage.queue.url)).send().await?;
        if late.status() == 409 {
            let late: Value = late.json().await?;
            ensure!(late["code"] == "QUEUE_CLOSED", "{late}");
            return Ok(());
        }
        ensure!(Instant::now() < until, "joins go on: {late:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn over_redis() -> Result<()> {
    sold_out(true).await
}

#[tokio::test]
async fn over_http() -> Result<()> {
    sold_out(false).await
}
