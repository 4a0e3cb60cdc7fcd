//! The commands of a visitor: hold, extend, cancel, pin, and what confirming does to the state.

use queue_core::ids::{Jti, Millis, VisitorId};

use super::{
    bits::SeatState,
    command::{Hold, Outcome, PastState, Refusal, Sold, Taking, Wanted, What, Wish},
    record::Item,
    sale::Sale,
};
use crate::{
    ids::ReservationId,
    limits::{EXTENSIONS_MAX, HOLD_LIFE_MS_MAX},
};

impl Sale {
    pub(super) fn hold(&mut self, revision: u64, limit: u64, wishes: Vec<Wish>, now: Millis) -> Outcome {
        if let Some(refusal) = self.not_on_sale(revision) {
            return Outcome::Refused(refusal);
        }
        let (mut seats, mut tickets, mut taken) = (Vec::new(), false, 0);
        let answers = wishes.into_iter().map(|Wish { taking, wanted }| {
            let known = self.holds.contains_key(&taking.reservation);
            let answer = self.hold_one(taking, wanted, limit, now);
            match &answer {
                Ok(hold) if !known => {
                    taken += 1;
                    match &hold.what {
                        What::Seats(held) => seats.extend_from_slice(held),
                        What::Quantity { .. } => tickets = true,
                    }
                }
                _ => {}
            }
            answer
        });
        let answers = answers.collect();
        if !seats.is_empty() {
            self.changed(SeatState::Held, seats);
        }
        if tickets {
            self.changed(SeatState::Held, Vec::new());
        }
        self.count(|counts| counts.taken += taken);
        Outcome::Each(answers)
    }

    pub(super) fn look(&self, revision: u64, seats: &[u32], sessions: &[Jti]) -> Outcome {
        if let Some(refusal) = self.not_on_sale(revision) {
            return Outcome::Refused(refusal);
        }
        let seats = seats.iter().map(|&seat| self.seats.get(seat)).collect();
        let ended = sessions.iter().map(|jti| self.ended.contains_key(jti)).collect();
        Outcome::Look { seats, ended }
    }

    /// Why nothing can be taken by that definition.
    fn not_on_sale(&self, revision: u64) -> Option<Refusal> {
        let version = self.version();
        if version.revision != revision {
            return Some(Refusal::Stale);
        }
        (!version.open).then_some(Refusal::NotOpen)
    }

    fn hold_one(&mut self, taking: Taking, wanted: Wanted, limit: u64, now: Millis) -> Result<Hold, Refusal> {
        if let Some(hold) = self.holds.get(&taking.reservation) {
            return Ok(hold.clone());
        }
        if self.ended.contains_key(&taking.jti) {
            return Err(Refusal::SessionEnded);
        }
        let what = match wanted {
            Wanted::Seats(seats) => {
                let states = seats.iter().map(|&seat| (seat, self.seats.get(seat)));
                let taken: Vec<_> = states.filter(|(_, state)| *state != SeatState::Free).collect();
                if !taken.is_empty() {
                    return Err(Refusal::Taken(taken));
                }
                What::Seats(seats)
            }
            Wanted::Quantity { kind, quantity, total } => {
                let tally = self.tallies.get(&kind).copied().unwrap_or_default();
                let left = total.saturating_sub(tally.held + tally.sold);
                if quantity > left {
                    return Err(Refusal::SoldOut { left });
                }
                What::Quantity { kind, quantity }
            }
        };
        let has = self.visitors.get(&taking.visitor).map_or(0, |items| items.iter().map(|item| item.count).sum());
        if has + what.count() > limit {
            return Err(Refusal::LimitExceeded { has });
        }
        match &what {
            What::Seats(seats) => seats.iter().for_each(|&seat| self.seats.set(seat, SeatState::Held)),
            What::Quantity { kind, quantity } => self.tally(kind, |tally| tally.held += quantity),
        }
        Ok(self.add_hold(taking, what, now))
    }

    fn add_hold(&mut self, taking: Taking, what: What, now: Millis) -> Hold {
        let Taking { reservation, visitor, jti, hold_ms, total_minor } = taking;
        let item = Item { sold: false, reservation: reservation.clone(), count: what.count(), jti };
        self.visitors.entry(visitor.clone()).or_default().push(item);
        let end = now.plus(hold_ms);
        self.ends.insert((end, reservation.clone()));
        let hold = Hold {
            reservation: reservation.clone(),
            visitor,
            jti,
            created: now,
            end,
            extensions: 0,
            pinned: None,
            total_minor,
            what,
        };
        self.holds.insert(reservation, hold.clone());
        hold
    }

