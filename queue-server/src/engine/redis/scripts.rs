//! The transitions as scripts: which there are, what each is given, and how its text is put together.
//!
//! A script's header names its keys and arguments; each name becomes a local of the script, so that nothing in a
//! body counts positions. The declarations here are what the engine sends; a test holds the headers to them.

use std::fmt::Write as _;

use queue_core::{
    keys::{ADMITTED_CHANNEL, EVENTS_CHANNEL},
    limits::{
        ADMIT_BATCH_MAX, BITMAP_BASE_RANKS, BITMAP_CHUNK_BYTES_MAX, END_BATCH_MAX, ENDED_KEPT_MS, JOINED_ENTRIES_MAX,
        JOINED_TRIM_MAX, REMOVED_KEPT_MS, REMOVED_LOG_KEPT_MS, SEEN_COMPACT_BYTES_MAX, SEEN_PERIOD_MS, SEEN_SETTLE_MS,
        SEQ_BEHIND_GAP, SESSION_ENDED_LOG_MAX, SESSIONS_BATCH_MAX, SWEEP_BATCH_MAX, TRIM_BYTES_MAX,
    },
    service::redis::Script,
    wire::SESSION_ENDED_CHANNEL,
};

/// A key that a script is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Meta,
    Waiting,
    Present,
    Active,
    Sessions,
    Ended,
    EndedOld,
    Joined,
    SessionEnded,
    Scratch,
    Scratch2,
    Removed,
    /// The bitmap of one period.
    Seen,
    /// Those of several periods, newest first; always last.
    SeenMany,
}

impl Key {
    /// Its name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "META",
            Self::Waiting => "WAITING",
            Self::Present => "PRESENT",
            Self::Active => "ACTIVE",
            Self::Sessions => "SESSIONS",
            Self::Ended => "ENDED",
            Self::EndedOld => "ENDED_OLD",
            Self::Joined => "JOINED",
            Self::SessionEnded => "SESSION_ENDED",
            Self::Scratch => "SCRATCH",
            Self::Scratch2 => "SCRATCH2",
            Self::Removed => "REMOVED",
            Self::Seen => "SEEN",
            Self::SeenMany => "SEEN...",
        }
    }
}

/// What a script is given and what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub name: &'static str,
    pub source: &'static str,
    pub keys: &'static [Key],
    /// An argument that ends in `...` stands for any number; only the last may.
    pub args: &'static [&'static str],
    pub reply: &'static str,
}

