//! The store comes back with its data as it was some time ago, as after a failover or a crash between two saves.

use serde_json::json;

use super::{
    clients::Socket,
    support::{EVENT, World, eventually, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joined_since_is_told_and_no_number_is_handed_out_again() {
    let mut world = World::start();
    let node = world.node();
    world.await_ready(&node).await;
    world.configure(&node, EVENT, json!({"capacity": 1})).await;
    world.check(&node, None).await;
    let mut kept = Socket::join(node.public, None).await.unwrap();
    assert_eq!(kept.named("queue-updated").await["position"], 1);
    let generation = world.meta("generation");
    world.redis.cli(&["SAVE"]);
    let mut lost = Socket::join(node.public, None).await.unwrap();
    let place = lost.named("queue-updated").await["placeToken"].clone();
    let before = world.claims(text(&place)).seq;
    // Nodes know of a number when they have looked.
    eventually("the number is known", async || {
        (world.status(&node, text(&place)).await["position"] == 2).then_some(())
    })
    .await;

    world.redis.kill();
    world.redis.restart();
    assert_eq!(world.meta("generation"), generation, "the same line");
    // Nobody joins meanwhile, so that no number passes theirs.
    let told = lost.named("queue-cleared").await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("ENDED"), &json!("GONE")));
    world.await_ready(&node).await;
    let after = eventually("a join is taken", async || {
        let answer = world.visitor(&node, "check", EVENT, None).send().await.ok()?;
        let joined: serde_json::Value = answer.json().await.ok()?;
        Some(world.claims(joined["placeToken"].as_str()?).seq)
    })
    .await;
    assert!(after > before, "{after:?} after {before:?}");
    kept.ask(None).await;
    kept.named("queue-updated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_from_after_the_last_save_is_written_back() {
    let mut world = World::start();
    let node = world.node();
    world.await_ready(&node).await;
    // The data has its name, but the event is not yet in it.
    world.configure(&node, "other", json!({"capacity": 1})).await;
    world.redis.cli(&["SAVE"]);
    world.configure(&node, EVENT, json!({"capacity": 3})).await;
    let place = text(&world.check(&node, None).await["placeToken"]).to_owned();

    world.redis.kill();
    world.redis.restart();
    let told = world.await_status(&node, &place, "ENDED").await;
    assert_eq!(told["reason"], "QUEUE_RESET");
    assert_eq!(world.overview(&node, EVENT).await["policy"]["capacity"], 3);
}
