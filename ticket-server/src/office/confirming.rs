//! Confirming: pin the hold, book it in the ledger, mark it sold, answer.
//!
//! The pin keeps the hold from expiring while it is booked. Nothing is acknowledged before the
//! ledger has it; what the store does afterwards does not matter to the answer, since it is brought
//! to the ledger anyway. When the ledger says nothing in time the hold stays pinned: it may be
//! booked, and the settler finds out ([`super::settling`]).

use std::sync::Arc;

use queue_core::{
    codes::Code,
    ids::EventId,
    service::{
        context,
        http::ApiError,
        spans::{self, Kind},
    },
};
use serde_json::json;

use super::{Caller, Office, Reservation, booking, holding::lost_or_never, ledger_error, refused, unexpected};
use crate::{
    ids::ReservationId,
    ledger::{Booking, Decision, LedgerError},
    model::{Command, Hall, Hold, Outcome, Refusal, event::Payment},
};

impl Office {
    /// Makes a hold a booking. Again: the same answer. Runs to its end even when nobody waits for it.
    pub async fn confirm(
        self: &Arc<Self>,
        caller: Caller,
        reservation: ReservationId,
    ) -> Result<Reservation, ApiError> {
        let office = Arc::clone(self);
        let task = tokio::spawn(context::carried(async move { office.confirm_in_turn(&caller, &reservation).await }));
        task.await.unwrap_or_else(|error| Err(ApiError::internal(error)))
    }

    /// One at a time for each reservation: one that is refused by a full ledger must not let go of a hold that
    /// another one has on its way there.
    async fn confirm_in_turn(&self, caller: &Caller, reservation: &ReservationId) -> Result<Reservation, ApiError> {
        let turn = Arc::clone(&self.confirming.entry(reservation.clone()).or_default());
        let result = {
            let _mine = turn.lock().await;
            self.try_confirm(caller, reservation).await
        };
        drop(turn);
        self.confirming.remove_if(reservation, |_, turn| Arc::strong_count(turn) == 1);
        result
    }

    async fn try_confirm(&self, caller: &Caller, reservation: &ReservationId) -> Result<Reservation, ApiError> {
        let hall = self.hall_of(caller).await?;
        if hall.body.payment == Payment::Required {
            return self.confirm_unpaid(&hall, caller, reservation).await;
        }
        let command = Command::Pin { reservation: reservation.clone(), visitor: caller.visitor.clone() };
        let outcome = match self.ask(&hall.event, command).await {
            Ok(outcome) => outcome,
            // What was booked before can be said again without the store.
            Err(error) => {
                let booked = self.own_booking(caller, reservation).await.ok().flatten();
                return booked.map(Reservation::of_booking).ok_or(error);
            }
        };
        match outcome {
            Outcome::Hold(hold) => {
                let hall = self.hall_naming(hall, &hold).await?;
                self.book(&hall, &hold, caller).await
            }
            Outcome::Refused(refusal) => self.booked_before(caller, reservation, &refusal).await,
            other => Err(unexpected(&other)),
        }
    }

    /// What was paid is booked by its order, and is found as a booking.
    async fn confirm_unpaid(
        &self,
        hall: &Hall,
        caller: &Caller,
        reservation: &ReservationId,
    ) -> Result<Reservation, ApiError> {
        match self.ask(&hall.event, Command::Find { reservation: reservation.clone() }).await? {
            Outcome::Hold(hold) if hold.visitor == caller.visitor => Err(Code::PaymentRequired.into()),
            Outcome::Past(_, hold) if hold.visitor == caller.visitor => {
                self.booked_before(caller, reservation, &Refusal::Expired).await
            }
            _ => self.booked_before(caller, reservation, &Refusal::NotFound).await,
        }
    }

    /// What is no hold of the caller any more may be booked.
    async fn booked_before(
        &self,
        caller: &Caller,
        reservation: &ReservationId,
        refusal: &Refusal,
    ) -> Result<Reservation, ApiError> {
        if let Some(booking) = self.own_booking(caller, reservation).await? {
            return Ok(Reservation::of_booking(booking));
        }
        Err(match refusal {
            Refusal::NotFound => lost_or_never(caller, reservation),
            other => refused(other),
        })
    }

