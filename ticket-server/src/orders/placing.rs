//! Placing an order or a charge under an idempotency key, and reading it.

use queue_core::{
    codes::Code,
    ids::Millis,
    service::{context, http::ApiError, secret::Secret, trace::TraceId},
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Item, Kept, Key, Kind, Order, OrderId, Orders, Saga, running::Runner};
use crate::{
    ids::ReservationId,
    ledger::{self, Beginning, Begun, Known, LedgerError},
    office::{Caller, ledger_error},
    payments::Method,
    webhooks::Told,
};

/// How a buyer pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Means {
    /// By whom.
    pub method: Method,
    /// What the provider gave the buyer's page for the card. It is kept nowhere.
    pub token: Option<Secret>,
}

/// A wish for stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// How much.
    pub amount_minor: u64,
    /// In which currency.
    pub currency: String,
    /// How it is paid.
    pub means: Means,
}

/// What a buyer is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The order, where it is known.
    pub order: Option<OrderId>,
    /// The first answer, now or again.
    pub answer: Kept,
}

impl Orders {
    /// Orders a reservation. With the same key: the same answer. Runs to its end even when nobody waits for it.
    pub async fn place(
        &self,
        caller: &Caller,
        key: &str,
        reservation: &ReservationId,
        means: Means,
        trace: TraceId,
    ) -> Result<Placed, ApiError> {
        self.check(means.method)?;
        let asked =
            ["order", reservation.as_str(), means.method.name(), means.token.as_ref().map_or("", Secret::expose)];
        let key = Key::of(key, &asked);
        // First: the hold of an order that was answered is gone.
        if let Some(answer) = self.known(caller, &key).await? {
            return Ok(answer);
        }
        let (hall, hold, booking) = self.office.hold_to_order(caller, reservation).await?;
        let mut order = self.order_of(Kind::Order, caller, &means, trace)?;
        // The session that took the hold is the one that ends with it.
        order.jti = hold.jti;
        (order.admitted_at, order.total_minor) = (booking.admitted_at, hold.total_minor);
        order.currency = hall.body.currency.clone();
        order.item = Some(Item {
            reservation: reservation.clone(),
            ordered: booking.ordered,
            tickets: booking.tickets,
            held_at: hold.created,
            hold_end: hold.end,
        });
        self.begin(order, key, means.token).await
    }

    /// Charges stored value.
    pub async fn charge(&self, caller: &Caller, key: &str, charge: Charge, trace: TraceId) -> Result<Placed, ApiError> {
        let Charge { amount_minor, currency, means } = charge;
        self.check(means.method)?;
        let amount = amount_minor.to_string();
        let token = means.token.as_ref().map_or("", Secret::expose);
        let key = Key::of(key, &["charge", &amount, &currency, means.method.name(), token]);
        if let Some(answer) = self.known(caller, &key).await? {
            return Ok(answer);
        }
        let mut order = self.order_of(Kind::Charge, caller, &means, trace)?;
        (order.total_minor, order.currency) = (amount_minor, currency);
        self.begin(order, key, means.token).await
    }

    fn check(&self, method: Method) -> Result<(), ApiError> {
        if self.payments.takes(method) { Ok(()) } else { Err(ApiError::not_supported("payment.method")) }
    }

    async fn known(&self, caller: &Caller, key: &Key) -> Result<Option<Placed>, ApiError> {
        let known = self.office.ledger.known_key(&caller.visitor, key, self.office.now()).await;
        known.map_err(ledger_error)?.map(placed).transpose()
    }

    fn order_of(&self, kind: Kind, caller: &Caller, means: &Means, trace: TraceId) -> Result<Order, ApiError> {
        let now = self.office.now();
        let wait = u64::try_from(self.patience.authorization.as_millis()).unwrap_or(u64::MAX);
        let mut order = Order {
            id: OrderId::random(kind).ok_or_else(|| ApiError::internal("no randomness"))?,
            saga: Saga::new(kind, now.plus(wait)),
            event: caller.event.clone(),
            visitor: caller.visitor.clone(),
            jti: caller.jti,
            item: None,
            method: means.method,
            total_minor: 0,
            currency: String::new(),
            admitted_at: None,
            rev: 0,
            attempts: 0,
            trace_id: trace.to_string(),
            traceparent: context::traceparent(),
            created_at: now,
            steps: Vec::new(),
        };
        order.enter(now);
        Ok(order)
    }

