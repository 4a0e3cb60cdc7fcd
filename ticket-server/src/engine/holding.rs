//! How holds that are asked for together are told to their script, and what it answered.

use queue_core::{
    ids::Millis,
    service::redis::{Arg, Reply, StoreError, Value},
};

use crate::model::{
    Hold, Outcome, Refusal, SeatState, Taking, Wanted, What, Wish,
    record::{join, parse_hold},
};

use super::{list::List, redis};

/// Bytes of a wish of one seat, about.
const WISH_BYTES_USUAL: usize = 160;

/// The script's arguments: see `lua/ticket/hold.lua`. All wishes are one argument: some thirty of them for each hold
/// would cost more to send, to read and to hand to Lua than all the rest of a hold.
pub fn encode(revision: u64, limit: u64, wishes: &[Wish]) -> Vec<Arg> {
    let mut list = List::with_capacity(wishes.len() * WISH_BYTES_USUAL);
    list.number(share_seats(wishes).into());
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

/// Whether a seat is named by two of them: only then has the script to remember what it gave to the one before.
fn share_seats(wishes: &[Wish]) -> bool {
    let mut seats: Vec<u32> = Vec::new();
    for wish in wishes {
        if let Wanted::Seats(named) = &wish.wanted {
            seats.extend_from_slice(named);
        }
    }
    seats.sort_unstable();
    seats.windows(2).any(|pair| pair[0] == pair[1])
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
}
