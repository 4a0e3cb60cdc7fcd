//! What an event is: the body of `PUT …/admin/events/{id}`, checked all at once.
//!
//! An [`EventBody`] that exists is valid: its seat ids are unique, every seat and section names a
//! ticket type without a quantity, and there are at most [`SEATS_MAX`] seats.

use std::collections::{BTreeMap, HashSet};

use queue_core::ids::{EventId, Millis};
use serde::Serialize;
use serde_json::Value;

use crate::{
    fields::{Fields, Problem, Problems},
    ids::{SeatId, TicketTypeId},
    limits::{
        NAME_CHARS_MAX, PRICE_MINOR_MAX, QUANTITY_MAX, SEATS_MAX, SECTIONS_MAX, TICKET_TYPES_MAX, VISITOR_SEATS_MAX,
    },
};

/// Whether a booking needs a paid order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Payment {
    /// It does: confirming without one is refused.
    Required,
    /// A hold is confirmed as it is.
    None,
}

/// A kind of ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketType {
    /// Its name within the event.
    pub ticket_type_id: TicketTypeId,
    /// Its name for people.
    pub name: String,
    /// The price of one, in minor units of the currency.
    pub price_minor: u64,
    /// How many there are, for types without seats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u64>,
}

/// A block of rows of the same length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Its name; the first part of its seats' ids.
    pub section: String,
    /// What its seats cost.
    pub ticket_type_id: TicketTypeId,
    /// Rows, counted from 1.
    pub rows: u32,
    /// Seats of each row, counted from 1.
    pub seats_per_row: u32,
}

/// A row or seat number: a number in a grid, what the operator wrote elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Label {
    /// A number.
    Number(u64),
    /// A text, such as `AA`.
    Text(String),
}

/// One seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// Its name within the event.
    pub seat_id: SeatId,
    /// The section it is in.
    pub section: String,
    /// Its row.
    pub row: Label,
    /// Its number in the row.
    pub number: Label,
    /// What it costs.
    pub ticket_type_id: TicketTypeId,
}

/// Whether and how long a booking can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    /// Until then; never, when there is no time.
    pub allowed_until: Option<Millis>,
}

/// The checked definition of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBody {
    /// Its name for people.
    pub name: String,
    /// When it starts.
    pub starts_at: Millis,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue: Option<String>,
    /// What it is one date of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// Whether a booking needs a paid order.
    pub payment: Payment,
    /// Whether bookings can be taken back; they cannot unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// Seats and tickets of one visitor, held and booked together, at most.
    pub max_seats_per_visitor: u64,
    /// Kinds of tickets.
    pub ticket_types: Vec<TicketType>,
    /// Grids of seats.
    pub sections: Vec<Section>,
    /// Seats one by one.
    pub seats: Vec<Seat>,
}

