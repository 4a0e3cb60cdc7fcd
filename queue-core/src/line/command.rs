//! What can be asked of a line and what it answers: the vocabulary that the model, the engines and
//! the servers share. One variant of [`Command`] is one transition, and in Redis one script.

use bytes::Bytes;

use crate::{
    ids::{Generation, Millis, Rank, Seq, VisitorId},
    policy::Policy,
    wire::EndReason,
};

/// One transition of one event's line. Batches are bounded by [`crate::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates the line, or replaces its policy (state and rate bucket stay).
    Configure(Configure),
    /// Takes visitors in, or finds them again; a sign of life of each.
    Join {
        /// Distinct visitors, [`crate::limits::JOIN_BATCH_MAX`] at most.
        visitors: Vec<VisitorId>,
        /// The highest number the caller has seen: none at or below it is handed out.
        floor: Seq,
    },
    /// Where a visitor stands; a sign of life, so it claims an admission. (Of waiters, signs of life are
    /// gathered by the nodes and told with [`Command::Seen`].)
    Status(VisitorId),
    /// Where a visitor stands, asked by somebody else: changes nothing.
    Lookup(VisitorId),
    /// Whether the session of this number is live; asked when it is used, so it claims the admission.
    Session(Seq),
    /// The visitor gives the place or session up.
    Leave(VisitorId),
    /// An operator ends the place or session.
    Revoke(VisitorId),
    /// Sessions are done. Each ends only if visitor and number both match.
    Release(Vec<(VisitorId, Seq)>),
    /// Fills free slots in order, as capacity and rate allow.
    Admit {
        /// At most so many, and never more than [`crate::limits::ADMIT_BATCH_MAX`].
        max: usize,
    },
    /// Ends sessions whose time is over, [`crate::limits::SESSIONS_BATCH_MAX`] at most.
    Expire,
    /// Ranks that were heard of in a period: bytes of a bitmap, most significant bit first.
    Seen {
        /// The period ([`Millis::period`]): the current one or one of the two before.
        period: u64,
        /// Where the bytes start.
        first_byte: u64,
        /// [`crate::limits::BITMAP_CHUNK_BYTES_MAX`] at most.
        bytes: Vec<u8>,
    },
    /// Removes waiters nobody heard of for the grace: those in one stretch of the bitmap,
    /// [`crate::limits::SWEEP_BATCH_MAX`] at most.
    Abandon {
        /// Where the stretch starts.
        first_byte: u64,
        /// Its length, [`crate::limits::BITMAP_CHUNK_BYTES_MAX`] at most.
        len: usize,
    },
    /// Puts waiters that were abandoned by mistake back at their own rank.
    Restore(Vec<(VisitorId, Seq)>),
    /// Stops admission.
    Pause,
    /// Ends pause, drain and a closure because of a sell-out.
    Resume,
    /// Takes nobody new.
    Drain,
    /// Ends those who wait at `upto` or before, [`crate::limits::END_BATCH_MAX`] at most.
    ClearWaiting {
        upto: Rank,
        /// `CLEARED`, or `SOLD_OUT`: then nobody is ended unless the line is closed for that.
        reason: EndReason,
    },
    /// What is left of what people wait for. Older news than the last changes nothing.
    Stock(Stock),
    /// Ends sessions, those that end first by time first, [`crate::limits::SESSIONS_BATCH_MAX`] at most.
    ClearActive,
    /// Removes the event, if nobody is in it.
    Remove,
    /// Everything an operator or a newly started node wants to know.
    Describe,
    /// Housekeeping: signs of life of periods that no grace reaches are forgotten, and a store may let go of what it
    /// keeps of ranks long before the head of the line.
    Trim,
    /// The state of the line at one instant, with the presence bitmap: what positions are told from.
    Snapshot,
}

/// The argument of [`Command::Configure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configure {
    pub policy: Policy,
    /// The generation of the line if it is new. Drawn by the caller: the model knows no randomness.
    pub generation: Generation,
    /// If the line is new: numbers continue above this.
    pub floor: Seq,
    /// If the line is new: nobody is admitted for so long, since sessions of a lost line may be out there.
    pub closed_ms: u64,
    /// If the line is new: it is made again in place of a lost one that was paused.
    pub paused: bool,
    /// The same of one that took nobody new.
    pub draining: bool,
}

impl Configure {
    /// A policy for a line that goes on as it is, or that begins here.
    pub const fn new(policy: Policy, generation: Generation) -> Self {
        Self { policy, generation, floor: Seq(0), closed_ms: 0, paused: false, draining: false }
    }
}

/// What is left of what people wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Free.
    pub left: u64,
    /// Held by somebody, and perhaps free again.
    pub held: u64,
    /// When that was so, by the clock of whoever sells.
    pub at: Millis,
}

