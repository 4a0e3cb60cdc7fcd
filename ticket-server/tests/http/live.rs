//! Seats as they change, over server-sent events.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::RngExt as _;
use queue_core::service::http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    on_both,
    support::{Ask as _, Kind, TestServer, WITHIN, eventually, hall},
};

on_both! {
    a_stream_begins_with_all_seats_and_goes_on;
    who_comes_back_hears_what_was_missed;
    what_is_left_is_told;
    a_stream_ends_with_its_server;
}

/// A stream, read event by event.
pub struct Stream {
    response: reqwest::Response,
    text: String,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl Event {
    fn version(&self) -> u64 {
        self.data["version"].as_u64().unwrap()
    }
}

impl Stream {
    pub async fn open(server: &TestServer, last: Option<&str>) -> Self {
        let mut request = server.request(Method::GET, "/api/v1/events/hall/seats/stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.timeout(3 * WITHIN).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The next block, comments and `retry` included; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = timeout(WITHIN, self.response.chunk()).await.expect("nothing came").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event; `None` at the end.
    pub async fn try_next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let Some(data) = field("data:") else { continue };
            return Some(Event {
                id: field("id:").unwrap().to_owned(),
                name: field("event:").unwrap().to_owned(),
                data: serde_json::from_str(data).unwrap(),
            });
        }
    }

    pub async fn next(&mut self) -> Event {
        self.try_next().await.expect("the stream ended")
    }
}

/// Seat states as a client keeps them.
#[derive(Debug, Default)]
struct Client {
    seats: BTreeMap<String, String>,
    last: Option<(String, u64)>,
}

impl Client {
    /// Takes an event in; that it fits to the one before is checked.
    fn hear(&mut self, event: &Event) {
        let epoch = event.data["epoch"].as_str().unwrap().to_owned();
        assert_eq!(event.id, format!("{epoch}-{}", event.version()));
        if event.name == "snapshot" {
            self.seats.clear();
        } else {
            assert_eq!(event.name, "seats");
            let (known, version) = self.last.as_ref().expect("changes of nothing");
            assert_eq!(*known, epoch, "changes of another epoch");
            assert!(event.version() > *version, "{} after {version}", event.id);
        }
        for seat in event.data["seats"].as_array().unwrap() {
            let text = |field: &str| seat[field].as_str().unwrap().to_owned();
            self.seats.insert(text("seatId"), text("state"));
        }
        self.last = Some((epoch, event.version()));
    }
}

async fn map_of(server: &TestServer) -> (String, BTreeMap<String, String>) {
    let map = server.get("/api/v1/seats/events/hall").await.ok(200);
    let seats = map["seats"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let states = seats.map(|seat| (text(&seat["seatId"]), text(&seat["state"]))).collect();
    (format!("{}-{}", text(&map["epoch"]), map["version"]), states)
}

async fn a_stream_begins_with_all_seats_and_goes_on(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let mut stream = Stream::open(&server, None).await;
    assert_eq!(stream.block().await.unwrap(), "retry: 2000");
    let first = stream.next().await;
    assert_eq!((first.name.as_str(), first.data["eventId"].as_str()), ("snapshot", Some("hall")));
    let (place, states) = map_of(&server).await;
    assert_eq!(first.id, place);
    let mut client = Client::default();
    client.hear(&first);
    assert_eq!(client.seats, states);
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1", "A-1-2"]).await;
    let held = stream.next().await;
    assert_eq!(held.name, "seats");
    assert_eq!(held.data["seats"], json!([{"seatId": "A-1-1", "state": "HELD"}, {"seatId": "A-1-2", "state": "HELD"}]));
    client.hear(&held);
    server.act(&ann, &id, "confirm").await.ok(200);
    while client.seats["A-1-2"] != "SOLD" {
        client.hear(&stream.next().await);
    }
    let other = server.hold(&server.visitor(2), &["A-2-1"]).await;
    server.act(&server.visitor(2), &other, "cancel").await.ok(200);
    let (place, states) = map_of(&server).await;
    while client.last.as_ref().map(|(epoch, version)| format!("{epoch}-{version}")) != Some(place.clone()) {
        client.hear(&stream.next().await);
    }
    assert_eq!(client.seats, states);
    server.get("/api/v1/events/nowhere/seats/stream").await.is(404, "EVENT_NOT_FOUND");
    server.get("/api/v1/events/hall/seats/stream?after=x").await.is(422, "INVALID_REQUEST");
}

async fn who_comes_back_hears_what_was_missed(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let first = Stream::open(&server, None).await.next().await;
    server.hold(&server.visitor(1), &["A-1-1"]).await;
    server.hold(&server.visitor(2), &["A-1-2"]).await;
    let mut stream = Stream::open(&server, Some(&first.id)).await;
    let mut client = Client::default();
    client.hear(&first);
    while client.seats["A-1-2"] != "HELD" {
        let event = stream.next().await;
        assert_eq!(event.name, "seats", "nothing has to be told anew");
        client.hear(&event);
    }
    assert_eq!(client.seats, map_of(&server).await.1);
    // Who knows the newest hears nothing but what is new.
    let (epoch, version) = client.last.clone().unwrap();
    let mut again = Stream::open(&server, Some(&format!("{epoch}-{version}"))).await;
    server.hold(&server.visitor(3), &["A-1-3"]).await;
    let event = again.next().await;
    assert_eq!((event.name.as_str(), event.version()), ("seats", version + 1));
    assert_eq!(event.data["seats"], json!([{"seatId": "A-1-3", "state": "HELD"}]));
    // What nobody was told, and what makes no sense, is answered with the whole map.
    for last in ["0000000000000001-1", &format!("{epoch}-999999"), "nonsense"] {
        assert_eq!(Stream::open(&server, Some(last)).await.next().await.name, "snapshot", "{last}");
    }
}

async fn what_is_left_is_told(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let mut stream = Stream::open(&server, None).await;
    let left = |event: &Event, kind: &str| {
        let all = event.data["availability"].as_array().unwrap();
        all.iter().find(|left| left["ticketTypeId"] == kind).cloned()
    };
    let first = stream.next().await;
    let all = json!({"ticketTypeId": "standing", "total": 10, "held": 0, "sold": 0, "available": 10});
    assert_eq!(left(&first, "standing"), Some(all));
    let ann = server.visitor(1);
    let wish = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 3});
    let id = server.post_as(&ann, "/api/v1/reservations", wish).await.ok(201)["reservationId"].clone();
    let event = stream.next().await;
    let held = json!({"ticketTypeId": "standing", "total": 10, "held": 3, "sold": 0, "available": 7});
    assert_eq!((event.data["seats"].clone(), left(&event, "standing")), (json!([]), Some(held)));
    assert_eq!(left(&event, "std"), None, "only what has changed");
    server.act(&ann, id.as_str().unwrap(), "confirm").await.ok(200);
    let sold = json!({"ticketTypeId": "standing", "total": 10, "held": 0, "sold": 3, "available": 7});
    let event = stream.next().await;
    assert_eq!(left(&event, "standing"), Some(sold));
    server.hold(&server.visitor(2), &["A-1-1"]).await;
    let event = stream.next().await;
    let held = json!({"ticketTypeId": "std", "total": 10, "held": 1, "sold": 0, "available": 9});
    assert_eq!(left(&event, "std"), Some(held));
}

