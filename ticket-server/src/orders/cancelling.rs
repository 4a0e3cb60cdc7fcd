//! Cancelling: a hold is given up; a booking is taken back where the event's rule allows, and its money returned.

use std::convert::Infallible;

use queue_core::{
    codes::Code,
    service::{
        http::ApiError,
        spans::{self, Kind as SpanKind},
    },
};

use super::{
    Order, OrderState, Orders,
    running::{LEASE_MS, Runner},
};
use crate::{
    ids::ReservationId,
    ledger::{Effect, KeyNow, Lease, Moved, Recorded},
    office::{Caller, Reservation, ledger_error},
};

/// Attempts at an order that somebody else moves at the same time.
const ATTEMPTS_MAX: u32 = 5;

impl Orders {
    /// Gives a hold up, or takes a booking back. Again: the same answer.
    pub async fn cancel(&self, caller: &Caller, reservation: &ReservationId) -> Result<Reservation, ApiError> {
        let error = match self.office.cancel(caller, reservation).await {
            Ok(cancelled) => {
                self.note(&cancelled, "CANCELLED");
                return Ok(cancelled);
            }
            Err(error) => error,
        };
        // What is no hold may be a booking, or have been one.
        if !matches!(error.code(), Code::ReservationNotHeld | Code::HoldExpired | Code::ReservationNotFound) {
            return Err(error);
        }
        let Some(booked) = self.office.own_decided(caller, reservation).await? else { return Err(error) };
        if booked.is_cancelled() {
            return Ok(booked);
        }
        let hall = self.office.hall_of(caller).await?;
        let until = hall.body.cancellation.as_ref().and_then(|rule| rule.allowed_until);
        if until.is_none_or(|until| self.office.now() > until) {
            return Err(Code::ReservationNotHeld.into());
        }
        self.take_back(reservation).await?;
        self.office.own_decided(caller, reservation).await?.ok_or(error)
    }

    async fn take_back(&self, reservation: &ReservationId) -> Result<(), ApiError> {
        let ledger = &self.office.ledger;
        for _ in 0..ATTEMPTS_MAX {
            if ledger.has_open_order(reservation).await.map_err(ledger_error)? {
                return Err(Code::OrderInProgress.into());
            }
            let orders = ledger.orders_of(reservation).await.map_err(ledger_error)?;
            let paid = orders.into_iter().find(|order| order.saga.state() == OrderState::Confirmed);
            let done = match paid {
                Some(order) => self.refund(order, reservation).await?,
                None => {
                    // Booked without an order, or taken back since it was looked up.
                    ledger.cancel_booking(reservation).await.map_err(ledger_error)?;
                    true
                }
            };
            if done {
                self.free_cancelled(reservation).await;
                return Ok(());
            }
        }
        Err(Code::OrderInProgress.into())
    }

    /// Takes the booking back and intends to return its money, in one step. Whether the order was as it was known.
    async fn refund(&self, mut order: Order, reservation: &ReservationId) -> Result<bool, ApiError> {
        if !order.saga.cancel() {
            return Ok(false);
        }
        let now = self.office.now();
        order.rev += 1;
        order.enter(now);
        let moved = Moved {
            order: order.clone(),
            effect: Effect::Unbook(reservation.clone()),
            closes: false,
            key: KeyNow::Same,
            notification: None,
            next_at: Some(now),
        };
        match self.office.ledger.record(moved).await.map_err(ledger_error)? {
            Recorded::Done => {}
            Recorded::Lost | Recorded::Refused(_) | Recorded::Decided(_) => return Ok(false),
        }
        let orders = self.clone();
        tokio::spawn(async move { orders.take_up(&order.id).await });
        Ok(true)
    }

    /// Runs an order that nobody runs, as far as it goes.
    pub(super) async fn take_up(&self, order: &super::OrderId) {
        let owner = super::running::new_owner();
        let lease = Lease { owner: owner.clone(), until: self.office.now().plus(LEASE_MS) };
        match self.office.ledger.claim_order(order, lease).await {
            Ok(Some(order)) => {
                let trace = order.traceparent.clone();
                let running = async { Ok::<_, Infallible>(Runner::resumed(self.clone(), order, owner).resume().await) };
                let resuming = spans::resume(trace.as_deref(), SpanKind::Internal, "order taken up", running);
                // Boxed: recovery has many of them at a time, most of which find nothing to do.
                drop(Box::pin(resuming).await);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%order, %error, "an order could not be taken up"),
        }
    }

    /// Tells the store now; if that fails, recovery does it.
    async fn free_cancelled(&self, reservation: &ReservationId) {
        if let Ok(Some(cancelled)) = self.office.ledger.cancelled(reservation).await {
            self.tell_cancelled(&cancelled).await;
        }
    }

    pub(super) async fn tell_cancelled(&self, cancelled: &crate::ledger::Cancelled) {
        let answer = self.office.mark_cancelled(cancelled).await;
        if answer == crate::office::StoreAnswer::Done
            && let Err(error) = self.office.ledger.cancellation_told(cancelled, self.office.now()).await
        {
            tracing::warn!(%error, "a cancellation is told to the store again");
        }
    }
}
