//! Every Redis key of the ticket store: the one place that builds them.
//!
//! All keys of one event share the hash tag `{event}`, so that a script touches one slot of
//! a cluster.

use queue_core::ids::EventId;

/// The keys of one event's sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// HASH: revision, epoch, version, open, blocked.
    Meta,
    /// String: two bits for each seat index.
    Seats,
    /// HASH reservation → record.
    Holds,
    /// ZSET reservation → end of an unpinned hold (ms).
    Ends,
    /// ZSET reservation → since when it is pinned (ms).
    Pins,
    /// HASH visitor → holds and bookings.
    Visitors,
    /// HASH ticket type → held and sold, of types without seats.
    Tallies,
    /// ZSET session → until when it is remembered as ended (ms).
    Ended,
    /// HASH reservation → state and record of a hold that ended without a booking.
    Past,
    /// ZSET reservation → until when that is remembered (ms).
    PastUntil,
    /// LIST: the last changes, the newest last.
    Log,
}

impl Key {
    /// All keys of a sale.
    pub const ALL: [Self; 11] = [
        Self::Meta,
        Self::Seats,
        Self::Holds,
        Self::Ends,
        Self::Pins,
        Self::Visitors,
        Self::Tallies,
        Self::Ended,
        Self::Past,
        Self::PastUntil,
        Self::Log,
    ];

    /// The name by which scripts know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Seats => "seats",
            Self::Holds => "holds",
            Self::Ends => "ends",
            Self::Pins => "pins",
            Self::Visitors => "visitors",
            Self::Tallies => "tallies",
            Self::Ended => "ended",
            Self::Past => "past",
            Self::PastUntil => "past_until",
            Self::Log => "log",
        }
    }

    /// The key of that event.
    pub fn of(self, event: &EventId) -> String {
        format!("ticket:{{{event}}}:{}", self.name())
    }
}
