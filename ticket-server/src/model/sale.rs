//! The state of one event's sale, and how commands change it.
//!
//! Invariants (checked by [`Sale::check`] in the tests): a seat that a hold names is held by that
//! hold alone; a seat is never both held and sold; tallies and items add up to holds and bookings;
//! exactly the unpinned holds have an end, and exactly the pinned ones a pin.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use queue_core::ids::{Jti, Millis, VisitorId};

use super::{
    bits::{SeatBits, SeatState},
    command::{Change, Command, Counts, Hold, Outcome, PastState, Refusal, Shape, Snapshot, Tally, Version, What},
    record::Item,
};
use crate::{
    ids::{ReservationId, TicketTypeId},
    limits::{LOG_ENTRIES_MAX, PAST_HOLDS_MAX, PAST_KEPT_MS, SESSION_KEPT_MS, SESSIONS_ENDED_MAX},
};

/// One event's sale.
#[derive(Clone, Debug, Default)]
pub struct Sale {
    pub(super) meta: Option<Meta>,
    pub(super) seats: SeatBits,
    pub(super) holds: HashMap<ReservationId, Hold>,
    pub(super) ends: BTreeSet<(Millis, ReservationId)>,
    pub(super) pins: BTreeSet<(Millis, ReservationId)>,
    pub(super) visitors: HashMap<VisitorId, Vec<Item>>,
    pub(super) tallies: BTreeMap<TicketTypeId, Tally>,
    pub(super) ended: HashMap<Jti, Millis>,
    /// By the jti's text, as the store orders it.
    pub(super) ended_until: BTreeSet<(Millis, String)>,
    pub(super) past: HashMap<ReservationId, (PastState, Hold)>,
    pub(super) past_until: BTreeSet<(Millis, ReservationId)>,
    pub(super) log: VecDeque<Change>,
}

/// What is known of the event as a whole.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) version: Version,
    /// How many indexes are blocked.
    pub(super) blocked: usize,
    pub(super) counts: Counts,
}

impl Sale {
    /// Does what is asked, at that time.
    pub fn apply(&mut self, command: Command, now: Millis) -> Outcome {
        match command {
            Command::Configure { expected, shape } => self.configure(expected, &shape),
            Command::Restore { shape } => self.restore(&shape),
            command if self.meta.is_none() => self.without_event(&command),
            Command::Open => self.open(),
            Command::Hold { revision, limit, wishes } => self.hold(revision, limit, wishes, now),
            Command::Look { revision, seats, sessions } => self.look(revision, &seats, &sessions),
            Command::Extend { reservation, visitor, add_ms, at_least_ms } => {
                self.extend(&reservation, &visitor, add_ms, at_least_ms, now)
            }
            Command::Cancel { reservation, visitor } => self.cancel(&reservation, &visitor, now),
            Command::Pin { reservation, visitor } => self.pin(&reservation, &visitor, now),
            Command::Unpin { reservation } => self.unpin(&reservation),
            Command::Book { bookings } => self.book(bookings),
            Command::Unbook { booking } => self.unbook(&booking),
            Command::Abort { reservation } => self.abort(&reservation, now),
            Command::Expire { batch } => self.expire(batch, now),
            Command::Forget { batch } => self.forget(batch, now),
            Command::EndSession { visitor, jti, let_go } => self.end_session(&visitor, jti, let_go, now),
            Command::Close { visitor, jti } => self.close(&visitor, jti, now),
            Command::Find { reservation } => self.find(&reservation),
            Command::HoldsOf { visitor } => Outcome::Holds(self.holds_of(&visitor)),
            Command::Holds { skip, batch } => Outcome::Holds(self.unpinned(skip, batch)),
            Command::Pinned { for_ms, batch } => Outcome::Holds(self.pinned(for_ms, batch, now)),
            Command::Version => Outcome::Version(self.version()),
            Command::Snapshot => Outcome::Snapshot(self.snapshot()),
            Command::Changes { after, batch } => self.changes(after, batch),
        }
    }

    fn without_event(&self, _command: &Command) -> Outcome {
        Outcome::Refused(Refusal::NoEvent)
    }

    pub(super) fn version(&self) -> Version {
        self.meta.as_ref().expect("apply answers NO_EVENT first").version
    }

    fn configure(&mut self, expected: u64, shape: &Shape) -> Outcome {
        match &self.meta {
            None if expected != 0 => return Outcome::Refused(Refusal::NoEvent),
            // A creation that got no further than the store may be tried again.
            Some(meta) if meta.version.revision != expected && (expected != 0 || meta.version.open) => {
                return Outcome::Refused(Refusal::Stale);
            }
            _ => {}
        }
        let taken = |i: &u32| matches!(self.seats.get(*i), SeatState::Held | SeatState::Sold);
        let short = |(kind, tally): (&TicketTypeId, &Tally)| {
            shape.quantities.get(kind).is_none_or(|quantity| tally.held + tally.sold > *quantity)
        };
        if shape.blocked.iter().any(taken) || self.tallies.iter().any(short) {
            return Outcome::Refused(Refusal::InUse);
        }
        self.reshape(shape);
        Outcome::Done
    }

