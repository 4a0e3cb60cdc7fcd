//! The store comes back without its data.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    clients::Socket,
    proxy::Proxy,
    support::{EVENT, Node, World, booking_done, eventually, publish_done, text},
};

/// The shortest there is.
const ACTIVE_TTL: Duration = Duration::from_secs(10);

async fn two_nodes(world: &World) -> [Node; 2] {
    let nodes = [world.node(), world.node()];
    for node in &nodes {
        world.await_ready(node).await;
    }
    nodes
}

/// Until the line is there again; the nodes never say that there is no such event.
async fn await_the_line(world: &World, nodes: &[Node; 2]) {
    for node in nodes {
        eventually("the line is there again", async || {
            // A place of a line that is lost: asked without any, it would take a place.
            let answer = world.operate(node, Method::GET, &format!("admin/{EVENT}"), None).send().await.unwrap();
            assert!(matches!(answer.status().as_u16(), 200 | 503), "{}", answer.status());
            (answer.status() == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_starts_anew_once_and_lets_nobody_in_before_the_old_sessions_are_over() {
    let mut world = World::start();
    let nodes = two_nodes(&world).await;
    let policy = json!({"capacity": 2, "activeTtlSeconds": 10, "claimSeconds": 10});
    world.configure(&nodes[0], EVENT, policy).await;
    let active = [world.check(&nodes[0], None).await, world.check(&nodes[1], None).await];
    let mut waiting = Vec::new();
    for i in 0..4 {
        let mut socket = Socket::join(nodes[i % 2].public, None).await.unwrap();
        let place = text(&socket.named("queue-updated").await["placeToken"]).to_owned();
        waiting.push((socket, place));
    }
    let poller = text(&world.check(&nodes[0], None).await["placeToken"]).to_owned();
    let old = world.meta("generation");

    world.redis.kill();
    world.redis.restart();
    let lost = Instant::now();
    await_the_line(&world, &nodes).await;
    let new = world.meta("generation");
    assert!(new != old && new.len() == old.len(), "{old} {new}");
    let overview = world.overview(&nodes[1], EVENT).await;
    assert_eq!((&overview["policy"]["capacity"], &overview["policy"]["activeTtlSeconds"]), (&json!(2), &json!(10)));

    // Who waited is told, and is joined anew by the page with the old token.
    for (socket, _) in &mut waiting {
        let cleared = socket.named("queue-cleared").await;
        assert_eq!((&cleared["status"], &cleared["reason"]), (&json!("ENDED"), &json!("QUEUE_RESET")));
        assert_eq!(socket.closed().await, Some(1000));
    }
    let polled = world.status(&nodes[1], &poller).await;
    assert_eq!((&polled["status"], &polled["reason"]), (&json!("ENDED"), &json!("QUEUE_RESET")));
    let mut anew = Vec::new();
    for (i, (_, place)) in waiting.iter().enumerate() {
        let mut socket = Socket::join(nodes[(i + 1) % 2].public, Some(place)).await.unwrap();
        let status = socket.named("queue-updated").await;
        assert_eq!((&status["status"], &status["position"]), (&json!("WAITING"), &json!(i + 1)));
        assert_eq!(status["eta"], Value::Null, "nobody knows yet");
        let (was, is) = (world.claims(place), world.claims(text(&status["placeToken"])));
        assert!(is.visitor == was.visitor && is.seq > was.seq && is.generation != was.generation);
        anew.push((socket, is.seq));
    }

    // What is left of the lost line does no harm.
    let store = world.store().await;
    for session in &active {
        let token = text(&session["activeToken"]);
        publish_done(&store, &booking_done(token)).await;
        let released = world.visitor(&nodes[0], "release", EVENT, Some(token)).send().await.unwrap();
        assert_eq!(released.status(), 204);
        let told = world.peer(&nodes[1], Method::POST, "booking-done").json(&booking_done(token)).send().await;
        assert_eq!(told.unwrap().status(), 204);
    }

    // The first two, in their order, and no sooner than the last session of before must have ended.
    for (socket, seq) in anew.iter_mut().take(2) {
        let entry = socket.named("queue-entry-allowed").await;
        assert!(lost.elapsed() >= ACTIVE_TTL, "{:?}", lost.elapsed());
        assert_eq!(super::support::jwt(text(&entry["activeToken"]))["seq"], seq.0);
    }
    let overview = world.overview(&nodes[0], EVENT).await;
    let counts = ["waiting", "active", "admittedTotal", "releasedTotal", "abandonedTotal", "expiredTotal"];
    assert_eq!(counts.map(|name| overview[name].as_u64().unwrap()), [2, 2, 2, 0, 0, 0], "{overview}");
    assert_eq!(world.meta("generation"), new, "one line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_during_a_loss_are_taken_in_or_told_to_come_again() {
    let mut world = World::start();
    let nodes = two_nodes(&world).await;
    world.configure(&nodes[0], EVENT, json!({"capacity": 1})).await;
    world.configure(&nodes[0], "paused", json!({"capacity": 3})).await;
    let paused = world.operate(&nodes[1], Method::POST, "admin/pause/paused", None).send().await.unwrap();
    assert_eq!(paused.status(), 200);
    let joined: Value = world.visitor(&nodes[0], "check", "paused", None).send().await.unwrap().json().await.unwrap();
    for node in &nodes {
        eventually("the node knows of the pause", async || {
            let status = world.visitor(node, "status", "paused", joined["placeToken"].as_str()).send().await.unwrap();
            (status.json::<Value>().await.unwrap()["paused"] == true).then_some(())
        })
        .await;
    }
    let mut before: Vec<_> = Vec::new();
    for node in &nodes {
        before.push(world.check(node, None).await);
    }
    let requests = world.http.clone();
    let urls = nodes.each_ref().map(|node| format!("http://{}/api/v1/queue/check/{EVENT}", node.public));
    let stop = tokio_util::sync::CancellationToken::new();
    let crowd = urls.map(|url| {
        let (requests, stop) = (requests.clone(), stop.clone());
        tokio::spawn(async move {
            let (mut taken, mut told) = (Vec::new(), 0);
            while !stop.is_cancelled() {
                let answer = requests.post(&url).send().await.unwrap();
                match answer.status().as_u16() {
                    200 => taken.push(answer.json::<Value>().await.unwrap()),
                    503 => told += 1,
                    other => panic!("{other}: {}", answer.text().await.unwrap()),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (taken, told)
        })
    });
    world.redis.kill();
    world.redis.restart();
    await_the_line(&world, &nodes).await;
    let generation: queue_core::ids::Generation = world.meta("generation").parse().unwrap();
    eventually("joins are taken in again", async || {
        let overview = world.overview(&nodes[1], EVENT).await;
        (overview["waiting"].as_u64() >= Some(50)).then_some(())
    })
    .await;
    stop.cancel();
    let (mut seqs, mut refused) = (Vec::new(), 0);
    for task in crowd {
        let (taken, told) = task.await.unwrap();
        refused += told;
        let claims = taken.iter().map(|status| world.claims(text(&status["placeToken"])));
        seqs.extend(claims.filter(|claims| claims.generation == generation).map(|claims| claims.seq.0));
    }
    assert!(refused > 0);
    // Numbers continue far above all of before, one for each; one whose answer was lost may be missing.
    seqs.sort_unstable();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]) && seqs[0] > 1 << 20, "{seqs:?}");
    assert_eq!(world.overview(&nodes[0], EVENT).await["active"], 0, "closed for five minutes");
    let overview = eventually("what an operator had stopped is stopped again", async || {
        let path = "admin/paused";
        let answer = world.operate(&nodes[0], Method::GET, path, None).send().await.unwrap();
        let overview: Value = answer.json().await.ok()?;
        (overview["phase"] == "PAUSED").then_some(overview)
    });
    assert_eq!(overview.await["policy"]["capacity"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_removed_after_a_loss_stays_removed() {
    let mut world = World::start();
    let proxy = Proxy::start(world.redis.port()).await;
    let nodes = [world.node(), world.node()];
    let cut_off = world.node_at(&proxy.url());
    for node in nodes.iter().chain([&cut_off]) {
        world.await_ready(node).await;
    }
    world.configure(&nodes[0], EVENT, json!({"capacity": 1})).await;
    eventually("all know the event", async || {
        let answer = world.visitor(&cut_off, "leave", EVENT, Some("x")).send().await.unwrap();
        (answer.status() == 403).then_some(())
    })
    .await;
    world.overview(&cut_off, EVENT).await;

    // One node is cut off while the data is lost, the line is made again, and an operator removes it.
    proxy.down();
    world.redis.kill();
    world.redis.restart();
    await_the_line(&world, &nodes).await;
    let removed = world.operate(&nodes[0], Method::DELETE, &format!("admin/{EVENT}"), None).send().await.unwrap();
    assert_eq!(removed.status(), 204);
    proxy.up();
    world.await_ready(&cut_off).await;
    for node in nodes.iter().chain([&cut_off]) {
        eventually("nobody knows it any more", async || {
            let answer = world.operate(node, Method::GET, &format!("admin/{EVENT}"), None).send().await.unwrap();
            (answer.status() == 404).then_some(())
        })
        .await;
    }
    assert_eq!(world.redis.cli(&["EXISTS", &format!("usher:{{{EVENT}}}:meta")]), "0");
    assert_eq!(world.redis.cli(&["SCARD", "usher:events"]), "0");
    // An operator may make it anew.
    world.configure(&cut_off, EVENT, json!({"capacity": 1})).await;
    for node in nodes.iter().chain([&cut_off]) {
        assert_eq!(world.overview(node, EVENT).await["active"], 0);
    }
}
