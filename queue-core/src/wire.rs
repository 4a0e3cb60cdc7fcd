//! Wire types of the contract: what HTTP, WebSocket and the messages between the servers carry.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{EventId, Jti, Millis, VisitorId};

/// The header that carries a place token.
pub const PLACE_HEADER: &str = "x-usher-place";
/// The WebSocket subprotocol that is offered.
pub const WS_SUBPROTOCOL: &str = "usher.v1";

/// Begins the name of the cookie that carries a place token; the event follows.
pub const PLACE_COOKIE_PREFIX: &str = "usher_place.";
/// Begins the name of the cookie that carries an active token; the event follows.
pub const ACTIVE_COOKIE_PREFIX: &str = "usher_active.";

/// The cookie that carries the place token of `event`.
pub fn place_cookie(event: &EventId) -> String {
    format!("{PLACE_COOKIE_PREFIX}{event}")
}

/// The cookie that carries the active token of `event`.
pub fn active_cookie(event: &EventId) -> String {
    format!("{ACTIVE_COOKIE_PREFIX}{event}")
}

/// Where a visitor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum QueueState {
    Scheduled,
    Waiting,
    Active,
    Ended,
}

impl QueueState {
    /// The state as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Waiting => "WAITING",
            Self::Active => "ACTIVE",
            Self::Ended => "ENDED",
        }
    }
}

/// Why a place or session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    Left,
    Abandoned,
    Expired,
    Released,
    Revoked,
    Cleared,
    Closed,
    SoldOut,
    QueueReset,
    Gone,
}

impl EndReason {
    const ALL: [Self; 10] = [
        Self::Left,
        Self::Abandoned,
        Self::Expired,
        Self::Released,
        Self::Revoked,
        Self::Cleared,
        Self::Closed,
        Self::SoldOut,
        Self::QueueReset,
        Self::Gone,
    ];

    /// The reason as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "LEFT",
            Self::Abandoned => "ABANDONED",
            Self::Expired => "EXPIRED",
            Self::Released => "RELEASED",
            Self::Revoked => "REVOKED",
            Self::Cleared => "CLEARED",
            Self::Closed => "CLOSED",
            Self::SoldOut => "SOLD_OUT",
            Self::QueueReset => "QUEUE_RESET",
            Self::Gone => "GONE",
        }
    }

    /// The reason that `text` names.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A wait estimate as a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eta {
    pub low_seconds: u64,
    pub high_seconds: u64,
}

/// The one shape in which a visitor's place is told, over HTTP and WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    pub event_id: EventId,
    pub as_of: Millis,
    pub status: QueueState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_token: Option<String>,
    /// 1 = next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// What is left of what people wait for, where the ticket server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tickets_left: Option<u64>,
    /// Outer `None`: not said; inner `None`: `null`, paused or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nullable")]
    pub eta: Option<Option<Eta>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}

impl QueueStatus {
    /// A status that says nothing yet but the state.
    pub const fn bare(event_id: EventId, as_of: Millis, status: QueueState) -> Self {
        Self {
            event_id,
            as_of,
            status,
            reason: None,
            place_token: None,
            position: None,
            waiting: None,
            tickets_left: None,
            eta: None,
            paused: None,
            kept_until: None,
            poll_after_ms: None,
            opens_at: None,
            active_token: None,
            expires_at: None,
        }
    }

    /// An ended place or session.
    pub const fn ended(event_id: EventId, as_of: Millis, reason: EndReason) -> Self {
        let mut status = Self::bare(event_id, as_of, QueueState::Ended);
        status.reason = Some(reason);
        status
    }
}

