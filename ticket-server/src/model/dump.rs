//! The complete state of a sale in the words of the store: what the model test compares.

use std::collections::BTreeMap;

use super::{
    record::{change_text, hold_text, items_text},
    sale::Sale,
};

/// Every key of a sale, with its contents as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// `revision`, `epoch`, `version`, `open`, `blocked`, `origin`, and `taken`, `expired`, `given_up` unless they are 0.
    pub meta: BTreeMap<String, String>,
    /// Two bits for each seat.
    pub seats: Vec<u8>,
    /// Reservation → record.
    pub holds: BTreeMap<String, String>,
    /// Reservation → end.
    pub ends: BTreeMap<String, u64>,
    /// Reservation → pinned at.
    pub pins: BTreeMap<String, u64>,
    /// Visitor → items.
    pub visitors: BTreeMap<String, String>,
    /// Ticket type → `held sold`.
    pub tallies: BTreeMap<String, String>,
    /// Session → remembered until.
    pub ended: BTreeMap<String, u64>,
    /// Reservation → state and record.
    pub past: BTreeMap<String, String>,
    /// Reservation → remembered until.
    pub past_until: BTreeMap<String, u64>,
    /// The newest last.
    pub log: Vec<String>,
}

impl Sale {
    /// The complete state.
    pub fn dump(&self) -> Dump {
        let meta = self.meta.iter().flat_map(|meta| {
            let (version, counts) = (meta.version, meta.counts);
            let counted = [("taken", counts.taken), ("expired", counts.expired), ("given_up", counts.given_up)];
            let counted = counted.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name, n.to_string()));
            let origin = counts.origin.map(|origin| ("origin", origin.to_string()));
            let of_event = [
                ("revision", version.revision.to_string()),
                ("epoch", version.epoch.to_string()),
                ("version", version.version.to_string()),
                ("open", u8::from(version.open).to_string()),
                ("blocked", meta.blocked.to_string()),
            ];
            of_event.into_iter().chain(origin).chain(counted)
        });
        Dump {
            meta: meta.map(|(field, value)| (field.to_owned(), value)).collect(),
            seats: self.seats.as_bytes().to_vec(),
            holds: self.holds.iter().map(|(id, hold)| (id.to_string(), hold_text(hold))).collect(),
            ends: self.ends.iter().map(|(at, id)| (id.to_string(), at.0)).collect(),
            pins: self.pins.iter().map(|(at, id)| (id.to_string(), at.0)).collect(),
            visitors: self.visitors.iter().map(|(id, items)| (id.to_string(), items_text(items))).collect(),
            tallies: self.tallies.iter().map(|(id, t)| (id.to_string(), format!("{} {}", t.held, t.sold))).collect(),
            ended: self.ended.iter().map(|(jti, until)| (jti.to_string(), until.0)).collect(),
            past: self
                .past
                .iter()
                .map(|(id, (state, hold))| (id.to_string(), format!("{} {}", state.name(), hold_text(hold))))
                .collect(),
            past_until: self.past_until.iter().map(|(at, id)| (id.to_string(), at.0)).collect(),
            log: self.log.iter().map(change_text).collect(),
        }
    }

    /// What is wrong with the state, if anything: see the invariants of [`Sale`].
    pub fn check(&self) -> Result<(), String> {
        use super::{bits::SeatState, command::What};
        let mut owners = BTreeMap::new();
        let mut held = BTreeMap::new();
        for (id, hold) in &self.holds {
            match &hold.what {
                What::Seats(seats) => {
                    for &seat in seats {
                        if let Some(other) = owners.insert(seat, id) {
                            // Two holds can name a seat only after the ledger sold it over the store's head.
                            if self.seats.get(seat) != SeatState::Sold {
                                return Err(format!("seat {seat} is held by {id} and {other}"));
                            }
                        }
                        if !matches!(self.seats.get(seat), SeatState::Held | SeatState::Sold) {
                            return Err(format!("seat {seat} of {id} is {:?}", self.seats.get(seat)));
                        }
                    }
                }
                What::Quantity { kind, quantity } => *held.entry(kind).or_insert(0) += quantity,
            }
            let ends = self.ends.contains(&(hold.end, id.clone()));
            let pins = hold.pinned.is_some_and(|at| self.pins.contains(&(at, id.clone())));
            if ends == pins || pins != hold.pinned.is_some() {
                return Err(format!("{id} has an end: {ends}, a pin: {pins}"));
            }
            let items = self.visitors.get(&hold.visitor).ok_or_else(|| format!("{id} is nobody's"))?;
            if !items.iter().any(|item| !item.sold && item.reservation == *id && item.count == hold.what.count()) {
                return Err(format!("{id} is not among its visitor's items"));
            }
        }
        for index in 0..(self.seats.as_bytes().len() * 4) as u32 {
            if self.seats.get(index) == SeatState::Held && !owners.contains_key(&index) {
                return Err(format!("seat {index} is held by nobody"));
            }
        }
        let open: usize = self.visitors.values().flatten().filter(|item| !item.sold).count();
        if open != self.holds.len() || self.ends.len() + self.pins.len() != self.holds.len() {
            return Err(format!("{open} items, {} holds, {} ends", self.holds.len(), self.ends.len()));
        }
        for (kind, tally) in &self.tallies {
            if held.get(kind).copied().unwrap_or(0) != tally.held {
                return Err(format!("{kind}: {tally:?}, but {held:?} held"));
            }
        }
        Ok(())
    }
}