impl Stock {
    /// Nothing is free and nothing can come back by itself.
    pub const fn sold_out(&self) -> bool {
        self.left == 0 && self.held == 0
    }
}

/// What a line answers to one [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The policy stands; `created` if the line is new.
    Configured { created: bool },
    /// One entry for each visitor of the batch, in its order.
    Joined(Joined),
    /// Where one visitor stands.
    Standing(Standing),
    /// What is known of one session.
    Session(SessionState),
    /// What ended, if anything.
    Left(Option<Was>),
    /// For each: whether it was released now. `false`: it had ended before, or never was.
    Released(Vec<bool>),
    /// Who was admitted, in order.
    Admitted(Admitted),
    /// How many sessions were ended; ask again if it is a whole batch.
    Expired(usize),
    /// Taken note of.
    Done,
    /// Who was removed; ask again if it is a whole batch.
    Abandoned(Vec<VisitorId>),
    /// For each: whether it is back.
    Restored(Vec<bool>),
    /// How many were ended; ask again if it is a whole batch.
    Cleared(usize),
    /// Whether the event is gone; `false`: people are in it.
    Removed(bool),
    /// The answer to [`Command::Describe`].
    Described(Box<Description>),
    /// The answer to [`Command::Snapshot`].
    Snapshot(Box<Snapshot>),
}

/// The answer to a batch of joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// One for each visitor, in order.
    pub places: Vec<Place>,
    /// People waiting in all, after the whole batch.
    pub waiting: u64,
    /// Admission is paused.
    pub paused: bool,
}

/// What became of one join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In line; `position` is 1 + the number of waiters before, as of this join.
    Waiting { seq: Seq, position: u64, fresh: bool },
    /// Let in: at once if `fresh`, before otherwise.
    Active { seq: Seq, expires: Millis, fresh: bool },
    /// The event takes nobody new.
    Closed,
    /// `maxWaiting` is reached.
    Full,
}

/// Where a visitor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Waiting { seq: Seq, position: u64, waiting: u64 },
    Active { seq: Seq, expires: Millis },
    Ended { seq: Seq, reason: EndReason },
    Unknown,
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    Live { visitor: VisitorId, expires: Millis },
    Ended(EndReason),
    Unknown,
}

/// What a visitor was before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    Waiting,
    Active,
}

/// The answer to [`Command::Admit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub sessions: Vec<Admission>,
    /// If people wait and slots are free, but the rate does not allow it: when it will.
    pub rate_opens: Option<Millis>,
}

/// One admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub visitor: VisitorId,
    pub seq: Seq,
    /// When the session ends.
    pub expires: Millis,
    /// When the visitor joined, to the second; `None` if that is no longer known.
    pub joined: Option<Millis>,
}

/// Running totals of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions begun.
    pub admitted: u64,
    /// Waiters removed because nobody heard of them.
    pub abandoned: u64,
    /// Sessions ended by their visitor or by whoever had finished with them.
    pub released: u64,
    /// Sessions ended by time.
    pub expired: u64,
}

/// The state of the line at one instant, without the bitmap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Changes with every change of policy, pause, drain or sell-out.
    pub version: u64,
    pub paused: bool,
    pub draining: bool,
    /// Takes nobody and admits nobody, since nothing is left.
    pub sold_out: bool,
    /// What was last heard of the stock.
    pub stock: Option<Stock>,
    /// The last number handed out.
    pub seq: Seq,
    pub waiting: u64,
    pub active: u64,
    pub totals: Totals,
    /// When the next session ends by time.
    pub next_end: Option<Millis>,
    /// Nobody is admitted before.
    pub admit_not_before: Millis,
    /// When the first in line joined, to the second.
    pub oldest_joined: Option<Millis>,
}

/// The answer to [`Command::Describe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub policy: Policy,
    pub summary: Summary,
}

/// The answer to [`Command::Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub summary: Summary,
    /// Byte of the presence bitmap at which `present` starts: a multiple of [`crate::limits::SNAPSHOT_ALIGN_BYTES`], the last before
    /// the head of the line or at it. 0 if nobody waits.
    pub first_byte: u64,
    /// Presence from there to the tail of the line.
    pub present: Bytes,
}

/// An answer and when it was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub now: Millis,
    pub generation: Generation,
    pub outcome: Outcome,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such event")]
    NoSuchEvent,
    /// The line is another incarnation than the caller believes.
    #[error("the line is another one: {0}")]
    StaleGeneration(Generation),
}

/// A session that the last command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub visitor: VisitorId,
    pub seq: Seq,
    pub reason: EndReason,
}
