//! One event's line: its state and its transitions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    Map,
    bitmap::Bitmap,
    command::*,
    memory::{EndedLog, Timeline},
    rate,
};
use crate::{
    ids::{Generation, Millis, Rank, Seq, VisitorId},
    limits::{
        ADMIT_BATCH_MAX, CLOCK_PERIODS_MAX, END_BATCH_MAX, GRACE_PERIODS_MAX, SEEN_PERIOD_MS, SEEN_SETTLE_MS,
        SEQ_BEHIND_GAP, SESSIONS_BATCH_MAX, SNAPSHOT_ALIGN_BYTES, SWEEP_BATCH_MAX,
    },
    policy::{OnReturn, Policy},
    wire::EndReason,
};

/// One session. It is claimed once `ends` is `expires`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub seq: Seq,
    /// The end that the active token names.
    pub expires: Millis,
    /// When the slot is taken back: the end of the claim time, then `expires`.
    pub ends: Millis,
}

/// The complete state of one event's line. Fields are readable so that tests can compare it with a store.
#[derive(Clone, Debug)]
pub struct Line {
    pub generation: Generation,
    pub policy: Policy,
    pub version: u64,
    pub paused: bool,
    pub draining: bool,
    /// Closed, since nothing is left.
    pub sold_out: bool,
    pub stock: Option<Stock>,
    pub seq: Seq,
    pub tat_us: u64,
    pub admit_not_before: Millis,
    /// Nobody is abandoned before.
    pub sweep_not_before: Millis,
    /// When presence was last looked through, or the line began.
    pub swept: Millis,
    pub totals: Totals,
    pub waiting: BTreeMap<Rank, VisitorId>,
    pub ranks: Map<VisitorId, Rank>,
    pub present: Bitmap,
    pub seen: BTreeMap<u64, Bitmap>,
    pub sessions: Map<VisitorId, Session>,
    pub by_end: BTreeSet<(Millis, VisitorId)>,
    pub by_seq: Map<Seq, VisitorId>,
    pub ended: EndedLog,
    pub timeline: Timeline,
}

impl Line {
    /// A new, empty line.
    pub fn new(configure: &Configure, now: Millis) -> Self {
        let closed = configure.closed_ms > 0;
        Self {
            generation: configure.generation,
            policy: configure.policy.clone(),
            version: 1,
            paused: configure.paused,
            draining: configure.draining,
            sold_out: false,
            stock: None,
            seq: configure.floor,
            tat_us: 0,
            admit_not_before: if closed { now.plus(configure.closed_ms) } else { Millis(0) },
            sweep_not_before: Millis(0),
            swept: now,
            totals: Totals::default(),
            waiting: BTreeMap::new(),
            ranks: Map::default(),
            present: Bitmap::default(),
            seen: BTreeMap::new(),
            sessions: Map::default(),
            by_end: BTreeSet::new(),
            by_seq: Map::default(),
            ended: EndedLog { rotated: now, ..EndedLog::default() },
            timeline: Timeline::default(),
        }
    }

