//! Whom this node heard from, gathered until the store is told: a sparse bitmap of ranks for each period.
//!
//! Its size follows the ranks there are, not how often somebody speaks.

use std::collections::BTreeMap;

use queue_core::{
    ids::{Millis, Rank},
    limits::BITMAP_CHUNK_BYTES_MAX,
    line::Command,
};

/// Bytes of one piece of the bitmap.
const PIECE_BYTES: usize = 512;
const RANKS_PER_PIECE: u64 = PIECE_BYTES as u64 * 8;
/// A store takes signs of life of the current period and of so many before.
const PERIODS_BACK: u64 = 2;

const _: () = assert!(BITMAP_CHUNK_BYTES_MAX.is_multiple_of(PIECE_BYTES));

type Pieces = BTreeMap<u64, Box<[u8; PIECE_BYTES]>>;

/// Ranks heard since the store was last told.
#[derive(Debug, Default)]
pub struct Heard {
    periods: BTreeMap<u64, Pieces>,
}

impl Heard {
    /// Somebody was heard at `at`.
    pub fn mark(&mut self, rank: Rank, at: Millis) {
        let pieces = self.periods.entry(at.period()).or_default();
        let piece = pieces.entry(rank.0 / RANKS_PER_PIECE).or_insert_with(|| Box::new([0; PIECE_BYTES]));
        piece[(rank.0 / 8) as usize % PIECE_BYTES] |= 0x80 >> (rank.0 % 8);
        while self.periods.first_key_value().is_some_and(|(period, _)| period + PERIODS_BACK < at.period()) {
            self.periods.pop_first();
        }
    }

    /// Takes everything that was heard, as commands: neighbouring pieces together, in bounded stretches.
    pub fn take(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for (period, pieces) in std::mem::take(&mut self.periods) {
            let mut stretch: Option<(u64, Vec<u8>)> = None;
            for (number, piece) in pieces {
                let at = number * PIECE_BYTES as u64;
                let (first_byte, mut bytes) = match stretch.take() {
                    Some((first, bytes))
                        if first + bytes.len() as u64 == at && bytes.len() < BITMAP_CHUNK_BYTES_MAX =>
                    {
                        (first, bytes)
                    }
                    full => {
                        commands.extend(full.map(|(first, bytes)| seen(period, first, bytes)));
                        (at, Vec::with_capacity(PIECE_BYTES))
                    }
                };
                bytes.extend_from_slice(&piece[..]);
                stretch = Some((first_byte, bytes));
            }
            commands.extend(stretch.map(|(first, bytes)| seen(period, first, bytes)));
        }
        commands
    }

    /// Puts back what the store could not be told.
    pub fn put_back(&mut self, command: Command) {
        let Command::Seen { period, first_byte, bytes } = command else { return };
        for (i, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            let at = first_byte + i as u64;
            let pieces = self.periods.entry(period).or_default();
            let piece = pieces.entry(at / PIECE_BYTES as u64).or_insert_with(|| Box::new([0; PIECE_BYTES]));
            piece[at as usize % PIECE_BYTES] |= byte;
        }
    }
}

fn seen(period: u64, first_byte: u64, mut bytes: Vec<u8>) -> Command {
    let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(kept);
    Command::Seen { period, first_byte, bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use queue_core::line::bitmap::Bitmap;

    use super::*;

    proptest! {
        #[test]
        fn every_rank_is_told_in_bounded_stretches(
            ranks in proptest::collection::vec(prop_oneof![0u64..300, 0u64..2_000_000], 0..300),
        ) {
            let mut heard = Heard::default();
            ranks.iter().for_each(|rank| heard.mark(Rank(*rank), Millis(900_000)));
            for command in heard.take() {
                heard.put_back(command);
            }
            let mut told = Bitmap::default();
            for command in heard.take() {
                let Command::Seen { period, first_byte, bytes } = command else { panic!() };
                prop_assert!(period == 30 && bytes.len() <= BITMAP_CHUNK_BYTES_MAX && !bytes.is_empty());
                told.or_bytes(first_byte, &bytes);
            }
            let mut wanted = Bitmap::default();
            ranks.iter().for_each(|rank| wanted.set(*rank));
            prop_assert_eq!(told.bytes(0, usize::MAX), wanted.bytes(0, usize::MAX));
            prop_assert!(heard.take().is_empty());
        }
    }
}
