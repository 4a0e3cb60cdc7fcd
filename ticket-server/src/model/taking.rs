//! The commands of a visitor: hold, extend, cancel, pin, and what confirming does to the state.

use queue_core::ids::{Millis, VisitorId};

use super::{
    bits::SeatState,
    command::{Hold, Outcome, PastState, Refusal, Sold, Taking, What},
    record::Item,
    sale::Sale,
};
use crate::{
    ids::{ReservationId, TicketTypeId},
    limits::{EXTENSIONS_MAX, HOLD_LIFE_MS_MAX},
};

impl Sale {
    pub(super) fn hold_seats(&mut self, taking: Taking, seats: Vec<u32>, now: Millis) -> Outcome {
        if let Some(answer) = self.before_taking(&taking) {
            return answer;
        }
        let taken: Vec<_> = seats.iter().copied().filter(|&i| self.seats.get(i) != SeatState::Free).collect();
        if !taken.is_empty() {
            return Outcome::Refused(Refusal::Taken(taken));
        }
        if self.over_limit(&taking, seats.len() as u64) {
            return Outcome::Refused(Refusal::LimitExceeded);
        }
        for &i in &seats {
            self.seats.set(i, SeatState::Held);
        }
        self.changed(SeatState::Held, seats.clone());
        self.add_hold(taking, What::Seats(seats), now)
    }

    pub(super) fn hold_quantity(
        &mut self,
        taking: Taking,
        kind: TicketTypeId,
        quantity: u64,
        total: u64,
        now: Millis,
    ) -> Outcome {
        if let Some(answer) = self.before_taking(&taking) {
            return answer;
        }
        let tally = self.tallies.get(&kind).copied().unwrap_or_default();
        if tally.held + tally.sold + quantity > total {
            return Outcome::Refused(Refusal::SoldOut);
        }
        if self.over_limit(&taking, quantity) {
            return Outcome::Refused(Refusal::LimitExceeded);
        }
        self.tally(&kind, |tally| tally.held += quantity);
        self.changed(SeatState::Held, Vec::new());
        self.add_hold(taking, What::Quantity { kind, quantity }, now)
    }

    fn before_taking(&self, taking: &Taking) -> Option<Outcome> {
        let version = self.version();
        if version.revision != taking.revision {
            return Some(Outcome::Refused(Refusal::Stale));
        }
        if !version.open {
            return Some(Outcome::Refused(Refusal::NotOpen));
        }
        if let Some(hold) = self.holds.get(&taking.reservation) {
            return Some(Outcome::Hold(hold.clone()));
        }
        self.ended.contains_key(&taking.jti).then_some(Outcome::Refused(Refusal::SessionEnded))
    }

    fn over_limit(&self, taking: &Taking, more: u64) -> bool {
        let has: u64 = self.visitors.get(&taking.visitor).map_or(0, |items| items.iter().map(|item| item.count).sum());
        has + more > taking.limit
    }

    fn add_hold(&mut self, taking: Taking, what: What, now: Millis) -> Outcome {
        let Taking { reservation, visitor, jti, hold_ms, total_minor, .. } = taking;
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
        Outcome::Hold(hold)
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
        let end = hold.end.plus(add_ms).min(hold.created.plus(HOLD_LIFE_MS_MAX));
        if hold.extensions >= EXTENSIONS_MAX || end < hold.end.plus(at_least_ms) {
            return Outcome::Refused(Refusal::ExtensionLimit);
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