    /// Which incarnation this is.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Carries out one command. Sessions that end are added to `ended`.
    pub fn apply(&mut self, command: Command, now: Millis, ended: &mut Vec<Ended>) -> Outcome {
        match command {
            Command::Configure(configure) => {
                self.policy = configure.policy;
                self.version += 1;
                Outcome::Configured { created: false }
            }
            Command::Join { visitors, floor } => Outcome::Joined(self.join(&visitors, floor, now, ended)),
            Command::Status(visitor) => {
                self.hear(&visitor, now, ended);
                Outcome::Standing(self.standing(&visitor, now))
            }
            Command::Lookup(visitor) => Outcome::Standing(self.standing(&visitor, now)),
            Command::Session(seq) => Outcome::Session(self.session(seq, now, ended)),
            Command::Leave(visitor) => Outcome::Left(self.end(&visitor, EndReason::Left, now, ended)),
            Command::Revoke(visitor) => Outcome::Left(self.end(&visitor, EndReason::Revoked, now, ended)),
            Command::Release(sessions) => {
                Outcome::Released(sessions.iter().map(|(v, seq)| self.release(v, *seq, now, ended)).collect())
            }
            Command::Admit { max } => Outcome::Admitted(self.admit(max, now)),
            Command::Expire => Outcome::Expired(self.expire(now, ended)),
            Command::Seen { period, first_byte, bytes } => {
                if period <= now.period() && period + 2 >= now.period() {
                    self.seen_in(period, now).or_bytes(first_byte, &bytes);
                }
                Outcome::Done
            }
            Command::Abandon { first_byte, len } => Outcome::Abandoned(self.abandon(first_byte, len, now)),
            Command::Restore(places) => {
                Outcome::Restored(places.iter().map(|(v, seq)| self.restore(v, *seq, now)).collect())
            }
            Command::Pause => self.set_phase(true, self.draining),
            Command::Resume => {
                self.sold_out = false;
                self.set_phase(false, false)
            }
            Command::Drain => self.set_phase(self.paused, true),
            Command::ClearWaiting { upto, reason } => Outcome::Cleared(self.clear_waiting(upto, reason, now)),
            Command::Stock(stock) => self.restock(stock),
            Command::ClearActive => {
                let first: Vec<_> = self.by_end.iter().take(SESSIONS_BATCH_MAX).map(|(_, v)| v.clone()).collect();
                first.iter().for_each(|v| self.end_session(v, EndReason::Cleared, now, ended));
                Outcome::Cleared(first.len())
            }
            Command::Remove => Outcome::Removed(self.waiting.is_empty() && self.sessions.is_empty()),
            Command::Describe => {
                Outcome::Described(Box::new(Description { policy: self.policy.clone(), summary: self.summary() }))
            }
            Command::Trim => {
                self.trim(now);
                Outcome::Done
            }
            Command::Snapshot => Outcome::Snapshot(Box::new(self.snapshot())),
        }
    }

    fn set_phase(&mut self, paused: bool, draining: bool) -> Outcome {
        self.paused = paused;
        self.draining = draining;
        self.version += 1;
        Outcome::Done
    }

    /// Only a change opens or closes the line, so that an operator may resume one that is sold out.
    fn restock(&mut self, stock: Stock) -> Outcome {
        if self.stock.is_some_and(|known| stock.at <= known.at) {
            return Outcome::Done;
        }
        let was = self.stock.replace(stock).is_some_and(|known| known.sold_out());
        let reopens = self.policy.on_return == OnReturn::Reopen;
        let closed = if stock.sold_out() { !was || self.sold_out } else { self.sold_out && !reopens };
        if closed != self.sold_out {
            self.sold_out = closed;
            self.version += 1;
        }
        Outcome::Done
    }

    fn join(&mut self, visitors: &[VisitorId], floor: Seq, now: Millis, ended: &mut Vec<Ended>) -> Joined {
        if floor > self.seq {
            // Somebody has seen a number that this line has not handed out: it is older than it was, and others may
            // have seen more.
            self.seq = Seq(floor.0 + SEQ_BEHIND_GAP);
        }
        let places = visitors.iter().map(|visitor| self.join_one(visitor, now, ended)).collect();
        Joined { places, waiting: self.waiting.len() as u64, paused: self.paused }
    }

    fn join_one(&mut self, visitor: &VisitorId, now: Millis, ended: &mut Vec<Ended>) -> Place {
        self.hear(visitor, now, ended);
        if let Some(&rank) = self.ranks.get(visitor) {
            self.seen_in(now.period(), now).set(rank.0);
            return Place::Waiting { seq: self.policy.order.seq(rank), position: self.position(rank), fresh: false };
        }
        if let Some(session) = self.sessions.get(visitor) {
            return Place::Active { seq: session.seq, expires: session.expires, fresh: false };
        }
        if self.draining || self.sold_out {
            return Place::Closed;
        }
        let direct = self.waiting.is_empty() && self.admissible(now) > 0;
        if !direct && self.policy.max_waiting.is_some_and(|max| self.waiting.len() >= max as usize) {
            return Place::Full;
        }
        self.seq.0 += 1;
        let seq = self.seq;
        if direct {
            let expires = self.begin_session(visitor.clone(), seq, now);
            self.take_rate(1, now);
            return Place::Active { seq, expires, fresh: true };
        }
        if self.waiting.is_empty() {
            self.swept = now;
        }
        let rank = self.policy.order.rank(seq);
        self.timeline.note(seq, now);
        self.insert_waiter(visitor, rank, now);
        Place::Waiting { seq, position: self.position(rank), fresh: true }
    }

