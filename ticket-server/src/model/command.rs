//! What can be asked of the sale of one event, and what is answered.
//!
//! Seats are named by index here: [`Hall`](super::hall::Hall) knows which seat is which. All
//! identifiers that are new come from outside, so that nothing in here is random.

use std::{collections::BTreeMap, sync::Arc};

use queue_core::ids::{Jti, Millis, VisitorId};

use super::bits::{SeatBits, SeatState};
use crate::ids::{Epoch, ReservationId, TicketTypeId};

/// What the store must know of an event's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Which version of the definition this is; the first is 1.
    pub revision: u64,
    /// The epoch that starts when the shape takes effect.
    pub epoch: Epoch,
    /// Seat indexes in use, those that were taken out included.
    pub seats: u32,
    /// Indexes that were taken out, ascending.
    pub blocked: Arc<[u32]>,
    /// Types without seats, and how many there are of each.
    pub quantities: Arc<BTreeMap<TicketTypeId, u64>>,
}

/// What a hold or a booking is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Seats by index.
    Seats(Vec<u32>),
    /// Tickets of a type without seats.
    Quantity {
        /// The type.
        kind: TicketTypeId,
        /// How many.
        quantity: u64,
    },
}

impl What {
    /// How much of the visitor's limit it takes.
    pub fn count(&self) -> u64 {
        match self {
            Self::Seats(seats) => seats.len() as u64,
            Self::Quantity { quantity, .. } => *quantity,
        }
    }
}

/// Who takes something, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    /// The id of the new hold.
    pub reservation: ReservationId,
    /// Who takes.
    pub visitor: VisitorId,
    /// In which session.
    pub jti: Jti,
    /// How long the hold lasts.
    pub hold_ms: u64,
    /// What it costs.
    pub total_minor: u64,
}

/// What somebody wants to take, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These seats, none of them twice, at most [`HOLD_SEATS_MAX`](crate::limits::HOLD_SEATS_MAX).
    Seats(Vec<u32>),
    /// Tickets of a type without seats.
    Quantity {
        /// The type.
        kind: TicketTypeId,
        /// How many.
        quantity: u64,
        /// How many there are in all.
        total: u64,
    },
}

/// One hold that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who takes.
    pub taking: Taking,
    /// What.
    pub wanted: Wanted,
}

/// A booking as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    /// The reservation that was confirmed.
    pub reservation: ReservationId,
    /// Whose it is.
    pub visitor: VisitorId,
    /// The session it was made in.
    pub jti: Jti,
    /// What was booked.
    pub what: What,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates the event (`expected` 0) or changes it; refused when it would take away what is held or sold.
    Configure {
        /// The revision that the change was made from.
        expected: u64,
        /// What it shall be.
        shape: Shape,
    },
    /// Brings the store to the ledger's definition, whatever it believed. A sale made this way is not open.
    Restore {
        /// What it shall be.
        shape: Shape,
    },
    /// All bookings are known: holds may be taken.
    Open,
    /// Takes seats and tickets: one wish after the other, each all or none. All that was held is one change.
    Hold {
        /// The definition that the wishes were checked against.
        revision: u64,
        /// What a visitor may hold and have booked, together.
        limit: u64,
        /// At most [`HOLD_BATCH_MAX`](crate::limits::HOLD_BATCH_MAX), of reservations that differ.
        wishes: Vec<Wish>,
    },
    /// Reads what some seats are and which sessions have ended, by the definition of that revision. What a hold
    /// would be refused for at that instant is refused without one.
    Look {
        /// The definition that names the seats.
        revision: u64,
        /// At most [`LOOK_SEATS_MAX`](crate::limits::LOOK_SEATS_MAX).
        seats: Vec<u32>,
        /// At most [`HOLD_BATCH_MAX`](crate::limits::HOLD_BATCH_MAX).
        sessions: Vec<Jti>,
    },
    /// Makes a hold last longer by up to `add_ms`; refused when less than `at_least_ms` is possible.
    Extend {
        /// The hold.
        reservation: ReservationId,
        /// Whose it must be.
        visitor: VisitorId,
        /// How much is wanted.
        add_ms: u64,
        /// How much is needed.
        at_least_ms: u64,
    },
    /// Gives a hold up.
    Cancel {
        /// The hold.
        reservation: ReservationId,
        /// Whose it must be.
        visitor: VisitorId,
    },
    /// From now on the hold does not expire: it is being booked. Again and again is fine.
    Pin {
        /// The hold.
        reservation: ReservationId,
        /// Whose it must be.
        visitor: VisitorId,
    },
    /// It is not being booked after all, and expires as it would have.
    Unpin {
        /// The hold.
        reservation: ReservationId,
    },
    /// Marks bookings sold, whatever the store believed. Idempotent.
    Book {
        /// At most [`BOOK_BATCH_MAX`](crate::limits::BOOK_BATCH_MAX).
        bookings: Vec<Sold>,
    },
    /// Frees what was booked and is not any more: the ledger has taken the booking back. Idempotent: a booking
    /// that the store does not count is left alone, since its seats may be somebody else's by now.
    Unbook {
        /// What was booked, in the words in which it was marked.
        booking: Sold,
    },
    /// Frees a pinned hold that the ledger will never book. Anything else is left alone.
    Abort {
        /// The hold.
        reservation: ReservationId,
    },
    /// Frees holds whose time has come.
    Expire {
        /// How many, at most.
        batch: usize,
    },
    /// Forgets ended sessions and holds that were kept long enough.
    Forget {
        /// How many of each, at most.
        batch: usize,
    },
    /// The queue ended a session: it takes nothing any more.
    EndSession {
        /// Whose it was.
        visitor: VisitorId,
        /// The session.
        jti: Jti,
        /// Whether its unpinned holds are let go.
        let_go: bool,
    },
    /// Closes the session if it has a booking and its visitor holds nothing.
    Close {
        /// Whose it is.
        visitor: VisitorId,
        /// The session.
        jti: Jti,
    },
    /// Reads one hold, or what became of it.
    Find {
        /// The hold.
        reservation: ReservationId,
    },
    /// Reads the holds of a visitor.
    HoldsOf {
        /// The visitor.
        visitor: VisitorId,
    },
    /// Reads unpinned holds, those that end first first.
    Holds {
        /// How many to leave out.
        skip: usize,
        /// How many, at most.
        batch: usize,
    },
    /// Reads which holds were pinned that long ago, the oldest first.
    Pinned {
        /// Pinned for at least so long.
        for_ms: u64,
        /// How many, at most.
        batch: usize,
    },
    /// Reads the version.
    Version,
    /// Reads all seat states and quantities as of one instant.
    Snapshot,
    /// Reads what changed after a version.
    Changes {
        /// The last version known.
        after: u64,
        /// How many, at most.
        batch: usize,
    },
}

