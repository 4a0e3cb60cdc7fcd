//! A visitor's positions, thinned: of a long wait as many are kept as of a short one, spread over all of it.

use crate::rehearse::record::{SIGHTS_MAX, Sight};

/// Sights of all visitors together, at most: of a very large crowd fewer are kept of each.
const SIGHTS_OF_ALL_MAX: usize = 400_000;
const SIGHTS_MIN: usize = 8;

/// How many are kept of each of so many visitors, at most.
pub fn most(visitors: usize) -> usize {
    (SIGHTS_OF_ALL_MAX / visitors.max(1)).clamp(SIGHTS_MIN, SIGHTS_MAX)
}

/// How often one is kept.
#[derive(Clone, Copy, Debug)]
pub struct Every {
    every: u64,
    seen: u64,
}

impl Default for Every {
    fn default() -> Self {
        Self { every: 1, seen: 0 }
    }
}

/// Adds one. The first and the last always stay; of those between every second goes when there is no more room.
pub fn add(sights: &mut Vec<Sight>, every: &mut Every, most: usize, sight: Sight) {
    // The last of the list is the last that was seen, and stays only if it is its turn.
    if every.seen > 1 && !(every.seen - 1).is_multiple_of(every.every) {
        sights.pop();
    }
    every.seen += 1;
    if sights.len() >= most {
        let mut index = 0;
        sights.retain(|_| {
            index += 1;
            index % 2 == 1
        });
        every.every *= 2;
    }
    sights.push(sight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_stay() {
        let (mut sights, mut every) = (Vec::new(), Every::default());
        for position in 0..1_000 {
            add(&mut sights, &mut every, most(300), Sight { as_of: position, at: position, position, waiting: 0 });
            assert!(sights.len() <= SIGHTS_MAX);
            assert_eq!((sights[0].position, sights[sights.len() - 1].position), (0, position));
        }
        assert!(sights.len() > SIGHTS_MAX / 4, "{}", sights.len());
        assert_eq!((most(1), most(20_000), most(100_000)), (64, 20, 8));
        assert!(sights.windows(2).all(|pair| pair[0].position < pair[1].position));
    }
}