    fn restore(&mut self, shape: &Shape) -> Outcome {
        if self.meta.as_ref().is_none_or(|meta| meta.version.revision != shape.revision) {
            self.reshape(shape);
        }
        Outcome::Done
    }

    /// Blocks what is free and taken out, frees what is back.
    fn reshape(&mut self, shape: &Shape) {
        self.seats.grow(shape.seats as usize);
        let blocked: BTreeSet<_> = shape.blocked.iter().copied().collect();
        if !blocked.is_empty() || self.meta.as_ref().is_some_and(|meta| meta.blocked > 0) {
            for i in 0..(self.seats.as_bytes().len() * 4) as u32 {
                match (self.seats.get(i), blocked.contains(&i)) {
                    (SeatState::Free, true) => self.seats.set(i, SeatState::Blocked),
                    (SeatState::Blocked, false) => self.seats.set(i, SeatState::Free),
                    _ => {}
                }
            }
        }
        self.log.clear();
        let before = self.meta.as_ref().map(|meta| meta.version);
        let counts = self.meta.as_ref().map(|meta| meta.counts);
        self.meta = Some(Meta {
            version: Version {
                revision: shape.revision,
                epoch: shape.epoch,
                version: before.map_or(0, |before| before.version) + 1,
                open: before.is_some_and(|before| before.open),
            },
            blocked: shape.blocked.len(),
            // Whatever becomes of the event, what was counted goes on.
            counts: counts.unwrap_or(Counts { origin: Some(shape.epoch), ..Counts::default() }),
        });
    }

    fn open(&mut self) -> Outcome {
        if let Some(meta) = &mut self.meta {
            meta.version.open = true;
        }
        Outcome::Done
    }

    /// One more version, and what became of which seats.
    pub(super) fn changed(&mut self, state: SeatState, seats: Vec<u32>) {
        let meta = self.meta.as_mut().expect("apply answers NO_EVENT first");
        meta.version.version += 1;
        self.log.push_back(Change { version: meta.version.version, state, seats });
        if self.log.len() > LOG_ENTRIES_MAX {
            self.log.pop_front();
        }
    }

    /// Takes a hold away and frees what it held; a seat that was sold meanwhile stays sold.
    pub(super) fn release(&mut self, reservation: &ReservationId, state: PastState, now: Millis) {
        let Some(hold) = self.drop_hold(reservation) else { return };
        let freed = match &hold.what {
            What::Seats(seats) => {
                let freed: Vec<_> = seats.iter().copied().filter(|&i| self.seats.get(i) == SeatState::Held).collect();
                for &i in &freed {
                    self.seats.set(i, SeatState::Free);
                }
                freed
            }
            What::Quantity { kind, quantity } => {
                self.tally(kind, |tally| tally.held = tally.held.saturating_sub(*quantity));
                Vec::new()
            }
        };
        self.changed(SeatState::Free, freed);
        self.count(|counts| match state {
            PastState::Expired => counts.expired += 1,
            PastState::Cancelled => counts.given_up += 1,
        });
        self.past_until.insert((now.plus(PAST_KEPT_MS), reservation.clone()));
        self.past.insert(reservation.clone(), (state, hold));
        if self.past_until.len() > PAST_HOLDS_MAX
            && let Some((_, oldest)) = self.past_until.pop_first()
        {
            self.past.remove(&oldest);
        }
    }

