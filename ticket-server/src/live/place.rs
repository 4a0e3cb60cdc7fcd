//! Where a client stands in the changes of an event: what SSE calls an event id, and HTTP an entity tag.

use std::{fmt, str::FromStr};

use queue_core::ids::InvalidId;

use crate::ids::Epoch;

/// A version of the seats within one incarnation of their states. Versions of different epochs do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The incarnation: another one after the store was rebuilt or may have lost its last writes.
    pub epoch: Epoch,
    /// Counts the changes.
    pub version: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.version)
    }
}

impl FromStr for Place {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (epoch, version) = text.split_once('-').ok_or(InvalidId)?;
        let digits = |text: &str, len_max| (1..=len_max).contains(&text.len()) && !text.starts_with('+');
        if !digits(epoch, 16) || !digits(version, 20) {
            return Err(InvalidId);
        }
        Ok(Self { epoch: epoch.parse()?, version: version.parse().map_err(|_| InvalidId)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { epoch: Epoch(0xfeed), version: 17 };
        assert_eq!(place.to_string(), "000000000000feed-17");
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "-", "feed", "feed-", "-1", "x-1", "feed-x", "feed--1", "+eed-1", "feed-+1", "fee d-1"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
