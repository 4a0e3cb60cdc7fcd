//! What became of the crowd, counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

use crate::api::Seat;

/// Kinds of errors that are told apart; the rest counts as `OTHER`.
const ERROR_KINDS_MAX: usize = 32;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// So many more.
    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// One more, until the guard is dropped.
    pub fn enter(&self) -> Inside<'_> {
        self.add();
        Inside(self)
    }
}

/// One that counts in a [`Gauge`].
#[derive(Debug)]
pub struct Inside<'a>(&'a Gauge);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// All counts of one crowd.
#[derive(Debug)]
pub struct Tally {
    pub visitors: u64,
    /// Joined, or tried to.
    pub arrived: Gauge,
    pub waiting: Gauge,
    pub active: Gauge,
    pub holds: Gauge,
    /// Visitors that went home, for whatever reason.
    pub gone: Gauge,
    pub booked: Gauge,
    /// Left the line, came and went, or let a hold go.
    pub gave_up: Gauge,
    /// Admitted, and no seat was free any more.
    pub sold_out: Gauge,
    /// Lost the place or session.
    pub ended: Gauge,
    pub seat_taken: Gauge,
    pub failed: Gauge,
    /// Seat and how often it was confirmed.
    seats: Mutex<HashMap<String, u32>>,
    errors: Mutex<BTreeMap<String, u64>>,
    finished: AtomicU64,
}

impl Tally {
    /// Of a crowd of so many.
    pub fn new(visitors: u64) -> Self {
        Self {
            visitors,
            arrived: Gauge::default(),
            waiting: Gauge::default(),
            active: Gauge::default(),
            holds: Gauge::default(),
            gone: Gauge::default(),
            booked: Gauge::default(),
            gave_up: Gauge::default(),
            sold_out: Gauge::default(),
            ended: Gauge::default(),
            seat_taken: Gauge::default(),
            failed: Gauge::default(),
            seats: Mutex::default(),
            errors: Mutex::default(),
            finished: AtomicU64::default(),
        }
    }

    /// Somebody has these seats now.
    pub fn book(&self, seat_ids: &[String]) {
        self.booked.add();
        let mut seats = self.seats.lock();
        for seat in seat_ids {
            *seats.entry(seat.clone()).or_default() += 1;
        }
    }

    /// Something went wrong for good.
    pub fn error(&self, code: &str) {
        let mut errors = self.errors.lock();
        let known = errors.contains_key(code) || errors.len() < ERROR_KINDS_MAX;
        *errors.entry(if known { code } else { "OTHER" }.to_owned()).or_default() += 1;
    }

    /// The errors with their numbers; empty if there were none.
    pub fn errors(&self) -> String {
        let errors = self.errors.lock();
        errors.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// How many errors there were.
    pub fn error_count(&self) -> u64 {
        self.errors.lock().values().sum()
    }

    /// Seats that somebody has.
    pub fn booked_seats(&self) -> usize {
        self.seats.lock().len()
    }

    /// Seats that more than one has.
    pub fn oversold(&self) -> usize {
        self.seats.lock().values().filter(|times| **times > 1).count()
    }

    /// Seats that somebody has and the map does not show as sold.
    pub fn booked_but_not_sold(&self, map: &[Seat]) -> usize {
        let sold: std::collections::HashSet<&str> =
            map.iter().filter(|seat| seat.state == "SOLD").map(|seat| seat.seat_id.as_str()).collect();
        self.seats.lock().keys().filter(|seat| !sold.contains(seat.as_str())).count()
    }

    /// No more will come.
    pub fn finish(&self) {
        self.finished.store(1, Relaxed);
    }

    /// Whether [`Self::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Relaxed) == 1
    }

    /// Where everybody is now, in one line.
    pub fn line(&self) -> String {
        format!(
            "waiting {:>5} · active {:>3} · holds {:>3} · booked {:>5} ({} seats) · gave up {:>4} · errors {}",
            self.waiting.get(),
            self.active.get(),
            self.holds.get(),
            self.booked.get(),
            self.booked_seats(),
            self.gave_up.get(),
            self.error_count(),
        )
    }

    /// What became of everybody, at the end.
    pub fn summary(&self) -> String {
        format!(
            "{} visitors: {} booked, {} gave up, {} found everything sold, {} lost their place or session, {} failed, \
             {} still there; {} times a seat was gone already",
            self.visitors,
            self.booked.get(),
            self.gave_up.get(),
            self.sold_out.get(),
            self.ended.get(),
            self.failed.get(),
            self.visitors - self.gone.get().min(self.visitors),
            self.seat_taken.get(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_sold_twice_is_noticed() {
        let tally = Tally::new(2);
        tally.book(&["A-1-1".into(), "A-1-2".into()]);
        assert_eq!(tally.oversold(), 0);
        tally.book(&["A-1-2".into()]);
        assert_eq!((tally.oversold(), tally.booked_seats()), (1, 2));
        let map = [Seat { seat_id: "A-1-1".into(), state: "SOLD".into() }];
        assert_eq!(tally.booked_but_not_sold(&map), 1);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let tally = Tally::new(1);
        for kind in 0..100 {
            tally.error(&format!("E{kind}"));
        }
        assert_eq!(tally.error_count(), 100);
        assert!(tally.errors().contains("OTHER 68"));
    }
}
