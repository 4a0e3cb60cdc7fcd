//! Named bounds and durations of both servers, and the relations between them.

/// One period of presence: a sign of life counts for the period in which it was heard.
pub const SEEN_PERIOD_MS: u64 = 30_000;
/// Nodes tell the store of a sign of life within this; a sweep waits as long for them.
pub const SEEN_SETTLE_MS: u64 = 15_000;
/// The server pings each socket this often.
pub const WS_PING_MS: u64 = 25_000;
/// A socket that was silent for so long is dropped.
pub const WS_SILENT_MS: u64 = 60_000;
/// A socket that has asked for nothing for so long is closed.
pub const WS_FIRST_MESSAGE_MS: u64 = 10_000;
/// The largest WebSocket message.
pub const WS_MESSAGE_BYTES_MAX: usize = 4096;
/// More messages than this within [`WS_RATE_WINDOW_MS`] close the socket.
pub const WS_RATE_MESSAGES_MAX: u32 = 20;
/// The window of [`WS_RATE_MESSAGES_MAX`].
pub const WS_RATE_WINDOW_MS: u64 = 10_000;

/// The shortest grace a policy may name.
pub const GRACE_MS_MIN: u64 = 60_000;
/// The longest grace a policy may name.
pub const GRACE_MS_MAX: u64 = 3_600_000;
/// Periods that the longest grace reaches back.
pub const GRACE_PERIODS_MAX: u64 = GRACE_MS_MAX.div_ceil(SEEN_PERIOD_MS) + 1;
/// Periods by which the store's clock may be set forward or back while signs of life are remembered.
pub const CLOCK_PERIODS_MAX: u64 = 64;
/// What became of a visitor is remembered at least so long, and at most twice as long.
pub const ENDED_KEPT_MS: u64 = 3_600_000;

// While a batch is carried out the store does nothing else: these bounds keep that under half a millisecond, see
// `bench stops`.
/// Joins in one engine call, at most.
pub const JOIN_BATCH_MAX: usize = 112;
/// Admissions in one engine call, at most.
pub const ADMIT_BATCH_MAX: usize = 128;
/// Waiters cleared in one engine call, at most: from the head of the line.
pub const END_BATCH_MAX: usize = 128;
/// Waiters swept or restored in one engine call, at most: from anywhere in the line.
pub const SWEEP_BATCH_MAX: usize = 48;
/// Sessions expired, cleared or released in one engine call, at most: of each one there is a message and an entry.
pub const SESSIONS_BATCH_MAX: usize = 64;
/// Seconds for which a line remembers when its waiters joined, at most.
pub const JOINED_ENTRIES_MAX: usize = 86_400;
/// Seconds of these that one admission forgets, at most.
pub const JOINED_TRIM_MAX: usize = 1_024;
/// Entries that the stream of an event's ended sessions keeps, about.
pub const SESSION_ENDED_LOG_MAX: usize = 100_000;
/// That stream outlives its event by so long.
pub const REMOVED_LOG_KEPT_MS: u64 = 86_400_000;
/// That an operator removed an event is remembered for so long: a node that was away longer takes it for lost.
pub const REMOVED_KEPT_MS: u64 = 30 * 86_400_000;
/// Bytes of a presence bitmap handled in one engine call, at most.
pub const BITMAP_CHUNK_BYTES_MAX: usize = 16_384;
/// A bitmap of signs of life is made anew, without spare room, when its period is over, if it is no longer.
pub const SEEN_COMPACT_BYTES_MAX: usize = 1 << 18;
/// Bitmaps begin at a multiple of so many ranks, which follows the head of the line.
pub const BITMAP_BASE_RANKS: u64 = 1 << 16;
/// A look at a line begins with a multiple of so many bytes of its bitmap, so that it is counted by whole words.
pub const SNAPSHOT_ALIGN_BYTES: u64 = 8;
/// Bytes of all bitmaps of a line that are moved in one engine call when their beginning changes, at most.
pub const TRIM_BYTES_MAX: usize = 1 << 20;
/// A restored or rebuilt line continues this far above everything known.
pub const SEQ_RESTORE_GAP: u64 = 1 << 20;
/// A line that is older than it was continues this far above a number that somebody has seen: further than others can have
/// joined since that somebody last looked.
pub const SEQ_BEHIND_GAP: u64 = 1 << 17;
/// Identifiers are at most this long.
pub const ID_BYTES_MAX: usize = 64;
/// A place token is at most this long.
pub const PLACE_TOKEN_BYTES_MAX: usize = 512;
/// Any other token that is presented is at most this long.
pub const TOKEN_BYTES_MAX: usize = 4096;

const _: () = assert!(GRACE_MS_MIN >= 2 * SEEN_PERIOD_MS, "a waiter must be missed for two periods");
const _: () = assert!(BITMAP_BASE_RANKS.is_multiple_of(8 * SNAPSHOT_ALIGN_BYTES), "bitmaps begin with a word");
const _: () = assert!(SEEN_SETTLE_MS < SEEN_PERIOD_MS, "a sweep waits for one period at most");
const _: () = assert!(WS_PING_MS < SEEN_PERIOD_MS, "each open socket is heard once a period");
const _: () = assert!(WS_SILENT_MS > 2 * WS_PING_MS, "two pings may get lost");
const _: () = assert!(WS_SILENT_MS <= GRACE_MS_MIN, "a dropped socket still has its grace");
