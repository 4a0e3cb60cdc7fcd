//! The store carried a command out, and the connection broke before it could say so.

use aws_lc_rs::digest;
use queue_server::engine::redis::scripts::{TimeSource, Transition, assemble};
use serde_json::{Value, json};

use super::{
    clients::Socket,
    proxy::Proxy,
    support::{EVENT, Node, World, eventually, refusal, text, unavailable},
};

/// By which name the store knows a script.
fn sha(transition: Transition) -> String {
    let source = assemble(transition.declaration(), TimeSource::Store);
    let sha = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
    sha.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node behind a proxy, and one that sees everything.
async fn scene(capacity: u32) -> (World, Proxy, Node, Node) {
    let world = World::start();
    let proxy = Proxy::start(world.redis.port()).await;
    let (node, witness) = (world.node_at(&proxy.url()), world.node());
    world.await_ready(&node).await;
    world.await_ready(&witness).await;
    world.configure(&witness, EVENT, json!({"capacity": capacity})).await;
    eventually("the node knows the event", async || {
        let answer = world.visitor(&node, "leave", EVENT, Some("x")).send().await.unwrap();
        (answer.status() == 403).then_some(())
    })
    .await;
    (world, proxy, node, witness)
}

async fn counts(world: &World, node: &Node) -> [u64; 4] {
    let overview = world.overview(node, EVENT).await;
    ["waiting", "active", "admittedTotal", "releasedTotal"].map(|name| overview[name].as_u64().unwrap())
}

/// The answer once the node is back at its store.
async fn in_the_end(world: &World, node: &Node, verb: &str, token: &str) -> (u16, Value) {
    eventually("the store is there again", async || {
        let answer = world.visitor(node, verb, EVENT, Some(token)).send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.json().await.unwrap_or_default();
        (status != 503).then_some((status, body))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_whose_answer_was_lost_finds_its_place() {
    let (world, proxy, node, witness) = scene(1).await;
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(text(&world.check(&node, None).await["placeToken"]).to_owned());
    }
    let place = &places[2];
    let visitor = world.claims(place).visitor;
    assert_eq!(world.visitor(&node, "leave", EVENT, Some(place)).send().await.unwrap().status(), 204);

    proxy.lose_answer_to(visitor.as_str());
    let answer = world.visitor(&node, "check", EVENT, Some(place)).send().await.unwrap();
    assert_eq!(refusal(answer).await, unavailable());
    assert!(proxy.has_lost());
    assert_eq!(world.meta("seq"), "4", "it was carried out");
    let (status, found) = in_the_end(&world, &node, "check", place).await;
    assert_eq!((status, &found["position"], &found["waiting"]), (200, &json!(2), &json!(2)));
    assert_eq!(world.claims(text(&found["placeToken"])).seq.0, 4, "the same place");
    assert_eq!(counts(&world, &witness).await, [2, 1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_answer_was_lost_counts_once() {
    let (world, proxy, node, witness) = scene(1).await;
    let first = world.check(&node, None).await;
    let second = world.check(&node, None).await;
    let active = text(&first["activeToken"]);

    proxy.lose_answer_to(world.claims(text(&first["placeToken"])).visitor.as_str());
    let answer = world.visitor(&node, "release", EVENT, Some(active)).send().await.unwrap();
    assert_eq!(refusal(answer).await, unavailable());
    assert!(proxy.has_lost());
    assert_eq!(in_the_end(&world, &node, "release", active).await.0, 204);
    world.await_status(&node, text(&second["placeToken"]), "ACTIVE").await;
    assert_eq!(in_the_end(&world, &node, "release", active).await.0, 204);
    assert_eq!(counts(&world, &witness).await, [0, 1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_whose_answer_was_lost_admits_nobody_twice() {
    let (world, proxy, node, witness) = scene(2).await;
    let active = [world.check(&node, None).await, world.check(&node, None).await];
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let mut socket = Socket::join(node.public, None).await.unwrap();
        socket.named("queue-updated").await;
        sockets.push(socket);
    }
    // Two slots at once, which the node behind the proxy is asked to fill, and is not told that it did.
    proxy.lose_answer_to(sha(Transition::Admit));
    let done = super::support::booking_done(text(&active[0]["activeToken"]));
    let other = world.visitor(&node, "release", EVENT, Some(text(&active[1]["activeToken"])));
    let (_, _) = tokio::join!(other.send(), async {
        super::support::publish_done(&world.store().await, &done).await;
    });
    for socket in sockets.iter_mut().take(2) {
        socket.named("queue-entry-allowed").await;
    }
    eventually("both are released", async || (counts(&world, &witness).await[3] == 2).then_some(())).await;
    assert_eq!(counts(&world, &witness).await, [2, 2, 4, 2]);
    for (i, socket) in sockets.iter_mut().enumerate().skip(2) {
        assert!(socket.ask(None).await);
        while socket.named("queue-updated").await["position"] != i - 1 {}
    }
}
