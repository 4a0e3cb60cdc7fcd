use std::time::{Duration, Instant};

use bytes::Bytes;

use fred::types::RespVersion;

use super::{Event, Options, Script, Store, StoreError, StoreUrl, Value, connection::Connection};
use crate::service::testing::{TestRedis, TestSentinel};

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const NONE: [&str; 0] = [];

async fn connected(redis: &TestRedis) -> Store {
    open(&redis.url(), Options::default()).await
}

async fn open(url: &str, options: Options) -> Store {
    let store = Store::connect(&StoreUrl::parse(url).unwrap(), options);
    store.wait_ready(SOON).await.unwrap();
    store
}

/// Tries until the store answers, and gives the epoch.
async fn until_epoch(store: &Store, epoch: u64) -> super::Health {
    let mut health = store.health();
    let reached = health.wait_for(|health| health.up && health.epoch >= epoch);
    tokio::time::timeout(SOON, reached).await.expect("in time").unwrap().clone()
}

async fn until_down(store: &Store) {
    let mut health = store.health();
    tokio::time::timeout(SOON, health.wait_for(|health| !health.up)).await.expect("in time").unwrap();
}

async fn next(subscription: &mut super::Subscription) -> Event {
    tokio::time::timeout(SOON, subscription.recv()).await.expect("an event in time")
}

fn message(channel: &str, payload: &str) -> Event {
    Event::Message(super::Message { channel: channel.to_owned(), payload: payload.to_owned().into() })
}

fn increment() -> Script {
    Script::new("increment", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
}

#[tokio::test]
async fn scripts_take_and_give_any_bytes() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    let every: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let echo = Script::new(
        "echo",
        "redis.call('SET', KEYS[1], ARGV[1])\n\
         return {redis.call('GET', KEYS[1]), #ARGV[1], ARGV[2], 7, '18446744073709551615', '', {'a', {1}}, false, 'x'}",
    );
    let key: Bytes = Bytes::from_static(b"k\0\xff");
    let mut reply = store.run_list(&echo, [&key], [every.clone().into(), super::Arg::Int(-3)]).await.unwrap();
    assert_eq!(reply.bytes().unwrap(), every);
    assert_eq!(reply.u64().unwrap(), 256);
    assert_eq!(reply.int().unwrap(), -3);
    assert_eq!(reply.optional_u64().unwrap(), Some(7));
    assert_eq!(reply.u64().unwrap(), u64::MAX);
    assert_eq!(reply.optional_parse::<u8>().unwrap(), None);
    let mut inner = reply.list().unwrap();
    assert_eq!((inner.text().unwrap().as_str(), inner.list().unwrap().int().unwrap()), ("a", 1));
    assert_eq!(reply.optional_u64().unwrap(), None);
    assert_eq!(reply.remaining(), 1);
    let error = reply.int().unwrap_err();
    assert_eq!(error.to_string(), "unexpected reply from echo: element 9: expected a whole number, got a string");
    assert!(reply.value().is_err() && reply.is_empty());
    assert_eq!(store.command("GET", [&key]).await.unwrap(), Value::Bytes(every));
    assert_eq!(store.command("GET", ["missing"]).await.unwrap().into_option(), None);
}

#[tokio::test]
async fn a_script_that_the_server_forgot_is_told_again() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    for round in 1..=3 {
        assert_eq!(store.run(&increment(), ["n"], [1_u64]).await.unwrap(), Value::Int(round));
        redis.cli(&["SCRIPT", "FLUSH"]);
    }
    let counts = store.command_counts().await.unwrap();
    assert_eq!((counts["evalsha"], counts["eval"], counts["incrby"]), (3, 3, 3));
    store.run(&increment(), ["n"], [1_u64]).await.unwrap();
    store.run(&increment(), ["n"], [1_u64]).await.unwrap();
    let counts = store.command_counts().await.unwrap();
    assert_eq!((counts["evalsha"], counts["eval"]), (5, 4), "once told, the name suffices");
}

