//! Of which types the tickets of a booking are.

use std::{fmt, str::FromStr};

use queue_core::ids::InvalidId;

use crate::ids::TicketTypeId;

/// How many tickets there are of each type, in text `std=2 vip=1`. Empty where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tickets(pub Vec<(TicketTypeId, u64)>);

impl Tickets {
    /// How many there are in all.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// One more of that type.
    pub fn add(&mut self, kind: &TicketTypeId, count: u64) {
        match self.0.iter_mut().find(|(known, _)| known == kind) {
            Some((_, known)) => *known += count,
            None => self.0.push((kind.clone(), count)),
        }
    }

    /// As it is kept: nothing where it is not known.
    pub fn to_text(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.to_string())
    }
}

impl fmt::Display for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, count)) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{kind}={count}")?;
        }
        Ok(())
    }
}

impl FromStr for Tickets {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let part = |part: &str| {
            let (kind, count) = part.split_once('=').ok_or(InvalidId)?;
            Ok((TicketTypeId::new(kind).map_err(|_| InvalidId)?, count.parse().map_err(|_| InvalidId)?))
        };
        text.split_ascii_whitespace().map(part).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut tickets = Tickets::default();
        assert_eq!(tickets.to_text(), None);
        let [std, vip] = ["std", "vip"].map(|kind| TicketTypeId::new(kind).unwrap());
        for kind in [&std, &vip, &std] {
            tickets.add(kind, 1);
        }
        assert_eq!((tickets.to_text().as_deref(), tickets.count()), (Some("std=2 vip=1"), 3));
        assert_eq!("std=2 vip=1".parse(), Ok(tickets));
        assert!(["std", "std=", "=2", "std=x"].iter().all(|text| text.parse::<Tickets>().is_err()));
    }
}
