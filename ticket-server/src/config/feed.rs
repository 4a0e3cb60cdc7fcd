//! The settings of the feed: who is told of bookings, and when a message is given up.

use queue_core::service::{
    config::{Raw, Setting},
    redis::StoreUrl,
};

/// The settings.
pub const FEED_SETTINGS: &[Setting] = &[
    Setting::value(
        "events-redis",
        "USHER_EVENTS_REDIS",
        "URL",
        "A Redis in which bookings are told as a stream and on a channel",
    )
    .secret(),
    Setting::value("events-stream", "USHER_EVENTS_STREAM", "NAME", "The name of that stream and of the channel")
        .or("usher:reservations"),
    Setting::value(
        "events-stream-length",
        "USHER_EVENTS_STREAM_LENGTH",
        "COUNT",
        "Entries that the stream keeps, about",
    )
    .or("100000"),
    Setting::value(
        "events-kafka",
        "USHER_EVENTS_KAFKA",
        "BROKERS",
        "Kafka brokers that are told of bookings, HOST:PORT parted by commas; needs a server built with Kafka",
    ),
    Setting::value("events-kafka-topic", "USHER_EVENTS_KAFKA_TOPIC", "TOPIC", "The topic there")
        .or("usher.reservations"),
    Setting::value(
        "dead-letter-after",
        "USHER_DEAD_LETTER_AFTER",
        "COUNT",
        "Refusals after which a message to the queue or to Kafka is put with the dead letters",
    )
    .or("10"),
];

/// The longest name of a stream.
const STREAM_BYTES_MAX: usize = 200;
/// The longest name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;
/// The longest list of brokers.
const BROKERS_BYTES_MAX: usize = 2_000;

/// A Redis stream.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Where.
    pub url: Box<StoreUrl>,
    /// Its key.
    pub name: String,
    /// How many entries it keeps, about.
    pub length: u64,
}

/// A Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port,…`
    pub brokers: String,
    /// Its name.
    pub topic: String,
}

/// The settings of the feed, checked.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    pub stream: Option<StreamConfig>,
    /// Only where the server is built with Kafka.
    pub kafka: Option<KafkaConfig>,
    /// Refusals after which a message is given up.
    pub dead_letter_after: u64,
}

impl FeedConfig {
    /// Reads the settings; what is wrong with them is collected in `raw`.
    pub(super) fn read(raw: &mut Raw) -> Self {
        let name = raw.value("events-stream", "up to 200 printable characters without spaces", stream_name);
        let length = raw.number("events-stream-length", 1_000, 100_000_000);
        let url = raw.optional("events-redis", "a store's URL such as redis://127.0.0.1:6379", |text| {
            StoreUrl::parse(text).map_err(|error| error.to_string())
        });
        let topic = raw.value("events-kafka-topic", "up to 249 of A-Z, a-z, 0-9, '.', '_' and '-'", topic_name);
        let brokers = raw.optional("events-kafka", "HOST:PORT, several parted by commas", brokers);
        if brokers.is_some() && !cfg!(feature = "kafka") {
            raw.problem("events-kafka", "nothing: this server is built without Kafka (the feature kafka of its crate)");
        }
        Self {
            stream: url.map(|url| StreamConfig { url: Box::new(url), name, length }),
            kafka: brokers.map(|brokers| KafkaConfig { brokers, topic }),
            dead_letter_after: raw.number("dead-letter-after", 1, 1_000),
        }
    }
}

fn stream_name(text: &str) -> Result<String, &'static str> {
    let good = (1..=STREAM_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err("not a name of a stream") }
}

fn topic_name(text: &str) -> Result<String, &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let good = (1..=TOPIC_BYTES_MAX).contains(&text.len()) && text.bytes().all(known) && text != "." && text != "..";
    if good { Ok(text.to_owned()) } else { Err("not a name of a topic") }
}

fn brokers(text: &str) -> Result<String, &'static str> {
    let broker = |text: &str| {
        let Some((host, port)) = text.rsplit_once(':') else { return false };
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        !host.is_empty() && host.bytes().all(clean) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let good = text.len() <= BROKERS_BYTES_MAX && text.split(',').all(broker);
    if good { Ok(text.to_owned()) } else { Err("not a list of brokers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        for good in ["kafka:9092", "10.0.0.1:9092,kafka-2.example:9093", "[::1]:9092"] {
            assert_eq!(brokers(good), Ok(good.to_owned()));
        }
        for bad in ["", "kafka", "kafka:", "kafka:0", ":9092", "a:1,", "http://kafka:9092", "a b:1"] {
            assert!(brokers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_and_streams_have_plain_names() {
        assert!(topic_name("usher.reservations").is_ok() && stream_name("usher:reservations").is_ok());
        for bad in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
            assert!(topic_name(bad).is_err(), "{bad}");
        }
        for bad in ["", "a b", "a\n", "é", &"x".repeat(201)] {
            assert!(stream_name(bad).is_err(), "{bad}");
        }
    }
}