#[tokio::test]
async fn errors_say_whose_they_are() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    let fails = Script::new("fails", "return redis.error_reply('WRONG it is')");
    let error = store.run(&fails, NONE, NONE).await.unwrap_err();
    assert_eq!(error, StoreError::Script { name: "fails", message: "WRONG it is".to_owned() });
    assert!(!error.is_retryable());
    let broken = Script::new("broken", "return nonsense(");
    assert!(matches!(store.run(&broken, NONE, NONE).await, Err(StoreError::Script { name: "broken", .. })));
    let busy = Script::new("busy", "return redis.error_reply('LOADING the data')");
    assert!(store.run(&busy, NONE, NONE).await.unwrap_err().is_retryable());
    let number = Script::new("number", "return 1");
    assert!(matches!(store.run_list(&number, NONE, NONE).await, Err(StoreError::Reply { name: "number", .. })));
    assert!(store.errors_total() >= 3 && store.commands_total() >= 4);
}

#[tokio::test]
async fn a_stopped_server_is_given_up_in_time_and_nothing_runs_twice() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    store.run(&increment(), ["n"], [1_u64]).await.unwrap();
    redis.pause();
    let begun = Instant::now();
    let calls = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.run(&increment(), ["n"], [1_u64]).await })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Soon the connection is known to be lost, and calls fail at once.
    until_down(&store).await;
    assert!(!store.is_connected());
    let sent = store.commands_total();
    assert!(store.run(&increment(), ["n"], [1_u64]).await.is_err());
    assert_eq!(store.commands_total(), sent, "not even sent");
    redis.resume();
    let health = until_epoch(&store, 2).await;
    assert!(!health.server.run_id.is_empty());
    // The replies of the 20 were lost, and each was sent once: a client that asks again counts more.
    let n: u64 = redis.cli(&["GET", "n"]).parse().unwrap();
    assert!((1..=21).contains(&n), "{n}");
    assert_eq!(store.run(&increment(), ["m"], [1_u64]).await.unwrap(), Value::Int(1));
}

#[tokio::test]
async fn a_new_server_in_its_place_is_told_by_epoch_and_run_id() {
    let mut redis = TestRedis::start();
    let store = connected(&redis).await;
    let first = until_epoch(&store, 1).await;
    redis.kill();
    until_down(&store).await;
    assert!(matches!(store.command("PING", NONE).await, Err(StoreError::Unavailable(_))));
    redis.restart();
    let second = until_epoch(&store, 2).await;
    assert_ne!(first.server.run_id, second.server.run_id);
    assert_ne!(first.server.replication_id, second.server.replication_id);
    assert_eq!(store.command("PING", NONE).await.unwrap(), Value::Bytes("PONG".into()));
}

#[tokio::test]
async fn a_server_that_comes_late_is_found() {
    let mut redis = TestRedis::start();
    redis.kill();
    let store = Store::connect(&StoreUrl::parse(&redis.url()).unwrap(), Options::default());
    let error = store.wait_ready(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error, StoreError::Unavailable(format!("not connected to {}", redis.url())));
    redis.restart();
    store.wait_ready(SOON).await.unwrap();
}

#[tokio::test]
async fn a_replica_is_refused_and_a_demoted_server_left() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.command("SET", ["k", "v"]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    until_down(&store).await;
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    let health = until_epoch(&store, 2).await;
    assert!(!health.server.replication_id.is_empty());
    store.command("SET", ["k", "v"]).await.unwrap();
}

