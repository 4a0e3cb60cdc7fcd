//! The text of a hold, a visitor's items and a log entry: the form in which the Redis engine's
//! scripts read and write them. Fields are parted by spaces, which no identifier contains.

use std::fmt::Write as _;

use queue_core::ids::{Jti, Millis, VisitorId};

use super::{
    bits::SeatState,
    command::{Change, Hold, What},
};
use crate::ids::{ReservationId, TicketTypeId};

/// A record that cannot be read: the store was written by something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable record in the store: {0}")]
pub struct BadRecord(pub String);

/// `S 3,4,5 3` or `G standing 2`: what is held, and how much of a limit it takes.
pub fn what_text(what: &What) -> String {
    match what {
        What::Seats(seats) => format!("S {} {}", join(seats), seats.len()),
        What::Quantity { kind, quantity } => format!("G {kind} {quantity}"),
    }
}

/// Indexes parted by commas.
pub fn join(seats: &[u32]) -> String {
    let mut text = String::with_capacity(seats.len() * 6);
    for (i, seat) in seats.iter().enumerate() {
        let _ = write!(text, "{}{seat}", if i == 0 { "" } else { "," });
    }
    text
}

/// Indexes back from [`join`].
pub fn split(text: &str) -> Option<Vec<u32>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|seat| seat.parse().ok()).collect()
}

/// `visitor jti created end extensions pinned total what`.
pub fn hold_text(hold: &Hold) -> String {
    let Hold { visitor, jti, created, end, extensions, pinned, total_minor, what, .. } = hold;
    let pinned = pinned.map_or(0, |at| at.0);
    format!("{visitor} {jti} {} {} {extensions} {pinned} {total_minor} {}", created.0, end.0, what_text(what))
}

/// A hold back from [`hold_text`].
pub fn parse_hold(reservation: ReservationId, text: &str) -> Result<Hold, BadRecord> {
    try_parse_hold(reservation, text).ok_or_else(|| BadRecord(text.to_owned()))
}

fn try_parse_hold(reservation: ReservationId, text: &str) -> Option<Hold> {
    let mut parts = text.split(' ');
    let visitor = VisitorId::new(parts.next()?).ok()?;
    let jti = parts.next()?.parse::<Jti>().ok()?;
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (created, end, extensions, pinned, total_minor) = (number()?, number()?, number()?, number()?, number()?);
    let what = match parts.next()? {
        "S" => What::Seats(split(parts.next()?)?),
        "G" => What::Quantity { kind: TicketTypeId::new(parts.next()?).ok()?, quantity: parts.next()?.parse().ok()? },
        _ => return None,
    };
    Some(Hold {
        reservation,
        visitor,
        jti,
        created: Millis(created),
        end: Millis(end),
        extensions: u32::try_from(extensions).ok()?,
        pinned: (pinned > 0).then_some(Millis(pinned)),
        total_minor,
        what,
    })
}

/// `version state seats`, seats being `-` when only quantities changed.
pub fn change_text(change: &Change) -> String {
    let seats = if change.seats.is_empty() { "-".to_owned() } else { join(&change.seats) };
    format!("{} {} {seats}", change.version, change.state as u8)
}

/// An entry back from [`change_text`].
pub fn parse_change(text: &str) -> Result<Change, BadRecord> {
    let parse = || {
        let mut parts = text.split(' ');
        let version = parts.next()?.parse().ok()?;
        let state = SeatState::from_bits(parts.next()?.parse().ok()?);
        let seats = parts.next()?;
        Some(Change { version, state, seats: if seats == "-" { Vec::new() } else { split(seats)? } })
    };
    parse().ok_or_else(|| BadRecord(text.to_owned()))
}

/// What a visitor has: a hold (`h`) or a booking (`s`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whether it is booked.
    pub sold: bool,
    /// The reservation.
    pub reservation: ReservationId,
    /// How much of the limit it takes.
    pub count: u64,
    /// The session it was taken in.
    pub jti: Jti,
}

/// `h,reservation,count,jti s,reservation,count,jti …`, in the order in which they came.
pub fn items_text(items: &[Item]) -> String {
    let mut text = String::new();
    for item in items {
        let kind = if item.sold { 's' } else { 'h' };
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{kind},{},{},{}", item.reservation, item.count, item.jti);
    }
    text
}
