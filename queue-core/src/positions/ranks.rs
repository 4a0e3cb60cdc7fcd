//! What belongs to ranks, and one pass over all of it beside a [`PositionIndex`].
//!
//! A chunk has a bit for each of its ranks that has something, and these things side by side: where ranks are dense, a
//! thing takes what it takes and a bit. Within a word bits and things stand in the order of [`bit_of`], so that a word
//! of a chunk and one of the index are compared as they are.

use std::collections::BTreeMap;

use super::{PositionIndex, WORD_RANKS, bit_of, counts_of_bytes};
use crate::ids::Rank;

/// Words of a chunk.
pub(super) const CHUNK_WORDS: usize = 16;
/// Ranks of a chunk.
const CHUNK_RANKS: u64 = CHUNK_WORDS as u64 * WORD_RANKS;

/// A thing in a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Its rank.
    pub rank: Rank,
    /// 1 + the number of waiters before it, if its own waiter is still in line.
    pub place: Option<u64>,
}

/// One thing of each of many ranks.
#[derive(Clone, Debug)]
pub struct RankMap<T> {
    chunks: BTreeMap<u64, Box<Chunk<T>>>,
}

impl<T> Default for RankMap<T> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new() }
    }
}

impl<T> RankMap<T> {
    /// The thing of a rank.
    pub fn get(&self, rank: Rank) -> Option<&T> {
        let (chunk, word, bit) = at(rank);
        let chunk = self.chunks.get(&chunk).filter(|chunk| chunk.has(word, bit))?;
        chunk.things.get(chunk.nth(word, bit))
    }

    /// Puts a thing at its rank, if that has none yet; gives it back if it has.
    pub fn insert(&mut self, rank: Rank, thing: T) -> Result<(), T> {
        let (chunk, word, bit) = at(rank);
        let chunk = self.chunks.entry(chunk).or_default();
        if chunk.has(word, bit) {
            return Err(thing);
        }
        chunk.things.insert(chunk.nth(word, bit), thing);
        chunk.bits[word] |= 1 << bit;
        Ok(())
    }

    /// Takes the thing of a rank out.
    pub fn remove(&mut self, rank: Rank) -> Option<T> {
        let (number, word, bit) = at(rank);
        let chunk = self.chunks.get_mut(&number).filter(|chunk| chunk.has(word, bit))?;
        let thing = chunk.things.remove(chunk.nth(word, bit));
        chunk.bits[word] &= !(1 << bit);
        if chunk.things.is_empty() {
            self.chunks.remove(&number);
        }
        Some(thing)
    }

    /// Visits everything, nearly in the order of ranks, with its place.
    pub fn sweep<'t>(&'t self, index: &PositionIndex, mut visit: impl FnMut(&'t T, Spot)) {
        for (number, chunk) in &self.chunks {
            chunk.sweep(*number * CHUNK_RANKS, index, &mut visit);
        }
    }

    /// [`RankMap::sweep`] of the next stretch that has something, a thousand ranks at most, from `from` on. Gives
    /// where to go on; `None` at the end.
    pub fn sweep_next<'t>(&'t self, from: Rank, index: &PositionIndex, visit: impl FnMut(&'t T, Spot)) -> Option<Rank> {
        let (number, chunk) = self.chunks.range(from.0.div_ceil(CHUNK_RANKS)..).next()?;
        chunk.sweep(*number * CHUNK_RANKS, index, visit);
        Some(Rank((*number + 1).saturating_mul(CHUNK_RANKS)))
    }
}

/// The chunk of a rank, the word in it, and the bit in that.
const fn at(rank: Rank) -> (u64, usize, u32) {
    (rank.0 / CHUNK_RANKS, (rank.0 % CHUNK_RANKS / WORD_RANKS) as usize, bit_of(rank.0))
}

#[derive(Clone, Debug)]
struct Chunk<T> {
    bits: [u64; CHUNK_WORDS],
    things: Vec<T>,
}

impl<T> Default for Box<Chunk<T>> {
    fn default() -> Self {
        Self::new(Chunk { bits: [0; CHUNK_WORDS], things: Vec::new() })
    }
}

impl<T> Chunk<T> {
    const fn has(&self, word: usize, bit: u32) -> bool {
        self.bits[word] >> bit & 1 == 1
    }

    /// Where the thing of a bit is, or would be.
    fn nth(&self, word: usize, bit: u32) -> usize {
        let before: u32 = self.bits[..word].iter().map(|bits| bits.count_ones()).sum();
        let below = self.bits[word] & ((1 << bit) - 1);
        (before + below.count_ones()) as usize
    }

