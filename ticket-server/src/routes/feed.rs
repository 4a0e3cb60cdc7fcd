//! What was booked, for a data platform, and messages that were given up.

use http::StatusCode;
use queue_core::{
    codes::Code,
    ids::{EventId, Millis, VisitorId},
    service::http::{ApiError, Request, Response, empty, json},
};
use serde::Serialize;

use super::{OperatorApp, bodies, catalog};
use crate::{
    fields::Problems,
    ids::ReservationId,
    ledger::{FeedPlace, Letter},
    office::ledger_error,
    relay::{SINKS, ShownEntry},
};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 500;
/// Later than any booking, and a number that every database has.
const END_OF_TIME: Millis = Millis(253_402_300_800_000);

#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    /// What to name as `after` for what comes next; absent when the page is not full.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A letter as it is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownLetter<'a> {
    id: u64,
    sink: &'a str,
    message_id: &'a str,
    event_id: &'a EventId,
    visitor_id: &'a VisitorId,
    reservation_id: &'a ReservationId,
    body: serde_json::Value,
    reason: &'a str,
    attempts: u64,
    first_at: Millis,
    last_at: Millis,
    /// Whether it is about to be tried again.
    retrying: bool,
}

impl<'a> ShownLetter<'a> {
    fn of(letter: &'a Letter) -> Self {
        let Letter { id, sink, message, reason, attempts, first_at, last_at, due_at, .. } = letter;
        Self {
            id: *id,
            sink,
            message_id: &message.id,
            event_id: &message.event,
            visitor_id: &message.visitor,
            reservation_id: &message.reservation,
            body: serde_json::from_str(&message.body).unwrap_or_default(),
            reason,
            attempts: *attempts,
            first_at: *first_at,
            last_at: *last_at,
            retrying: due_at.is_some(),
        }
    }
}

impl OperatorApp {
    /// Bookings by the time at which they were made.
    pub(super) async fn completed(&self, request: &Request) -> Result<Response, ApiError> {
        let mut problems = Problems::default();
        let from = catalog::time(request, "from", &mut problems).unwrap_or(Millis(0));
        let to = catalog::time(request, "to", &mut problems).unwrap_or(END_OF_TIME);
        if from > to {
            problems.add_coded("to", "OUT_OF_RANGE", "must not be before from");
        }
        let after = after(request, &mut problems, "INVALID_CURSOR", "must be what next of the page before said", place);
        let limit = catalog::number(request, "limit", LIMIT_DEFAULT, LIMIT_MAX, &mut problems);
        let () = problems.or(Some(())).map_err(bodies::refused)?;
        let entries = self.office.ledger.completed(from, to, after, limit as u32).await.map_err(ledger_error)?;
        let next = entries.last().filter(|_| entries.len() == limit);
        let next = next.map(|entry| format!("{}-{}", entry.at.0, entry.id));
        Ok(json(StatusCode::OK, &Page { items: entries.iter().map(ShownEntry::of).collect(), next }))
    }

    /// The feed, as its sinks are told it.
    pub(super) async fn feed(&self, request: &Request) -> Result<Response, ApiError> {
        let mut problems = Problems::default();
        let after = number_after(request, &mut problems);
        let limit = catalog::number(request, "limit", LIMIT_DEFAULT, LIMIT_MAX, &mut problems);
        let () = problems.or(Some(())).map_err(bodies::refused)?;
        let entries = self.office.ledger.feed_after(after, limit as u32).await.map_err(ledger_error)?;
        let next = entries.last().filter(|_| entries.len() == limit).map(|entry| entry.seq.to_string());
        Ok(json(StatusCode::OK, &Page { items: entries.iter().map(ShownEntry::of).collect(), next }))
    }

    /// Messages that were given up.
    pub(super) async fn dead_letters(&self, request: &Request) -> Result<Response, ApiError> {
        let mut problems = Problems::default();
        let sink = request.query("sink");
        let sink = sink.as_deref();
        if sink.is_some_and(|sink| !SINKS.contains(&sink)) {
            problems.add_coded("sink", "UNKNOWN_SINK", format!("must be one of {}", SINKS.join(", ")));
        }
        let after = number_after(request, &mut problems);
        let limit = catalog::number(request, "limit", LIMIT_DEFAULT, LIMIT_MAX, &mut problems);
        let () = problems.or(Some(())).map_err(bodies::refused)?;
        let letters = self.office.ledger.dead_letters(sink, after, limit as u32).await.map_err(ledger_error)?;
        let next = letters.last().filter(|_| letters.len() == limit).map(|letter| letter.id.to_string());
        Ok(json(StatusCode::OK, &Page { items: letters.iter().map(ShownLetter::of).collect(), next }))
    }

    /// Has a message that was given up tried again, soon.
    pub(super) async fn retry_letter(&self, mut request: Request) -> Result<Response, ApiError> {
        bodies::nothing(&mut request).await?;
        let letter = self.office.ledger.retry_letter(letter_id(&request)?).await.map_err(ledger_error)?;
        let mut letter = letter.ok_or(Code::LetterNotFound)?;
        letter.due_at = Some(self.office.now());
        tracing::info!(sink = letter.sink, message = letter.message.id, "an operator has a dead letter tried again");
        Ok(json(StatusCode::ACCEPTED, &ShownLetter::of(&letter)))
    }

    /// Throws a message away that was given up.
    pub(super) async fn discard_letter(&self, request: &Request) -> Result<Response, ApiError> {
        let letter = self.office.ledger.discard_letter(letter_id(request)?).await.map_err(ledger_error)?;
        let letter = letter.ok_or(Code::LetterNotFound)?;
        tracing::info!(sink = letter.sink, message = letter.message.id, "an operator has thrown a dead letter away");
        Ok(empty(StatusCode::NO_CONTENT))
    }
}

fn after<T>(
    request: &Request,
    problems: &mut Problems,
    code: &'static str,
    expected: &'static str,
    read: fn(&str) -> Option<T>,
) -> Option<T> {
    let text = request.query("after")?;
    let read = read(&text);
    if read.is_none() {
        problems.add_coded("after", code, expected);
    }
    read
}

/// A number that pages go on after, 0 to begin with.
fn number_after(request: &Request, problems: &mut Problems) -> u64 {
    let number = |text: &str| text.parse().ok().filter(|number| *number <= i64::MAX as u64);
    after(request, problems, "OUT_OF_RANGE", "must be a whole number from 0", number).unwrap_or(0)
}

fn place(text: &str) -> Option<FeedPlace> {
    let (at, id) = text.split_once('-')?;
    let at = at.parse().ok().map(Millis).filter(|at| *at <= END_OF_TIME)?;
    Some(FeedPlace { at, id: id.parse().ok().filter(|id| *id <= i64::MAX as u64)? })
}

fn letter_id(request: &Request) -> Result<u64, ApiError> {
    let id = request.param("id").and_then(|id| id.parse().ok()).filter(|id| *id <= i64::MAX as u64);
    id.ok_or_else(|| Code::LetterNotFound.into())
}