    /// The visitor's live hold; one whose time is up is freed first.
    fn live(&mut self, reservation: &ReservationId, visitor: &VisitorId, now: Millis) -> Result<Hold, Box<Outcome>> {
        let Some(hold) = self.holds.get(reservation) else {
            return Err(Box::new(match self.past.get(reservation) {
                Some((state, hold)) if hold.visitor == *visitor => Outcome::Past(*state, hold.clone()),
                _ => Outcome::Refused(Refusal::NotFound),
            }));
        };
        if hold.visitor != *visitor {
            return Err(Box::new(Outcome::Refused(Refusal::NotFound)));
        }
        if hold.pinned.is_none() && hold.end <= now {
            self.release(reservation, PastState::Expired, now);
            return Err(Box::new(Outcome::Refused(Refusal::Expired)));
        }
        Ok(hold.clone())
    }

    pub(super) fn extend(
        &mut self,
        reservation: &ReservationId,
        visitor: &VisitorId,
        add_ms: u64,
        at_least_ms: u64,
        now: Millis,
    ) -> Outcome {
        let mut hold = match self.live(reservation, visitor, now) {
            Ok(hold) => hold,
            Err(answer) if matches!(*answer, Outcome::Past(..)) => return Outcome::Refused(Refusal::Expired),
            Err(answer) => return *answer,
        };
        if hold.pinned.is_some() {
            return Outcome::Refused(Refusal::NotHeld);
        }
        let last = hold.created.plus(HOLD_LIFE_MS_MAX);
        let end = hold.end.plus(add_ms).min(last);
        if hold.extensions >= EXTENSIONS_MAX || end < hold.end.plus(at_least_ms) {
            let (extensions, left_ms) = (hold.extensions.into(), last.since(hold.end));
            return Outcome::Refused(Refusal::ExtensionLimit { extensions, left_ms });
        }
        self.ends.remove(&(hold.end, reservation.clone()));
        self.ends.insert((end, reservation.clone()));
        hold.end = end;
        hold.extensions += 1;
        self.holds.insert(reservation.clone(), hold.clone());
        Outcome::Hold(hold)
    }

    pub(super) fn cancel(&mut self, reservation: &ReservationId, visitor: &VisitorId, now: Millis) -> Outcome {
        let hold = match self.live(reservation, visitor, now) {
            Ok(hold) => hold,
            Err(answer) => return *answer,
        };
        if hold.pinned.is_some() {
            return Outcome::Refused(Refusal::NotHeld);
        }
        self.release(reservation, PastState::Cancelled, now);
        Outcome::Past(PastState::Cancelled, hold)
    }

    pub(super) fn pin(&mut self, reservation: &ReservationId, visitor: &VisitorId, now: Millis) -> Outcome {
        let mut hold = match self.live(reservation, visitor, now) {
            Ok(hold) => hold,
            Err(answer) if matches!(*answer, Outcome::Past(..)) => return Outcome::Refused(Refusal::Expired),
            Err(answer) => return *answer,
        };
        self.ends.remove(&(hold.end, reservation.clone()));
        if let Some(before) = hold.pinned {
            self.pins.remove(&(before, reservation.clone()));
        }
        self.pins.insert((now, reservation.clone()));
        hold.pinned = Some(now);
        self.holds.insert(reservation.clone(), hold.clone());
        Outcome::Hold(hold)
    }

    pub(super) fn unpin(&mut self, reservation: &ReservationId) -> Outcome {
        if let Some(hold) = self.holds.get_mut(reservation)
            && let Some(at) = hold.pinned.take()
        {
            self.pins.remove(&(at, reservation.clone()));
            self.ends.insert((hold.end, reservation.clone()));
        }
        Outcome::Done
    }

    pub(super) fn abort(&mut self, reservation: &ReservationId, now: Millis) -> Outcome {
        if self.holds.get(reservation).is_some_and(|hold| hold.pinned.is_some()) {
            self.release(reservation, PastState::Expired, now);
        }
        Outcome::Done
    }

    pub(super) fn book(&mut self, bookings: Vec<Sold>) -> Outcome {
        for sold in bookings {
            self.book_one(sold);
        }
        Outcome::Done
    }

    fn book_one(&mut self, sold: Sold) {
        let Sold { reservation, visitor, jti, what } = sold;
        let held = self.drop_hold(&reservation).is_some();
        let items = self.visitors.entry(visitor).or_default();
        let counted = items.iter().any(|item| item.sold && item.reservation == reservation);
        if !counted {
            items.push(Item { sold: true, reservation, count: what.count(), jti });
        }
        match what {
            What::Seats(seats) => {
                let unsold: Vec<_> = seats.into_iter().filter(|&i| self.seats.get(i) != SeatState::Sold).collect();
                for &i in &unsold {
                    self.seats.grow(i as usize + 1);
                    self.seats.set(i, SeatState::Sold);
                }
                if !unsold.is_empty() {
                    self.changed(SeatState::Sold, unsold);
                }
            }
            What::Quantity { kind, quantity } if !counted => {
                self.tally(&kind, |tally| {
                    tally.held = tally.held.saturating_sub(if held { quantity } else { 0 });
                    tally.sold += quantity;
                });
                self.changed(SeatState::Sold, Vec::new());
            }
            What::Quantity { .. } => {}
        }
    }
}