#[tokio::test]
async fn passwords_and_sockets_work() {
    let redis = TestRedis::start_with(&["--requirepass", "p@ss"]);
    let mut url = redis.url();
    url.insert_str("redis://".len(), ":p%40ss@");
    let store = open(&format!("{url}/3"), Options { connections: 3, ..Options::default() }).await;
    for _ in 0..6 {
        store.command("INCR", ["n"]).await.unwrap();
    }
    let socket = open(&format!("unix:{}?password=p@ss&db=3", redis.socket().display()), Options::default()).await;
    assert_eq!(socket.command("GET", ["n"]).await.unwrap(), Value::Bytes("6".into()));
    let mut subscription = socket.subscribe(["c"]);
    assert_eq!(next(&mut subscription).await, Event::Resync);
    store.publish("c", "x").await.unwrap();
    assert_eq!(next(&mut subscription).await, message("c", "x"));
    let without = Store::connect(&StoreUrl::parse(&redis.url()).unwrap(), Options::default());
    assert!(without.wait_ready(Duration::from_millis(300)).await.is_err());
}

#[tokio::test]
async fn calls_under_way_are_bounded() {
    let redis = TestRedis::start();
    let store = open(&redis.url(), Options { in_flight_max: 4, ..Options::default() }).await;
    redis.pause();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.command("PING", NONE).await })
        })
        .collect();
    let mut overloaded = 0;
    for call in calls {
        overloaded += usize::from(call.await.unwrap() == Err(StoreError::Overloaded));
    }
    redis.resume();
    assert_eq!(overloaded, 6);
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    let subscription = store.subscribe(["c"]);
    let clients = |kind: &str| redis.cli(&["CLIENT", "LIST", "TYPE", kind]).lines().count();
    let until = async |kind: &str, count: usize| {
        let begun = Instant::now();
        while clients(kind) != count {
            assert!(begun.elapsed() < SOON, "{} {kind} clients", clients(kind));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until("pubsub", 1).await;
    drop(subscription);
    until("pubsub", 0).await;
    drop(store);
    until("normal", 1).await; // redis-cli itself
}

#[tokio::test]
async fn messages_come_in_order_and_channels_can_be_added() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    let mut subscription = store.subscribe(["a"]);
    assert_eq!(next(&mut subscription).await, Event::Resync);
    for n in 0..200 {
        assert_eq!(store.publish("a", n.to_string()).await.unwrap(), 1);
    }
    for n in 0..200 {
        assert_eq!(next(&mut subscription).await, message("a", &n.to_string()));
    }
    subscription.add(["b", "a"]).unwrap();
    assert_eq!(next(&mut subscription).await, Event::Resync);
    store.publish("b", vec![0_u8, 255]).await.unwrap();
    let Event::Message(got) = next(&mut subscription).await else { panic!("no message") };
    assert_eq!((got.channel.as_str(), &got.payload[..]), ("b", &[0_u8, 255][..]));
}

#[tokio::test]
async fn who_may_have_missed_messages_is_told() {
    let mut redis = TestRedis::start();
    let store = open(&redis.url(), Options { subscription_buffer: 8, ..Options::default() }).await;
    let mut subscription = store.subscribe(["a"]);
    assert_eq!(next(&mut subscription).await, Event::Resync);
    // Too slow: what is read after the word is the newest.
    for n in 0..100 {
        store.publish("a", n.to_string()).await.unwrap();
    }
    let mut events = Vec::new();
    while events.last() != Some(&message("a", "99")) {
        events.push(next(&mut subscription).await);
    }
    assert!(events.contains(&Event::Resync) && events.len() <= 100, "{events:?}");
    // A new server: the channels are subscribed to again.
    redis.restart();
    assert_eq!(next(&mut subscription).await, Event::Resync);
    until_epoch(&store, 2).await;
    store.publish("a", "again").await.unwrap();
    assert_eq!(next(&mut subscription).await, message("a", "again"));
    // A connection that is lost alone is replaced too.
    assert_eq!(redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]), "1");
    assert_eq!(next(&mut subscription).await, Event::Resync);
    assert_eq!(store.health().borrow().epoch, 2);
}

