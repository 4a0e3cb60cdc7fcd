//! The store is full: it takes nothing, but it can be read.

use serde_json::json;

use super::{
    clients::Socket,
    support::{EVENT, World, eventually, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_still_see_where_they_are() {
    let world = World::start();
    let node = world.node();
    world.await_ready(&node).await;
    world.configure(&node, EVENT, json!({"capacity": 1})).await;
    world.check(&node, None).await;
    let first = text(&world.check(&node, None).await["placeToken"]).to_owned();
    let mut second = Socket::join(node.public, None).await.unwrap();
    assert_eq!(second.named("queue-updated").await["position"], 2);

    world.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    eventually("the store refuses to be told who was heard", async || {
        world.status(&node, &first).await;
        let errors = world.redis.cli(&["INFO", "errorstats"]);
        errors.contains("errorstat_OOM").then_some(())
    })
    .await;
    let left = world.visitor(&node, "leave", EVENT, Some(&first)).send().await.unwrap();
    assert_eq!(left.status(), 204);
    while second.named("queue-updated").await["position"] != 1 {}
    // A node that starts now finds the event.
    let late = world.node();
    world.await_ready(&late).await;
    assert_eq!(world.overview(&late, EVENT).await["waiting"], 1);

    world.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let third = world.check(&late, None).await;
    assert_eq!(third["position"], 2);
}