    fn trim(&mut self, now: Millis) {
        self.ended.rotate(now);
        let now = now.period();
        let reached = now.saturating_sub(GRACE_PERIODS_MAX + 1 + CLOCK_PERIODS_MAX)..=now + CLOCK_PERIODS_MAX;
        self.seen.retain(|period, _| reached.contains(period));
    }

    fn insert_waiter(&mut self, visitor: &VisitorId, rank: Rank, now: Millis) {
        self.waiting.insert(rank, visitor.clone());
        self.ranks.insert(visitor.clone(), rank);
        self.present.set(rank.0);
        self.seen_in(now.period(), now).set(rank.0);
    }

    /// 1 + the number of waiters before this rank.
    fn position(&self, rank: Rank) -> u64 {
        match self.waiting.last_key_value() {
            Some((last, _)) if *last == rank => self.waiting.len() as u64,
            _ => self.present.count_below(rank.0) + 1,
        }
    }

    /// A sign of life of somebody who may be in a session: ends it if its time is over, else claims it.
    fn hear(&mut self, visitor: &VisitorId, now: Millis, ended: &mut Vec<Ended>) {
        let Some(session) = self.sessions.get_mut(visitor) else { return };
        if session.ends <= now {
            self.end_session(visitor, EndReason::Expired, now, ended);
        } else if session.ends < session.expires {
            self.by_end.remove(&(session.ends, visitor.clone()));
            session.ends = session.expires;
            self.by_end.insert((session.ends, visitor.clone()));
        }
    }

    fn standing(&self, visitor: &VisitorId, now: Millis) -> Standing {
        if let Some(&rank) = self.ranks.get(visitor) {
            let (position, waiting) = (self.position(rank), self.waiting.len() as u64);
            return Standing::Waiting { seq: self.policy.order.seq(rank), position, waiting };
        }
        match self.sessions.get(visitor) {
            Some(session) if session.ends <= now => Standing::Ended { seq: session.seq, reason: EndReason::Expired },
            Some(session) => Standing::Active { seq: session.seq, expires: session.expires },
            None => match self.ended.visitor(visitor) {
                Some((seq, reason)) => Standing::Ended { seq, reason },
                None => Standing::Unknown,
            },
        }
    }

    fn session(&mut self, seq: Seq, now: Millis, ended: &mut Vec<Ended>) -> SessionState {
        if let Some(visitor) = self.by_seq.get(&seq).cloned() {
            self.hear(&visitor, now, ended);
            if let Some(session) = self.sessions.get(&visitor) {
                return SessionState::Live { visitor, expires: session.expires };
            }
        }
        self.ended.session(seq).map_or(SessionState::Unknown, SessionState::Ended)
    }

    fn end(&mut self, visitor: &VisitorId, reason: EndReason, now: Millis, ended: &mut Vec<Ended>) -> Option<Was> {
        if let Some(&rank) = self.ranks.get(visitor) {
            self.end_waiter(rank, reason, now);
            return Some(Was::Waiting);
        }
        self.sessions.contains_key(visitor).then(|| {
            self.end_session(visitor, reason, now, ended);
            Was::Active
        })
    }

    fn release(&mut self, visitor: &VisitorId, seq: Seq, now: Millis, ended: &mut Vec<Ended>) -> bool {
        let live = self.sessions.get(visitor).is_some_and(|session| session.seq == seq);
        if live {
            self.end_session(visitor, EndReason::Released, now, ended);
        }
        live
    }

