//! The feed in a Redis stream, whatever happens to that Redis.

use queue_core::service::{
    redis::{Event, Options, Store, StoreUrl},
    testing::TestRedis,
};
use serde_json::{Value, json};

use crate::support::{Kind, TestServer, Visitor, WITHIN, eventually, hall};

const STREAM: &str = "shop:sold";

fn flags(redis: &TestRedis) -> [String; 2] {
    [format!("--events-redis={}", redis.url()), format!("--events-stream={STREAM}")]
}

async fn start(redis: &TestRedis) -> TestServer {
    let flags = flags(redis);
    let server = TestServer::start_with(Kind::Memory, |all, _| all.extend(flags)).await;
    let mut body = hall();
    body["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
    server.put("hall", body).await.ok(201);
    server
}

async fn connect(redis: &TestRedis) -> Store {
    let store = Store::connect(&StoreUrl::parse(&redis.url()).unwrap(), Options::default());
    store.wait_ready(WITHIN).await.unwrap();
    store
}

/// What the stream holds: ids and bodies.
async fn entries(redis: &TestRedis) -> Vec<(String, Value)> {
    let entries = connect(redis).await.read_stream(STREAM, "0", 1_000).await.unwrap();
    let body = |entry: &queue_core::service::redis::StreamEntry| serde_json::from_slice(entry.field("body")?).ok();
    entries.iter().map(|entry| (entry.id.clone(), body(entry).unwrap())).collect()
}

/// The stream, once it holds so many.
async fn await_entries(redis: &TestRedis, many: usize) -> Vec<(String, Value)> {
    eventually("the stream", async || Some(entries(redis).await).filter(|entries| entries.len() >= many)).await
}

async fn book(server: &TestServer, visitor: &Visitor, seats: &[&str]) -> String {
    let id = server.hold(visitor, seats).await;
    server.act(visitor, &id, "confirm").await.ok(200);
    id
}

fn reservations(entries: &[(String, Value)]) -> Vec<String> {
    entries.iter().map(|(_, body)| body["reservationId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn bookings_and_cancellations_are_in_the_stream_and_on_the_channel() {
    let redis = TestRedis::start();
    let listener = connect(&redis).await;
    let mut heard = listener.subscribe([STREAM]);
    assert_eq!(heard.recv().await, Event::Resync);
    let server = start(&redis).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let one = book(&server, &ann, &["A-1-1", "A-1-2"]).await;
    let wish = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 3});
    let held = server.post_as(&bob, "/api/v1/reservations", wish).await.ok(201);
    let two = held["reservationId"].as_str().unwrap();
    server.act(&bob, two, "confirm").await.ok(200);
    server.act(&ann, &one, "cancel").await.ok(200);
    let found = await_entries(&redis, 3).await;
    assert_eq!(reservations(&found), [one.as_str(), two, &one]);
    let first = &found[0].1;
    let expected = json!({
        "id": format!("{one}:completed"), "type": "reservation.completed", "sequence": first["sequence"],
        "at": first["at"], "completedAt": first["at"], "eventId": "hall", "visitorId": "a_1", "jti": ann.jti.to_string(),
        "place": 2, "reservationId": one, "seatIds": ["A-1-1", "A-1-2"], "quantity": 2, "totalMinor": 10_000,
        "currency": "EUR",
    });
    assert_eq!(*first, expected);
    let second = &found[1].1;
    assert_eq!((&second["ticketTypeId"], &second["quantity"]), (&json!("standing"), &json!(3)));
    let third = &found[2].1;
    assert_eq!((&third["type"], &third["id"]), (&json!("reservation.cancelled"), &json!(format!("{one}:cancelled"))));
    assert_eq!(third["completedAt"], first["completedAt"]);
    for (id, body) in &found {
        assert_eq!(*id, format!("{}-0", body["sequence"]), "its number is its id");
        let Event::Message(message) = heard.recv().await else { panic!("a message was missed") };
        assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap(), *body);
    }
    let metrics = server.ops_get("/metrics").await;
    assert!(metrics.contains("usher_ticket_sink_messages_total{sink=\"redis\"}"), "{metrics}");
    assert!(metrics.contains("usher_ticket_sink_lag_seconds_count{sink=\"redis\"}"), "{metrics}");
}

