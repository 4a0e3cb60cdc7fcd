//! How holds that are asked for together are told to their script, and what it answered.

use std::fmt::Write as _;

use queue_core::{
    ids::Millis,
    service::redis::{Arg, Reply, StoreError},
};

use crate::model::{
    Hold, Outcome, Refusal, SeatState, Taking, Wanted, What, Wish,
    record::{join, parse_hold},
};

use super::redis;

/// Arguments of a wish of one seat.
const ARGS_USUAL: usize = 12;

/// The script's arguments: see `lua/ticket/hold.lua`.
pub fn encode(revision: u64, limit: u64, wishes: &[Wish]) -> Vec<Arg> {
    let mut args = Vec::with_capacity(4 + wishes.len() * ARGS_USUAL);
    args.extend([revision.into(), limit.into(), wishes.len().into()]);
    for Wish { taking, wanted } in wishes {
        let Taking { reservation, visitor, jti, hold_ms, total_minor } = taking;
        args.extend([reservation.as_str().into(), visitor.as_str().into(), jti.to_string().into(), (*hold_ms).into()]);
        match wanted {
            Wanted::Seats(seats) => {
                args.extend([seats.len().into(), (*total_minor).into(), "S".into(), join(seats).into(), 0_u32.into()]);
                let runs_at = args.len() - 1;
                args[runs_at] = runs(seats, &mut args).into();
            }
            Wanted::Quantity { kind, quantity, total } => {
                let (quantity, total) = ((*quantity).into(), (*total).into());
                args.extend([quantity, (*total_minor).into(), "G".into(), kind.as_str().into(), total]);
            }
        }
    }
    args
}

/// Adds the runs of indexes that follow each other, and gives how many there are.
fn runs(seats: &[u32], args: &mut Vec<Arg>) -> usize {
    // One is at most as long as a hold: far below what a `BITFIELD` of 63 bits has room for.
    let runs = seats.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let mut count = 0;
    for run in runs {
        let held = (0..run.len()).fold(0_u64, |held, _| held << 2 | SeatState::Held as u64);
        let mut width = String::with_capacity(3);
        let _ = write!(width, "u{}", 2 * run.len());
        args.extend([width.into(), (u64::from(run[0]) * 2).into(), held.into()]);
        count += 1;
    }
    count
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
    let status = reply.bytes()?;
    Ok(Err(match status.as_ref() {
        b"HELD" => return Ok(Ok(held(wish, now, Millis(reply.u64()?)))),
        b"HOLD" => {
            let text = reply.text()?;
            let hold = parse_hold(wish.taking.reservation, &text).map_err(|error| reply.problem(&error.to_string()));
            return hold.map(Ok);
        }
        b"TAKEN" => {
            let text = reply.text()?;
            Refusal::Taken(taken(&text).ok_or_else(|| reply.problem("unreadable seats"))?)
        }
        b"SOLD_OUT" => Refusal::SoldOut { left: reply.u64()? },
        b"LIMIT_EXCEEDED" => Refusal::LimitExceeded { has: reply.u64()? },
        b"SESSION_ENDED" => {
            reply.value()?;
            Refusal::SessionEnded
        }
        _ => return Err(reply.problem("an unknown status")),
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
        let mut args = Vec::new();
        assert_eq!(runs(&[3, 4, 5, 9, 8], &mut args), 3);
        let of = |width: &str, offset: u32, held: u32| [width.into(), offset.into(), held.into()];
        let expected: Vec<Arg> = [of("u6", 6, 0b01_01_01), of("u2", 18, 1), of("u2", 16, 1)].concat();
        assert_eq!(args, expected);
        assert_eq!(taken("3=1,70=2"), Some(vec![(3, SeatState::Held), (70, SeatState::Sold)]));
        assert_eq!(taken("3=1,70"), None);
    }
}
