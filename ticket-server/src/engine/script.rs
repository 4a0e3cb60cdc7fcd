//! The scripts of `lua/ticket`: one transition each, put together from the shared parts that it
//! names, with the names of its keys. The tests compare each file's header with this table.

use std::sync::LazyLock;

use queue_core::service::redis;

use crate::keys::Key;

/// What the tests put in place of `clock`: the time is the last argument.
const VIRTUAL_CLOCK: &str = "local now = tonumber(ARGV[#ARGV])\n";

/// A shared part of scripts.
#[derive(Debug)]
pub struct Part {
    /// Its name in headers.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! parts {
    ($($constant:ident = $name:literal;)*) => {
        $(const $constant: Part = Part {
            name: $name,
            text: include_str!(concat!("../../../lua/ticket/include/", $name, ".lua")),
        };)*
    };
}

parts! {
    CLOCK = "clock";
    CHANGED = "changed";
    SEATS = "seats";
    TALLY = "tally";
    ITEMS = "items";
    HOLD = "hold";
    DROP = "drop";
    RELEASE = "release";
    LIVE = "live";
    ENDED = "ended";
    RESHAPE = "reshape";
}

/// One transition as a script.
pub struct Transition {
    /// Its name, and its file's.
    pub name: &'static str,
    /// The keys it touches, in the order of `KEYS`.
    pub keys: &'static [Key],
    /// Its arguments, in the order of `ARGV`.
    pub args: &'static [&'static str],
    /// The shared parts it uses, in order.
    pub parts: &'static [Part],
    /// Its file.
    pub text: &'static str,
    /// Run by the store's clock.
    real: LazyLock<redis::Script>,
    /// Run by the last argument.
    virtual_time: LazyLock<redis::Script>,
}

impl Transition {
    /// What is sent: by the store's clock, or by the last argument.
    pub fn script(&self, virtual_time: bool) -> &redis::Script {
        if virtual_time { &self.virtual_time } else { &self.real }
    }

    fn build(&self, virtual_time: bool) -> redis::Script {
        let mut source = String::from("local k = {");
        for (i, key) in self.keys.iter().enumerate() {
            source.push_str(&format!(" {} = KEYS[{}],", key.name(), i + 1));
        }
        source.push_str(" }\n");
        for part in self.parts {
            source.push_str(if virtual_time && part.name == "clock" { VIRTUAL_CLOCK } else { part.text });
        }
        source.push_str(self.text);
        redis::Script::new(self.name, source)
    }
}

macro_rules! transitions {
    ($($constant:ident = $name:literal, [$($key:ident)*], [$($arg:literal)*], [$($part:ident)*];)*) => {
        $(
            #[doc = concat!("`lua/ticket/", $name, ".lua`")]
            pub static $constant: Transition = Transition {
                name: $name,
                keys: &[$(Key::$key),*],
                args: &[$($arg),*],
                parts: &[$($part),*],
                text: include_str!(concat!("../../../lua/ticket/", $name, ".lua")),
                real: LazyLock::new(|| $constant.build(false)),
                virtual_time: LazyLock::new(|| $constant.build(true)),
            };
        )*
        /// All transitions.
        pub static ALL: &[&Transition] = &[$(&$constant),*];
    };
}

transitions! {
    CONFIGURE = "configure", [Meta Seats Tallies Log],
        ["expected" "revision" "epoch" "seats" "blocked_count" "blocked" "quantities"], [RESHAPE];
    RESTORE = "restore", [Meta Seats Log], ["revision" "epoch" "seats" "blocked_count" "blocked"], [RESHAPE];
    OPEN = "open", [Meta], [], [];
    TAKE = "hold", [Meta Seats Holds Ends Visitors Tallies Ended Log], ["revision" "limit" "wishes"],
        [CLOCK CHANGED TALLY ITEMS];
    LOOK = "look", [Meta Seats Ended], ["revision" "ranges" "sessions"], [];
    EXTEND = "extend", [Meta Seats Holds Ends Pins Visitors Tallies Past PastUntil Log],
        ["reservation" "visitor" "add_ms" "at_least_ms"],
        [CLOCK CHANGED SEATS TALLY ITEMS HOLD DROP RELEASE LIVE];
    CANCEL = "cancel", [Meta Seats Holds Ends Pins Visitors Tallies Past PastUntil Log],
        ["reservation" "visitor"],
        [CLOCK CHANGED SEATS TALLY ITEMS HOLD DROP RELEASE LIVE];
    PIN = "pin", [Meta Seats Holds Ends Pins Visitors Tallies Past PastUntil Log],
        ["reservation" "visitor"],
        [CLOCK CHANGED SEATS TALLY ITEMS HOLD DROP RELEASE LIVE];
    UNPIN = "unpin", [Meta Holds Ends Pins], ["reservation"], [HOLD];
    BOOK = "book", [Meta Seats Holds Ends Pins Visitors Tallies Log], ["bookings"],
        [CHANGED SEATS TALLY ITEMS HOLD DROP];
    UNBOOK = "unbook", [Meta Seats Visitors Tallies Log], ["reservation" "visitor" "kind" "what" "count"],
        [CHANGED SEATS TALLY ITEMS];
    ABORT = "abort", [Meta Seats Holds Ends Pins Visitors Tallies Past PastUntil Log], ["reservation"],
        [CLOCK CHANGED SEATS TALLY ITEMS HOLD DROP RELEASE];
    EXPIRE = "expire", [Meta Seats Holds Ends Pins Visitors Tallies Past PastUntil Log], ["batch"],
        [CLOCK CHANGED SEATS TALLY ITEMS HOLD DROP RELEASE];
    FORGET = "forget", [Meta Ended Past PastUntil], ["batch"], [CLOCK];
    END_SESSION = "end_session", [Meta Seats Holds Ends Pins Visitors Tallies Ended Past PastUntil Log],
        ["visitor" "jti" "let_go"],
        [CLOCK CHANGED SEATS TALLY ITEMS HOLD DROP RELEASE ENDED];
    CLOSE = "close", [Meta Visitors Ended], ["visitor" "jti"], [CLOCK ITEMS ENDED];
    FIND = "find", [Meta Holds Past], ["reservation"], [];
    HOLDS_OF = "holds_of", [Meta Holds Visitors], ["visitor"], [ITEMS];
    HOLDS = "holds", [Meta Holds Ends], ["skip" "batch"], [];
    PINNED = "pinned", [Meta Holds Pins], ["for_ms" "batch"], [CLOCK];
    VERSION = "version", [Meta], [], [];
    SNAPSHOT = "snapshot", [Meta Seats Tallies], [], [];
    CHANGES = "changes", [Meta Log], ["after" "batch"], [];
}
