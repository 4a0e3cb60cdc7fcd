//! The store is away for a while, and comes back with all it had.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{
    clients::Socket,
    support::{EVENT, Node, World, booking_done, eventually, jwt, publish_done, refusal, text, unavailable},
};

/// Every route that needs the store.
fn routes(world: &World, node: &Node, place: &str, active: &str) -> Vec<(&'static str, RequestBuilder)> {
    let jti = jwt(active)["jti"].as_str().unwrap().to_owned();
    let visitor = jwt(active)["sub"].as_str().unwrap().to_owned();
    let operate = |method, path: &str, body| world.operate(node, method, &path.replace("{e}", EVENT), body);
    let (get, post) = (Method::GET, Method::POST);
    vec![
        ("check", world.visitor(node, "check", EVENT, None)),
        ("check again", world.visitor(node, "check", EVENT, Some(place))),
        ("check of an unknown event", world.visitor(node, "check", "elsewhere", None)),
        ("status", world.visitor(node, "status", EVENT, Some(place))),
        ("leave", world.visitor(node, "leave", EVENT, Some(place))),
        ("release", world.visitor(node, "release", EVENT, Some(active))),
        ("list", operate(get.clone(), "admin", None)),
        ("get", operate(get.clone(), "admin/{e}", None)),
        ("put", operate(Method::PUT, "admin/{e}", Some(json!({"capacity": 5})))),
        ("pause", operate(post.clone(), "admin/pause/{e}", None)),
        ("resume", operate(post.clone(), "admin/resume/{e}", None)),
        ("drain", operate(post.clone(), "admin/drain/{e}", None)),
        ("clear", operate(post.clone(), "admin/clear/{e}", Some(json!({"active": true})))),
        ("delete", operate(Method::DELETE, "admin/{e}", None)),
        ("look-up", operate(get.clone(), &format!("admin/{{e}}/visitors/{visitor}"), None)),
        ("revoke", operate(post.clone(), &format!("admin/{{e}}/visitors/{visitor}/revoke"), None)),
        ("audit", operate(get.clone(), "admin/audit", None)),
        ("session", world.peer(node, get, &format!("sessions/{EVENT}/{jti}"))),
        ("booking-done", world.peer(node, post, "booking-done").json(&booking_done(active))),
    ]
}

/// Every route says so in time, on this node.
async fn assert_all_unavailable(world: &World, node: &Node, place: &str, active: &str) {
    let asked = routes(world, node, place, active).into_iter().map(async |(name, request)| {
        let began = Instant::now();
        let answer = request.send().await.unwrap();
        let took = began.elapsed();
        assert_eq!(refusal(answer).await, unavailable(), "{name}");
        assert!(took < Duration::from_secs(2), "{name} took {took:?}");
    });
    futures_util::future::join_all(asked).await;
}

struct Scene {
    world: World,
    nodes: [Node; 2],
    /// Who is in, by HTTP.
    active: Value,
    /// Who waits, each on a socket to one of the nodes, first to last.
    waiting: Vec<(Socket, Value)>,
    /// Waits and polls.
    poller: Value,
}

async fn scene(world: World) -> Scene {
    let nodes = [world.node(), world.node()];
    for node in &nodes {
        world.await_ready(node).await;
    }
    world.configure(&nodes[0], EVENT, json!({"capacity": 1, "graceSeconds": 60})).await;
    let active = world.check(&nodes[0], None).await;
    assert_eq!(active["status"], "ACTIVE");
    let mut waiting = Vec::new();
    for i in 0..4 {
        let mut socket = Socket::join(nodes[i % 2].public, None).await.unwrap();
        let status = socket.named("queue-updated").await;
        assert_eq!(status["position"], i + 1);
        waiting.push((socket, status));
    }
    let poller = world.check(&nodes[1], None).await;
    assert_eq!(poller["position"], 5);
    Scene { world, nodes, active, waiting, poller }
}

impl Scene {
    /// Everybody is where they were, on both nodes, and the next is let in. `ghosts`: joins that were carried out
    /// after they had been given up.
    async fn assert_goes_on(&mut self, ghosts: u64) {
        let Self { world, nodes, active, waiting, poller } = self;
        for node in &*nodes {
            world.await_ready(node).await;
            for (i, (_, joined)) in waiting.iter().enumerate() {
                let status = world.status(node, text(&joined["placeToken"])).await;
                assert_eq!((&status["status"], &status["position"]), (&json!("WAITING"), &json!(i + 1)));
            }
            let again = world.check(node, Some(text(&poller["placeToken"]))).await;
            assert_eq!((&again["position"], again["waiting"].as_u64()), (&json!(5), Some(5 + ghosts)));
        }
        let released = world.visitor(&nodes[1], "release", EVENT, Some(text(&active["activeToken"])));
        assert_eq!(released.send().await.unwrap().status(), 204);
        let (first, joined) = &mut waiting[0];
        let entry = first.named("queue-entry-allowed").await;
        assert_eq!(world.claims(text(&joined["placeToken"])).seq.0, jwt(text(&entry["activeToken"]))["seq"]);
        for (i, (socket, _)) in waiting.iter_mut().enumerate().skip(1) {
            while socket.named("queue-updated").await["position"] != i {}
        }
        let overview = world.overview(&nodes[0], EVENT).await;
        let counts = ["waiting", "active", "admittedTotal", "releasedTotal", "abandonedTotal", "expiredTotal"];
        assert_eq!(counts.map(|name| overview[name].as_u64().unwrap()), [4 + ghosts, 1, 2, 1, 0, 0], "{overview}");
    }

