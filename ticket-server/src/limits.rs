//! Named bounds and durations of the ticket server, and the relations between them.

/// Seats of one event, at most.
pub const SEATS_MAX: usize = 200_000;
/// Seats in one hold, at most.
pub const HOLD_SEATS_MAX: usize = 8;
/// Ticket types of one event, at most.
pub const TICKET_TYPES_MAX: usize = 200;
/// Sections of one event, at most.
pub const SECTIONS_MAX: usize = 5_000;
/// Tickets of one type without seats, at most.
pub const QUANTITY_MAX: u64 = 10_000_000;
/// The largest `maxSeatsPerVisitor`, and so the largest quantity of one hold.
pub const VISITOR_SEATS_MAX: u64 = 1_000;
/// The highest price, in minor units: a thousand of them stay far below 2^53.
pub const PRICE_MINOR_MAX: u64 = 1_000_000_000;
/// Names and venues are at most this many characters.
pub const NAME_CHARS_MAX: usize = 200;
/// Problems named in one refusal, at most: a body can break the schema in every seat.
pub const PROBLEMS_MAX: usize = 100;

/// How long a hold lasts unless the request says so.
pub const HOLD_MS_DEFAULT: u64 = 300_000;
/// The shortest hold that can be asked for.
pub const HOLD_MS_MIN: u64 = 10_000;
/// A hold lives at most so long in all, extensions included.
pub const HOLD_LIFE_MS_MAX: u64 = 900_000;
/// How much an extension adds unless the request says so.
pub const EXTEND_MS_DEFAULT: u64 = 300_000;
/// Extensions of one hold, at most.
pub const EXTENSIONS_MAX: u32 = 2;
/// What became of a hold that ended without a booking is remembered so long.
pub const PAST_KEPT_MS: u64 = 3_600_000;
/// Holds that ended without a booking and are remembered, for one event, at most: whoever holds and gives up in
/// a loop fills no memory. One that is forgotten answers as one that was lost.
pub const PAST_HOLDS_MAX: usize = 100_000;
/// An ended session is remembered so long: no active token outlives it.
pub const SESSION_KEPT_MS: u64 = 86_400_000 + 60_000;
/// Ended sessions that are remembered, for one event, at most; the first to be forgotten are those that ended first.
/// A token lives for some minutes, so that very many must end before one counts as live that is not.
pub const SESSIONS_ENDED_MAX: usize = 500_000;
/// Entries of an event's change log, at most.
pub const LOG_ENTRIES_MAX: usize = 10_000;

/// Holds asked for in one engine call, at most: what many ask for at once goes to the store together.
pub const HOLD_BATCH_MAX: usize = 64;
/// Seats looked at in one call of the store, at most: those of as many holds.
pub const LOOK_SEATS_MAX: usize = HOLD_BATCH_MAX * HOLD_SEATS_MAX;
/// Holds expired, or things forgotten, in one engine call, at most.
pub const END_BATCH_MAX: usize = 128;
/// Bookings marked sold in one engine call, at most.
pub const BOOK_BATCH_MAX: usize = 64;

const _: () = assert!(HOLD_MS_MIN <= HOLD_MS_DEFAULT && HOLD_MS_DEFAULT <= HOLD_LIFE_MS_MAX);
const _: () = assert!(HOLD_SEATS_MAX as u64 <= VISITOR_SEATS_MAX);
const _: () = assert!(PRICE_MINOR_MAX * VISITOR_SEATS_MAX < 1 << 53, "totals are exact in Lua and JavaScript");