impl QueueStatus {
    /// Adds the status as JSON: the same bytes as `serde_json` gives, in a fraction of the time.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // All of them, so that a field that is new is not forgotten here.
        let Self {
            event_id,
            as_of,
            status,
            reason,
            place_token,
            position,
            waiting,
            tickets_left,
            eta,
            paused,
            kept_until,
            poll_after_ms,
            opens_at,
            active_token,
            expires_at,
        } = self;
        out.extend_from_slice(b"{\"eventId\":\"");
        out.extend_from_slice(event_id.as_str().as_bytes());
        out.extend_from_slice(b"\",\"asOf\":");
        write_time(out, *as_of);
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b'"');
        if let Some(reason) = reason {
            out.extend_from_slice(b",\"reason\":\"");
            out.extend_from_slice(reason.as_str().as_bytes());
            out.push(b'"');
        }
        write_text(out, b",\"placeToken\":", place_token.as_deref());
        write_number(out, b",\"position\":", *position);
        write_number(out, b",\"waiting\":", *waiting);
        write_number(out, b",\"ticketsLeft\":", *tickets_left);
        match eta {
            None => {}
            Some(None) => out.extend_from_slice(b",\"eta\":null"),
            Some(Some(eta)) => {
                write_number(out, b",\"eta\":{\"lowSeconds\":", Some(eta.low_seconds));
                write_number(out, b",\"highSeconds\":", Some(eta.high_seconds));
                out.push(b'}');
            }
        }
        if let Some(paused) = paused {
            out.extend_from_slice(if *paused { b",\"paused\":true" } else { b",\"paused\":false" });
        }
        if let Some(time) = kept_until {
            out.extend_from_slice(b",\"keptUntil\":");
            write_time(out, *time);
        }
        write_number(out, b",\"pollAfterMs\":", *poll_after_ms);
        if let Some(time) = opens_at {
            out.extend_from_slice(b",\"opensAt\":");
            write_time(out, *time);
        }
        write_text(out, b",\"activeToken\":", active_token.as_deref());
        if let Some(time) = expires_at {
            out.extend_from_slice(b",\"expiresAt\":");
            write_time(out, *time);
        }
        out.push(b'}');
    }
}

fn write_time(out: &mut Vec<u8>, time: Millis) {
    match time.rfc3339() {
        Some(text) => {
            out.push(b'"');
            out.extend_from_slice(&text);
            out.push(b'"');
        }
        None => write_value(out, &time),
    }
}

fn write_number(out: &mut Vec<u8>, before: &[u8], number: Option<u64>) {
    if let Some(number) = number {
        out.extend_from_slice(before);
        write_value(out, &number);
    }
}

fn write_text(out: &mut Vec<u8>, before: &[u8], text: Option<&str>) {
    let Some(text) = text else { return };
    out.extend_from_slice(before);
    // Tokens need no escaping; whatever else stands there gets it. Looked through to the end, which is quicker than
    // stopping at the first that does.
    let escapes = text.bytes().fold(false, |some, byte| some | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if escapes {
        write_value(out, text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

fn write_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("texts and numbers are always JSON");
}

/// `null` on the wire is a value of its own.
mod nullable {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(value: &Option<Option<T>>, s: S) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(s)
    }
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
        Option::<T>::deserialize(d).map(Some)
    }
}

/// What a WebSocket client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientMessage {
    JoinQueue(JoinQueue),
    LeaveQueue(LeaveQueue),
}

/// Joins or resumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinQueue {
    pub event_id: EventId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_token: Option<String>,
}

/// Gives the place or session up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaveQueue {
    pub event_id: EventId,
}

/// What the server sends over WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum ServerMessage {
    QueueUpdated(QueueStatus),
    QueueEntryAllowed(QueueStatus),
    QueueCleared(QueueStatus),
    Error(ErrorBody),
}

/// The one error body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    pub code: String,
    pub message: String,
    pub trace_id: String,
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// How a visitor's business ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    Booked,
    Cancelled,
    Failed,
}

/// Pub/Sub channel of [`BookingDone`].
pub const BOOKING_DONE_CHANNEL: &str = "usher:booking-done";
/// Capped stream of [`BookingDone`], field [`MESSAGE_FIELD`].
pub const BOOKING_DONE_LOG: &str = "usher:booking-done:log";
/// Pub/Sub channel of [`SessionEnded`].
pub const SESSION_ENDED_CHANNEL: &str = "usher:session-ended";
/// Pub/Sub channel of [`SessionSeen`].
pub const SESSION_SEEN_CHANNEL: &str = "usher:session-seen";
/// Pub/Sub channel of [`Inventory`].
pub const INVENTORY_CHANNEL: &str = "usher:inventory";
/// The stream field that holds a message.
pub const MESSAGE_FIELD: &str = "body";

