//! What visitors read of their own.

use queue_core::{codes::Code, service::http::ApiError};

use super::{Caller, Office, Reservation, ReservationState, holding::lost_or_never, ledger_error, unexpected};
use crate::{
    ids::ReservationId,
    model::{Command, Hall, Hold, Outcome, Refusal},
};

impl Office {
    /// One reservation of the caller.
    pub async fn reservation(&self, caller: &Caller, reservation: &ReservationId) -> Result<Reservation, ApiError> {
        let hall = self.hall_of(caller).await?;
        let found = self.ask(&hall.event, Command::Find { reservation: reservation.clone() }).await;
        match found {
            Ok(Outcome::Hold(hold)) if hold.visitor == caller.visitor => Ok(held(&hall, hold)),
            Ok(Outcome::Past(state, hold)) if hold.visitor == caller.visitor => {
                // The ledger is right where the two differ.
                Ok(match self.own_decided(caller, reservation).await? {
                    Some(decided) => decided,
                    None => Reservation::of_past(&hall, state, hold),
                })
            }
            Ok(Outcome::Hold(_) | Outcome::Past(..)) => Err(Code::ReservationNotFound.into()),
            Ok(Outcome::Refused(Refusal::NotFound)) => match self.own_decided(caller, reservation).await? {
                Some(decided) => Ok(decided),
                None => Err(lost_or_never(caller, reservation)),
            },
            Ok(other) => Err(unexpected(&other)),
            // A booking can be shown without the store.
            Err(error) => match self.own_decided(caller, reservation).await? {
                Some(decided) => Ok(decided),
                None => Err(error),
            },
        }
    }

    /// The caller's holds and bookings of one event.
    pub async fn reservations(&self, caller: &Caller) -> Result<Vec<Reservation>, ApiError> {
        let hall = match self.hall_of(caller).await {
            Ok(hall) => hall,
            Err(error) if error.code() == Code::ReservationNotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let holds = match self.ask(&hall.event, Command::HoldsOf { visitor: caller.visitor.clone() }).await? {
            Outcome::Holds(holds) => holds,
            other => return Err(unexpected(&other)),
        };
        let bookings = self.ledger.bookings_of(&caller.event, &caller.visitor).await.map_err(ledger_error)?;
        // A hold that was booked a moment ago is shown once, as what it became.
        let booked = |hold: &Hold| bookings.iter().any(|booking| booking.reservation == hold.reservation);
        let mut items: Vec<_> = holds.into_iter().filter(|hold| !booked(hold)).map(|hold| held(&hall, hold)).collect();
        items.extend(bookings.into_iter().map(Reservation::of_booking));
        Ok(items)
    }
}

/// Whether a hold's time is up is for the store's clock to say, not for ours.
fn held(hall: &Hall, hold: Hold) -> Reservation {
    Reservation::of_hold(hall, hold, ReservationState::Held)
}
