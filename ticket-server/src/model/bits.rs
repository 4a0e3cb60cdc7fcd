//! Seat states, two bits each, four to a byte, the first seat in the highest bits: the layout
//! that Redis's `BITFIELD u2 #index` reads and writes.

/// What can be said of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SeatState {
    /// Anybody may hold it.
    Free = 0,
    /// Somebody holds it.
    Held = 1,
    /// It is booked.
    Sold = 2,
    /// It was taken out of the event; its index stays reserved.
    Blocked = 3,
}

impl SeatState {
    /// The state that these two bits mean.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Free,
            1 => Self::Held,
            2 => Self::Sold,
            _ => Self::Blocked,
        }
    }

    /// The state as visitors see it. A blocked seat is not shown at all.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "FREE",
            Self::Held => "HELD",
            Self::Sold => "SOLD",
            Self::Blocked => "BLOCKED",
        }
    }

    /// The same in a sentence.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Blocked => "blocked",
        }
    }
}

/// The states of all seats of an event, by seat index. Seats beyond the end are free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeatBits(Vec<u8>);

impl SeatBits {
    /// All seats free.
    pub fn new(seats: usize) -> Self {
        Self(vec![0; seats.div_ceil(4)])
    }

    /// From the bytes of the store.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes as the store has them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes room for so many seats; never shrinks.
    pub fn grow(&mut self, seats: usize) {
        let bytes = seats.div_ceil(4);
        if bytes > self.0.len() {
            self.0.resize(bytes, 0);
        }
    }

    /// The state of one seat.
    pub fn get(&self, index: u32) -> SeatState {
        Self::state_in(&self.0, index)
    }

    /// The state of one seat in such bytes.
    pub fn state_in(bytes: &[u8], index: u32) -> SeatState {
        let byte = bytes.get(index as usize / 4).copied().unwrap_or(0);
        SeatState::from_bits(byte >> shift(index))
    }

    /// Sets one seat, which must be within [`grow`](Self::grow).
    pub fn set(&mut self, index: u32, state: SeatState) {
        let byte = &mut self.0[index as usize / 4];
        *byte = (*byte & !(3 << shift(index))) | ((state as u8) << shift(index));
    }
}

const fn shift(index: u32) -> u32 {
    6 - 2 * (index % 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seat_is_in_the_highest_bits() {
        let mut bits = SeatBits::new(5);
        bits.set(0, SeatState::Sold);
        bits.set(3, SeatState::Held);
        bits.set(4, SeatState::Blocked);
        assert_eq!(bits.as_bytes(), [0b1000_0001, 0b1100_0000]);
        assert_eq!(bits.get(3), SeatState::Held);
        assert_eq!(bits.get(99), SeatState::Free);
    }
}