/// What became of a hold that was not booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastState {
    /// It was given up.
    Cancelled,
    /// Its time was up.
    Expired,
}

impl PastState {
    /// The name on the wire and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "CANCELLED" => Some(Self::Cancelled),
            "EXPIRED" => Some(Self::Expired),
            _ => None,
        }
    }
}

/// A hold as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub reservation: ReservationId,
    /// Whose it is.
    pub visitor: VisitorId,
    /// The session it was taken in.
    pub jti: Jti,
    /// When it was taken.
    pub created: Millis,
    /// When it expires, unless it is pinned.
    pub end: Millis,
    /// How often it was extended.
    pub extensions: u32,
    /// Since when it is being booked.
    pub pinned: Option<Millis>,
    /// What it costs.
    pub total_minor: u64,
    /// What is held.
    pub what: What,
}

/// Where a sale stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The definition in effect.
    pub revision: u64,
    /// The incarnation of the seat states.
    pub epoch: Epoch,
    /// Counts every change of what is available.
    pub version: u64,
    /// Whether holds may be taken.
    pub open: bool,
}

/// Tickets of a type without seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Held.
    pub held: u64,
    /// Sold.
    pub sold: u64,
}

/// All of a sale that is public, as of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When.
    pub version: Version,
    /// Every seat.
    pub seats: SeatBits,
    /// Every type without seats of which something is held or sold.
    pub tallies: BTreeMap<TicketTypeId, Tally>,
}

/// One entry of the change log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The version that the change made.
    pub version: u64,
    /// What the seats became.
    pub state: SeatState,
    /// Which seats; none when only quantities changed.
    pub seats: Vec<u32>,
}

/// What became of holds, as the store has counted them: numbers that only grow while its data is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Names the data; none where nothing was counted yet.
    pub origin: Option<Epoch>,
    /// Holds that were taken.
    pub taken: u64,
    /// Holds whose time was up, or that could not be booked.
    pub expired: u64,
    /// Holds that were given up, by their visitor or with the session.
    pub given_up: u64,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so.
    Done,
    /// The hold as it is now.
    Hold(Hold),
    /// The hold as it was, and what became of it.
    Past(PastState, Hold),
    /// These holds were freed; more are due.
    Freed {
        /// Which.
        holds: Vec<ReservationId>,
        /// Whether to ask again at once.
        more: bool,
    },
    /// What became of each wish, in their order: a hold, or why there is none.
    Each(Vec<Result<Hold, Refusal>>),
    /// What was looked at, in the order of the question.
    Look {
        /// The seats.
        seats: Vec<SeatState>,
        /// Whether each of the sessions has ended.
        ended: Vec<bool>,
    },
    /// These holds were freed because their time was up.
    Expired {
        /// Which.
        holds: Vec<ReservationId>,
        /// Whether to ask again at once.
        more: bool,
        /// In how many milliseconds the next one ends, of those that there are.
        next_ms: Option<u64>,
        /// What was counted so far.
        counts: Counts,
    },
    /// The session is closed: it takes nothing any more.
    Closed,
    /// The session is not done yet.
    NotDone,
    /// These holds.
    Holds(Vec<Hold>),
    /// Where the sale stands.
    Version(Version),
    /// All that is public.
    Snapshot(Snapshot),
    /// What changed; `None` when the log no longer reaches back that far.
    Changes(Epoch, Option<Vec<Change>>),
    /// It was not done, and why.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The store does not know the event.
    NoEvent,
    /// The store has another revision of the event.
    Stale,
    /// The bookings are not all known yet.
    NotOpen,
    /// The session takes nothing any more.
    SessionEnded,
    /// These seats are not free, and what each of them is.
    Taken(Vec<(u32, SeatState)>),
    /// Not so many are left.
    SoldOut {
        /// How many are.
        left: u64,
    },
    /// The visitor would have too many.
    LimitExceeded {
        /// How many the visitor has, held and booked.
        has: u64,
    },
    /// The visitor has no such hold.
    NotFound,
    /// It is being booked.
    NotHeld,
    /// It is gone.
    Expired,
    /// It cannot last so long.
    ExtensionLimit {
        /// How often it was extended.
        extensions: u64,
        /// How much longer it could last if it were extended once more.
        left_ms: u64,
    },
    /// It is held or sold.
    InUse,
}
