//! What a client may say, checked; and what it is answered at once.

use queue_core::{codes::Code, ids::EventId, limits::TOKEN_BYTES_MAX, service::http::ApiError};
use serde::{Deserialize, Serialize};

use crate::{
    ids::SeatId,
    limits::HOLD_SEATS_MAX,
    live::{Place, shown::ShownLeft},
};

/// A message of a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientMessage {
    /// To be told what is left of each ticket type.
    JoinEvent(JoinEvent),
    /// To be told what becomes of each seat, too.
    JoinSeatSelection(JoinSeats),
    /// These seats are looked at.
    SeatSelectionChanged(Selected),
}

/// The data of `join-event`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinEvent {
    pub event_id: EventId,
}

/// The data of `join-seat-selection`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinSeats {
    pub event_id: EventId,
    /// `epoch-version` of what the client knows already.
    #[serde(default)]
    after: Option<String>,
}

impl JoinSeats {
    /// What the client knows already. What makes no sense is nothing.
    pub fn after(&self) -> Option<Place> {
        self.after.as_ref()?.parse().ok()
    }
}

/// The data of `seat-selection-changed` as a client says it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selected {
    pub event_id: EventId,
    seat_ids: Vec<SeatId>,
    /// Where the handshake could not show one.
    #[serde(default)]
    pub active_token: Option<String>,
}

impl Selected {
    /// The seats, each once, not more than could be held together.
    pub fn seats(&self) -> Result<&[SeatId], ApiError> {
        let ids = &self.seat_ids;
        let twice = ids.iter().enumerate().any(|(i, id)| ids[..i].contains(id));
        if ids.len() > HOLD_SEATS_MAX || twice {
            let problem = format!("must be a list of at most {HOLD_SEATS_MAX} seat ids, none of them twice");
            return Err(ApiError::invalid("data.seatIds", problem));
        }
        if self.active_token.as_ref().is_some_and(|token| token.len() > TOKEN_BYTES_MAX) {
            return Err(Code::ActiveTokenInvalid.into());
        }
        Ok(ids)
    }
}

/// The data of `room-info`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomInfo<'a> {
    pub event_id: &'a EventId,
    pub epoch: String,
    pub version: u64,
    /// How many follow the event on this server.
    pub subscribers: usize,
    pub availability: Vec<ShownLeft>,
}

/// Reads a message.
pub fn parse(text: &str) -> Result<ClientMessage, ApiError> {
    let invalid = || {
        let names = "join-event, join-seat-selection or seat-selection-changed with its data, and nothing else";
        ApiError::invalid("event", format!("must be {names}"))
    };
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| ApiError::new(Code::MalformedBody))?;
    // A list would be taken for an object with its fields in order.
    if !value.is_object() || !value["data"].is_object() {
        return Err(invalid());
    }
    // What is wrong there may be a token in the wrong place, so it is not repeated.
    serde_json::from_str(text).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_strictly() {
        let good = [
            r#"{"event":"join-event","data":{"eventId":"e"}}"#,
            r#"{"event":"join-seat-selection","data":{"eventId":"e","after":"0000000000000001-2"}}"#,
            r#"{"event":"seat-selection-changed","data":{"eventId":"e","seatIds":["A-1-1"]}}"#,
        ];
        for good in good {
            assert!(parse(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "[]",
            r#"{"event":"join-event"}"#,
            r#"{"event":"join-event","data":["e"]}"#,
            r#"{"event":"join-event","data":{"eventId":"e","x":1}}"#,
            r#"{"event":"join-event","data":{"eventId":"a b"}}"#,
            r#"{"event":"leave","data":{"eventId":"e"}}"#,
            r#"{"event":"seat-selection-changed","data":{"eventId":"e"}}"#,
        ];
        for bad in bad {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let many =
            serde_json::json!({"event": "seat-selection-changed", "data": {"eventId": "e", "seatIds": ["a", "a"]}});
        let Ok(ClientMessage::SeatSelectionChanged(selected)) = parse(&many.to_string()) else { panic!("it is one") };
        assert!(selected.seats().is_err(), "a seat twice");
    }
}