/// That Redis dies with all it had; the queue hears of bookings all the same, and afterwards the stream is whole.
#[tokio::test]
async fn a_redis_that_is_killed_gets_everything_again_in_order() {
    let mut redis = TestRedis::start();
    let server = start(&redis).await;
    let ann = server.visitor(1);
    let mut booked = vec![book(&server, &ann, &["A-1-1"]).await];
    booked.push(book(&server, &server.again(&ann, 10), &["A-1-2"]).await);
    await_entries(&redis, 2).await;
    redis.kill();
    for (session, seat) in [(11, "A-1-3"), (12, "A-1-4")] {
        booked.push(book(&server, &server.again(&ann, session), &[seat]).await);
    }
    let bob = server.visitor(2);
    booked.push(book(&server, &bob, &["A-2-1"]).await);
    eventually("the queue to hear", async || (server.queue.done().len() == 5).then_some(())).await;
    await_away(&server).await;
    redis.restart();
    let found = await_entries(&redis, 5).await;
    assert_eq!(reservations(&found), booked, "all of them, each once, in order");
    let sequences: Vec<_> = found.iter().map(|(_, body)| body["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    // Nothing new is needed for a loss to be seen.
    redis.restart();
    assert_eq!(reservations(&await_entries(&redis, 5).await), booked);
}

/// Two servers on one ledger: each entry is there once, and the second goes on when the first has ended.
#[tokio::test]
async fn of_two_servers_one_tells() {
    let redis = TestRedis::start();
    let mut server = start(&redis).await;
    let mut booked = vec![book(&server, &server.visitor(1), &["A-1-1"]).await];
    await_entries(&redis, 1).await;
    let first = server.move_to_second().await;
    // The hold lives in the second one's own store, the booking in the ledger of both.
    booked.push(book(&server, &server.visitor(2), &["A-1-2"]).await);
    assert_eq!(reservations(&await_entries(&redis, 2).await), booked);
    first.shut_down();
    booked.push(book(&server, &server.visitor(3), &["A-1-3"]).await);
    assert_eq!(reservations(&await_entries(&redis, 3).await), booked);
}

/// A stream that another ledger wrote is left alone.
#[tokio::test]
async fn a_stream_of_another_ledger_is_not_mixed_with_ours() {
    let redis = TestRedis::start();
    redis.cli(&["XADD", STREAM, "900-0", "feed", "0123456789abcdef", "body", "{}"]);
    let server = start(&redis).await;
    book(&server, &server.visitor(1), &["A-1-1"]).await;
    await_away(&server).await;
    assert_eq!(entries(&redis).await.len(), 1);
    redis.cli(&["DEL", STREAM]);
    assert_eq!(await_entries(&redis, 1).await[0].1["type"], "reservation.completed");
}

/// A ledger that was restored gives numbers anew: what is booked then is not taken for what the stream has.
#[tokio::test]
async fn a_stream_that_is_ahead_of_its_ledger_loses_nothing() {
    let redis = TestRedis::start();
    let server = start(&redis).await;
    let one = book(&server, &server.visitor(1), &["A-1-1"]).await;
    await_entries(&redis, 1).await;
    let feed = connect(&redis).await.read_stream(STREAM, "0", 1).await.unwrap()[0].field("feed").unwrap().clone();
    redis.cli(&["XADD", STREAM, "900-0", "feed", std::str::from_utf8(&feed).unwrap(), "body", "{}"]);
    let two = book(&server, &server.visitor(2), &["A-1-2"]).await;
    await_away(&server).await;
    assert_eq!(entries(&redis).await.len(), 2);
    redis.cli(&["DEL", STREAM]);
    assert_eq!(reservations(&await_entries(&redis, 2).await), [one, two]);
}

/// Until somebody is told that the stream cannot be written.
async fn await_away(server: &TestServer) {
    eventually("a failure that is counted", async || {
        let metrics = server.ops_get("/metrics").await;
        let line = "usher_ticket_sink_failures_total{sink=\"redis\",kind=\"away\"} ";
        let count = metrics.lines().find_map(|found| found.strip_prefix(line))?;
        (count != "0").then_some(())
    })
    .await;
}
