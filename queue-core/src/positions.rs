//! Positions from one snapshot of the presence bitmap: a population count below a rank.
//!
//! Building the index is one pass over the bytes; a position is then one look at one word and at what is counted
//! before it, side by side in memory, so that a sweep over sorted waiters reads each cache line once.

use crate::ids::Rank;

/// 64 ranks.
#[derive(Clone, Copy, Debug)]
struct Word {
    /// Bit 63 is the first rank.
    bits: u64,
    /// How many are in line before the first.
    before: u64,
}

/// An index over a stretch of presence bits that holds every waiter.
#[derive(Clone, Debug, Default)]
pub struct PositionIndex {
    /// The rank of the first bit.
    first: u64,
    words: Vec<Word>,
    total: u64,
}

impl PositionIndex {
    /// Indexes bytes as Redis numbers their bits (most significant first), the first being byte `first_byte`.
    pub fn new(first_byte: u64, bytes: &[u8]) -> Self {
        let mut words = Vec::with_capacity(bytes.len().div_ceil(8));
        let mut before = 0;
        let mut push = |bits: u64| {
            words.push(Word { bits, before });
            before += u64::from(bits.count_ones());
        };
        let (whole, rest) = bytes.as_chunks();
        whole.iter().for_each(|chunk| push(u64::from_be_bytes(*chunk)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            push(u64::from_be_bytes(last));
        }
        Self { first: first_byte * 8, words, total: before }
    }

    /// The byte of the presence bitmap at which the stretch starts.
    pub const fn first_byte(&self) -> u64 {
        self.first / 8
    }

    /// How many wait.
    pub const fn waiting(&self) -> u64 {
        self.total
    }

    /// Whether the waiter of this rank is still in line.
    pub fn contains(&self, rank: Rank) -> bool {
        self.place(rank).is_some()
    }

    /// 1 + the number of waiters before this rank, if its own waiter is still in line.
    pub fn place(&self, rank: Rank) -> Option<u64> {
        let bit = rank.0.checked_sub(self.first)?;
        let word = self.words.get((bit / 64) as usize)?;
        // From the rank's own bit on upward, itself included.
        let upto = word.bits >> (63 - bit % 64);
        (upto & 1 == 1).then(|| word.before + u64::from(upto.count_ones()))
    }

    /// 1 + the number of waiters before this rank.
    pub fn position(&self, rank: Rank) -> u64 {
        let bit = rank.0.saturating_sub(self.first);
        let Some(word) = self.words.get((bit / 64) as usize) else { return self.total + 1 };
        let before = (word.bits >> 1) >> (63 - bit % 64);
        word.before + u64::from(before.count_ones()) + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::line::bitmap::Bitmap;

    proptest! {
        #[test]
        fn positions_are_those_of_a_plain_count(
            ranks in proptest::collection::btree_set(0u64..6000, 0..400),
            probes in proptest::collection::vec(0u64..7000, 50),
        ) {
            let mut map = Bitmap::default();
            ranks.iter().for_each(|rank| map.set(*rank));
            let first_byte = ranks.first().map_or(0, |rank| rank / 8);
            let index = PositionIndex::new(first_byte, &map.bytes(first_byte, usize::MAX));
            prop_assert_eq!(index.waiting(), ranks.len() as u64);
            for rank in probes.into_iter().chain(ranks.iter().copied()) {
                prop_assert_eq!(index.position(Rank(rank)), ranks.range(..rank).count() as u64 + 1);
                prop_assert_eq!(index.contains(Rank(rank)), ranks.contains(&rank));
                prop_assert_eq!(index.place(Rank(rank)), ranks.contains(&rank).then(|| index.position(Rank(rank))));
            }
        }
    }
}