    /// The caller's booking of that name.
    pub(crate) async fn own_booking(
        &self,
        caller: &Caller,
        reservation: &ReservationId,
    ) -> Result<Option<Booking>, ApiError> {
        let booking = self.ledger.booking(reservation).await.map_err(ledger_error)?;
        Ok(booking.filter(|booking| booking.visitor == caller.visitor && booking.event == caller.event))
    }

    async fn book(&self, hall: &Arc<Hall>, hold: &Hold, caller: &Caller) -> Result<Reservation, ApiError> {
        let decision = match self.ledger.book(booking::of_hold(hall, hold, Some(caller), self.now())).await {
            Ok(decision) => decision,
            Err(error) => {
                if error == LedgerError::Overloaded {
                    // Nothing was written: the hold goes on as before.
                    self.tell(&hall.event, Command::Unpin { reservation: hold.reservation.clone() }).await;
                }
                return Err(ledger_error(error));
            }
        };
        match decision {
            Decision::Confirmed(booking) => {
                metrics::counter!("usher_ticket_bookings_total").increment(1);
                let sold = booking::sold(hall, (*booking).clone());
                self.tell(&hall.event, Command::Book { bookings: vec![sold] }).await;
                self.outbox.notify_one();
                Ok(Reservation::of_booking(*booking))
            }
            Decision::Aborted => {
                self.abort(&hall.event, &hold.reservation).await;
                Err(Code::HoldExpired.into())
            }
            Decision::SeatsSold(owners) => Err(self.seats_sold(hall, hold, owners).await),
            Decision::SoldOut => {
                metrics::counter!("usher_ticket_oversold_total").increment(1);
                tracing::warn!(event = %hall.event, reservation = %hold.reservation, "the store held more than the ledger has");
                self.abort(&hall.event, &hold.reservation).await;
                Err(Code::SoldOut.into())
            }
        }
    }

    /// The second barrier held: the store gave out seats that were sold. It is told what it did not know.
    async fn seats_sold(&self, hall: &Hall, hold: &Hold, owners: Vec<Booking>) -> ApiError {
        metrics::counter!("usher_ticket_oversold_total").increment(1);
        tracing::warn!(event = %hall.event, reservation = %hold.reservation, "the store held seats that the ledger has sold");
        let taken: Vec<String> = owners
            .iter()
            .flat_map(|owner| match &owner.ordered {
                crate::ledger::Ordered::Seats(seats) => seats.clone(),
                crate::ledger::Ordered::Quantity { .. } => Vec::new(),
            })
            .filter(|seat| match &hold.what {
                crate::model::What::Seats(held) => hall.slot_of(seat.as_str()).is_some_and(|at| held.contains(&at)),
                crate::model::What::Quantity { .. } => false,
            })
            .map(|seat| seat.to_string())
            .collect();
        let bookings = owners.into_iter().map(|owner| booking::sold(hall, owner)).collect();
        self.tell(&hall.event, Command::Book { bookings }).await;
        self.abort(&hall.event, &hold.reservation).await;
        ApiError::new(Code::SeatTaken).details(json!({"seatIds": taken}))
    }

    pub(super) async fn abort(&self, event: &EventId, reservation: &ReservationId) {
        self.tell(event, Command::Abort { reservation: reservation.clone() }).await;
        self.outbox.notify_one();
    }

    /// Tells the store what the ledger decided. If it cannot be told now, the settler does it later.
    pub(super) async fn tell(&self, event: &EventId, command: Command) {
        // A hold that goes on may have ended meanwhile.
        let expires = matches!(command, Command::Unpin { .. });
        match spans::step(Kind::Client, "ticket store", self.engine.apply(event, command)).await {
            Ok(Outcome::Refused(refusal)) => tracing::info!(%event, ?refusal, "the store does not know the event"),
            Ok(_) => self.live.touch(event),
            Err(error) => tracing::warn!(%event, %error, "the store was not told what the ledger decided"),
        }
        if expires {
            self.expiring.wake(event);
        }
    }
}
