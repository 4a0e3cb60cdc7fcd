//! What happened to a reservation, as events: from the ledger's steps and rows, and from what the store knows.

use queue_core::{codes::Code, ids::Millis, service::http::ApiError};
use serde::Serialize;

use super::{Failure, Order, OrderId, Orders, Stage, code_of};
use crate::{
    ids::ReservationId,
    ledger::Happened,
    model::{Command, Hold, Outcome, PastState},
    office::{Caller, Reservation, ledger_error},
};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// When; `None` where the moment was not kept.
    pub at: Option<Millis>,
    /// What.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// By which order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// Why, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Happening {
    fn new(kind: &'static str, at: Option<Millis>) -> Self {
        Self { at, kind, order_id: None, reason: None }
    }
}

/// The kinds that are logged by themselves.
const LOGGED: &[&str] = &["EXTENDED", "CANCELLED"];

impl Orders {
    /// What happened to a reservation of the caller, the oldest first.
    pub async fn history(&self, caller: &Caller, reservation: &ReservationId) -> Result<Vec<Happening>, ApiError> {
        let ledger = &self.office.ledger;
        let (hold, past) = self.in_store(caller, reservation).await;
        let orders = ledger.orders_of(reservation).await.map_err(ledger_error)?;
        let own = |order: &Order| order.visitor == caller.visitor && order.event == caller.event;
        let orders: Vec<_> = orders.into_iter().filter(own).collect();
        let booked = self.office.own_booking(caller, reservation).await?;
        let cancelled = ledger.cancelled(reservation).await.map_err(ledger_error)?;
        let cancelled = cancelled.filter(|it| it.booking.visitor == caller.visitor);
        if hold.is_none() && orders.is_empty() && booked.is_none() && cancelled.is_none() {
            return Err(match reservation.was_minted_for(&caller.event, &caller.visitor) {
                true => Code::HoldExpired.into(),
                false => Code::ReservationNotFound.into(),
            });
        }
        let mut items = Vec::new();
        let booking = booked.as_ref().or(cancelled.as_ref().map(|cancelled| &cancelled.booking));
        let ordered = orders.iter().find_map(|order| order.item.as_ref()).map(|item| item.held_at);
        let held = hold.as_ref().map(|hold| hold.created).or(ordered).or(booking.and_then(|it| it.held_at));
        if let Some(held) = held {
            items.push(Happening::new("HELD", Some(held)));
        }
        for (kind, at) in ledger.reservation_log(reservation).await.map_err(ledger_error)? {
            if let Some(kind) = LOGGED.iter().find(|known| **known == kind) {
                items.push(Happening::new(kind, Some(at)));
            }
        }
        items.extend(orders.iter().flat_map(of_order));
        items.extend(booking.map(|booking| Happening::new("CONFIRMED", Some(booking.at))));
        items.extend(cancelled.map(|cancelled| Happening::new("CANCELLED", Some(cancelled.at))));
        if let (Some(state), None, Some(hold)) = (past, booked, hold) {
            match state {
                PastState::Expired => items.push(Happening::new("EXPIRED", Some(hold.end))),
                PastState::Cancelled if items.iter().all(|item| item.kind != "CANCELLED") => {
                    items.push(Happening::new("CANCELLED", None));
                }
                PastState::Cancelled => {}
            }
        }
        items.sort_by_key(|item| item.at.unwrap_or(Millis(u64::MAX)));
        Ok(items)
    }

    /// The hold, and what became of it, if the store knows and can be asked.
    async fn in_store(&self, caller: &Caller, reservation: &ReservationId) -> (Option<Hold>, Option<PastState>) {
        let command = Command::Find { reservation: reservation.clone() };
        let (hold, past) = match self.office.engine.apply(&caller.event, command).await {
            Ok(Outcome::Hold(hold)) => (hold, None),
            Ok(Outcome::Past(state, hold)) => (hold, Some(state)),
            _ => return (None, None),
        };
        if hold.visitor == caller.visitor { (Some(hold), past) } else { (None, None) }
    }

    /// Keeps what happened to a reservation, as well as that goes: nobody waits for it.
    pub fn note(&self, reservation: &Reservation, kind: &'static str) {
        let happened = Happened {
            reservation: reservation.reservation_id.clone(),
            event: reservation.event_id.clone(),
            visitor: reservation.visitor_id.clone(),
            kind,
            at: self.office.now(),
        };
        let office = std::sync::Arc::clone(&self.office);
        tokio::spawn(async move {
            if let Err(error) = office.ledger.log_reservation(happened).await {
                tracing::info!(%error, "an event of a reservation was not kept");
            }
        });
    }
}

/// What an order's steps tell: how each ended is told by the next.
fn of_order(order: &Order) -> Vec<Happening> {
    let mut items = Vec::new();
    for pair in order.steps.windows(2) {
        let (step, next) = (&pair[0], &pair[1]);
        let failed = next.failure.filter(|_| step.failure.is_none());
        let kind = match (step.stage, failed) {
            (_, Some(Failure::Interrupted | Failure::HoldGone)) => "ORDER_FAILED",
            (Stage::Authorizing, Some(_)) => "PAYMENT_FAILED",
            (_, Some(_)) => "ORDER_FAILED",
            (Stage::Authorizing, None) => "PAYMENT_AUTHORIZED",
            (Stage::Capturing, None) => "CAPTURED",
            (Stage::Voiding, None) => "PAYMENT_VOIDED",
            (Stage::Refunding, None) => "REFUNDED",
            _ => continue,
        };
        let reason = failed.map(|failure| code_of(failure).info().name);
        items.push(Happening { at: Some(next.at), kind, order_id: Some(order.id.clone()), reason });
    }
    items
}
