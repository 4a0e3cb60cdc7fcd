//! The same over a real Redis: several nodes, and a store that goes away and comes back.

use std::time::{Duration, Instant};

use queue_core::service::testing::TestRedis;
use serde_json::json;

use super::support::{Ask, TestServer, capacity, eventually, text};

/// A server on this Redis, and one beside it with the same state folder.
async fn two_nodes(redis: &TestRedis) -> (TestServer, TestServer) {
    let store = format!("--store={}", redis.url());
    let one = TestServer::start_with(&[&store]).await;
    let state = format!("--state-dir={}", one.state_dir());
    let other = TestServer::start_with(&[&store, &state]).await;
    (one, other)
}

#[tokio::test]
async fn a_place_on_one_node_is_a_place_on_the_other() {
    let redis = TestRedis::start();
    let (one, other) = two_nodes(&redis).await;
    one.configure("faults", capacity(1)).await;
    let first = one.join("faults").await;
    assert_eq!(first["status"], "ACTIVE");
    let second = other.join("faults").await;
    assert_eq!((&second["status"], &second["position"]), (&json!("WAITING"), &json!(1)));
    let place = text(&second["placeToken"]);
    assert_eq!(one.status_of("faults", place).await["position"], 1);
    let gate = |server: &TestServer| {
        server.get("/api/v1/queue/verify?event=faults").bearer_auth(text(&first["activeToken"])).answer()
    };
    assert_eq!(gate(&other).await.status, 200);
    let release = other.post("release", "faults").bearer_auth(text(&first["activeToken"])).answer().await;
    assert_eq!(release.status, 204);
    other.await_status("faults", place, "ACTIVE").await;
    one.await_status("faults", place, "ACTIVE").await;
    let refused = eventually("the other node's gate knows", async || {
        Some(gate(&one).await).filter(|answer| answer.status == 401)
    });
    refused.await;
}

#[tokio::test]
async fn without_the_store_everybody_is_told_so_within_two_seconds() {
    let redis = TestRedis::start();
    let server = TestServer::start_with(&[&format!("--store={}", redis.url())]).await;
    server.configure("faults", capacity(1)).await;
    let place = text(&server.join("faults").await["placeToken"]).to_owned();
    redis.pause();
    let began = Instant::now();
    let (join, status) = tokio::join!(
        server.post("check", "faults").answer(),
        server.status("faults").header("x-usher-place", &place).answer(),
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(join.refusal(), (503, "STORE_UNAVAILABLE"));
    assert_eq!(status.refusal(), (503, "STORE_UNAVAILABLE"));
    let unready = eventually("not ready", async || {
        let answer = server.ops_request(reqwest::Method::GET, "/readyz").send().await.unwrap();
        (answer.status() == 503).then_some(answer)
    });
    assert!(unready.await.text().await.unwrap().contains("store"));
    let began = Instant::now();
    assert_eq!(server.post("check", "faults").answer().await.refusal(), (503, "STORE_UNAVAILABLE"));
    assert!(began.elapsed() < Duration::from_secs(1), "who knows that it is away need not ask");
    redis.resume();
    eventually("the place is there again", async || {
        let answer = server.status("faults").header("x-usher-place", &place).answer().await;
        (answer.status == 200).then_some(())
    })
    .await;
}
