//! An order as it is kept, and as it is shown to its buyer.

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use queue_core::{
    codes::Code,
    id_type,
    ids::{EventId, Jti, Millis, VisitorId},
    service::secret::Secret,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::saga::{Failure, Kind, Saga, Stage};
use crate::{
    ids::ReservationId,
    ledger::{Booking, Ordered, Tickets},
    payments::{Method, Payment},
};

id_type!(
    /// Names an order, and its payment with the provider.
    OrderId
);

/// Bytes of randomness in an order's id.
const NONCE_BYTES: usize = 16;

impl OrderId {
    /// A new id; `None` when the system has no randomness.
    pub fn random(kind: Kind) -> Option<Self> {
        let mut nonce = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let prefix = match kind {
            Kind::Order => "o_",
            Kind::Charge => "c_",
        };
        let mut text = String::from(prefix);
        URL_SAFE_NO_PAD.encode_string(nonce, &mut text);
        Self::new(&text).ok()
    }
}

/// A stage that the saga entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place: one more than the one before.
    pub n: u64,
    /// The stage.
    pub stage: Stage,
    /// Why the order had failed by then.
    pub failure: Option<Failure>,
    /// When it was entered.
    pub at: Millis,
}

/// What an order is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The reservation.
    pub reservation: ReservationId,
    /// Its seats or tickets.
    pub ordered: Ordered,
    /// Of which types its tickets are.
    pub tickets: Tickets,
    /// When it was held.
    pub held_at: Millis,
    /// When the hold would expire.
    pub hold_end: Millis,
}

/// An order, or a charge of stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Where it stands.
    pub saga: Saga,
    /// The event that its buyer came for.
    pub event: EventId,
    /// The buyer.
    pub visitor: VisitorId,
    /// The session it was made in.
    pub jti: Jti,
    /// What is bought; nothing when stored value is charged.
    pub item: Option<Item>,
    /// How it is paid.
    pub method: Method,
    /// How much.
    pub total_minor: u64,
    /// In which currency.
    pub currency: String,
    /// When the session was admitted that its hold was taken in, where that is known.
    pub admitted_at: Option<Millis>,
    /// Counts its changes.
    pub rev: u64,
    /// Attempts at the present stage that led nowhere.
    pub attempts: u64,
    /// The trace of the request that began it.
    pub trace_id: String,
    /// The work of that request, in which whoever runs the order goes on.
    pub traceparent: Option<String>,
    /// When that was.
    pub created_at: Millis,
    /// The stages it went through.
    pub steps: Vec<Step>,
}

impl Order {
    /// Its payment. Only the run that began it has the token.
    pub fn payment(&self, token: Option<&Secret>) -> Payment {
        Payment {
            id: self.id.to_string(),
            amount_minor: self.total_minor,
            currency: self.currency.clone(),
            visitor: self.visitor.to_string(),
            token: token.cloned(),
        }
    }

    /// What the ledger is to book.
    pub fn booking(&self, at: Millis) -> Option<Booking> {
        let item = self.item.as_ref()?;
        Some(Booking {
            reservation: item.reservation.clone(),
            event: self.event.clone(),
            visitor: self.visitor.clone(),
            jti: self.jti,
            ordered: item.ordered.clone(),
            tickets: item.tickets.clone(),
            total_minor: self.total_minor,
            currency: self.currency.clone(),
            admitted_at: self.admitted_at,
            held_at: Some(item.held_at),
            hold_end: item.hold_end,
            at,
        })
    }

    /// Notes that it is in its present stage since then.
    pub fn enter(&mut self, at: Millis) {
        let (stage, failure) = (self.saga.stage, self.saga.failure);
        self.steps.push(Step { n: self.rev, stage, failure, at });
    }

    /// As its buyer sees it.
    pub fn shown(&self, notified: Option<&'static str>) -> Value {
        let mut steps = shown_steps(&self.steps);
        steps.extend(notified.map(|status| json!({"step": "NOTIFY", "status": status})));
        let mut shown = json!({
            "state": self.saga.state().name(),
            "eventId": self.event,
            "payment": {"method": self.method.name()},
            "totalMinor": self.total_minor,
            "currency": self.currency,
            "createdAt": self.created_at,
            "steps": steps,
        });
        let fields = shown.as_object_mut().expect("it was made as one");
        match &self.item {
            Some(item) => {
                fields.insert("orderId".into(), json!(self.id));
                fields.insert("reservationId".into(), json!(item.reservation));
                match &item.ordered {
                    Ordered::Seats(seats) => drop(fields.insert("seatIds".into(), json!(seats))),
                    Ordered::Quantity { kind, quantity } => {
                        fields.insert("ticketTypeId".into(), json!(kind));
                        fields.insert("quantity".into(), json!(quantity));
                    }
                }
            }
            None => drop(fields.insert("chargeId".into(), json!(self.id))),
        }
        if let Some(failure) = self.saga.failure {
            fields.insert("failure".into(), json!(code_of(failure).info().name));
        }
        shown
    }
}

/// Each stage with its outcome: the next one tells how it ended.
fn shown_steps(steps: &[Step]) -> Vec<Value> {
    let pairs = steps.iter().enumerate().filter(|(_, step)| step.stage != Stage::Done);
    pairs
        .map(|(i, step)| {
            let next = steps.get(i + 1);
            let status = match next {
                None => "STARTED",
                Some(next) if next.failure != step.failure => "FAILED",
                Some(_) => "DONE",
            };
            let mut shown = json!({"step": step.stage.name(), "status": status, "startedAt": step.at});
            if let Some(next) = next {
                shown["endedAt"] = json!(next.at);
            }
            shown
        })
        .collect()
}

/// What a failed order is answered with.
pub fn code_of(failure: Failure) -> Code {
    match failure {
        Failure::HoldGone => Code::HoldExpired,
        Failure::Declined | Failure::CaptureRefused => Code::PaymentDeclined,
        Failure::Unavailable | Failure::Interrupted => Code::PaymentUnavailable,
        Failure::SeatTaken => Code::SeatTaken,
        Failure::SoldOut => Code::SoldOut,
        Failure::NotHeld => Code::ReservationNotHeld,
    }
}

/// The first answer to a request with an idempotency key; it is given again as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
}

impl Kept {
    /// What the buyer is told of a settled order.
    pub fn of(order: &Order) -> Self {
        let (status, body) = match order.saga.failure {
            None => (201, order.shown(None)),
            Some(failure) => {
                let info = code_of(failure).info();
                let body = json!({
                    "code": info.name, "message": info.message, "traceId": order.trace_id,
                    "retryable": info.retryable, "details": {"orderId": order.id},
                });
                (info.status, body)
            }
        };
        Self { status, body: body.to_string() }
    }
}

/// What an idempotency key stands for: hashes, so that neither the key nor the body is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Of the key.
    pub key: String,
    /// Of what was asked for.
    pub body: String,
}

impl Key {
    /// Of a key and what is asked with it.
    pub fn of(key: &str, asked: &[&str]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in asked {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let of_key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Self { key: text(of_key.as_ref()), body: text(context.finish().as_ref()) }
    }
}

/// A method back from its name.
impl FromStr for Method {
    type Err = queue_core::ids::InvalidId;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::from_name(name).ok_or(queue_core::ids::InvalidId)
    }
}
