//! The sockets of one line on this node: by visitor, and by rank, so that one pass over the line finds the places of
//! all of them.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

use queue_core::{
    ids::{Rank, VisitorId},
    positions::{PositionIndex, RankMap, Spot},
};

use super::push::Slot;

/// A slot that is known by its visitor.
#[derive(Debug)]
struct ByVisitor(Arc<Slot>);

impl Borrow<VisitorId> for ByVisitor {
    fn borrow(&self) -> &VisitorId {
        &self.0.visitor
    }
}

impl Hash for ByVisitor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.visitor.hash(state);
    }
}

impl PartialEq for ByVisitor {
    fn eq(&self, other: &Self) -> bool {
        self.0.visitor == other.0.visitor
    }
}

impl Eq for ByVisitor {}

/// One slot of each visitor.
#[derive(Debug, Default)]
pub struct Slots {
    // Visitors are random or authenticated: nobody chooses what collides.
    by_visitor: HashSet<ByVisitor, foldhash::fast::RandomState>,
    by_rank: RankMap<Arc<Slot>>,
    /// Those whose rank was taken: places of a line that is lost, until somebody has told them.
    others: Vec<Arc<Slot>>,
}

impl Slots {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_visitor.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_visitor.is_empty()
    }

    pub fn get(&self, visitor: &VisitorId) -> Option<&Arc<Slot>> {
        self.by_visitor.get(visitor).map(|ByVisitor(slot)| slot)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_visitor.iter().map(|ByVisitor(slot)| slot)
    }

    /// Puts a slot in the place of what its visitor had, which is given back. `rank_of` tells the rank of a slot.
    pub fn insert(&mut self, slot: Arc<Slot>, rank_of: impl Fn(&Slot) -> Rank) -> Option<Arc<Slot>> {
        let older = self.by_visitor.take(&slot.visitor).map(|ByVisitor(older)| older);
        if let Some(older) = &older {
            self.take_out(older, rank_of(older));
        }
        self.place(slot.clone(), rank_of(&slot));
        self.by_visitor.insert(ByVisitor(slot));
        older
    }

    /// Takes a slot out, if it is still its visitor's.
    pub fn remove(&mut self, slot: &Arc<Slot>, rank: Rank) {
        if self.get(&slot.visitor).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            self.by_visitor.remove(&slot.visitor);
            self.take_out(slot, rank);
        }
    }

    /// A slot follows another place now.
    pub fn moved(&mut self, slot: &Arc<Slot>, from: Rank, to: Rank) {
        if from != to && self.get(&slot.visitor).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            self.take_out(slot, from);
            self.place(slot.clone(), to);
        }
    }

    /// At least `count` slots, if there are so many, and their places, from `from` on; and where to go on, or `None`
    /// at the end.
    pub fn sweep(&self, from: Rank, count: usize, index: &PositionIndex) -> (Vec<(Arc<Slot>, Spot)>, Option<Rank>) {
        let (mut found, mut next) = (Vec::new(), Some(from));
        while let Some(from) = next.filter(|_| found.len() < count) {
            next = self.by_rank.sweep_next(from, index, |slot, spot| found.push((slot.clone(), spot)));
        }
        (found, next)
    }

    /// Those that [`Slots::sweep`] does not find.
    pub fn others(&self) -> &[Arc<Slot>] {
        &self.others
    }

    fn place(&mut self, slot: Arc<Slot>, rank: Rank) {
        if let Err(slot) = self.by_rank.insert(rank, slot) {
            self.others.push(slot);
        }
    }

    fn take_out(&mut self, slot: &Arc<Slot>, rank: Rank) {
        if self.by_rank.get(rank).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            self.by_rank.remove(rank);
        } else {
            self.others.retain(|other| !Arc::ptr_eq(other, slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use queue_core::ids::{Generation, Seq};

    use super::*;
    use crate::node::{Outlet, push::Phase};

    fn slot(visitor: &str, seq: u64) -> Arc<Slot> {
        let visitor = VisitorId::new(visitor).unwrap();
        Arc::new(Slot::new(seq, visitor, Seq(seq), Generation(1), Phase::Waiting, Arc::new(Outlet::unconnected())))
    }

    fn rank_of(slot: &Slot) -> Rank {
        Rank(slot.with(|inner| inner.seq.0))
    }

    /// Who is found, with rank and place, where everybody up to rank 3,000 waits.
    fn swept(slots: &Slots) -> Vec<(String, u64, Option<u64>)> {
        let index = PositionIndex::new(0, vec![0xff; 375].into());
        let (mut found, mut next) = (Vec::new(), Some(Rank(0)));
        while let Some(from) = next {
            let some;
            (some, next) = slots.sweep(from, 2, &index);
            assert!(some.len() >= 2 || next.is_none());
            found.extend(some.iter().map(|(slot, spot)| (slot.visitor.to_string(), spot.rank.0, spot.place)));
        }
        found
    }

    #[test]
    fn everybody_is_found_once() {
        let mut slots = Slots::default();
        for (visitor, seq) in [("c", 2_999), ("a", 5), ("d", 3_000), ("b", 1_500)] {
            assert!(slots.insert(slot(visitor, seq), rank_of).is_none());
        }
        let name = |name: &str, rank, place| (name.to_owned(), rank, place);
        let all = [name("a", 5, Some(6)), name("b", 1_500, Some(1_501)), name("c", 2_999, Some(3_000))];
        assert_eq!(swept(&slots), [&all[..], &[name("d", 3_000, None)]].concat());
        // A newer socket of the same place.
        let newer = slot("b", 1_500);
        let older = slots.insert(newer.clone(), rank_of).unwrap();
        slots.remove(&older, Rank(1_500));
        assert_eq!((slots.len(), swept(&slots).len()), (4, 4), "the newer one stays");
        assert!(Arc::ptr_eq(slots.get(&newer.visitor).unwrap(), &newer));
        slots.moved(&newer, Rank(1_500), Rank(20));
        assert_eq!(swept(&slots)[1], name("b", 20, Some(21)));
        slots.remove(&newer, Rank(20));
        assert_eq!((slots.len(), slots.iter().count(), swept(&slots).len()), (3, 3, 3));
    }

    #[test]
    fn a_rank_that_is_taken_is_looked_at_apart() {
        let mut slots = Slots::default();
        let (lost, new) = (slot("lost", 9), slot("new", 9));
        assert!(slots.insert(lost.clone(), rank_of).is_none() && slots.insert(new.clone(), rank_of).is_none());
        assert_eq!((slots.len(), slots.others().len(), swept(&slots).len()), (2, 1, 1));
        slots.remove(&new, Rank(9));
        assert_eq!((slots.len(), slots.others().len(), swept(&slots).len()), (1, 0, 1));
        slots.remove(&lost, Rank(9));
        assert!(slots.is_empty() && swept(&slots).is_empty());
    }
}