/// A message between the servers. On the wire its `type` says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Message {
    BookingDone(BookingDone),
    SessionEnded(SessionEnded),
    SessionSeen(SessionSeen),
    Inventory(Inventory),
}

/// Somebody has finished with a visitor: the session `jti` names is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BookingDone {
    pub event_id: EventId,
    pub visitor_id: VisitorId,
    pub jti: Jti,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<String>,
    pub at: Millis,
    /// Where both servers record traces: the span that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A session has ended on the queue's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEnded {
    pub event_id: EventId,
    pub visitor_id: VisitorId,
    pub jti: Jti,
    pub reason: EndReason,
    pub at: Millis,
}

/// What is left of an event, by whoever sells it: said again and again, so that a lost message does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    pub event_id: EventId,
    /// Free.
    pub left: u64,
    /// Held, and perhaps free again.
    pub held: u64,
    pub at: Millis,
}

/// A session has been used for the first time, so its admission was claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSeen {
    pub event_id: EventId,
    pub visitor_id: VisitorId,
    pub jti: Jti,
    pub at: Millis,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_have_the_contracts_shape() {
        let text = r#"{"event":"join-queue","data":{"eventId":"faults"}}"#;
        let message: ClientMessage = serde_json::from_str(text).unwrap();
        let join = JoinQueue { event_id: EventId::new("faults").unwrap(), place_token: None };
        assert_eq!(message, ClientMessage::JoinQueue(join));
        assert!(
            serde_json::from_str::<ClientMessage>(r#"{"event":"join-queue","data":{"eventId":"f","x":1}}"#).is_err()
        );

        let mut status = QueueStatus::bare(EventId::new("e").unwrap(), Millis(0), QueueState::Waiting);
        status.eta = Some(None);
        let sent = serde_json::to_value(ServerMessage::QueueUpdated(status.clone())).unwrap();
        assert_eq!(
            sent,
            json!({"event":"queue-updated","data":{"eventId":"e","asOf":"1970-01-01T00:00:00.000Z","status":"WAITING","eta":null}})
        );
        assert_eq!(serde_json::from_value::<ServerMessage>(sent).unwrap(), ServerMessage::QueueUpdated(status));
    }

    #[test]
    fn statuses_are_written_as_serde_does() {
        let event = EventId::new("A-1.b_2").unwrap();
        let states = [QueueState::Scheduled, QueueState::Waiting, QueueState::Active, QueueState::Ended];
        for (n, state) in states.into_iter().enumerate() {
            let mut status = QueueStatus::bare(event.clone(), Millis(1_700_000_000_007 + n as u64), state);
            let same = |status: &QueueStatus| {
                let mut written = Vec::new();
                status.write_json(&mut written);
                assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(status).unwrap());
            };
            same(&status);
            status.reason = Some(EndReason::QueueReset);
            status.place_token = Some("AX3cB4QU25IswRYuzQ-_".into());
            status.position = Some(u64::MAX);
            status.waiting = Some(0);
            status.tickets_left = Some(12);
            status.eta = Some(None);
            same(&status);
            status.eta = Some(Some(Eta { low_seconds: 7, high_seconds: 90 }));
            status.paused = Some(n % 2 == 0);
            status.kept_until = Some(Millis(u64::MAX));
            status.poll_after_ms = Some(1830);
            status.opens_at = Some(Millis(0));
            status.active_token = Some("a.b.c \" \\ \n \u{1} é".into());
            status.expires_at = Some(Millis(1_800_000_000_000));
            same(&status);
        }
    }

    #[test]
    fn booking_done_has_the_contracts_shape() {
        let body = json!({"type":"BOOKING_DONE","eventId":"faults","visitorId":"a_x","jti":"0000000000000001.7",
            "outcome":"BOOKED","at":"2026-11-20T10:00:00.000Z"});
        let message: Message = serde_json::from_value(body.clone()).unwrap();
        assert!(matches!(&message, Message::BookingDone(done) if done.jti.seq.0 == 7));
        assert_eq!(serde_json::to_value(&message).unwrap(), body);
        let mut other = body;
        other["type"] = json!("BOOKING_LOST");
        assert!(serde_json::from_value::<Message>(other).is_err());
    }

    #[test]
    fn reasons_read_back() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_wire(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), json!(reason.as_str()));
        }
    }
}