async fn a_stream_ends_with_its_server(kind: Kind) {
    let mut server = TestServer::with_hall(kind).await;
    let mut stream = Stream::open(&server, None).await;
    stream.next().await;
    server.stop().await;
    assert_eq!(stream.try_next().await, None);
}

/// Two servers, visitors that take and give up as fast as they can, and a client that is cut off again and again and
/// comes back to either server: what it has put together is the map, and nothing came twice or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_and_nothing_comes_twice() {
    let mut server = TestServer::with_hall(Kind::Redis).await;
    let mut wide = hall();
    wide["sections"][0]["seatsPerRow"] = json!(50);
    server.put("hall", wide).await.ok(200);
    let first_url = server.url.clone();
    let first = server.move_to_second().await;
    let urls = [first_url, server.url.clone()];
    let server = std::sync::Arc::new(server);
    // The second server learns of the event's new shape when it is asked.
    let stop = tokio_util::sync::CancellationToken::new();
    let crowd: Vec<_> = (0..6)
        .map(|n| tokio::spawn(take_and_give_up(std::sync::Arc::clone(&server), urls[n % 2].clone(), n, stop.clone())))
        .collect();
    let mut client = Client::default();
    let mut dice = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut resumed = 0;
    for round in 0..30 {
        let url = &urls[dice.random_range(0..2)];
        let last = client.last.as_ref().map(|(epoch, version)| format!("{epoch}-{version}"));
        let mut stream = open_at(url, last.as_deref()).await;
        for _ in 0..dice.random_range(1..6) {
            let event = stream.next().await;
            resumed += usize::from(round > 0 && event.name == "seats");
            client.hear(&event);
        }
    }
    stop.cancel();
    for visitor in crowd {
        visitor.await.unwrap();
    }
    assert!(resumed > 30, "the client was told the whole map too often: {resumed}");
    let (place, states) = map_of(&server).await;
    let told = |client: &Client| client.last.as_ref().map(|(epoch, version)| format!("{epoch}-{version}"));
    let last = told(&client);
    if last.as_ref() != Some(&place) {
        let mut stream = open_at(&urls[0], last.as_deref()).await;
        while told(&client).as_ref() != Some(&place) {
            client.hear(&stream.next().await);
        }
    }
    assert_eq!(client.seats, states);
    first.shut_down();
}

