//! Identifiers, sequence numbers and times as types of their own.
//!
//! An [`EventId`] or [`VisitorId`] that exists is valid: 1–64 of `[A-Za-z0-9._-]`, the first a
//! letter or digit. So they can stand in Redis keys, JSON and URLs without escaping.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::ID_BYTES_MAX;

/// What is wrong with an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1-64 characters of A-Z a-z 0-9 . _ - and start with a letter or digit")]
pub struct InvalidId;

/// Whether `text` is an identifier by the common rule.
pub fn is_valid_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.first(), Some(b) if b.is_ascii_alphanumeric())
        && bytes.len() <= ID_BYTES_MAX
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Makes a type of identifiers by the common rule: a checked text that is cheap to clone.
#[macro_export]
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(::std::sync::Arc<str>);

        impl $name {
            /// Checks and takes an identifier.
            pub fn new(text: &str) -> ::std::result::Result<Self, $crate::ids::InvalidId> {
                if $crate::ids::is_valid_id(text) { Ok(Self(text.into())) } else { Err($crate::ids::InvalidId) }
            }
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::ids::InvalidId;
            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                Self::new(text)
            }
        }
        impl ::std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(::serde::de::Error::custom)
            }
        }
    };
}

id_type!(
    /// Names an event.
    EventId
);
id_type!(
    /// Names a visitor: `a_` + 128 random bits, or `u_` + a hash of the user token's subject.
    VisitorId
);

impl VisitorId {
    /// An anonymous visitor of 128 random bits.
    pub fn anonymous(random: [u8; 16]) -> Self {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let mut text = String::with_capacity(24);
        text.push_str("a_");
        URL_SAFE_NO_PAD.encode_string(random, &mut text);
        Self(text.into())
    }
}

/// A sequence number: handed out once per place, never reused. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// A place in line: lower is served first. With FIFO it is the sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rank(pub u64);

/// One incarnation of an event's line. Another one in the store means that the line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Generation {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(InvalidId);
        }
        u64::from_str_radix(text, 16).map(Generation).map_err(|_| InvalidId)
    }
}

/// Names a session: generation and sequence number, `0123456789abcdef.42` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jti {
    /// The incarnation of the line that admitted the session.
    pub generation: Generation,
    /// The place that became the session.
    pub seq: Seq,
}

impl fmt::Display for Jti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.seq.0)
    }
}

impl FromStr for Jti {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (generation, seq) = text.split_once('.').ok_or(InvalidId)?;
        let plain = !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit()) && !seq.starts_with('0');
        let seq = seq.parse().ok().filter(|_| plain).ok_or(InvalidId)?;
        Ok(Self { generation: generation.parse()?, seq: Seq(seq) })
    }
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
text_serde!(Jti);
text_serde!(Generation);

/// Milliseconds since the Unix epoch, by the store's clock. RFC 3339 UTC with milliseconds as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// So many milliseconds later; never overflows.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// How long after `earlier` this is, in milliseconds; 0 if it is before.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// The presence period that this instant belongs to.
    pub const fn period(self) -> u64 {
        self.0 / crate::limits::SEEN_PERIOD_MS
    }
    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }
}

/// Later instants are written as the last that the calendar knows.
const CALENDAR_MS_MAX: u64 = 253_402_207_199_999;

impl Millis {
    /// RFC 3339 UTC with milliseconds, `2026-11-20T10:00:00.000Z`; `None` at the end of the year 9999.
    ///
    /// Two of these are in each answer of the queue, so it is done by hand. The date is computed as in Howard
    /// Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`civil_from_days`).
    pub fn rfc3339(self) -> Option<[u8; 24]> {
        if self.0 > CALENDAR_MS_MAX {
            return None;
        }
        let (secs, ms) = (self.0 / 1000, self.0 % 1000);
        let (days, of_day) = (secs / 86_400 + 719_468, secs % 86_400);
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let (day, month) =
            (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, value: u64| {
            text[at] += (value / 10) as u8;
            text[at + 1] += (value % 10) as u8;
        };
        put(0, year / 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, of_day / 3_600);
        put(14, of_day / 60 % 60);
        put(17, of_day % 60);
        put(20, ms / 10);
        text[22] += (ms % 10) as u8;
        Some(text)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.rfc3339() {
            return f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?);
        }
        let time = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        write!(f, "{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
    }
}

impl FromStr for Millis {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTime)?;
        u64::try_from(time.as_millisecond()).map(Millis).map_err(|_| InvalidTime)
    }
}
text_serde!(Millis);

/// Not a time after 1970 in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time in RFC 3339, such as 2026-11-20T10:00:00.000Z")]
pub struct InvalidTime;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_checked() {
        for good in ["a", "0", "A-1-1", "x._-", &"y".repeat(64)] {
            assert!(EventId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "a{b}", "é", "a\n", &"y".repeat(65)] {
            assert!(EventId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn jti_has_one_spelling() {
        let jti = Jti { generation: Generation(0xabc), seq: Seq(42) };
        assert_eq!(jti.to_string(), "0000000000000abc.42");
        assert_eq!("0000000000000abc.42".parse(), Ok(jti));
        for bad in [
            "",
            ".",
            "abc.42",
            "0000000000000ABC.42",
            "0000000000000abc.042",
            "0000000000000abc.+1",
            "0000000000000abc.",
        ] {
            assert!(bad.parse::<Jti>().is_err(), "{bad}");
        }
    }

    #[test]
    fn time_is_rfc3339_with_milliseconds() {
        assert_eq!(Millis(1_700_000_000_007).to_string(), "2023-11-14T22:13:20.007Z");
        assert_eq!("2023-11-14T22:13:20.007Z".parse(), Ok(Millis(1_700_000_000_007)));
        assert_eq!(Millis(1_700_000_000_000).to_string(), "2023-11-14T22:13:20.000Z");
    }

    #[test]
    fn the_calendar_is_that_of_the_library() {
        let wanted = |ms: u64| {
            let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
        };
        let ends = [0, 999, 951_782_399_999, 951_782_400_000, 4_107_542_399_999, 4_107_542_400_000];
        let last = [CALENDAR_MS_MAX - 1, CALENDAR_MS_MAX, CALENDAR_MS_MAX + 1, u64::MAX];
        let spread = (0..200_000_u64).map(|n| n * (CALENDAR_MS_MAX / 200_000) + n * 7);
        // Every day of four hundred years, at its last and at its first millisecond.
        let days = (0..146_097_u64).flat_map(|day| [day * 86_400_000, day * 86_400_000 + 86_399_999]);
        for ms in ends.into_iter().chain(last).chain(spread).chain(days) {
            assert_eq!(Millis(ms).to_string(), wanted(ms), "{ms}");
        }
    }
}
