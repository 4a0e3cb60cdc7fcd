//! Which free seats are the best: next to each other, in the best row, and so that no single seat is left over.
//!
//! A [`Plan`] says which seats of a hall are neighbours; a [`Floor`] says which of them are free, and chooses. What it
//! chooses is a proposal: the store alone decides, in the step that holds the seats.
//!
//! Rows are better the earlier they come in the event's definition. Neighbours follow each other there, in one section
//! and row, and cost the same; where all numbers of a row are whole, a step that is larger than the usual one of that
//! row is an aisle, or a seat that was taken out. A *run* is a stretch of free neighbours. Taking part of one leaves a
//! single seat over if a run of one remains: `n` seats fit well into a run of `n`, or of `n + 2` and more.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{
    Hall,
    bits::{SeatBits, SeatState},
    event::{Label, Seat},
};
use crate::{
    ids::{SeatId, TicketTypeId},
    limits::HOLD_SEATS_MAX,
};

/// Runs of this length and longer are the same to whoever chooses.
const LONG_RUN: usize = HOLD_SEATS_MAX + 2;
/// No place: the seat was taken out of the event.
const NOWHERE: u32 = u32::MAX;

const _: () = assert!(LONG_RUN < 16, "the lengths of runs are bits of a u16");

/// Which seats of a hall are neighbours. Immutable, as the hall is.
#[derive(Debug)]
pub struct Plan {
    /// The definition that it is of.
    pub revision: u64,
    /// Types with seats, and where their stretches are.
    kinds: HashMap<TicketTypeId, (usize, Range<usize>)>,
    /// By type, and then the best first.
    stretches: Vec<Stretch>,
    /// Place → seat index. The places of a stretch follow each other.
    seat_at: Vec<u32>,
    /// Place → stretch.
    stretch_of: Vec<u32>,
    /// Seat index → place.
    place_of: Vec<u32>,
}

/// Neighbours of one type.
#[derive(Debug)]
struct Stretch {
    places: Range<u32>,
    row: u32,
    kind: usize,
}

/// Which seats are free, as of some moment.
#[derive(Clone, Debug)]
pub struct Floor {
    plan: Arc<Plan>,
    /// By place.
    free: Vec<bool>,
    /// By stretch: bit `n` is set when it has a run of `n` seats, the last one standing for all longer ones too.
    runs: Vec<u16>,
    /// By type: how many are free.
    left: Vec<u64>,
}

impl Plan {
    /// The plan of a hall: takes tens of milliseconds for the largest.
    pub fn new(hall: &Hall) -> Self {
        let kinds: HashMap<_, _> =
            hall.body.ticket_types.iter().map(|kind| kind.ticket_type_id.clone()).zip(0..).collect();
        let mut rows = rows(hall);
        let slots = rows.iter().flatten().map(|(_, index)| *index as usize + 1).max().unwrap_or(0);
        let mut by_kind: Vec<Vec<(u32, Vec<u32>)>> = vec![Vec::new(); kinds.len()];
        for (row, seats) in rows.iter_mut().zip(0..).map(|(seats, row)| (row, seats)) {
            for (kind, stretch) in stretches(seats) {
                by_kind[kinds[&kind]].push((row, stretch));
            }
        }
        let mut plan = Self {
            revision: hall.revision,
            kinds: HashMap::new(),
            stretches: Vec::new(),
            seat_at: Vec::new(),
            stretch_of: Vec::new(),
            place_of: vec![NOWHERE; slots],
        };
        for (id, kind) in kinds {
            let first = plan.stretches.len();
            for (row, seats) in std::mem::take(&mut by_kind[kind]) {
                plan.add(row, kind, &seats);
            }
            plan.kinds.insert(id, (kind, first..plan.stretches.len()));
        }
        plan
    }

    fn add(&mut self, row: u32, kind: usize, seats: &[u32]) {
        let (first, stretch) = (self.seat_at.len() as u32, self.stretches.len() as u32);
        for (&seat, place) in seats.iter().zip(first..) {
            self.place_of[seat as usize] = place;
        }
        self.seat_at.extend_from_slice(seats);
        self.stretch_of.resize(self.seat_at.len(), stretch);
        self.stretches.push(Stretch { places: first..self.seat_at.len() as u32, row, kind });
    }

    fn place(&self, seat: u32) -> Option<usize> {
        self.place_of.get(seat as usize).filter(|place| **place != NOWHERE).map(|place| *place as usize)
    }
}

/// The seats of each row, both in the order of the definition.
fn rows(hall: &Hall) -> Vec<Vec<(Seat, u32)>> {
    let mut rows: Vec<Vec<(Seat, u32)>> = Vec::new();
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    for seat in hall.body.all_seats() {
        let Some(index) = hall.index_of(SeatId::as_str(&seat.seat_id)) else { continue };
        let row = match &seat.row {
            Label::Number(number) => number.to_string(),
            Label::Text(text) => text.clone(),
        };
        let next = rows.len();
        let at = *known.entry((seat.section.clone(), row)).or_insert(next);
        if at == next {
            rows.push(Vec::new());
        }
        rows[at].push((seat, index));
    }
    rows
}

/// The stretches of a row, with their types.
fn stretches(row: &[(Seat, u32)]) -> Vec<(TicketTypeId, Vec<u32>)> {
    let numbers: Option<Vec<u64>> = row
        .iter()
        .map(|(seat, _)| match &seat.number {
            Label::Number(number) => Some(*number),
            Label::Text(text) => text.parse().ok(),
        })
        .collect();
    let steps: Option<Vec<u64>> = numbers.map(|n| n.windows(2).map(|pair| pair[0].abs_diff(pair[1])).collect());
    let usual = steps.as_deref().map_or(0, usual_step);
    let mut all: Vec<(TicketTypeId, Vec<u32>)> = Vec::new();
    for (at, (seat, index)) in row.iter().enumerate() {
        let aisle = at > 0 && steps.as_ref().is_some_and(|steps| steps[at - 1] > usual);
        match all.last_mut() {
            Some((kind, stretch)) if *kind == seat.ticket_type_id && !aisle => stretch.push(*index),
            _ => all.push((seat.ticket_type_id.clone(), vec![*index])),
        }
    }
    all
}