    fn end_waiter(&mut self, rank: Rank, reason: EndReason, now: Millis) {
        if let Some(visitor) = self.remove_waiter(rank) {
            self.totals.abandoned += u64::from(reason == EndReason::Abandoned);
            self.ended.record(visitor, self.policy.order.seq(rank), reason, false, now);
        }
    }

    fn remove_waiter(&mut self, rank: Rank) -> Option<VisitorId> {
        let visitor = self.waiting.remove(&rank)?;
        self.ranks.remove(&visitor);
        self.present.clear(rank.0);
        Some(visitor)
    }

    fn end_session(&mut self, visitor: &VisitorId, reason: EndReason, now: Millis, ended: &mut Vec<Ended>) {
        let Some(session) = self.sessions.remove(visitor) else { return };
        self.by_end.remove(&(session.ends, visitor.clone()));
        self.by_seq.remove(&session.seq);
        match reason {
            EndReason::Released | EndReason::Left => self.totals.released += 1,
            EndReason::Expired => self.totals.expired += 1,
            _ => {}
        }
        self.ended.record(visitor.clone(), session.seq, reason, true, now);
        ended.push(Ended { visitor: visitor.clone(), seq: session.seq, reason });
    }

    /// Free slots, whatever the rate allows.
    fn free(&self, now: Millis) -> u64 {
        if self.paused || self.sold_out || now < self.admit_not_before {
            return 0;
        }
        u64::from(self.policy.capacity).saturating_sub(self.sessions.len() as u64)
    }

    fn rate_available(&self, now: Millis) -> u64 {
        self.policy.admit_per_minute.map_or(u64::MAX, |rate| rate::available(self.tat_us, now.0 * 1000, rate))
    }

    fn take_rate(&mut self, count: u64, now: Millis) {
        if let Some(rate) = self.policy.admit_per_minute {
            self.tat_us = rate::take(self.tat_us, now.0 * 1000, rate, count);
        }
    }

    /// How many may be admitted now: capacity and rate together.
    fn admissible(&self, now: Millis) -> u64 {
        self.free(now).min(self.rate_available(now))
    }

    fn begin_session(&mut self, visitor: VisitorId, seq: Seq, now: Millis) -> Millis {
        let expires = now.plus(self.policy.active_ttl_ms());
        let ends = now.plus(self.policy.claim_ms()).min(expires);
        self.by_end.insert((ends, visitor.clone()));
        self.by_seq.insert(seq, visitor.clone());
        self.sessions.insert(visitor, Session { seq, expires, ends });
        self.totals.admitted += 1;
        expires
    }

    fn admit(&mut self, max: usize, now: Millis) -> Admitted {
        let count = self.admissible(now).min(max.min(ADMIT_BATCH_MAX) as u64) as usize;
        let first: Vec<Rank> = self.waiting.keys().take(count).copied().collect();
        let sessions: Vec<Admission> = first.into_iter().filter_map(|rank| self.admit_one(rank, now)).collect();
        if !sessions.is_empty() {
            self.take_rate(sessions.len() as u64, now);
            self.timeline.trim(self.head_seq());
        }
        let blocked = !self.waiting.is_empty() && self.free(now) > 0 && self.rate_available(now) == 0;
        let rate = self.policy.admit_per_minute.filter(|_| blocked);
        let rate_opens = rate.map(|rate| Millis(rate::next_at_us(self.tat_us, rate).div_ceil(1000)));
        Admitted { sessions, rate_opens }
    }

    fn admit_one(&mut self, rank: Rank, now: Millis) -> Option<Admission> {
        let visitor = self.remove_waiter(rank)?;
        let seq = self.policy.order.seq(rank);
        let expires = self.begin_session(visitor.clone(), seq, now);
        Some(Admission { visitor, seq, expires, joined: self.timeline.joined(seq) })
    }

    /// The number of the first in line, or the next one to be handed out.
    fn head_seq(&self) -> Seq {
        let head = self.waiting.first_key_value().map(|(rank, _)| self.policy.order.seq(*rank));
        head.unwrap_or(Seq(self.seq.0 + 1))
    }

