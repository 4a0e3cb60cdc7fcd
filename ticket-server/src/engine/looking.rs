//! How what some seats are is asked of its script, and what it answered.

use queue_core::{
    ids::Jti,
    service::redis::{Arg, Reply, StoreError},
};

use super::{list::List, redis};
use crate::model::{Outcome, SeatBits, SeatState};

/// Ranges of bytes with less than this between them are read as one: that costs less than another range.
const GAP_BYTES: u32 = 256;
/// Bytes of a session in the list, about.
const SESSION_BYTES_USUAL: usize = 24;

/// What is asked, to read the answer by.
pub struct Look {
    seats: Vec<u32>,
    sessions: usize,
    /// First and last byte.
    ranges: Vec<(u32, u32)>,
}

impl Look {
    /// A look at these seats and sessions, and the script's arguments: see `lua/ticket/look.lua`.
    pub fn new(revision: u64, seats: Vec<u32>, sessions: &[Jti]) -> (Self, Vec<Arg>) {
        let ranges = ranges(&seats);
        let mut bounds = List::with_capacity(ranges.len() * 18);
        for &(first, last) in &ranges {
            bounds.number(first.into());
            bounds.number(last.into());
        }
        let mut list = List::with_capacity(sessions.len() * SESSION_BYTES_USUAL);
        for jti in sessions {
            list.display(jti);
        }
        let args = vec![revision.into(), bounds.finish().into(), list.finish().into()];
        (Self { seats, sessions: sessions.len(), ranges }, args)
    }

    /// What the script answered.
    pub fn decode(self, reply: &mut Reply) -> Result<Outcome, StoreError> {
        let status = reply.text()?;
        if status != "LOOK" {
            let refusal = redis::refusal(&status).ok_or_else(|| reply.problem("an unknown status"))?;
            return Ok(Outcome::Refused(refusal));
        }
        let bytes = self.ranges.iter().map(|_| reply.bytes()).collect::<Result<Vec<_>, _>>()?;
        let state = |seat: &u32| {
            let at = self.ranges.partition_point(|&(_, last)| last < seat / 4);
            let first = self.ranges[at].0;
            SeatBits::state_in(&bytes[at], seat - 4 * first)
        };
        let seats: Vec<SeatState> = self.seats.iter().map(state).collect();
        let mut ended = vec![false; self.sessions];
        while !reply.is_empty() {
            let index = usize::try_from(reply.u64()?).unwrap_or(usize::MAX);
            *ended.get_mut(index).ok_or_else(|| reply.problem("no such session"))? = true;
        }
        Ok(Outcome::Look { seats, ended })
    }
}

/// The bytes in which these seats are, as few ranges.
fn ranges(seats: &[u32]) -> Vec<(u32, u32)> {
    let mut bytes: Vec<u32> = seats.iter().map(|seat| seat / 4).collect();
    bytes.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for byte in bytes {
        match ranges.last_mut() {
            Some((_, last)) if byte - *last <= GAP_BYTES => *last = byte,
            _ => ranges.push((byte, byte)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_near_each_other_are_read_together() {
        assert_eq!(ranges(&[7, 3, 5_000, 4, 4 * 257 + 1, 5_003]), [(0, 257), (1_250, 1_250)]);
        assert_eq!(ranges(&[]), []);
    }
}