async fn open_at(url: &str, last: Option<&str>) -> Stream {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(format!("{url}/api/v1/events/hall/seats/stream"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    Stream { response, text: String::new() }
}

async fn take_and_give_up(
    server: std::sync::Arc<TestServer>,
    url: String,
    n: usize,
    stop: tokio_util::sync::CancellationToken,
) {
    let visitor = server.visitor(n as u64 + 1);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{url}{path}")).bearer_auth(&visitor.token).json(&body);
        request.answer().await
    };
    for round in (0..).take_while(|_| !stop.is_cancelled()) {
        let row = 1 + n / 5;
        let seats = [format!("A-{row}-{}", 1 + (n % 5) * 10 + round % 10)];
        let held = post("/api/v1/seats/reserve", json!({"eventId": "hall", "seatIds": seats})).await;
        // A busy machine may keep the store from answering in time; whether it was done is not known then.
        if held.status == 503 || held.status == 409 {
            continue;
        }
        let held = held.ok(201);
        let path = format!("/api/v1/reservations/{}/cancel", held["reservationId"].as_str().unwrap());
        while post(&path, json!({})).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The store lost its data, or another server answers: versions are counted again, so everybody begins anew.
#[tokio::test]
async fn a_store_that_was_rebuilt_has_another_epoch() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let mut stream = Stream::open(&server, None).await;
    let mut client = Client::default();
    client.hear(&stream.next().await);
    server.hold(&server.visitor(1), &["A-1-1"]).await;
    client.hear(&stream.next().await);
    let before = client.last.clone().unwrap();
    server.store.as_ref().unwrap().cli(&["FLUSHALL"]);
    let event = stream.next().await;
    assert_eq!(event.name, "snapshot");
    client.hear(&event);
    assert_ne!(client.last.as_ref().unwrap().0, before.0);
    assert_eq!(client.seats["A-1-1"], "FREE", "a hold is lost with its store");
    let resumed = Stream::open(&server, Some(&format!("{}-{}", before.0, before.1))).await.next().await;
    assert_eq!(resumed.name, "snapshot");
}

#[tokio::test]
async fn only_so_many_may_follow() {
    let few = |flags: &mut Vec<String>, _: &std::path::Path| flags.push("--live-max=2".to_owned());
    let server = TestServer::start_with(Kind::Memory, few).await;
    server.put("hall", hall()).await.ok(201);
    let streams = [Stream::open(&server, None).await, Stream::open(&server, None).await];
    let refused = server.get("/api/v1/events/hall/seats/stream").await.is(503, "OVERLOADED");
    assert!(refused.headers.contains_key("retry-after"));
    drop(streams);
    eventually("room for one more", async || {
        let stream = server.request(Method::GET, "/api/v1/events/hall/seats/stream").send().await.unwrap();
        (stream.status() == 200).then_some(())
    })
    .await;
    let one = |flags: &mut Vec<String>, _: &std::path::Path| flags.push("--address-live=1".to_owned());
    let server = TestServer::start_with(Kind::Memory, one).await;
    server.put("hall", hall()).await.ok(201);
    let _stream = Stream::open(&server, None).await;
    server.get("/api/v1/events/hall/seats/stream").await.is(429, "RATE_LIMITED");
    let metrics = server.ops_get("/metrics").await;
    assert!(metrics.contains("usher_ticket_live_followers{transport=\"sse\"}"), "{metrics}");
}

/// Whoever has read the map needs not be told it again.
#[tokio::test]
async fn a_stream_goes_on_from_a_map() {
    let server = TestServer::with_hall(Kind::Memory).await;
    let (place, _) = map_of(&server).await;
    server.hold(&server.visitor(1), &["A-1-1"]).await;
    let path = format!("/api/v1/events/hall/seats/stream?after={place}");
    let response = server.request(Method::GET, &path).send().await.unwrap();
    let event = Stream { response, text: String::new() }.next().await;
    assert_eq!(event.name, "seats");
    assert_eq!(event.data["seats"], json!([{"seatId": "A-1-1", "state": "HELD"}]));
}

#[tokio::test]
async fn maps_are_compressed_for_who_wants_that() {
    use std::io::Read as _;
    let server = TestServer::with_hall(Kind::Memory).await;
    let plain = server.request(Method::GET, "/api/v1/seats/events/hall").send().await.unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    assert!(plain.headers().get_all("vary").iter().any(|value| value == "accept-encoding"));
    let tag = plain.headers()["etag"].clone();
    let plain = plain.bytes().await.unwrap();
    let ask = || server.request(Method::GET, "/api/v1/seats/events/hall").header("accept-encoding", "br, gzip");
    let packed = ask().send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_ne!(packed.headers()["etag"], tag, "another form has another tag");
    let packed_tag = packed.headers()["etag"].clone();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.bytes().await.unwrap()[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    for tag in [&tag, &packed_tag] {
        assert_eq!(ask().header("if-none-match", tag).send().await.unwrap().status(), 304);
    }
}
