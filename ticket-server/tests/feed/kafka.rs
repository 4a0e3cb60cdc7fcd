//! The feed in Kafka. The broker is the client library's own, in this process: it speaks the protocol, keeps what it
//! is sent and answers errors on demand.

use std::{collections::BTreeMap, time::Duration};

use queue_core::service::http::Method;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::{Value, json};

use crate::support::{Kind, TestServer, Visitor, eventually, hall};

const TOPIC: &str = "sold";
const PARTITIONS: i32 = 3;
const BROKERS: i32 = 2;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(BROKERS).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

async fn start(cluster: &Cluster, more: &[&str]) -> TestServer {
    let mut flags =
        vec![format!("--events-kafka={}", cluster.bootstrap_servers()), format!("--events-kafka-topic={TOPIC}")];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    let server = TestServer::start_with(Kind::Memory, |all, _| all.extend(flags)).await;
    server.put("hall", hall()).await.ok(201);
    server
}

async fn book(server: &TestServer, visitor: &Visitor, seat: &str) -> String {
    let id = server.hold(visitor, &[seat]).await;
    server.act(visitor, &id, "confirm").await.ok(200);
    id
}

/// A message of the topic.
#[derive(Clone, Debug)]
struct Found {
    partition: i32,
    key: String,
    id: String,
    body: Value,
}

/// Reads the topic from its beginning as it grows.
struct Reader {
    consumer: BaseConsumer,
    found: Vec<Found>,
}

impl Reader {
    fn new(cluster: &Cluster) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "test");
        let consumer: BaseConsumer<_> = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        Self { consumer, found: Vec::new() }
    }

    /// All messages, once so many of them are different.
    async fn read(&mut self, many: usize) -> Vec<Found> {
        eventually("messages", async || {
            while let Some(message) = self.consumer.poll(Duration::from_millis(20)) {
                // A broker that is down says so here, and is asked again.
                let Ok(message) = message else { continue };
                let header = message.headers().unwrap().get(0);
                assert_eq!(header.key, "id");
                self.found.push(Found {
                    partition: message.partition(),
                    key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
                    id: String::from_utf8(header.value.unwrap().to_vec()).unwrap(),
                    body: serde_json::from_slice(message.payload().unwrap()).unwrap(),
                });
            }
            (first(&self.found).len() >= many).then(|| self.found.clone())
        })
        .await
    }
}

/// The first of each message.
fn first(found: &[Found]) -> Vec<&Found> {
    let mut seen = std::collections::HashSet::new();
    found.iter().filter(|found| seen.insert(&found.id)).collect()
}

/// Each visitor's reservations in the order in which they came; each visitor has one partition.
fn by_visitor(found: &[Found]) -> BTreeMap<String, Vec<String>> {
    let mut partitions = BTreeMap::new();
    let mut visitors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in first(found) {
        assert_eq!(*partitions.entry(found.key.clone()).or_insert(found.partition), found.partition);
        assert_eq!(found.body["visitorId"], json!(found.key));
        assert_eq!(found.body["id"], json!(found.id));
        let reservation = found.body["reservationId"].as_str().unwrap().to_owned();
        visitors.entry(found.key.clone()).or_default().push(reservation);
    }
    visitors
}

/// Three bookings of one visitor and two of others; what is expected of each.
async fn book_five(server: &TestServer) -> BTreeMap<String, Vec<String>> {
    let ann = server.visitor(1);
    let mut of_ann = vec![book(server, &ann, "A-1-1").await];
    let of_bob = vec![book(server, &server.visitor(2), "A-2-1").await];
    for (session, seat) in [(10, "A-1-2"), (11, "A-1-3")] {
        of_ann.push(book(server, &server.again(&ann, session), seat).await);
    }
    let of_eve = vec![book(server, &server.visitor(3), "A-2-2").await];
    BTreeMap::from([("a_1".into(), of_ann), ("a_2".into(), of_bob), ("a_3".into(), of_eve)])
}

#[tokio::test]
async fn each_visitor_has_one_partition_and_its_order() {
    let cluster = cluster();
    let server = start(&cluster, &[]).await;
    let booked = book_five(&server).await;
    let found = Reader::new(&cluster).read(5).await;
    assert_eq!(by_visitor(&found), booked);
    assert_eq!(found.len(), 5, "nothing went wrong, so nothing is there twice");
    assert_eq!(found[0].body["type"], "reservation.completed");
}

/// Brokers that are down for a while: the queue hears of everything meanwhile, and nothing is lost.
#[tokio::test]
async fn brokers_that_are_down_get_everything_when_they_are_back() {
    let cluster = cluster();
    let server = start(&cluster, &[]).await;
    for broker in 1..=BROKERS {
        cluster.broker_down(broker).unwrap();
    }
    let booked = book_five(&server).await;
    eventually("the queue to hear", async || (server.queue.done().len() == 5).then_some(())).await;
    for broker in 1..=BROKERS {
        cluster.broker_up(broker).unwrap();
    }
    let found = Reader::new(&cluster).read(5).await;
    assert_eq!(by_visitor(&found), booked);
}

/// Answers that get lost on their way, and leaders that are not: the client library tries again, in order.
#[tokio::test]
async fn lost_answers_change_no_order() {
    let cluster = cluster();
    let server = start(&cluster, &[]).await;
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT;
    let moved = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[lost, moved, lost]);
    let booked = book_five(&server).await;
    let found = Reader::new(&cluster).read(5).await;
    assert_eq!(by_visitor(&found), booked);
}

/// A message that is refused waits, with those behind it; refused too often it is a dead letter, which an operator
/// has sent when the broker takes it.
#[tokio::test]
async fn refused_messages_are_kept_and_sent_by_an_operator() {
    let cluster = cluster();
    let server = start(&cluster, &["--dead-letter-after=2"]).await;
    let large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[large, large]);
    let ann = server.visitor(1);
    let refused = book(&server, &ann, "A-1-1").await;
    let letters = eventually("a dead letter", async || {
        let page = server.operate(Method::GET, "/api/v1/admin/dead-letters?sink=kafka").await.ok(200);
        Some(page["items"].as_array()?.clone()).filter(|items| !items.is_empty())
    })
    .await;
    assert_eq!((letters.len(), &letters[0]["reservationId"]), (1, &json!(refused)));
    let later = book(&server, &server.again(&ann, 10), "A-1-2").await;
    let mut reader = Reader::new(&cluster);
    assert_eq!(by_visitor(&reader.read(1).await)["a_1"], [later.as_str()], "it goes on without it");
    server.operate(Method::POST, &format!("/api/v1/admin/dead-letters/{}/retry", letters[0]["id"])).await.ok(202);
    assert_eq!(by_visitor(&reader.read(2).await)["a_1"], [later, refused], "late, but there");
    eventually("its end", async || {
        let page = server.operate(Method::GET, "/api/v1/admin/dead-letters").await.ok(200);
        (page["items"] == json!([])).then_some(())
    })
    .await;
}
