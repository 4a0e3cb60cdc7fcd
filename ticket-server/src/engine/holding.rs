//! How holds that are asked for together are told to their script, and what it answered.

use std::io::Write as _;

use queue_core::{
    ids::Millis,
    service::redis::{Arg, Reply, StoreError, Value},
};

use crate::model::{
    Hold, Outcome, Refusal, SeatState, Taking, Wanted, What, Wish,
    record::{join, parse_hold},
};

use super::redis;

/// Bytes of a wish of one seat, about.
const WISH_BYTES_USUAL: usize = 160;

/// The script's arguments: see `lua/ticket/hold.lua`. All wishes are one argument: some thirty of them for each hold
/// would cost more to send, to read and to hand to Lua than all the rest of a hold.
pub fn encode(revision: u64, limit: u64, wishes: &[Wish]) -> Vec<Arg> {
    let mut list = List::with_capacity(wishes.len() * WISH_BYTES_USUAL);
    for Wish { taking, wanted } in wishes {
        let Taking { reservation, visitor, jti, hold_ms, total_minor } = taking;
        list.text(reservation.as_str());
        list.text(visitor.as_str());
        list.display(jti);
        list.number(*hold_ms);
        match wanted {
            Wanted::Seats(seats) => {
                list.display(seats.len());
                list.display(total_minor);
                list.text("S");
                list.text(&join(seats));
                runs(seats, &mut list);
            }
            Wanted::Quantity { kind, quantity, total } => {
                list.display(quantity);
                list.display(total_minor);
                list.text("G");
                list.text(kind.as_str());
                list.number(*total);
            }
        }
    }
    vec![revision.into(), limit.into(), list.finish().into()]
}

/// Adds how many runs of indexes there are that follow each other, and the runs.
fn runs(seats: &[u32], list: &mut List) {
    // One is at most as long as a hold: far below what a `BITFIELD` of 63 bits has room for.
    let runs = || seats.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    list.number(runs().count() as u64);
    for run in runs() {
        let held = (0..run.len()).fold(0_u64, |held, _| held << 2 | SeatState::Held as u64);
        list.display(format_args!("u{}", 2 * run.len()));
        list.display(u64::from(run[0]) * 2);
        list.display(held);
    }
}

/// A list of texts and whole numbers as MessagePack has them: all that the script needs of it.
struct List {
    bytes: Vec<u8>,
    items: u32,
}

impl List {
    /// The first byte of a list whose length follows in four bytes.
    const ARRAY_32: u8 = 0xdd;
    const TEXT_8: u8 = 0xd9;
    const TEXT_16: u8 = 0xda;
    const UINT_64: u8 = 0xcf;

    fn with_capacity(bytes: usize) -> Self {
        let mut list = Vec::with_capacity(bytes + 5);
        list.extend_from_slice(&[Self::ARRAY_32, 0, 0, 0, 0]);
        Self { bytes: list, items: 0 }
    }

    fn number(&mut self, number: u64) {
        self.items += 1;
        self.bytes.push(Self::UINT_64);
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.items += 1;
        match u8::try_from(text.len()) {
            Ok(length) => self.bytes.extend_from_slice(&[Self::TEXT_8, length]),
            // No identifier is so long, and no hold has so many seats.
            Err(_) => {
                let length = u16::try_from(text.len()).expect("a text of less than 64 KiB");
                self.bytes.push(Self::TEXT_16);
                self.bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A short text, written in place.
    fn display(&mut self, value: impl std::fmt::Display) {
        self.items += 1;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[Self::TEXT_8, 0]);
        let _ = write!(self.bytes, "{value}");
        let length = self.bytes.len() - at - 2;
        self.bytes[at + 1] = u8::try_from(length).expect("a short text");
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes[1..5].copy_from_slice(&self.items.to_be_bytes());
        self.bytes
    }
}

/// What the script answered to these wishes.
pub fn decode(reply: &mut Reply, wishes: Vec<Wish>) -> Result<Outcome, StoreError> {
    let status = reply.text()?;
    if status != "EACH" {
        let refusal = redis::refusal(&status).ok_or_else(|| reply.problem("an unknown status"))?;
        return Ok(Outcome::Refused(refusal));
    }
    let now = Millis(reply.u64()?);
    wishes.into_iter().map(|wish| answer(reply, wish, now)).collect::<Result<_, _>>().map(Outcome::Each)
}

fn answer(reply: &mut Reply, wish: Wish, now: Millis) -> Result<Result<Hold, Refusal>, StoreError> {
    let mut why = match reply.value()? {
        Value::Int(end) => {
            let end = u64::try_from(end).map_err(|_| reply.problem("no time"))?;
            return Ok(Ok(held(wish, now, Millis(end))));
        }
        why => why.into_reply("hold")?,
    };
    let status = why.bytes()?;
    Ok(Err(match status.as_ref() {
        b"HOLD" => {
            let text = why.text()?;
            let hold = parse_hold(wish.taking.reservation, &text).map_err(|error| why.problem(&error.to_string()));
            return hold.map(Ok);
        }
        b"TAKEN" => {
            let text = why.text()?;
            Refusal::Taken(taken(&text).ok_or_else(|| why.problem("unreadable seats"))?)
        }
        b"SOLD_OUT" => Refusal::SoldOut { left: why.u64()? },
        b"LIMIT_EXCEEDED" => Refusal::LimitExceeded { has: why.u64()? },
        b"SESSION_ENDED" => Refusal::SessionEnded,
        _ => return Err(why.problem("an unknown status")),
    }))
}

fn held(wish: Wish, created: Millis, end: Millis) -> Hold {
    let Taking { reservation, visitor, jti, total_minor, .. } = wish.taking;
    let what = match wish.wanted {
        Wanted::Seats(seats) => What::Seats(seats),
        Wanted::Quantity { kind, quantity, .. } => What::Quantity { kind, quantity },
    };
    Hold { reservation, visitor, jti, created, end, extensions: 0, pinned: None, total_minor, what }
}

/// `index=state,…`
fn taken(text: &str) -> Option<Vec<(u32, SeatState)>> {
    text.split(',')
        .map(|seat| {
            let (index, state) = seat.split_once('=')?;
            Some((index.parse().ok()?, SeatState::from_bits(state.parse().ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_and_written_at_once() {
        let (mut list, mut expected) = (List::with_capacity(0), List::with_capacity(0));
        runs(&[3, 4, 5, 9, 8], &mut list);
        expected.number(3);
        for text in ["u6", "6", "21", "u2", "18", "1", "u2", "16", "1"] {
            expected.text(text);
        }
        assert_eq!(list.finish(), expected.finish());
        assert_eq!(taken("3=1,70=2"), Some(vec![(3, SeatState::Held), (70, SeatState::Sold)]));
        assert_eq!(taken("3=1,70"), None);
    }

    #[test]
    fn lists_are_message_pack() {
        let mut list = List::with_capacity(0);
        list.text("ab");
        list.number(258);
        list.display(7);
        assert_eq!(list.finish(), b"\xdd\0\0\0\x03\xd9\x02ab\xcf\0\0\0\0\0\0\x01\x02\xd9\x017");
    }
}