    /// Visits each thing with its place. `first` is the chunk's first rank.
    fn sweep<'t>(&'t self, first: u64, index: &PositionIndex, mut visit: impl FnMut(&'t T, Spot)) {
        let mut things = self.things.iter();
        let mut before = index.position(Rank(first)) - 1;
        let words = self.bits.iter().zip(index.words(Rank(first))).zip((first..).step_by(WORD_RANKS as usize));
        for ((&mine, present), rank) in words {
            if mine == 0 {
                before += u64::from(present.count_ones());
                continue;
            }
            if present == u64::MAX {
                // Nobody of these has left, as at first in every rush: where a rank is in the word says who is before.
                each_bit(mine, |bit| {
                    let nth = u64::from(bit ^ 7);
                    let spot = Spot { rank: Rank(rank + nth), place: Some(before + nth + 1) };
                    things.next().map(|thing| visit(thing, spot))
                });
                before += WORD_RANKS;
                continue;
            }
            let upto = upto_each(present);
            let place = |bit: u32| before + u64::from(upto[bit as usize]);
            let spot = |bit: u32, place| Spot { rank: Rank(rank + u64::from(bit ^ 7)), place };
            // There is one for each bit. Mostly all are in line, and none has to be looked at by itself.
            if mine & !present == 0 {
                each_bit(mine, |bit| things.next().map(|thing| visit(thing, spot(bit, Some(place(bit))))));
            } else {
                each_bit(mine, |bit| {
                    let place = (present >> bit & 1 == 1).then(|| place(bit));
                    things.next().map(|thing| visit(thing, spot(bit, place)))
                });
            }
            before += u64::from(upto[LAST_BIT]);
        }
    }
}

/// Goes through the bits of a word, from the least significant on, for as long as there is something.
#[inline]
fn each_bit(mut word: u64, mut visit: impl FnMut(u32) -> Option<()>) {
    while word != 0 && visit(word.trailing_zeros()).is_some() {
        word &= word - 1;
    }
}

/// The bit of a word's last rank.
const LAST_BIT: usize = 56;

/// For each byte: how many bits are set from the most significant one down to bit `n`, in byte `n`.
static UPTO: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= ((byte >> bit).count_ones() as u64) << (8 * bit);
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// For each bit of a word, how many of the ranks up to its own are set.
#[inline]
fn upto_each(word: u64) -> [u8; WORD_RANKS as usize] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // How many are set in the bytes before each; the carry of the last byte is not wanted.
    let before = counts_of_bytes(word).wrapping_mul(EACH) << 8;
    let mut upto = [0; WORD_RANKS as usize];
    let (bytes, _) = upto.as_chunks_mut();
    for (number, byte) in bytes.iter_mut().enumerate() {
        let of_bits = UPTO[(word >> (8 * number) & 0xff) as usize];
        *byte = (of_bits + (before >> (8 * number) & 0xff) * EACH).to_le_bytes();
    }
    upto
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_set, prelude::*};

    use super::*;
    use crate::line::bitmap::Bitmap;

    proptest! {
        #[test]
        fn a_sweep_finds_each_place(
            waiting in btree_set(0u64..9_000, 0..600),
            mine in btree_set(0u64..12_000, 0..300),
            gone in btree_set(0u64..12_000, 0..100),
        ) {
            let mut bitmap = Bitmap::default();
            waiting.iter().for_each(|rank| bitmap.set(*rank));
            let first_byte = waiting.first().map_or(0, |rank| rank / 8);
            let index = PositionIndex::new(first_byte, bitmap.bytes(first_byte, usize::MAX).into());
            let mut map = RankMap::default();
            mine.iter().for_each(|rank| map.insert(Rank(*rank), *rank).unwrap());
            for rank in &gone {
                prop_assert_eq!(map.remove(Rank(*rank)), mine.get(rank).copied());
            }
            let left: BTreeSet<u64> = mine.difference(&gone).copied().collect();

            let mut seen = BTreeSet::new();
            map.sweep(&index, |thing, spot| {
                assert_eq!((spot.rank.0, spot.place), (*thing, index.place(spot.rank)));
                assert!(seen.insert(*thing));
            });
            prop_assert_eq!(&seen, &left);

            let (mut next, mut count) = (Some(Rank(0)), 0);
            while let Some(from) = next {
                next = map.sweep_next(from, &index, |thing, spot| {
                    assert_eq!((spot.rank.0, spot.place), (*thing, index.place(spot.rank)));
                    count += 1;
                });
            }
            prop_assert_eq!(count, left.len());
        }
    }

    #[test]
    fn a_rank_has_one_thing() {
        let mut map = RankMap::default();
        assert_eq!(map.insert(Rank(1_030), 'a'), Ok(()));
        assert_eq!(map.insert(Rank(1_030), 'b'), Err('b'));
        assert_eq!((map.get(Rank(1_030)), map.get(Rank(1_031)), map.get(Rank(6))), (Some(&'a'), None, None));
        assert_eq!((map.remove(Rank(1_031)), map.remove(Rank(1_030))), (None, Some('a')));
        assert!(map.chunks.is_empty());
        // The last ranks there are.
        assert_eq!(map.insert(Rank(u64::MAX >> 1), 'c'), Ok(()));
        map.sweep(&PositionIndex::default(), |_, spot| assert_eq!(spot.place, None));
    }

    #[test]
    fn each_bit_of_a_word_is_counted() {
        for word in [u64::MAX, 0, 0x8000_0000_0000_0001, 0x0123_4567_89ab_cdef] {
            let upto = upto_each(word);
            for rank in 0..64 {
                let count = (0..=rank).filter(|rank| word >> bit_of(*rank) & 1 == 1).count();
                assert_eq!(usize::from(upto[bit_of(rank) as usize]), count, "{word:x} {rank}");
            }
        }
    }
}