#[tokio::test]
async fn streams_are_read_on_from_an_entry() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    assert_eq!(store.read_stream("s", "0", 10).await.unwrap(), []);
    assert_eq!(store.last_stream_id("s").await.unwrap(), "0");
    let first = store.append_stream("s", 1_000, "body", "one").await.unwrap();
    let mut subscription = store.subscribe(["c"]);
    assert_eq!(next(&mut subscription).await, Event::Resync);
    let second = store.append_and_publish("s", 1_000, "body", "c", vec![0xff_u8]).await.unwrap();
    let Event::Message(published) = next(&mut subscription).await else { panic!("no message") };
    assert_eq!(&published.payload[..], [0xff]);
    let entries = store.read_stream("s", "0", 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&first, &second]);
    assert_eq!(entries[0].field("body").unwrap(), "one");
    assert_eq!(entries[0].field("other"), None);
    assert_eq!(store.read_stream("s", &first, 10).await.unwrap(), entries[1..]);
    assert_eq!(store.read_stream("s", "0", 1).await.unwrap(), entries[..1]);
    assert_eq!(store.last_stream_id("s").await.unwrap(), second);
    redis.cli(&["SADD", "set", "x", "y"]);
    let mut members = store.smembers("set").await.unwrap();
    members.sort();
    assert_eq!(members, ["x", "y"]);
    assert!(store.smembers("none").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_long_script_does_not_cost_the_connection() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    let long = Script::new(
        "long",
        "local t0 = redis.call('TIME')\n\
         repeat local t = redis.call('TIME')\n\
         until (t[1] - t0[1]) * 1000000 + (t[2] - t0[2]) > 700000\n\
         return 1",
    );
    assert!(store.run(&long, NONE, NONE).await.unwrap_err().is_retryable());
    let begun = Instant::now();
    while store.command("PING", NONE).await.is_err() {
        assert!(begun.elapsed() < SOON);
    }
    assert_eq!(store.health().borrow().epoch, 1);
}