macro_rules! transitions {
    ($($(#[$doc:meta])* $variant:ident $file:literal [$($key:ident)*] [$($arg:literal)*] $reply:literal;)*) => {
        /// One script.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Transition {
            $($variant,)*
        }

        /// All scripts, in the order of [`Transition`].
        pub const DECLARATIONS: &[Declaration] = &[$(Declaration {
            name: $file,
            source: include_str!(concat!("../../../../lua/queue/", $file, ".lua")),
            keys: &[$(Key::$key),*],
            args: &[$($arg),*],
            reply: $reply,
        },)*];
    };
}

transitions! {
    Configure "configure"
        [Meta Waiting Present Active Sessions Ended EndedOld Joined SessionEnded Removed SeenMany]
        ["EXPECTED" "EVENT" "PERIOD" "GENERATION" "FLOOR" "CLOSED_MS" "PAUSED" "DRAINING" "POLICY" "CAPACITY" "RATE"
         "TTL_MS" "CLAIM_MS" "GRACE_MS" "GRACE_PERIODS" "MAX_WAITING" "REOPENS"]
        "OK now generation created";
    Join "join"
        [Meta Waiting Present Active Sessions Ended EndedOld Joined SessionEnded Seen]
        ["EXPECTED" "EVENT" "PERIOD" "FLOOR" "VISITORS..."]
        "OK now generation waiting paused (place seq position|expires count)...";
    Status "status"
        [Meta Waiting Active Sessions Ended EndedOld SessionEnded]
        ["EXPECTED" "EVENT" "VISITOR"]
        "OK now generation standing...";
    Lookup "lookup"
        [Meta Waiting Active Sessions Ended EndedOld]
        ["EXPECTED" "VISITOR"]
        "OK now generation standing...";
    Session "session"
        [Meta Active Sessions Ended EndedOld SessionEnded]
        ["EXPECTED" "EVENT" "SEQ"]
        "OK now generation session...";
    Leave "leave"
        [Meta Waiting Present Active Sessions Ended EndedOld SessionEnded]
        ["EXPECTED" "EVENT" "VISITOR" "REASON"]
        "OK now generation was";
    Release "release"
        [Meta Active Sessions Ended EndedOld SessionEnded]
        ["EXPECTED" "EVENT" "VISITORS_AND_SEQS..."]
        "OK now generation released...";
    Admit "admit"
        [Meta Waiting Present Active Sessions Joined]
        ["EXPECTED" "EVENT" "MAX"]
        "OK now generation rate_opens admitted";
    Expire "expire"
        [Meta Active Sessions Ended EndedOld SessionEnded]
        ["EXPECTED" "EVENT"]
        "OK now generation count";
    Seen "seen"
        [Meta Seen Scratch Scratch2]
        ["EXPECTED" "PERIOD" "FIRST_BYTE" "BYTES"]
        "OK now generation";
    Abandon "abandon"
        [Meta Waiting Present Ended EndedOld Scratch Scratch2 SeenMany]
        ["EXPECTED" "PERIOD" "GRACE_PERIODS" "FIRST_BYTE" "LEN"]
        "OK now generation visitor...";
    Restore "restore"
        [Meta Waiting Present Active Ended EndedOld Seen]
        ["EXPECTED" "PERIOD" "VISITORS_AND_SEQS..."]
        "OK now generation restored...";
    Phase "phase"
        [Meta]
        ["EXPECTED" "EVENT" "PAUSED" "DRAINING"]
        "OK now generation";
    ClearWaiting "clear_waiting"
        [Meta Waiting Present Ended EndedOld]
        ["EXPECTED" "UPTO" "REASON"]
        "OK now generation count";
    Stock "stock"
        [Meta]
        ["EXPECTED" "EVENT" "LEFT" "HELD" "AT"]
        "OK now generation";
    ClearActive "clear_active"
        [Meta Active Sessions Ended EndedOld SessionEnded]
        ["EXPECTED" "EVENT"]
        "OK now generation count";
    Remove "remove"
        [Meta Waiting Present Active Sessions Ended EndedOld Joined SessionEnded Removed SeenMany]
        ["EXPECTED" "EVENT" "PERIOD"]
        "OK now generation removed";
    Trim "trim"
        [Meta Waiting Present Ended EndedOld SeenMany]
        ["EXPECTED" "PERIOD"]
        "OK now generation";
    Describe "describe"
        [Meta Waiting Active Joined]
        ["EXPECTED"]
        "OK now generation policy summary...";
    Snapshot "snapshot"
        [Meta Waiting Active Joined]
        ["EXPECTED"]
        "OK now generation base head tail summary...";
}

impl Transition {
    /// What the script is given and what it answers.
    pub const fn declaration(self) -> &'static Declaration {
        &DECLARATIONS[self as usize]
    }
}

macro_rules! includes {
    ($($name:literal)*) => {
        const INCLUDES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../../lua/queue/include/", $name, ".lua"))),)*];
    };
}

includes! {
    "ceil_div" "clear_gone" "clear_head" "end_sessions" "end_waiters" "free_slots" "hear" "joined_at" "open" "queue_new" "rate_available" "rate_opens"
    "rate_take" "rfc3339" "rotate_ended" "set_run" "standing" "summary" "trim_joined"
}

/// [`BITMAP_BASE_RANKS`] where time is virtual: so few that short lines come across it.
pub const TEST_BASE_RANKS: u64 = 64;

/// Where scripts take the time from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The store's clock.
    Store,
    /// The last argument of each call: time is virtual under test.
    LastArgument,
}

/// All scripts, ready to be run.
#[derive(Debug)]
pub struct Scripts(Vec<Script>);

impl Scripts {
    /// Puts them together.
    pub fn new(time: TimeSource) -> Self {
        Self(DECLARATIONS.iter().map(|script| Script::new(script.name, assemble(script, time))).collect())
    }

    /// One of them.
    pub fn get(&self, transition: Transition) -> &Script {
        &self.0[transition as usize]
    }
}

/// The line of a header that starts with `field`.
pub fn header_line<'a>(source: &'a str, field: &str) -> Option<&'a str> {
    let line = source.lines().take_while(|line| line.starts_with("--") || line.starts_with("#!"));
    line.into_iter().find_map(|line| line.strip_prefix("-- ")?.strip_prefix(field)?.strip_prefix(": "))
}

