//! Positions from one snapshot of the presence bitmap: a population count below a rank.
//!
//! Building the index is one pass over the bytes; a position is then one look-up and at most eight counts.

use crate::ids::Rank;

const WORDS_PER_BLOCK: usize = 8;

/// An index over a stretch of presence bits that holds every waiter.
#[derive(Clone, Debug, Default)]
pub struct PositionIndex {
    /// The rank of the first bit.
    first: u64,
    words: Vec<u64>,
    /// Set bits before each block of [`WORDS_PER_BLOCK`] words.
    before: Vec<u32>,
    total: u64,
}

impl PositionIndex {
    /// Indexes bytes as Redis numbers their bits (most significant first), the first being byte `first_byte`.
    pub fn new(first_byte: u64, bytes: &[u8]) -> Self {
        let mut words = Vec::with_capacity(bytes.len() / 8 + 1);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            words.push(u64::from_be_bytes(chunk.try_into().unwrap_or_default()));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words.push(u64::from_be_bytes(last));
        }
        let mut total = 0;
        let mut before = Vec::with_capacity(words.len() / WORDS_PER_BLOCK + 1);
        for block in words.chunks(WORDS_PER_BLOCK) {
            before.push(total);
            total += block.iter().map(|word| word.count_ones()).sum::<u32>();
        }
        Self { first: first_byte * 8, words, before, total: u64::from(total) }
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
        let Some(bit) = rank.0.checked_sub(self.first) else { return false };
        self.words.get((bit / 64) as usize).is_some_and(|word| word & (1 << (63 - bit % 64)) != 0)
    }

    /// 1 + the number of waiters before this rank.
    pub fn position(&self, rank: Rank) -> u64 {
        let bit = rank.0.saturating_sub(self.first);
        let word = (bit / 64) as usize;
        if word >= self.words.len() {
            return self.total + 1;
        }
        let block = word / WORDS_PER_BLOCK;
        let whole = &self.words[block * WORDS_PER_BLOCK..word];
        let whole: u32 = self.before[block] + whole.iter().map(|word| word.count_ones()).sum::<u32>();
        let below = bit % 64;
        let part = if below == 0 { 0 } else { (self.words[word] >> (64 - below)).count_ones() };
        u64::from(whole + part) + 1
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
            }
        }
    }
}
