//! What an order's saga does to the store, and what it reads from it.

use std::sync::Arc;

use queue_core::{codes::Code, ids::EventId, service::http::ApiError};

use super::{Caller, Office, Reservation, booking, holding::lost_or_never, ledger_error, refused, unexpected};
use crate::{
    ids::ReservationId,
    ledger::{Booking, Cancelled},
    model::{Command, Hall, Hold, Outcome, Refusal},
    sessions::Standing,
};

/// What came of something that the store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreAnswer {
    /// It is so.
    Done,
    /// The hold is gone.
    Gone,
    /// It is not known.
    Away,
}

impl Office {
    /// The caller's live hold, and what it is of. Nothing changes.
    pub(crate) async fn hold_to_order(
        &self,
        caller: &Caller,
        reservation: &ReservationId,
    ) -> Result<(Arc<Hall>, Hold, Booking), ApiError> {
        let hall = self.hall_of(caller).await?;
        let refusal = match self.ask(&hall.event, Command::Find { reservation: reservation.clone() }).await? {
            Outcome::Hold(hold) if hold.visitor == caller.visitor => {
                let hall = self.hall_naming(hall, &hold).await?;
                let booking = booking::of_hold(&hall, &hold, Some(caller), self.now());
                return Ok((hall, hold, booking));
            }
            Outcome::Past(_, hold) if hold.visitor == caller.visitor => Refusal::Expired,
            Outcome::Hold(_) | Outcome::Past(..) | Outcome::Refused(Refusal::NotFound) => Refusal::NotFound,
            Outcome::Refused(refusal) => return Err(refused(&refusal)),
            other => return Err(unexpected(&other)),
        };
        if self.own_decided(caller, reservation).await?.is_some() {
            return Err(Code::ReservationNotHeld.into());
        }
        Err(match refusal {
            Refusal::Expired => Code::HoldExpired.into(),
            _ => lost_or_never(caller, reservation),
        })
    }

    /// The caller's booking of that name, also one that was cancelled.
    pub(crate) async fn own_decided(
        &self,
        caller: &Caller,
        reservation: &ReservationId,
    ) -> Result<Option<Reservation>, ApiError> {
        if let Some(booking) = self.own_booking(caller, reservation).await? {
            return Ok(Some(Reservation::of_booking(booking)));
        }
        let cancelled = self.ledger.cancelled(reservation).await.map_err(ledger_error)?;
        let own = cancelled.filter(|it| it.booking.visitor == caller.visitor && it.booking.event == caller.event);
        Ok(own.map(Reservation::of_cancelled))
    }

    /// Keeps a hold from expiring.
    pub(crate) async fn pin(&self, booking: &Booking) -> StoreAnswer {
        let command = Command::Pin { reservation: booking.reservation.clone(), visitor: booking.visitor.clone() };
        match self.ask(&booking.event, command).await {
            Ok(Outcome::Hold(_)) => StoreAnswer::Done,
            Ok(Outcome::Refused(_)) => StoreAnswer::Gone,
            Ok(_) | Err(_) => StoreAnswer::Away,
        }
    }

    /// Lets a hold go on as before it was pinned. Whoever gave their session up meanwhile holds nothing any more.
    pub(crate) async fn unpin(&self, booking: &Booking) -> StoreAnswer {
        let Booking { event, visitor, jti, .. } = booking;
        let answer = self.told(event, Command::Unpin { reservation: booking.reservation.clone() }).await;
        if answer == StoreAnswer::Done
            && let Standing::Ended(reason) = self.sessions.standing(event, *jti).await
        {
            self.session_ended(event, visitor, *jti, reason).await;
        }
        answer
    }

    /// Frees a pinned hold, unless the ledger has booked it after all.
    pub(crate) async fn free_hold(&self, booking: &Booking) -> StoreAnswer {
        match self.ledger.booking(&booking.reservation).await {
            Ok(Some(booked)) => self.mark_booked(booked).await,
            Ok(None) => self.told(&booking.event, Command::Abort { reservation: booking.reservation.clone() }).await,
            Err(_) => StoreAnswer::Away,
        }
    }

    /// Marks a booking of the ledger.
    pub(crate) async fn mark_booked(&self, booking: Booking) -> StoreAnswer {
        let Ok(hall) = self.hall(booking.event.as_str()).await else { return StoreAnswer::Away };
        let event = booking.event.clone();
        let bookings = vec![booking::sold(&hall, booking)];
        self.told(&event, Command::Book { bookings }).await
    }

    /// Frees what a booking had that was taken back.
    pub(crate) async fn mark_cancelled(&self, cancelled: &Cancelled) -> StoreAnswer {
        let booking = &cancelled.booking;
        let Ok(hall) = self.hall(booking.event.as_str()).await else { return StoreAnswer::Away };
        let unbook = Command::Unbook { booking: booking::sold(&hall, booking.clone()) };
        match self.told(&booking.event, unbook).await {
            StoreAnswer::Done => self.mark_owners(&hall, booking).await,
            answer => answer,
        }
    }

    /// Marks whoever has the seats now that somebody gave back. The store may have forgotten that it had freed them,
    /// when it failed over, and have freed them of their new owners then.
    pub(super) async fn mark_owners(&self, hall: &Hall, gone: &Booking) -> StoreAnswer {
        let Ok(owners) = self.ledger.owners(gone).await else { return StoreAnswer::Away };
        if owners.is_empty() {
            return StoreAnswer::Done;
        }
        let bookings = owners.into_iter().map(|owner| booking::sold(hall, owner)).collect();
        self.told(&gone.event, Command::Book { bookings }).await
    }

    /// What the ledger decided is told to the store; afterwards a session may be done.
    async fn told(&self, event: &EventId, command: Command) -> StoreAnswer {
        let answer = match self.ask(event, command).await {
            Ok(_) => StoreAnswer::Done,
            Err(_) => StoreAnswer::Away,
        };
        self.outbox.notify_one();
        answer
    }
}
