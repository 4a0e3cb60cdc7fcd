//! Events and productions: listing with filter, search and pages.

use http::StatusCode;
use queue_core::{
    ids::{EventId, Millis},
    service::http::{ApiError, Request, Response, json},
};
use serde::Serialize;

use super::{PublicApp, bodies, public::tagged};
use crate::{
    fields::Problems,
    figures::Paging,
    model::{
        Hall,
        event::{Cancellation, Payment, Section, TicketType},
    },
    office::{EventQuery, QUESTION_CHARS_MAX, Question, Synonyms},
};

const PAGE_SIZE_DEFAULT: usize = 20;
const PAGE_SIZE_MAX: usize = 100;
const PAGE_MAX: usize = 1_000_000;

/// An event as it is told: all but its single seats, which have a route of their own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEvent<'a> {
    event_id: &'a EventId,
    name: &'a str,
    starts_at: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    production: Option<&'a str>,
    currency: &'a str,
    payment: Payment,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<&'a Cancellation>,
    max_seats_per_visitor: u64,
    seat_count: usize,
    ticket_types: &'a [TicketType],
    sections: &'a [Section],
}

impl<'a> ShownEvent<'a> {
    pub fn of(hall: &'a Hall) -> Self {
        let body = &hall.body;
        Self {
            event_id: &hall.event,
            name: &body.name,
            starts_at: body.starts_at,
            venue: body.venue.as_deref(),
            production: body.production.as_deref(),
            currency: &body.currency,
            payment: body.payment,
            cancellation: body.cancellation.as_ref(),
            max_seats_per_visitor: body.max_seats_per_visitor,
            seat_count: body.seat_count(),
            ticket_types: &body.ticket_types,
            sections: &body.sections,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    items: Vec<T>,
    page: usize,
    page_size: usize,
    total: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownProduction<'a> {
    production: &'a str,
    name: &'a str,
    event_count: usize,
    first_starts_at: Millis,
    last_starts_at: Millis,
}

impl PublicApp {
    pub(super) fn events(&self, request: &Request) -> Result<Response, ApiError> {
        let (query, Paging { page, page_size }) = query_of(request, &self.office.synonyms)?;
        let halls = self.office.catalog.list(&query);
        let shown = halls.iter().skip((page - 1) * page_size).take(page_size);
        let items = shown.map(|hall| ShownEvent::of(hall)).collect();
        Ok(json(StatusCode::OK, &Page { items, page, page_size, total: halls.len() }))
    }

    pub(super) fn productions(&self, request: &Request) -> Result<Response, ApiError> {
        let (query, Paging { page, page_size }) = query_of(request, &self.office.synonyms)?;
        let productions = self.office.catalog.productions(&query);
        let shown = productions.iter().skip((page - 1) * page_size).take(page_size);
        let items = shown.map(|production| ShownProduction {
            production: &production.production,
            name: &production.name,
            event_count: production.events,
            first_starts_at: production.first,
            last_starts_at: production.last,
        });
        let page = Page { items: items.collect(), page, page_size, total: productions.len() };
        Ok(json(StatusCode::OK, &page))
    }

    pub(super) async fn event(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "id").await?;
        let etag = format!("\"{}\"", hall.revision);
        Ok(tagged(request, &etag, || json(StatusCode::OK, &ShownEvent::of(&hall))))
    }
}

/// What a list is asked for: every problem is named at once.
pub fn query_of(request: &Request, synonyms: &Synonyms) -> Result<(EventQuery, Paging), ApiError> {
    let mut problems = Problems::default();
    let question = request.query("q").unwrap_or_default();
    let query = EventQuery {
        question: question_of(&question, synonyms, &mut problems),
        production: request.query("production").map(|production| production.into_owned()),
        from: time(request, "from", &mut problems),
        to: time(request, "to", &mut problems),
    };
    let paging = paging(request, &mut problems);
    problems.or(Some((query, paging))).map_err(bodies::refused)
}

/// Which page is asked for.
pub fn paging(request: &Request, problems: &mut Problems) -> Paging {
    let page = number(request, "page", 1, PAGE_MAX, problems);
    let page_size = number(request, "pageSize", PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, problems);
    Paging { page, page_size }
}

fn question_of(text: &str, synonyms: &Synonyms, problems: &mut Problems) -> Question {
    let short = text.chars().nth(QUESTION_CHARS_MAX).is_none();
    let question = short.then(|| synonyms.question(text)).flatten();
    question.unwrap_or_else(|| {
        problems.add_coded(
            "q",
            "TOO_MANY",
            format!("must be at most 12 words of {QUESTION_CHARS_MAX} characters in all"),
        );
        Question::default()
    })
}

/// A time of the query.
pub fn time(request: &Request, name: &str, problems: &mut Problems) -> Option<Millis> {
    let text = request.query(name)?;
    let time = text.parse().ok();
    if time.is_none() {
        problems.add_coded(name, "INVALID_TIME", queue_core::ids::InvalidTime.to_string());
    }
    time
}

/// A whole number in the query, from 1.
pub fn number(request: &Request, name: &str, default: usize, max: usize, problems: &mut Problems) -> usize {
    let Some(text) = request.query(name) else { return default };
    text.parse().ok().filter(|number| (1..=max).contains(number)).unwrap_or_else(|| {
        problems.add_coded(name, "OUT_OF_RANGE", format!("must be a whole number from 1 to {max}"));
        default
    })
}