impl EventBody {
    /// Reads a definition; every problem is named at once.
    pub fn from_json(body: Value) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let event = read(body, &mut problems);
        if let Some(event) = &event {
            event.check(&mut problems);
        }
        problems.or(event)
    }

    /// The definition as it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a definition has text keys and no other source of failure")
    }

    /// All seats, those of the sections first.
    pub fn all_seats(&self) -> impl Iterator<Item = Seat> + '_ {
        let grid = self.sections.iter().flat_map(Section::seats);
        grid.chain(self.seats.iter().cloned())
    }

    /// How many seats there are.
    pub fn seat_count(&self) -> usize {
        let grid = self.sections.iter().map(|s| s.rows as usize * s.seats_per_row as usize);
        grid.fold(self.seats.len(), usize::saturating_add)
    }

    /// A ticket type of this event.
    pub fn ticket_type(&self, id: &TicketTypeId) -> Option<&TicketType> {
        self.ticket_types.iter().find(|kind| kind.ticket_type_id == *id)
    }

    fn check(&self, problems: &mut Problems) {
        let kinds: BTreeMap<_, _> = self.ticket_types.iter().map(|kind| (&kind.ticket_type_id, kind)).collect();
        if kinds.len() < self.ticket_types.len() {
            let mut seen = HashSet::new();
            for (i, kind) in self.ticket_types.iter().enumerate() {
                if !seen.insert(&kind.ticket_type_id) {
                    problems.add_coded(format!("ticketTypes[{i}].ticketTypeId"), "DUPLICATE", "is there twice");
                }
            }
        }
        let mut check_kind = |path: String, id: &TicketTypeId| match kinds.get(id) {
            None => problems.add_coded(path, "UNKNOWN_TICKET_TYPE", "is not one of the ticketTypes"),
            Some(kind) if kind.quantity.is_some() => {
                problems.add_coded(path, "TYPE_WITHOUT_SEATS", "names a type with a quantity, which has no seats")
            }
            Some(_) => {}
        };
        for (i, section) in self.sections.iter().enumerate() {
            check_kind(format!("sections[{i}].ticketTypeId"), &section.ticket_type_id);
        }
        for (i, seat) in self.seats.iter().enumerate() {
            check_kind(format!("seats[{i}].ticketTypeId"), &seat.ticket_type_id);
        }
        let count = self.seat_count();
        if count > SEATS_MAX {
            let problem = format!("make {count} seats with seats; at most {SEATS_MAX} are allowed");
            problems.add_coded("sections", "TOO_MANY_SEATS", problem);
        } else if count == 0 && self.ticket_types.iter().all(|kind| kind.quantity.is_none()) {
            let problem = "make no seat, and no ticket type has a quantity: there is nothing to sell";
            problems.add_coded("sections", "NOTHING_TO_SELL", problem);
        } else {
            self.check_seat_ids(problems);
        }
    }

    fn check_seat_ids(&self, problems: &mut Problems) {
        let mut seen = HashSet::new();
        let mut check = |path: &dyn Fn() -> String, id: SeatId| {
            if !seen.contains(&id) {
                seen.insert(id);
            } else if !problems.is_full() {
                problems.add_coded(path(), "DUPLICATE", format!("makes the seat {id} twice"));
            }
        };
        for (i, section) in self.sections.iter().enumerate() {
            section.seats().for_each(|seat| check(&|| format!("sections[{i}].section"), seat.seat_id));
        }
        for (i, seat) in self.seats.iter().enumerate() {
            check(&|| format!("seats[{i}].seatId"), seat.seat_id.clone());
        }
    }
}

impl Section {
    /// Its seats, row by row.
    fn seats(&self) -> impl Iterator<Item = Seat> + '_ {
        (1..=self.rows).flat_map(move |row| (1..=self.seats_per_row).map(move |number| self.seat(row, number)))
    }

    fn seat(&self, row: u32, number: u32) -> Seat {
        let id = format!("{}-{row}-{number}", self.section);
        Seat {
            seat_id: SeatId::new(&id).expect("the section's name leaves room for its rows and seats"),
            section: self.section.clone(),
            row: Label::Number(row.into()),
            number: Label::Number(number.into()),
            ticket_type_id: self.ticket_type_id.clone(),
        }
    }
}

/// The longest section name: its seat ids `A-200000-1` stay within 64 characters.
const SECTION_CHARS_MAX: usize = 48;

fn read(body: Value, problems: &mut Problems) -> Option<EventBody> {
    let mut fields = Fields::open(body, String::new(), problems)?;
    let name = fields.text("name", NAME_CHARS_MAX);
    let starts_at = time(&mut fields, "startsAt");
    let venue = fields.optional_text("venue", NAME_CHARS_MAX);
    let production = fields.optional_id::<EventId>("production").map(|id| id.to_string());
    let currency = currency(&mut fields);
    let payment = payment(&mut fields);
    let cancellation = cancellation(&mut fields);
    let max_seats_per_visitor = fields.number("maxSeatsPerVisitor", 1..=VISITOR_SEATS_MAX);
    if !fields.has("ticketTypes") {
        fields.problem_coded("ticketTypes", "REQUIRED", "is required: a list of at least one");
    }
    let ticket_types = each(&mut fields, "ticketTypes", TICKET_TYPES_MAX, read_type);
    let sections = each(&mut fields, "sections", SECTIONS_MAX, read_section);
    let seats = each(&mut fields, "seats", SEATS_MAX, read_seat);
    fields.finish();
    Some(EventBody {
        name: name?,
        starts_at: starts_at?,
        venue,
        production,
        currency: currency?,
        payment: payment?,
        cancellation,
        max_seats_per_visitor: max_seats_per_visitor?,
        ticket_types: ticket_types?,
        sections: sections?,
        seats: seats?,
    })
}