    async fn assert_unavailable(&mut self) {
        let (place, active) = (text(&self.poller["placeToken"]), text(&self.active["activeToken"]));
        for node in &self.nodes {
            // What a node knows is told for two seconds.
            eventually("the status is not known any more", async || {
                let answer = self.world.visitor(node, "status", EVENT, Some(place)).send().await.unwrap();
                (answer.status() == 503).then_some(())
            })
            .await;
            assert_all_unavailable(&self.world, node, place, active).await;
            eventually("not ready", async || (self.world.ready(node).await.0 == 503).then_some(())).await;
            assert!(self.world.ready(node).await.1.contains("store"));
            // Those that are ready for nothing are alive.
            let alive = self.world.http.get(format!("http://{}/livez", node.ops)).send().await.unwrap();
            assert_eq!(alive.status(), 200);
        }
        for (socket, joined) in &mut self.waiting {
            assert!(socket.ask(Some(text(&joined["placeToken"]))).await);
            assert_eq!(socket.named("error").await["code"], "STORE_UNAVAILABLE");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_store_stops_everything_and_harms_nobody() {
    let mut scene = scene(World::start()).await;
    scene.world.redis.pause();
    // What is sent before the nodes notice is carried out when the store goes on: joins, which nobody holds a
    // token of.
    for node in &scene.nodes {
        let began = Instant::now();
        let answer = scene.world.visitor(node, "check", EVENT, None).send().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(refusal(answer).await, unavailable());
    }
    for node in &scene.nodes {
        eventually("not ready", async || (scene.world.ready(node).await.0 == 503).then_some(())).await;
    }
    scene.assert_unavailable().await;
    scene.world.redis.resume();
    for node in &scene.nodes {
        scene.world.await_ready(node).await;
    }
    let ghosts = scene.world.meta("seq").parse::<u64>().unwrap() - 6;
    assert!(ghosts <= 2);
    scene.assert_goes_on(ghosts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_store_comes_back_with_its_data() {
    let mut scene = scene(World::durable()).await;
    let generation = scene.world.meta("generation");
    scene.world.redis.kill();
    scene.assert_unavailable().await;
    scene.world.redis.restart();
    scene.assert_goes_on(0).await;
    assert_eq!(scene.world.meta("generation"), generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookings_done_while_nodes_could_not_hear_are_released_once() {
    let world = World::durable();
    let node = world.node();
    world.await_ready(&node).await;
    world.configure(&node, EVENT, json!({"capacity": 2})).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(booking_done(text(&world.check(&node, None).await["activeToken"])));
    }
    // One is said on the channel while the store does not get to hear what the node makes of it; one only
    // stands in the log, since the node's subscription was cut.
    let store = world.store().await;
    world.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    publish_done(&store, &sessions[0]).await;
    publish_done(&store, &sessions[1]).await;
    world.redis.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.redis.resume();
    for _ in 0..3 {
        publish_done(&store, &sessions[1]).await;
    }
    let released = eventually("both are released", async || {
        let overview = world.overview(&node, EVENT).await;
        (overview["active"] == 0).then_some(overview["releasedTotal"].clone())
    });
    assert_eq!(released.await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_the_store_forgot_are_told_again() {
    let world = World::start();
    let nodes = [world.node(), world.node()];
    for node in &nodes {
        world.await_ready(node).await;
    }
    world.configure(&nodes[0], EVENT, json!({"capacity": 1})).await;
    let joins = async |node: &Node| {
        let mut places = Vec::new();
        for _ in 0..100 {
            places.push(text(&world.check(node, None).await["placeToken"]).to_owned());
        }
        places
    };
    let forget = async {
        for _ in 0..20 {
            assert_eq!(world.redis.cli(&["SCRIPT", "FLUSH"]), "OK");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (one, other, ()) = tokio::join!(joins(&nodes[0]), joins(&nodes[1]), forget);
    let mut seqs: Vec<u64> = one.iter().chain(&other).map(|place| world.claims(place).seq.0).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>(), "each was taken in once");
    let overview = world.overview(&nodes[1], EVENT).await;
    assert_eq!((&overview["active"], &overview["waiting"]), (&json!(1), &json!(199)));
}
