//! Positions from one snapshot of the presence bitmap: a population count below a rank.
//!
//! The bytes are counted where they lie; what is kept beside them is how many are in line before each block of 512
//! ranks. [`RankMap::sweep`] asks for many places in one pass, word by word, and counts each word once.

mod ranks;

use bytes::Bytes;

use ranks::CHUNK_WORDS;
pub use ranks::{RankMap, Spot};

use crate::ids::Rank;

/// Ranks of a word.
const WORD_RANKS: u64 = 64;
/// Bytes of a word.
const WORD_BYTES: usize = 8;
/// Bytes of a block, the smallest stretch whose beginning is counted.
const BLOCK_BYTES: usize = 64;
/// Words of a block.
const BLOCK_WORDS: usize = BLOCK_BYTES / WORD_BYTES;

/// Where a rank's bit is in its word, which holds the bytes in their order, least significant first, while each
/// byte has its first rank in the most significant bit.
#[inline]
const fn bit_of(rank: u64) -> u32 {
    (rank % WORD_RANKS) as u32 ^ 7
}

/// How many bits of each byte of a word are set, as bytes.
#[inline]
const fn counts_of_bytes(word: u64) -> u64 {
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f
}

/// How many bits of a block are set: up to 512.
fn count_of_block(block: &[u8; BLOCK_BYTES]) -> u64 {
    let (words, _) = block.as_chunks::<WORD_BYTES>();
    // Each byte counts to 64 at most.
    let bytes: u64 = words.iter().map(|word| counts_of_bytes(u64::from_le_bytes(*word))).sum();
    let pairs = (bytes & 0x00ff_00ff_00ff_00ff) + ((bytes >> 8) & 0x00ff_00ff_00ff_00ff);
    pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48
}

/// An index over a stretch of presence bits that holds every waiter.
#[derive(Clone, Debug, Default)]
pub struct PositionIndex {
    /// The rank of the first bit: the first of a word.
    first: u64,
    bytes: Bytes,
    /// How many are in line before each block.
    before: Vec<u64>,
    total: u64,
}

impl PositionIndex {
    /// Indexes bytes as Redis numbers their bits (most significant first), the first being byte `first_byte`. They
    /// are not copied if that is a multiple of eight.
    pub fn new(first_byte: u64, bytes: Bytes) -> Self {
        let lead = (first_byte % WORD_BYTES as u64) as usize;
        let bytes = if lead == 0 { bytes } else { [&[0; WORD_BYTES][..lead], &bytes].concat().into() };
        let mut before = Vec::with_capacity(bytes.len().div_ceil(BLOCK_BYTES));
        let mut total = 0;
        let (blocks, rest) = bytes.as_chunks();
        for block in blocks {
            before.push(total);
            total += count_of_block(block);
        }
        if !rest.is_empty() {
            before.push(total);
            total += rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        }
        Self { first: (first_byte - lead as u64) * 8, bytes, before, total }
    }

    /// The byte of the presence bitmap at which the stretch starts: a multiple of eight.
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
        let word = self.word(bit / WORD_RANKS);
        (word >> bit_of(bit) & 1 == 1).then(|| self.position(rank))
    }

    /// 1 + the number of waiters before this rank.
    pub fn position(&self, rank: Rank) -> u64 {
        let bit = rank.0.saturating_sub(self.first);
        let word = bit / WORD_RANKS;
        let Some(before) = self.before.get((word / BLOCK_WORDS as u64) as usize) else { return self.total + 1 };
        let block = word - word % BLOCK_WORDS as u64;
        let whole: u64 = (block..word).map(|word| u64::from(self.word(word).count_ones())).sum();
        // The first rank on top.
        let upto = (self.word(word).swap_bytes() >> 1) >> (63 - bit % WORD_RANKS);
        before + whole + u64::from(upto.count_ones()) + 1
    }

    /// A word of the stretch, as [`bit_of`] has it; zero beyond its end.
    #[inline]
    fn word(&self, number: u64) -> u64 {
        let Ok(at) = usize::try_from(number) else { return 0 };
        let bytes = self.bytes.get(at.saturating_mul(WORD_BYTES)..).unwrap_or_default();
        match bytes.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let mut last = [0; WORD_BYTES];
                last[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(last)
            }
        }
    }

    /// The words of a chunk that begins at `first`, the first rank of a word; zero where the stretch has none.
    #[inline]
    fn words(&self, first: Rank) -> [u64; CHUNK_WORDS] {
        const CHUNK_BYTES: usize = CHUNK_WORDS * WORD_BYTES;
        let whole = first.0.checked_sub(self.first).and_then(|ranks| {
            let at = usize::try_from(ranks / 8).ok()?;
            self.bytes.get(at..)?.first_chunk::<CHUNK_BYTES>()
        });
        if let Some(bytes) = whole {
            let (words, _) = bytes.as_chunks();
            return std::array::from_fn(|word| u64::from_le_bytes(words[word]));
        }
        // The stretch begins or ends within it.
        let number = |word| {
            first.0.saturating_add(word as u64 * WORD_RANKS).checked_sub(self.first).map(|ranks| ranks / WORD_RANKS)
        };
        std::array::from_fn(|word| number(word).map_or(0, |number| self.word(number)))
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
            let index = PositionIndex::new(first_byte, map.bytes(first_byte, usize::MAX).into());
            prop_assert_eq!(index.waiting(), ranks.len() as u64);
            prop_assert_eq!(index.first_byte(), first_byte / 8 * 8);
            for rank in probes.into_iter().chain(ranks.iter().copied()) {
                prop_assert_eq!(index.position(Rank(rank)), ranks.range(..rank).count() as u64 + 1);
                prop_assert_eq!(index.contains(Rank(rank)), ranks.contains(&rank));
                prop_assert_eq!(index.place(Rank(rank)), ranks.contains(&rank).then(|| index.position(Rank(rank))));
            }
        }
    }

    #[test]
    fn a_full_block_is_counted() {
        assert_eq!(count_of_block(&[0xff; BLOCK_BYTES]), 512);
        let index = PositionIndex::new(8, vec![0xff; 3 * BLOCK_BYTES + 1].into());
        assert_eq!((index.waiting(), index.place(Rank(64)), index.place(Rank(63))), (1_544, Some(1), None));
        assert_eq!((index.place(Rank(1_607)), index.place(Rank(1_608))), (Some(1_544), None));
        assert_eq!(index.place(Rank(u64::MAX)), None);
    }
}