fn each<T>(
    fields: &mut Fields<'_>,
    field: &str,
    len_max: usize,
    read: impl Fn(&mut Fields<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let name = fields.name(field);
    if !fields.has(field) {
        return Some(Vec::new());
    }
    let items = fields.list(field, len_max)?;
    let mut all = Some(Vec::new());
    for (i, item) in items.into_iter().enumerate() {
        let read = Fields::open(item, format!("{name}[{i}]"), fields.problems()).and_then(|mut inner| {
            let value = read(&mut inner);
            inner.finish();
            value
        });
        all = all.zip(read).map(|(mut all, value)| {
            all.push(value);
            all
        });
    }
    all
}

fn read_type(fields: &mut Fields<'_>) -> Option<TicketType> {
    let ticket_type_id = fields.id("ticketTypeId");
    let name = fields.text("name", NAME_CHARS_MAX);
    let price_minor = fields.number("priceMinor", 0..=PRICE_MINOR_MAX);
    let quantity = fields.optional_number("quantity", 0..=QUANTITY_MAX);
    Some(TicketType { ticket_type_id: ticket_type_id?, name: name?, price_minor: price_minor?, quantity })
}

fn read_section(fields: &mut Fields<'_>) -> Option<Section> {
    let section = section_name(fields, SECTION_CHARS_MAX);
    let ticket_type_id = fields.id("ticketTypeId");
    let rows = fields.number("rows", 1..=SEATS_MAX as u64);
    let seats_per_row = fields.number("seatsPerRow", 1..=SEATS_MAX as u64);
    Some(Section {
        section: section?,
        ticket_type_id: ticket_type_id?,
        rows: u32::try_from(rows?).ok()?,
        seats_per_row: u32::try_from(seats_per_row?).ok()?,
    })
}

fn read_seat(fields: &mut Fields<'_>) -> Option<Seat> {
    let seat_id = fields.id("seatId");
    let section = fields.text("section", 64);
    let row = label(fields, "row");
    let number = label(fields, "number");
    let ticket_type_id = fields.id("ticketTypeId");
    Some(Seat { seat_id: seat_id?, section: section?, row: row?, number: number?, ticket_type_id: ticket_type_id? })
}

fn section_name(fields: &mut Fields<'_>, chars_max: usize) -> Option<String> {
    let id = fields.id::<EventId>("section")?;
    if id.as_str().len() > chars_max {
        fields.problem("section", format!("must be at most {chars_max} characters"));
        return None;
    }
    Some(id.to_string())
}

fn label(fields: &mut Fields<'_>, field: &str) -> Option<Label> {
    match fields.take(field) {
        Some(Value::Number(number)) if number.as_u64().is_some_and(|n| n <= SEATS_MAX as u64) => {
            number.as_u64().map(Label::Number)
        }
        Some(Value::String(text))
            if (1..=16).contains(&text.chars().count()) && !text.chars().any(char::is_control) =>
        {
            Some(Label::Text(text))
        }
        _ => {
            fields.problem(field, "must be a whole number or a text of 1 to 16 characters");
            None
        }
    }
}

fn time(fields: &mut Fields<'_>, field: &str) -> Option<Millis> {
    let time = fields.take(field).and_then(|value| value.as_str().and_then(|text| text.parse().ok()));
    if time.is_none() {
        fields.problem_coded(field, "INVALID_TIME", queue_core::ids::InvalidTime.to_string());
    }
    time
}

fn currency(fields: &mut Fields<'_>) -> Option<String> {
    let value = fields.take("currency");
    let code = value.as_ref().and_then(Value::as_str).filter(|code| is_currency(code));
    if code.is_none() {
        fields.problem("currency", "must be an ISO 4217 code of three capital letters, such as EUR");
    }
    code.map(str::to_owned)
}

fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())
}

fn cancellation(fields: &mut Fields<'_>) -> Option<Cancellation> {
    let value = fields.take("cancellation")?;
    let mut inner = Fields::open(value, fields.name("cancellation"), fields.problems())?;
    let allowed_until = if inner.has("allowedUntil") { time(&mut inner, "allowedUntil") } else { None };
    // Present and null is the same as absent.
    inner.take("allowedUntil");
    inner.finish();
    Some(Cancellation { allowed_until })
}

fn payment(fields: &mut Fields<'_>) -> Option<Payment> {
    match fields.take("payment") {
        None => Some(Payment::Required),
        Some(Value::String(text)) if text == "required" => Some(Payment::Required),
        Some(Value::String(text)) if text == "none" => Some(Payment::None),
        Some(_) => {
            fields.problem("payment", "must be required or none");
            None
        }
    }
}
