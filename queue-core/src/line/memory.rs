//! What a line remembers of the past: why somebody ended, and when somebody joined.

use std::collections::BTreeMap;

use super::Map;
use crate::{
    ids::{Millis, Seq, VisitorId},
    limits::{ENDED_KEPT_MS, JOINED_ENTRIES_MAX, JOINED_TRIM_MAX},
    wire::EndReason,
};

/// What became of whom, for one to two times [`ENDED_KEPT_MS`]: two generations that take turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedLog {
    pub visitors: Map<VisitorId, (Seq, EndReason)>,
    pub visitors_old: Map<VisitorId, (Seq, EndReason)>,
    pub sessions: Map<Seq, EndReason>,
    pub sessions_old: Map<Seq, EndReason>,
    pub rotated: Millis,
}

impl EndedLog {
    /// Remembers an end; `session` if it was a session's.
    pub fn record(&mut self, visitor: VisitorId, seq: Seq, reason: EndReason, session: bool, now: Millis) {
        self.rotate(now);
        self.visitors.insert(visitor, (seq, reason));
        if session {
            self.sessions.insert(seq, reason);
        }
    }

    /// Begins a new generation if it is time to.
    pub fn rotate(&mut self, now: Millis) {
        if now.since(self.rotated) >= ENDED_KEPT_MS {
            self.visitors_old = std::mem::take(&mut self.visitors);
            self.sessions_old = std::mem::take(&mut self.sessions);
            self.rotated = now;
        }
    }

    /// The last end of a visitor.
    pub fn visitor(&self, visitor: &VisitorId) -> Option<(Seq, EndReason)> {
        self.visitors.get(visitor).or_else(|| self.visitors_old.get(visitor)).copied()
    }

    /// Forgets a visitor's end, since it is undone.
    pub fn forget(&mut self, visitor: &VisitorId) {
        self.visitors.remove(visitor);
        self.visitors_old.remove(visitor);
    }

    /// Why a session ended.
    pub fn session(&self, seq: Seq) -> Option<EndReason> {
        self.sessions.get(&seq).or_else(|| self.sessions_old.get(&seq)).copied()
    }
}

/// When waiters were given their numbers, to the second: the first number of each second that had any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    pub firsts: BTreeMap<Seq, Millis>,
    pub last_sec: u64,
}

impl Timeline {
    /// `seq` is handed out.
    pub fn note(&mut self, seq: Seq, now: Millis) {
        if now.secs() == self.last_sec {
            return;
        }
        self.last_sec = now.secs();
        self.firsts.insert(seq, now);
        if self.firsts.len() > JOINED_ENTRIES_MAX {
            self.firsts.pop_first();
        }
    }

    /// When `seq` was handed out.
    pub fn joined(&self, seq: Seq) -> Option<Millis> {
        self.firsts.range(..=seq).next_back().map(|(_, at)| *at)
    }

    /// Forgets what only numbers before `head` need, [`JOINED_TRIM_MAX`] at most.
    pub fn trim(&mut self, head: Seq) {
        let Some((&kept, _)) = self.firsts.range(..=head).next_back() else { return };
        for _ in 0..JOINED_TRIM_MAX {
            if self.firsts.first_key_value().is_none_or(|(first, _)| *first >= kept) {
                return;
            }
            self.firsts.pop_first();
        }
    }
}