/// Two nodes, each with half of the slots.
async fn cluster() -> [TestRedis; 2] {
    let args = ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "2000"];
    let nodes = [TestRedis::start_with(&args), TestRedis::start_with(&args)];
    nodes[0].cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    nodes[1].cli(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
    nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[1].port().to_string()]);
    let begun = Instant::now();
    while !nodes.iter().all(|node| {
        let info = node.cli(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
    }) {
        assert!(begun.elapsed() < SOON, "the nodes did not meet");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    nodes
}

#[tokio::test]
async fn a_cluster_is_one_store() {
    let nodes = cluster().await;
    let store = open(&nodes[0].url().replace("redis:", "redis-cluster:"), Options::default()).await;
    let script = Script::new("two", "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])");
    for event in 0..20 {
        let keys = [format!("u:{{{event}}}:a"), format!("u:{{{event}}}:b")];
        assert_eq!(store.run(&script, keys, NONE).await.unwrap(), Value::Int(1));
    }
    let held = |node: &TestRedis| node.cli(&["DBSIZE"]).parse::<u32>().unwrap();
    assert_eq!(held(&nodes[0]) + held(&nodes[1]), 40);
    assert!(held(&nodes[0]) > 0 && held(&nodes[1]) > 0);
    let mut subscription = store.subscribe(["c"]);
    assert_eq!(next(&mut subscription).await, Event::Resync);
    for event in 0..10 {
        let key = format!("u:{{{event}}}:log");
        store.append_and_publish(&key, 10, "body", "c", "x").await.unwrap();
        assert_eq!(next(&mut subscription).await, message("c", "x"));
        assert_eq!(store.read_stream(&key, "0", 10).await.unwrap().len(), 1);
    }
    nodes[0].cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    until_epoch(&store, 2).await;
}

#[tokio::test]
async fn a_failover_is_followed() {
    let mut first = TestRedis::start();
    let second = TestRedis::start_with(&["--replicaof", "127.0.0.1", &first.port().to_string()]);
    let sentinel = TestSentinel::start("main", &first);
    let store = open(&sentinel.url("main"), Options::default()).await;
    let before = until_epoch(&store, 1).await;
    let mut subscription = store.subscribe(["c"]);
    assert_eq!(next(&mut subscription).await, Event::Resync);
    store.command("SET", ["k", "v"]).await.unwrap();
    let begun = Instant::now();
    while second.cli(&["GET", "k"]) != "v" || sentinel.replicas("main") != 1 {
        assert!(begun.elapsed() < SOON, "the sentinel does not know a replica that is up to date");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.kill();
    let after = until_epoch(&store, 2).await;
    assert_ne!(before.server, after.server);
    assert_eq!(store.command("GET", ["k"]).await.unwrap(), Value::Bytes("v".into()));
    assert_eq!(next(&mut subscription).await, Event::Resync);
    store.publish("c", "x").await.unwrap();
    assert_eq!(next(&mut subscription).await, message("c", "x"));
}

#[tokio::test]
async fn a_script_and_a_command_see_the_same_instant() {
    let redis = TestRedis::start();
    let store = connected(&redis).await;
    let grow = Script::new("grow", "redis.call('APPEND', KEYS[1], ARGV[1]) return {redis.call('STRLEN', KEYS[1])}");
    let all = || super::Beside { name: "GETRANGE", args: vec!["k".into(), 0_u32.into(), (-1_i64).into()] };
    // Many at once on one connection, beside calls of other kinds: each is whole, and nobody is told of another's.
    let calls = (0..50).map(|_| {
        let (store, grow) = (store.clone(), grow.clone());
        tokio::spawn(async move {
            let (mut said, bytes) = store.run_list_beside(&grow, ["k"], [&[0xff_u8, 0][..]], all()).await.unwrap();
            let bytes = bytes.into_bytes("GETRANGE").unwrap();
            assert_eq!(said.u64().unwrap(), bytes.len() as u64);
            assert!(bytes.chunks(2).all(|pair| pair == [0xff, 0]));
            assert_eq!(store.command("ECHO", ["x"]).await.unwrap(), Value::Bytes("x".into()));
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        call.await.unwrap();
    }
    redis.cli(&["SCRIPT", "FLUSH"]);
    let (mut said, _) = store.run_list_beside(&grow, ["k"], ["xy"], all()).await.unwrap();
    assert_eq!(said.u64().unwrap(), 102, "once more, not twice");

    // What fails is said, and the connection goes on.
    let fails = Script::new("fails", "return redis.error_reply('WRONG it is')");
    let error = store.run_list_beside(&fails, ["k"], NONE, all()).await.unwrap_err();
    assert_eq!(error, StoreError::Script { name: "fails", message: "WRONG it is".to_owned() });
    let number = super::Beside { name: "INCR", args: vec!["k".into()] };
    assert!(matches!(store.run_list_beside(&grow, ["k"], ["z"], number).await, Err(StoreError::Script { .. })));
    let unknown = super::Beside { name: "NONSENSE", args: vec!["k".into()] };
    assert!(store.run_list_beside(&grow, ["k"], ["z"], unknown).await.is_err());
    assert_eq!(store.command("ECHO", ["x"]).await.unwrap(), Value::Bytes("x".into()));
    assert_eq!(store.command("STRLEN", ["k"]).await.unwrap(), Value::Int(103));
}

#[tokio::test]
async fn a_store_that_evicts_is_known() {
    let asked = async |args: &[&str]| {
        let redis = TestRedis::start_with(args);
        let url = StoreUrl::parse(&redis.url()).unwrap();
        let connection = Connection::open(&url, &Options::default(), RespVersion::RESP2).await.unwrap();
        connection.evicts().await.unwrap()
    };
    assert_eq!(asked(&["--maxmemory-policy", "allkeys-lru"]).await, None, "it is never full");
    assert_eq!(asked(&["--maxmemory", "100mb"]).await, None);
    assert_eq!(
        asked(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"]).await.as_deref(),
        Some("volatile-ttl")
    );
}