    async fn begin(&self, order: Order, key: Key, token: Option<Secret>) -> Result<Placed, ApiError> {
        let (id, visitor) = (order.id.clone(), order.visitor.clone());
        let runner = Runner::new(self.clone(), order.clone());
        let beginning = Beginning { order, key: key.clone(), lease: runner.lease() };
        match self.office.ledger.begin_order(beginning).await {
            Ok(Begun::New) => {}
            Ok(Begun::Known(known)) => return placed(known),
            Ok(Begun::Busy(order)) => return Err(in_progress(&order)),
            Ok(Begun::Decided) => return Err(Code::ReservationNotHeld.into()),
            Ok(Begun::TooMany) => {
                return Err(ApiError::new(Code::LimitExceeded).message("This reservation had too many orders."));
            }
            // It may have begun: whoever takes it up finds nothing pinned or paid, and ends it.
            Err(error) => return Err(ledger_error(error)),
        }
        let (waiting, settled) = oneshot::channel();
        tokio::spawn(context::carried(async move { runner.begin(token, waiting).await }));
        if tokio::time::timeout(self.patience.answer, settled).await.is_err() {
            return Err(in_progress(&id));
        }
        // What was written down is what is said, also when this run was not the one that ended it.
        match self.office.ledger.known_key(&visitor, &key, Millis(0)).await {
            Ok(Some(Known::Answered(answer))) => Ok(Placed { order: Some(id), answer }),
            // It failed, and the key stands for nothing any more: whoever asks again begins anew.
            Ok(None) => match self.office.ledger.order(&id).await {
                Ok(Some(order)) if order.saga.is_settled() => Ok(Placed { order: Some(id), answer: Kept::of(&order) }),
                _ => Err(in_progress(&id)),
            },
            Ok(_) => Err(in_progress(&id)),
            Err(LedgerError::Overloaded) => Err(Code::Overloaded.into()),
            Err(_) => Err(in_progress(&id)),
        }
    }

    /// The provider says that something happened to a payment: it is looked up at once. Of a payment that is not
    /// ours nothing is kept.
    pub async fn told(&self, told: &Told) -> Result<(), ApiError> {
        let ledger = &self.office.ledger;
        let known = ledger.wake_order(&told.payment, &told.id, &told.kind).await.map_err(ledger_error)?;
        let outcome = if known { "known" } else { "unknown" };
        metrics::counter!("usher_ticket_payment_webhooks_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    /// One order of the caller, as it is now.
    pub async fn read(&self, visitors: &[&Caller], id: &OrderId) -> Result<serde_json::Value, ApiError> {
        let order = self.office.ledger.order(id).await.map_err(ledger_error)?;
        let own = order.filter(|order| visitors.iter().any(|caller| caller.visitor == order.visitor));
        let order = own.filter(|order| order.item.is_some()).ok_or(Code::OrderNotFound)?;
        let told = self.office.ledger.told_of(id).await.map_err(ledger_error)?;
        Ok(order.shown(match told {
            ledger::Told::Nothing => None,
            ledger::Told::Pending => Some("STARTED"),
            ledger::Told::Done => Some("DONE"),
            ledger::Told::Failed => Some("FAILED"),
        }))
    }
}

fn placed(known: Known) -> Result<Placed, ApiError> {
    match known {
        Known::Answered(answer) => Ok(Placed { order: None, answer }),
        Known::Running(order) => Err(in_progress(&order)),
        Known::Reused => Err(Code::IdempotencyKeyReused.into()),
    }
}

fn in_progress(order: &OrderId) -> ApiError {
    ApiError::new(Code::OrderInProgress).details(json!({"orderId": order}))
}
