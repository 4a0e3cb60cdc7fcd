//! What comes over the wire as JSON: client messages, messages between the servers, policies. Nothing panics,
//! what is read is written and read again as the same, and identifiers that were read are valid.

#![no_main]

use libfuzzer_sys::fuzz_target;
use queue_core::{
    ids::{Generation, Jti, Millis, is_valid_id},
    policy::Policy,
    service::http::parse_json,
    wire::{BookingDone, ClientMessage, JoinQueue, Message, ServerMessage},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    if let Some(ClientMessage::JoinQueue(JoinQueue { event_id, .. })) = same_again::<ClientMessage>(data) {
        assert!(is_valid_id(event_id.as_str()));
    }
    if let Some(Message::BookingDone(done)) = same_again::<Message>(data) {
        assert!(is_valid_id(done.event_id.as_str()) && is_valid_id(done.visitor_id.as_str()));
    }
    same_again::<ServerMessage>(data);
    // The way of a body: errors name their field, whatever it is called.
    let _ = parse_json::<BookingDone>(data);
    let _ = parse_json::<JoinQueue>(data);
    if let Ok(body) = parse_json::<Value>(data) {
        policy(&body);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        plain(text);
    }
});

fn same_again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_string(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<T>(&written).expect("what was written can be read"), read);
    Some(read)
}

fn policy(body: &Value) {
    match Policy::from_json(body) {
        Ok(policy) => {
            let written = serde_json::to_value(&policy).expect("a policy can be written");
            assert_eq!(Policy::from_json(&written), Ok(policy.clone()), "a policy that was taken is taken again");
            assert!(policy.claim_ms() <= policy.active_ttl_ms() && policy.grace_periods() >= 2);
        }
        Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|problem| problem.field.len() <= 256)),
    }
}

fn plain(text: &str) {
    if let Ok(jti) = text.parse::<Jti>() {
        assert_eq!(jti.to_string(), text, "one spelling");
    }
    if let Ok(generation) = text.parse::<Generation>() {
        assert_eq!(generation.to_string(), text, "one spelling");
    }
    if let Ok(time) = text.parse::<Millis>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
}