/// The text that the store runs: shebang, time, names, constants, functions, body.
pub fn assemble(script: &Declaration, time: TimeSource) -> String {
    let (shebang, body) = script.source.split_once('\n').unwrap_or_default();
    let mut text = String::with_capacity(script.source.len() * 2);
    text.push_str(shebang);
    text.push('\n');
    text.push_str(match time {
        TimeSource::Store => include_str!("../../../../lua/queue/include/now.lua"),
        TimeSource::LastArgument => include_str!("../../../../lua/queue/include/now_given.lua"),
    });
    names(&mut text, "KEYS", script.keys.iter().map(|key| key.name()));
    names(&mut text, "ARGV", script.args.iter().copied());
    let mut rest = String::new();
    for name in header_line(script.source, "includes").unwrap_or_default().split(' ').filter(|name| !name.is_empty()) {
        let include = INCLUDES.iter().find(|(known, _)| *known == name);
        let (_, source) = include.unwrap_or_else(|| panic!("{} includes {name}, which is not there", script.name));
        rest.push_str(source);
    }
    rest.push_str(body);
    for (name, value) in constants(time) {
        if rest.contains(name) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "local {name} = {value}");
        }
    }
    text.push_str(&rest);
    text
}

/// One local for each name, in order; the last may stand for all that are left.
fn names<'a>(text: &mut String, table: &str, names: impl Iterator<Item = &'a str>) {
    for (i, name) in names.enumerate() {
        let at = i + 1;
        let _ = match name.strip_suffix("...") {
            Some(name) => writeln!(text, "local {name} = {{unpack({table}, {at})}}"),
            None => writeln!(text, "local {name} = {table}[{at}]"),
        };
    }
}

/// Status codes: the first element of each reply.
pub mod status {
    pub const OK: u64 = 0;
    pub const NO_EVENT: u64 = 1;
    pub const STALE_GENERATION: u64 = 2;
    pub const STALE_PERIOD: u64 = 3;
}

fn constants(time: TimeSource) -> [(&'static str, String); 24] {
    let base_ranks = match time {
        TimeSource::Store => BITMAP_BASE_RANKS,
        TimeSource::LastArgument => TEST_BASE_RANKS,
    };
    let text = |text: &str| format!("'{text}'");
    [
        ("OK", status::OK.to_string()),
        ("NO_EVENT", status::NO_EVENT.to_string()),
        ("STALE_GENERATION", status::STALE_GENERATION.to_string()),
        ("STALE_PERIOD", status::STALE_PERIOD.to_string()),
        ("ADMIT_BATCH_MAX", ADMIT_BATCH_MAX.to_string()),
        ("BITMAP_BASE_RANKS", base_ranks.to_string()),
        ("TRIM_BYTES_MAX", TRIM_BYTES_MAX.to_string()),
        ("BITMAP_CHUNK_BYTES_MAX", BITMAP_CHUNK_BYTES_MAX.to_string()),
        ("END_BATCH_MAX", END_BATCH_MAX.to_string()),
        ("SWEEP_BATCH_MAX", SWEEP_BATCH_MAX.to_string()),
        ("SESSIONS_BATCH_MAX", SESSIONS_BATCH_MAX.to_string()),
        ("ENDED_KEPT_MS", ENDED_KEPT_MS.to_string()),
        ("JOINED_ENTRIES_MAX", JOINED_ENTRIES_MAX.to_string()),
        ("JOINED_TRIM_MAX", JOINED_TRIM_MAX.to_string()),
        ("REMOVED_LOG_KEPT_MS", REMOVED_LOG_KEPT_MS.to_string()),
        ("REMOVED_KEPT_MS", REMOVED_KEPT_MS.to_string()),
        ("SEEN_COMPACT_BYTES_MAX", SEEN_COMPACT_BYTES_MAX.to_string()),
        ("SEQ_BEHIND_GAP", SEQ_BEHIND_GAP.to_string()),
        ("SEEN_PERIOD_MS", SEEN_PERIOD_MS.to_string()),
        ("SEEN_SETTLE_MS", SEEN_SETTLE_MS.to_string()),
        ("SESSION_ENDED_LOG_MAX", SESSION_ENDED_LOG_MAX.to_string()),
        ("SESSION_ENDED_CHANNEL", text(SESSION_ENDED_CHANNEL)),
        ("ADMITTED_CHANNEL", text(ADMITTED_CHANNEL)),
        ("EVENTS_CHANNEL", text(EVENTS_CHANNEL)),
    ]
}
