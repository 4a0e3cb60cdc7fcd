//! Keys that take turns: which of them signs, and which are still believed. Pure: the time is a parameter.
//!
//! Invariants: a key that turns up while the ring is in use is published at once and signs only after a lead, so that
//! whoever verifies has met it before its first token comes; there is always one that signs, and it is always
//! among those that are published; a key that was taken away is believed for as long as a token of it may be shown.

use queue_core::ids::Millis;

/// A key as it was found, and since when others may have found it too.
#[derive(Clone, Debug)]
pub struct Found<K> {
    pub key: K,
    pub since: Millis,
}

/// How keys take turns.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// From publishing a key to signing with it.
    pub lead_ms: u64,
    /// From taking a key away to believing it no more.
    pub kept_ms: u64,
    /// Keys that are believed, at most.
    pub keys_max: usize,
}

struct Entry<K> {
    key: K,
    since: Millis,
    gone: Option<Millis>,
}

/// Keys, in the order in which they should sign, those that were taken away last.
pub struct Ring<K> {
    turns: Turns,
    entries: Vec<Entry<K>>,
    signer: K,
}

impl<K: Clone + PartialEq> Ring<K> {
    /// A ring of what is found at the start, the key that should sign first. `None` without any key.
    pub fn new(turns: Turns, found: Vec<Found<K>>, now: Millis) -> Option<Self> {
        let first = found.first()?.key.clone();
        let entries = found.into_iter().map(|found| Entry { key: found.key, since: found.since.min(now), gone: None });
        let mut ring = Self { turns, entries: entries.collect(), signer: first };
        ring.advance(now);
        Some(ring)
    }

    /// Takes over what is found now. Says whether anything is another than before.
    pub fn update(&mut self, found: &[K], now: Millis) -> bool {
        let before: Vec<(K, bool)> =
            self.entries.iter().map(|entry| (entry.key.clone(), entry.gone.is_some())).collect();
        let mut entries = Vec::with_capacity(found.len() + self.entries.len());
        for key in found {
            let known = self.entries.iter().position(|entry| entry.key == *key).map(|at| self.entries.remove(at));
            let since = known.map_or(now, |known| known.since);
            entries.push(Entry { key: key.clone(), since, gone: None });
        }
        for mut left in self.entries.drain(..) {
            left.gone.get_or_insert(now);
            entries.push(left);
        }
        self.entries = entries;
        let advanced = self.advance(now);
        advanced
            || !before
                .iter()
                .map(|(key, gone)| (key, *gone))
                .eq(self.entries.iter().map(|e| (&e.key, e.gone.is_some())))
    }

    /// Lets time pass: who signs, and who is believed no more. Says whether anything changed.
    pub fn advance(&mut self, now: Millis) -> bool {
        let ready = |entry: &&Entry<K>| entry.gone.is_none() && entry.since.plus(self.turns.lead_ms) <= now;
        let signer = self.entries.iter().find(ready).map_or_else(|| self.signer.clone(), |entry| entry.key.clone());
        let mut changed = signer != self.signer;
        self.signer = signer;
        let count = self.entries.len();
        let kept = self.turns.kept_ms;
        let signer = &self.signer;
        self.entries.retain(|entry| entry.key == *signer || entry.gone.is_none_or(|gone| now < gone.plus(kept)));
        while self.entries.len() > self.turns.keys_max && self.drop_oldest_gone() {}
        changed |= self.entries.len() != count;
        changed
    }

    fn drop_oldest_gone(&mut self) -> bool {
        let gone =
            self.entries.iter().enumerate().filter(|(_, entry)| entry.gone.is_some() && entry.key != self.signer);
        let oldest = gone.min_by_key(|(_, entry)| entry.gone).map(|(at, _)| at);
        oldest.map(|at| self.entries.remove(at)).is_some()
    }

    /// The one that signs.
    pub fn signer(&self) -> &K {
        &self.signer
    }

