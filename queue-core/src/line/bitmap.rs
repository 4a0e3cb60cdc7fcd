//! A growable bitmap, most significant bit first, as Redis numbers the bits of a string.

/// Bit `n` is bit `7 - n % 8` of byte `n / 8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
}

const fn mask(bit: u64) -> u64 {
    1 << (63 - bit % 64)
}

impl Bitmap {
    /// Sets a bit.
    pub fn set(&mut self, bit: u64) {
        let word = (bit / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= mask(bit);
    }

    /// Clears a bit.
    pub fn clear(&mut self, bit: u64) {
        if let Some(word) = self.words.get_mut((bit / 64) as usize) {
            *word &= !mask(bit);
        }
    }

    /// Whether a bit is set.
    pub fn get(&self, bit: u64) -> bool {
        self.words.get((bit / 64) as usize).is_some_and(|word| word & mask(bit) != 0)
    }

    /// How many bits below `bit` are set.
    pub fn count_below(&self, bit: u64) -> u64 {
        let full = ((bit / 64) as usize).min(self.words.len());
        let whole: u64 = self.words[..full].iter().map(|word| u64::from(word.count_ones())).sum();
        let part = self.words.get((bit / 64) as usize).map_or(0, |word| {
            let below = bit % 64;
            if below == 0 { 0 } else { u64::from((word >> (64 - below)).count_ones()) }
        });
        whole + part
    }

    /// Sets every bit that is set in `bytes`, which start at byte `first`.
    pub fn or_bytes(&mut self, first: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            let at = first as usize + i;
            if at / 8 >= self.words.len() {
                self.words.resize(at / 8 + 1, 0);
            }
            self.words[at / 8] |= u64::from(*byte) << (56 - at % 8 * 8);
        }
    }

    /// The bytes from `first` on, `len` at most, without zero bytes at the end.
    pub fn bytes(&self, first: u64, len: usize) -> Vec<u8> {
        let (from, skip) = ((first / 8) as usize, (first % 8) as usize);
        let words = self.words.get(from..).unwrap_or_default();
        let words = &words[..words.len().min(len.saturating_add(skip).div_ceil(8))];
        let mut bytes = Vec::with_capacity(words.len() * 8);
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        bytes.drain(..skip.min(bytes.len()));
        bytes.truncate(len);
        let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(kept);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_numbered_as_redis_does() {
        let mut map = Bitmap::default();
        map.set(0);
        map.set(9);
        map.set(200);
        assert_eq!(map.bytes(0, 2), [0x80, 0x40]);
        assert_eq!(map.bytes(25, 9), [0x80]);
        assert_eq!(map.bytes(26, 9), [0u8; 0]);
        assert_eq!((map.count_below(0), map.count_below(1), map.count_below(10), map.count_below(500)), (0, 1, 2, 3));
        map.clear(9);
        map.clear(10_000);
        assert!(map.get(0) && !map.get(9) && map.get(200) && !map.get(201));
        let mut other = Bitmap::default();
        other.or_bytes(1, &[0x40, 0, 0xff]);
        assert!(other.get(9) && other.get(24) && other.get(31) && !other.get(32));
    }
}
