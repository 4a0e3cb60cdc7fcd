//! Servers over each store, and events in them.

use queue_core::service::testing::TestRedis;
use serde_json::{Value, json};

use super::{PROGRAM, hostile::Victim};

/// Runs an attack over both stores, one after the other.
pub async fn each(attack: impl AsyncFn(&Victim)) {
    let victim = Victim::start(PROGRAM, &[]).await;
    attack(&victim).await;
    victim.unhurt().await;

    let redis = TestRedis::start();
    let mut victim = Victim::start(PROGRAM, &["--store", &redis.url()]).await;
    // Its connections are opened when they are needed.
    event(&victim, "warm-up", 1).await;
    victim.remember().await;
    attack(&victim).await;
    victim.unhurt().await;
}

/// An event of this capacity.
pub async fn event(victim: &Victim, event: &str, capacity: u32) {
    let body = json!({"capacity": capacity}).to_string();
    let reply = victim.operate("PUT", &format!("/api/v1/queue/admin/{event}"), &body).await;
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
}

/// What an operator sees of it.
pub async fn overview(victim: &Victim, event: &str) -> Value {
    victim.operate("GET", &format!("/api/v1/queue/admin/{event}"), "").await.json()
}

/// Joins anew and gives the status.
pub async fn join(victim: &Victim, event: &str) -> Value {
    let reply = victim.ask("POST", &format!("/api/v1/queue/check/{event}"), "", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}