/// The step that a row takes most often from one number to the next, the smallest of those.
fn usual_step(steps: &[u64]) -> u64 {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for step in steps {
        *counts.entry(*step).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(step, count)| (*count, std::cmp::Reverse(*step))).map_or(0, |(step, _)| step)
}

impl Floor {
    /// The floor of a plan with these states.
    pub fn new(plan: Arc<Plan>, states: &SeatBits) -> Self {
        let free: Vec<_> = plan.seat_at.iter().map(|&seat| states.get(seat) == SeatState::Free).collect();
        let mut floor = Self {
            runs: vec![0; plan.stretches.len()],
            left: vec![0; plan.kinds.len()],
            free,
            plan: Arc::clone(&plan),
        };
        for (place, &free) in floor.free.iter().enumerate() {
            floor.left[plan.stretches[plan.stretch_of[place] as usize].kind] += u64::from(free);
        }
        for stretch in 0..plan.stretches.len() {
            floor.look_at(stretch);
        }
        floor
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Marks seats free or not. Those that are not of the event are left alone. Gives those that it changed.
    pub fn mark(&mut self, seats: &[u32], free: bool) -> Vec<u32> {
        let plan = Arc::clone(&self.plan);
        let mut changed = Vec::new();
        let mut touched = Vec::new();
        for &seat in seats {
            let Some(place) = plan.place(seat).filter(|&place| self.free[place] != free) else { continue };
            self.free[place] = free;
            let stretch = plan.stretch_of[place] as usize;
            let left = &mut self.left[plan.stretches[stretch].kind];
            *left = if free { *left + 1 } else { *left - 1 };
            if touched.last() != Some(&stretch) {
                touched.push(stretch);
            }
            changed.push(seat);
        }
        touched.into_iter().for_each(|stretch| self.look_at(stretch));
        changed
    }

    /// How many seats of a type are free.
    pub fn left(&self, kind: &TicketTypeId) -> u64 {
        self.plan.kinds.get(kind).map_or(0, |(kind, _)| self.left[*kind])
    }

    /// The longest run of a type, up to what one hold may be of.
    pub fn together(&self, kind: &TicketTypeId) -> usize {
        let all = self
            .plan
            .kinds
            .get(kind)
            .map_or(0, |(_, stretches)| self.runs[stretches.clone()].iter().fold(0, |all, runs| all | runs));
        (15 - (all.leading_zeros() as usize).min(15)).min(HOLD_SEATS_MAX)
    }

    /// The best `count` free seats of a type, from 1 to [`HOLD_SEATS_MAX`]. With `together` all are neighbours; else
    /// they are if that is possible, and in as few groups as may be if not.
    pub fn choose(&mut self, kind: &TicketTypeId, count: usize, together: bool) -> Option<Vec<u32>> {
        if self.left(kind) < count as u64 || !(1..=HOLD_SEATS_MAX).contains(&count) {
            return None;
        }
        let found = self.block(kind, count);
        if found.is_some() || together {
            return found;
        }
        let (mut seats, mut size) = (Vec::with_capacity(count), count - 1);
        while seats.len() < count && size > 0 {
            size = size.min(count - seats.len());
            match self.block(kind, size) {
                Some(block) => {
                    self.mark(&block, false);
                    seats.extend(block);
                }
                None => size -= 1,
            }
        }
        self.mark(&seats, true);
        (seats.len() == count).then_some(seats)
    }

    /// The best neighbours: in the first row where they fit well, else in the first where they fit.
    fn block(&self, kind: &TicketTypeId, count: usize) -> Option<Vec<u32>> {
        let (_, stretches) = self.plan.kinds.get(kind)?;
        let (exact, longer) = (1_u16 << count, !0_u16 << (count + 2));
        let runs = |stretch: &usize| self.runs[*stretch];
        let well = stretches.clone().find(|stretch| runs(stretch) & (exact | longer) != 0);
        let (stretch, lengths) = match well {
            Some(first) => {
                // Of that row, a gap that is filled is better than a long run that is cut.
                let row = self.plan.stretches[first].row;
                let same = (first..stretches.end).take_while(|&other| self.plan.stretches[other].row == row);
                match same.into_iter().find(|other| runs(other) & exact != 0) {
                    Some(gap) => (gap, count..count + 1),
                    None => (first, count + 2..usize::MAX),
                }
            }
            None => (stretches.clone().find(|stretch| runs(stretch) & (!0 << count) != 0)?, count..usize::MAX),
        };
        let first = self.runs_of(stretch).find(|run| lengths.contains(&run.len()))?.start;
        Some(self.plan.seat_at[first..first + count].to_vec())
    }

    /// The runs of a stretch, from its start.
    fn runs_of(&self, stretch: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let places = &self.plan.stretches[stretch].places;
        let (mut at, end) = (places.start as usize, places.end as usize);
        std::iter::from_fn(move || {
            let start = at + self.free[at..end].iter().position(|free| *free)?;
            let length = self.free[start..end].iter().position(|free| !free).unwrap_or(end - start);
            at = start + length;
            Some(start..at)
        })
    }

    fn look_at(&mut self, stretch: usize) {
        self.runs[stretch] = self.runs_of(stretch).fold(0, |runs, run| runs | 1 << run.len().min(LONG_RUN));
    }
}
