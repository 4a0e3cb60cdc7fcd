//! Taking a booking back: its seats are free again.

use super::{
    bits::SeatState,
    command::{Outcome, Sold, What},
    sale::Sale,
};

impl Sale {
    /// What the visitor has booked says whether it was done before: seats alone would not, they may have been
    /// sold again.
    pub(super) fn unbook(&mut self, booking: &Sold) -> Outcome {
        let Some(items) = self.visitors.get_mut(&booking.visitor) else { return Outcome::Done };
        let before = items.len();
        items.retain(|item| !item.sold || item.reservation != booking.reservation);
        if items.len() == before {
            return Outcome::Done;
        }
        if items.is_empty() {
            self.visitors.remove(&booking.visitor);
        }
        let freed = match &booking.what {
            What::Seats(seats) => {
                let freed: Vec<_> = seats.iter().copied().filter(|&i| self.seats.get(i) == SeatState::Sold).collect();
                for &i in &freed {
                    self.seats.set(i, SeatState::Free);
                }
                freed
            }
            What::Quantity { kind, quantity } => {
                self.tally(kind, |tally| tally.sold = tally.sold.saturating_sub(*quantity));
                Vec::new()
            }
        };
        self.changed(SeatState::Free, freed);
        Outcome::Done
    }
}
