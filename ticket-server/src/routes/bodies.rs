//! The bodies of visitors' requests, every problem named at once.

use std::collections::HashSet;

use queue_core::{
    codes::Code,
    ids::EventId,
    service::http::{ApiError, Request, parse_json},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    fields::{Fields, Problem, Problems},
    ids::SeatId,
    limits::{HOLD_LIFE_MS_MAX, HOLD_MS_DEFAULT, HOLD_MS_MIN, HOLD_SEATS_MAX, VISITOR_SEATS_MAX},
    office::HoldWish,
};

/// Bodies of visitors are at most so large.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What somebody wants to take.
pub struct Wish {
    pub event: EventId,
    pub what: HoldWish,
    pub hold_ms: u64,
}

/// A body of `seats/reserve` in which nothing is unusual.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlainSeats {
    event_id: EventId,
    seat_ids: Vec<SeatId>,
    hold_seconds: Option<u64>,
}

impl PlainSeats {
    /// The wish, if nothing is to be said against it. Whoever reads for problems reads the body again.
    fn read(body: &[u8]) -> Option<Wish> {
        // Without the brace it would take a list.
        let body = body.trim_ascii_start();
        let Self { event_id, seat_ids, hold_seconds } =
            body.starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten()?;
        let count = (1..=HOLD_SEATS_MAX).contains(&seat_ids.len());
        let distinct = count && (1..seat_ids.len()).all(|at| !seat_ids[..at].contains(&seat_ids[at]));
        let seconds = hold_seconds.unwrap_or(HOLD_MS_DEFAULT / 1000);
        let in_range = (HOLD_MS_MIN / 1000..=HOLD_LIFE_MS_MAX / 1000).contains(&seconds);
        let wish = || Wish { event: event_id, what: HoldWish::Seats(seat_ids), hold_ms: seconds * 1000 };
        (distinct && in_range).then(wish)
    }
}

/// The body of `seats/reserve`.
pub async fn seats(request: &mut Request) -> Result<Wish, ApiError> {
    let body = request.read_body(BODY_BYTES_MAX).await?;
    if let Some(wish) = PlainSeats::read(&body) {
        return Ok(wish);
    }
    wish(parse_json(&body)?, |fields| {
        let items = fields.list("seatIds", HOLD_SEATS_MAX);
        let items = items.filter(|items| !items.is_empty());
        let ids: Option<Vec<SeatId>> =
            items.and_then(|items| items.iter().map(|item| item.as_str()?.parse().ok()).collect());
        if ids.is_none() {
            fields.problem("seatIds", format!("must be a list of 1 to {HOLD_SEATS_MAX} seat ids"));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = ids.iter().flatten().find(|id| !seen.insert(*id)) {
            fields.problem("seatIds", format!("names {twice} twice"));
        }
        Some(HoldWish::Seats(ids?))
    })
}

/// The body of `reservations`.
pub async fn tickets(request: &mut Request) -> Result<Wish, ApiError> {
    let body = request.read_json::<Value>(BODY_BYTES_MAX).await?;
    wish(body, |fields| {
        let kind = fields.id("ticketTypeId");
        let quantity = fields.number("quantity", 1..=VISITOR_SEATS_MAX);
        let together = fields.optional_flag("together");
        Some(HoldWish::Tickets { kind: kind?, quantity: quantity?, together: together.unwrap_or(false) })
    })
}

fn wish(body: Value, read: impl FnOnce(&mut Fields<'_>) -> Option<HoldWish>) -> Result<Wish, ApiError> {
    let mut problems = Problems::default();
    let wish = Fields::open(body, String::new(), &mut problems).and_then(|mut fields| {
        let event = fields.id("eventId");
        let what = read(&mut fields);
        let seconds = fields.optional_number("holdSeconds", HOLD_MS_MIN / 1000..=HOLD_LIFE_MS_MAX / 1000);
        fields.finish();
        Some(Wish { event: event?, what: what?, hold_ms: seconds.map_or(HOLD_MS_DEFAULT, |seconds| seconds * 1000) })
    });
    problems.or(wish).map_err(refused)
}

/// The body of `extend`: how many seconds more are wanted.
pub async fn seconds(request: &mut Request) -> Result<Option<u64>, ApiError> {
    let body = request.read_json_or_default::<Value>(BODY_BYTES_MAX).await?;
    optional(body, |fields| fields.optional_number("seconds", 1..=HOLD_LIFE_MS_MAX / 1000))
}

/// The body of a request that has nothing to say; an empty object is fine.
pub async fn nothing(request: &mut Request) -> Result<(), ApiError> {
    let body = request.read_json_or_default::<Value>(BODY_BYTES_MAX).await?;
    optional(body, |_| ())
}

fn optional<T>(body: Value, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, ApiError> {
    let mut problems = Problems::default();
    let body = if body.is_null() { json!({}) } else { body };
    let value = Fields::open(body, String::new(), &mut problems).map(|mut fields| {
        let value = read(&mut fields);
        fields.finish();
        value
    });
    problems.or(value).map_err(refused)
}

/// All problems at once; the first stands where programs look that read one.
pub fn refused(problems: Vec<Problem>) -> ApiError {
    // What is wrong weighs more than what is not built yet.
    let wrong = problems.iter().find(|problem| !problem.not_supported);
    let (code, first) = match wrong {
        Some(problem) => (Code::InvalidRequest, Some(problem)),
        None => (Code::NotSupported, problems.first()),
    };
    let field = first.map_or("", |problem| problem.field.as_str());
    let problem = first.map_or("", |problem| problem.problem.as_str());
    ApiError::new(code).details(json!({"field": field, "problem": problem, "problems": problems}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bodies_are_read_and_all_others_are_left_to_be_judged() {
        let wish = PlainSeats::read(br#" {"seatIds":["A-1-1","A-1-2"],"eventId":"hall","holdSeconds":null}"#).unwrap();
        assert_eq!((wish.event.as_str(), wish.hold_ms), ("hall", HOLD_MS_DEFAULT));
        assert!(matches!(wish.what, HoldWish::Seats(seats) if seats.len() == 2));
        for odd in [
            r#"["hall",["A-1-1"],20]"#,
            r#"{"eventId":"hall","seatIds":[]}"#,
            r#"{"eventId":"hall","seatIds":["A","A"]}"#,
            r#"{"eventId":"hall","seatIds":["A"],"seatIds":["B"]}"#,
            r#"{"eventId":"hall","seatIds":["A"],"other":1}"#,
            r#"{"eventId":"hall","seatIds":["A"],"holdSeconds":9}"#,
            r#"{"eventId":"hall","seatIds":["A"]} x"#,
            r#"{"eventId":"","seatIds":["A"]}"#,
        ] {
            assert!(PlainSeats::read(odd.as_bytes()).is_none(), "{odd}");
        }
    }
}
