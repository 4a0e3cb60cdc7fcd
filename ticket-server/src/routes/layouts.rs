//! How halls are laid out: sections, rows, seats, and areas without seats.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use queue_core::{
    ids::EventId,
    service::http::{ApiError, Request, Response, json},
};
use serde::Serialize;

use super::{PublicApp, catalog::query_of, public::tagged};
use crate::{
    figures::Paging,
    ids::{SeatId, TicketTypeId},
    model::{
        Hall,
        event::{Label, Section},
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layout<'a> {
    event_id: &'a EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<&'a str>,
    seat_count: usize,
    sections: &'a [Section],
    /// Seats beside the sections' grids.
    other_seats: usize,
    /// Areas without seats.
    general_admission: Vec<Area<'a>>,
    /// What the seats beside the grids make, for one event only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_sections: Vec<OtherSection<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Area<'a> {
    ticket_type_id: &'a TicketTypeId,
    name: &'a str,
    quantity: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtherSection<'a> {
    section: &'a str,
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    row: &'a Label,
    seats: Vec<OtherSeat<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtherSeat<'a> {
    seat_id: &'a SeatId,
    number: &'a Label,
    ticket_type_id: &'a TicketTypeId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    items: Vec<Layout<'a>>,
    page: usize,
    page_size: usize,
    total: usize,
}

impl<'a> Layout<'a> {
    fn of(hall: &'a Hall, whole: bool) -> Self {
        let body = &hall.body;
        let areas = body.ticket_types.iter().filter_map(|kind| {
            Some(Area { ticket_type_id: &kind.ticket_type_id, name: &kind.name, quantity: kind.quantity? })
        });
        Self {
            event_id: &hall.event,
            venue: body.venue.as_deref(),
            seat_count: body.seat_count(),
            sections: &body.sections,
            other_seats: body.seats.len(),
            general_admission: areas.collect(),
            other_sections: if whole { other_sections(hall) } else { Vec::new() },
        }
    }
}

/// The seats that were named one by one: sections and rows in the order of their first seats.
fn other_sections(hall: &Hall) -> Vec<OtherSection<'_>> {
    let mut sections: Vec<OtherSection<'_>> = Vec::new();
    let mut places: BTreeMap<&str, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
    for seat in &hall.body.seats {
        let (section, rows) = places.entry(&seat.section).or_insert_with(|| {
            sections.push(OtherSection { section: &seat.section, rows: Vec::new() });
            (sections.len() - 1, BTreeMap::new())
        });
        let rows_of = &mut sections[*section].rows;
        let row = *rows.entry(format!("{:?}", seat.row)).or_insert_with(|| {
            rows_of.push(Row { row: &seat.row, seats: Vec::new() });
            rows_of.len() - 1
        });
        let shown = OtherSeat { seat_id: &seat.seat_id, number: &seat.number, ticket_type_id: &seat.ticket_type_id };
        rows_of[row].seats.push(shown);
    }
    sections
}

impl PublicApp {
    pub(super) async fn layouts(&self, request: &Request) -> Result<Response, ApiError> {
        if let Some(event) = request.query("eventId") {
            let hall = self.office.hall(&event).await?;
            let etag = format!("\"{}\"", hall.revision);
            let page = || Page { items: vec![Layout::of(&hall, true)], page: 1, page_size: 1, total: 1 };
            return Ok(tagged(request, &etag, || json(StatusCode::OK, &page())));
        }
        let (query, Paging { page, page_size }) = query_of(request, &self.office.synonyms)?;
        let halls: Vec<Arc<Hall>> = self.office.catalog.list(&query);
        let shown = halls.iter().skip((page - 1) * page_size).take(page_size);
        let items = shown.map(|hall| Layout::of(hall, false)).collect();
        Ok(json(StatusCode::OK, &Page { items, page, page_size, total: halls.len() }))
    }
}