    /// All that are believed, the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &K> {
        let others = self.entries.iter().map(|entry| &entry.key).filter(|key| **key != self.signer);
        std::iter::once(&self.signer).chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: Turns = Turns { lead_ms: 90_000, kept_ms: 1_000_000, keys_max: 4 };

    fn found(keys: &[(u32, u64)]) -> Vec<Found<u32>> {
        keys.iter().map(|(key, since)| Found { key: *key, since: Millis(*since) }).collect()
    }

    fn all(ring: &Ring<u32>) -> Vec<u32> {
        ring.all().copied().collect()
    }

    #[test]
    fn a_new_key_is_published_before_it_signs() {
        let mut ring = Ring::new(TURNS, found(&[(1, 0)]), Millis(5_000)).unwrap();
        assert_eq!(*ring.signer(), 1);
        assert!(ring.update(&[2, 1], Millis(100_000)));
        assert_eq!((*ring.signer(), all(&ring)), (1, vec![1, 2]));
        assert!(!ring.update(&[2, 1], Millis(189_999)));
        assert_eq!(*ring.signer(), 1);
        assert!(ring.advance(Millis(190_000)));
        assert_eq!((*ring.signer(), all(&ring)), (2, vec![2, 1]));
        assert!(!ring.advance(Millis(190_001)));
    }

    #[test]
    fn a_removed_key_is_believed_for_a_while() {
        let mut ring = Ring::new(TURNS, found(&[(2, 0), (1, 0)]), Millis(200_000)).unwrap();
        assert!(ring.update(&[2], Millis(300_000)));
        assert_eq!(all(&ring), [2, 1]);
        assert!(!ring.update(&[2], Millis(1_299_999)));
        assert!(ring.update(&[2], Millis(1_300_000)));
        assert_eq!(all(&ring), [2]);
        // One that comes back has kept its time.
        ring.update(&[1], Millis(1_400_000));
        assert_eq!(*ring.signer(), 2);
        ring.update(&[2, 1], Millis(1_400_001));
        assert_eq!(*ring.signer(), 2);
    }

    #[test]
    fn the_last_key_signs_until_its_successor_may() {
        let mut ring = Ring::new(TURNS, found(&[(1, 0)]), Millis(0)).unwrap();
        // Exchanged in one step.
        assert!(ring.update(&[2], Millis(10_000)));
        assert_eq!((*ring.signer(), all(&ring)), (1, vec![1, 2]));
        assert!(ring.advance(Millis(100_000)));
        assert_eq!((*ring.signer(), all(&ring)), (2, vec![2, 1]));
    }

    #[test]
    fn at_the_start_the_age_of_a_key_counts() {
        let ring = |keys: &[(u32, u64)]| *Ring::new(TURNS, found(keys), Millis(1_000_000)).unwrap().signer();
        assert_eq!(ring(&[(2, 1), (1, 0)]), 2, "both are old: the newest");
        assert_eq!(ring(&[(2, 950_000), (1, 0)]), 1, "others have not met the newest yet");
        assert_eq!(ring(&[(2, 950_000), (1, 940_000)]), 2, "none is old: the newest");
        assert_eq!(ring(&[(2, 5_000_000)]), 2, "a clock that is wrong stops nothing");
        assert!(Ring::<u32>::new(TURNS, Vec::new(), Millis(0)).is_none());
    }

    #[test]
    fn the_ring_is_bounded_and_keeps_its_signer() {
        let mut ring = Ring::new(TURNS, found(&[(0, 0)]), Millis(0)).unwrap();
        for step in 1..20_u32 {
            ring.update(&[step], Millis(u64::from(step)));
            assert!(all(&ring).len() <= TURNS.keys_max);
            assert_eq!(*ring.signer(), 0, "the only one that was ever published long enough");
            assert!(all(&ring).contains(&step));
        }
    }
}