    pub(super) fn count(&mut self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.meta.as_mut().expect("apply answers NO_EVENT first").counts);
    }

    /// Takes a hold out of every index, and out of its visitor's items.
    pub(super) fn drop_hold(&mut self, reservation: &ReservationId) -> Option<Hold> {
        let hold = self.holds.remove(reservation)?;
        self.ends.remove(&(hold.end, reservation.clone()));
        if let Some(at) = hold.pinned {
            self.pins.remove(&(at, reservation.clone()));
        }
        if let Some(items) = self.visitors.get_mut(&hold.visitor) {
            items.retain(|item| item.sold || item.reservation != *reservation);
            if items.is_empty() {
                self.visitors.remove(&hold.visitor);
            }
        }
        Some(hold)
    }

    pub(super) fn tally(&mut self, kind: &TicketTypeId, change: impl FnOnce(&mut Tally)) {
        let tally = self.tallies.entry(kind.clone()).or_default();
        change(tally);
        if *tally == Tally::default() {
            self.tallies.remove(kind);
        }
    }

    fn expire(&mut self, batch: usize, now: Millis) -> Outcome {
        let due = self.ends.iter().take_while(|(end, _)| *end <= now).take(batch);
        let holds: Vec<_> = due.map(|(_, reservation)| reservation.clone()).collect();
        for reservation in &holds {
            self.release(reservation, PastState::Expired, now);
        }
        let next_ms = self.ends.first().map(|(end, _)| end.since(now));
        let counts = self.meta.as_ref().expect("apply answers NO_EVENT first").counts;
        Outcome::Expired { more: holds.len() == batch, holds, next_ms, counts }
    }

    fn forget(&mut self, batch: usize, now: Millis) -> Outcome {
        let mut more = false;
        for _ in 0..batch {
            let Some((until, jti)) = self.ended_until.pop_first() else { break };
            if until > now {
                self.ended_until.insert((until, jti));
                break;
            }
            if let Ok(jti) = jti.parse() {
                self.ended.remove(&jti);
            }
            more = true;
        }
        for _ in 0..batch {
            let Some((until, reservation)) = self.past_until.pop_first() else { break };
            if until > now {
                self.past_until.insert((until, reservation));
                break;
            }
            self.past.remove(&reservation);
            more = true;
        }
        Outcome::Freed { holds: Vec::new(), more }
    }

    pub(super) fn mark_ended(&mut self, jti: Jti, now: Millis) {
        let until = now.plus(SESSION_KEPT_MS);
        if let Some(before) = self.ended.insert(jti, until) {
            self.ended_until.remove(&(before, jti.to_string()));
        }
        self.ended_until.insert((until, jti.to_string()));
        if self.ended_until.len() > SESSIONS_ENDED_MAX
            && let Some((_, oldest)) = self.ended_until.pop_first()
            && let Ok(oldest) = oldest.parse()
        {
            self.ended.remove(&oldest);
        }
    }

    fn end_session(&mut self, visitor: &VisitorId, jti: Jti, let_go: bool, now: Millis) -> Outcome {
        self.mark_ended(jti, now);
        let mut holds = Vec::new();
        if let_go {
            let items = self.visitors.get(visitor).map_or(&[][..], Vec::as_slice);
            let held = items.iter().filter(|item| !item.sold && item.jti == jti).map(|item| &item.reservation);
            let unpinned = |id: &&ReservationId| self.holds.get(*id).is_some_and(|hold| hold.pinned.is_none());
            holds = held.filter(unpinned).cloned().collect();
        }
        for reservation in &holds {
            self.release(reservation, PastState::Cancelled, now);
        }
        Outcome::Freed { holds, more: false }
    }

    fn close(&mut self, visitor: &VisitorId, jti: Jti, now: Millis) -> Outcome {
        let items = self.visitors.get(visitor).map_or(&[][..], Vec::as_slice);
        let booked = items.iter().any(|item| item.sold && item.jti == jti);
        if !booked || items.iter().any(|item| !item.sold) {
            return Outcome::NotDone;
        }
        self.mark_ended(jti, now);
        Outcome::Closed
    }

    fn find(&self, reservation: &ReservationId) -> Outcome {
        if let Some(hold) = self.holds.get(reservation) {
            return Outcome::Hold(hold.clone());
        }
        match self.past.get(reservation) {
            Some((state, hold)) => Outcome::Past(*state, hold.clone()),
            None => Outcome::Refused(Refusal::NotFound),
        }
    }

    fn holds_of(&self, visitor: &VisitorId) -> Vec<Hold> {
        let items = self.visitors.get(visitor).map_or(&[][..], Vec::as_slice);
        let held = items.iter().filter(|item| !item.sold);
        held.filter_map(|item| self.holds.get(&item.reservation)).cloned().collect()
    }

    fn unpinned(&self, skip: usize, batch: usize) -> Vec<Hold> {
        let ends = self.ends.iter().skip(skip).take(batch);
        ends.filter_map(|(_, reservation)| self.holds.get(reservation)).cloned().collect()
    }

    fn pinned(&self, for_ms: u64, batch: usize, now: Millis) -> Vec<Hold> {
        let old = self.pins.iter().take_while(|(at, _)| at.plus(for_ms) <= now).take(batch);
        old.filter_map(|(_, reservation)| self.holds.get(reservation)).cloned().collect()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { version: self.version(), seats: self.seats.clone(), tallies: self.tallies.clone() }
    }

    fn changes(&self, after: u64, batch: usize) -> Outcome {
        let Version { epoch, version, .. } = self.version();
        let missing = version.checked_sub(after).and_then(|n| usize::try_from(n).ok());
        let changes = missing
            .filter(|&n| n <= self.log.len())
            .map(|n| self.log.iter().skip(self.log.len() - n).take(batch).cloned().collect());
        Outcome::Changes(epoch, changes)
    }
}