    fn expire(&mut self, now: Millis, ended: &mut Vec<Ended>) -> usize {
        let over = self.by_end.iter().take_while(|(ends, _)| *ends <= now);
        let over: Vec<_> = over.take(SESSIONS_BATCH_MAX).map(|(_, visitor)| visitor.clone()).collect();
        over.iter().for_each(|visitor| self.end_session(visitor, EndReason::Expired, now, ended));
        over.len()
    }

    fn seen_in(&mut self, period: u64, now: Millis) -> &mut Bitmap {
        let oldest = now.period().saturating_sub(self.policy.grace_periods() + 1);
        while self.seen.first_key_value().is_some_and(|(period, _)| *period < oldest) {
            self.seen.pop_first();
        }
        self.seen.entry(period).or_default()
    }

    fn abandon(&mut self, first_byte: u64, len: usize, now: Millis) -> Vec<VisitorId> {
        // Nobody looked for longer than a period: the store was away, or every node was; or its clock was set
        // back. Those who are there must first be heard again.
        if now.0.abs_diff(self.swept.0) > SEEN_PERIOD_MS {
            self.sweep_not_before = now.plus(self.policy.grace_ms() + SEEN_PERIOD_MS);
        }
        self.swept = now;
        if now < self.sweep_not_before {
            return Vec::new();
        }
        // As of a moment ago: other nodes may not have told yet whom they heard since.
        let settled = Millis(now.0.saturating_sub(SEEN_SETTLE_MS)).period();
        let oldest = settled.saturating_sub(self.policy.grace_periods() - 1);
        let range = Rank(first_byte * 8)..Rank((first_byte + len as u64) * 8);
        let seen = |rank: Rank| self.seen.range(oldest..=now.period()).any(|(_, map)| map.get(rank.0));
        let gone = self.waiting.range(range).filter(|(rank, _)| !seen(**rank));
        let gone: Vec<_> = gone.take(SWEEP_BATCH_MAX).map(|(rank, visitor)| (*rank, visitor.clone())).collect();
        gone.iter().for_each(|(rank, _)| self.end_waiter(*rank, EndReason::Abandoned, now));
        gone.into_iter().map(|(_, visitor)| visitor).collect()
    }

    fn restore(&mut self, visitor: &VisitorId, seq: Seq, now: Millis) -> bool {
        let elsewhere = self.ranks.contains_key(visitor) || self.sessions.contains_key(visitor);
        if elsewhere || self.ended.visitor(visitor) != Some((seq, EndReason::Abandoned)) {
            return false;
        }
        self.ended.forget(visitor);
        self.totals.abandoned -= 1;
        self.insert_waiter(visitor, self.policy.order.rank(seq), now);
        true
    }

    fn clear_waiting(&mut self, upto: Rank, reason: EndReason, now: Millis) -> usize {
        if reason == EndReason::SoldOut && !self.sold_out {
            return 0;
        }
        let first: Vec<_> = self.waiting.range(..=upto).take(END_BATCH_MAX).map(|(rank, _)| *rank).collect();
        first.iter().for_each(|rank| self.end_waiter(*rank, reason, now));
        first.len()
    }

    fn summary(&self) -> Summary {
        let head = self.waiting.first_key_value();
        Summary {
            version: self.version,
            paused: self.paused,
            draining: self.draining,
            sold_out: self.sold_out,
            stock: self.stock,
            seq: self.seq,
            waiting: self.waiting.len() as u64,
            active: self.sessions.len() as u64,
            totals: self.totals,
            next_end: self.by_end.first().map(|(ends, _)| *ends),
            admit_not_before: self.admit_not_before,
            oldest_joined: head.and_then(|(rank, _)| self.timeline.joined(self.policy.order.seq(*rank))),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let ends = self.waiting.first_key_value().zip(self.waiting.last_key_value());
        let (first_byte, present) = ends.map_or((0, Bytes::new()), |((head, _), (tail, _))| {
            let first = head.0 / 8 / SNAPSHOT_ALIGN_BYTES * SNAPSHOT_ALIGN_BYTES;
            (first, self.present.bytes(first, (tail.0 / 8 - first + 1) as usize).into())
        });
        Snapshot { summary: self.summary(), first_byte, present }
    }
}
