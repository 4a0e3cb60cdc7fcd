//! The feed in a Kafka topic: the key is the visitor's id, so that a visitor's entries are in one partition, in order.
//!
//! The producer is idempotent and waits for all replicas; what it has under way is bounded, and a message counts as
//! sent when the broker has acknowledged it.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode as Why},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};

use super::{
    SendError,
    sink::{Position, Receiver, Sink, SinkError},
};
use crate::ledger::Message;

/// A message that no broker took in this time was not sent.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages and their size in the producer, at most.
const QUEUE_MESSAGES_MAX: u32 = 1_024;
const QUEUE_KBYTES_MAX: u32 = 8 * 1_024;

/// A topic.
pub struct Kafka {
    config: ClientConfig,
    topic: String,
    /// Made when it is needed, and anew when it says that it cannot go on.
    producer: Mutex<Option<FutureProducer>>,
}

/// What became of a message.
enum Sent {
    Arrived,
    Refused(String),
    Away(String),
}

impl Kafka {
    /// The topic of that name at brokers `host:port,…`. Connects when the first message is sent.
    pub fn new(brokers: &str, topic: String) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "usher-ticket-server")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // As clients in Java do, so that they find a visitor in the same partition.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "2")
            .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string())
            .set("queue.buffering.max.messages", QUEUE_MESSAGES_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES_MAX.to_string());
        Self { config, topic, producer: Mutex::new(None) }
    }

    fn producer(&self) -> Result<FutureProducer, SinkError> {
        let mut kept = self.producer.lock();
        if let Some(producer) = kept.as_ref().filter(|producer| producer.client().fatal_error().is_none()) {
            return Ok(producer.clone());
        }
        let made: FutureProducer = self.config.create().map_err(|error| SinkError::Away(error.to_string()))?;
        Ok(kept.insert(made).clone())
    }

    async fn send(&self, producer: &FutureProducer, message: &Message) -> Sent {
        let header = Header { key: "id", value: Some(&message.id) };
        let record = FutureRecord::to(&self.topic).key(message.visitor.as_str()).payload(&message.body);
        let record = record.headers(OwnedHeaders::new_with_capacity(1).insert(header));
        let sending = match producer.send_result(record) {
            Ok(sending) => sending,
            Err((error, _)) => return judge(&error),
        };
        match sending.await {
            Ok(Ok(_)) => Sent::Arrived,
            Ok(Err((error, _))) => judge(&error),
            Err(_) => Sent::Away("the producer has ended".into()),
        }
    }
}

/// Whether the message is to blame, or where it was to go.
fn judge(error: &KafkaError) -> Sent {
    match error.rdkafka_error_code() {
        Some(
            Why::MessageSizeTooLarge
            | Why::InvalidMessage
            | Why::InvalidMessageSize
            | Why::InvalidRecord
            | Why::InvalidTimestamp
            | Why::PolicyViolation,
        ) => Sent::Refused(error.to_string()),
        _ => Sent::Away(error.to_string()),
    }
}

#[async_trait]
impl Receiver for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    async fn take(&self, message: &Message) -> Result<(), SendError> {
        let producer = self.producer().map_err(|error| SendError::Away(error.to_string()))?;
        match self.send(&producer, message).await {
            Sent::Arrived => Ok(()),
            Sent::Refused(reason) => Err(SendError::Refused(reason)),
            Sent::Away(reason) => Err(SendError::Away(reason)),
        }
    }
}

#[async_trait]
impl Sink for Kafka {
    /// One that times out can be overtaken.
    fn keeps_order(&self) -> bool {
        false
    }

    async fn take_all(&self, _position: &Position, messages: &[Message]) -> Result<Vec<Option<String>>, SinkError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let producer = self.producer()?;
        let sent = join_all(messages.iter().map(|message| self.send(&producer, message))).await;
        sent.into_iter()
            .map(|sent| match sent {
                Sent::Arrived => Ok(None),
                Sent::Refused(reason) => Ok(Some(reason)),
                Sent::Away(reason) => Err(SinkError::Away(reason)),
            })
            .collect()
    }
}
