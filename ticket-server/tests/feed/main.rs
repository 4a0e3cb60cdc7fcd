//! Who is told of bookings, from outside: the stream, Kafka, the queue's dead letters, and what a data platform reads.

#[path = "../http/support.rs"]
#[allow(dead_code, reason = "made for another suite as well")]
mod support;

#[cfg(feature = "kafka")]
mod kafka;
mod letters;
mod reading;
mod stream;
