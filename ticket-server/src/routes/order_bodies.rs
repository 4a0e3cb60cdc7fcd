//! The bodies of orders and charges.

use queue_core::service::{
    http::{ApiError, Request},
    secret::Secret,
};
use serde_json::Value;

use super::bodies::refused;
use crate::{
    balance::CHARGE_MINOR_MAX,
    fields::{Fields, Problems},
    ids::ReservationId,
    orders::{Charge, Means},
    payments::Method,
};

const BODY_BYTES_MAX: usize = 16 * 1024;
/// What a provider gives for a card is at most so long.
const TOKEN_CHARS_MAX: usize = 512;

/// What is ordered.
pub struct OrderWish {
    pub reservation: ReservationId,
    pub means: Means,
}

/// The body of `POST orders`.
pub async fn order(request: &mut Request) -> Result<OrderWish, ApiError> {
    read(request, |fields| {
        let reservation = fields.id("reservationId");
        let means = means(fields, false);
        Some(OrderWish { reservation: reservation?, means: means? })
    })
    .await
}

/// The body of `balance/charge`.
pub async fn charge(request: &mut Request) -> Result<Charge, ApiError> {
    read(request, |fields| {
        let amount_minor = fields.number("amountMinor", 1..=CHARGE_MINOR_MAX);
        let currency = fields.text("currency", 3);
        let currency = currency.filter(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()));
        if currency.is_none() && !fields.problems().names("currency") {
            fields.problem("currency", "must be an ISO 4217 code of three capital letters, such as EUR");
        }
        let means = means(fields, true);
        Some(Charge { amount_minor: amount_minor?, currency: currency?, means: means? })
    })
    .await
}

async fn read<T>(request: &mut Request, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<T, ApiError> {
    let body = request.read_json::<Value>(BODY_BYTES_MAX).await?;
    let mut problems = Problems::default();
    let value = Fields::open(body, String::new(), &mut problems).and_then(|mut fields| {
        let value = read(&mut fields);
        fields.finish();
        value
    });
    problems.or(value).map_err(refused)
}

/// Stored value is not charged from stored value.
fn means(fields: &mut Fields<'_>, charges: bool) -> Option<Means> {
    let Some(payment) = fields.take("payment") else {
        fields.problem("payment", "is required: an object with the method");
        return None;
    };
    let name = fields.name("payment");
    let mut inner = Fields::open(payment, name, fields.problems())?;
    let name = inner.text("method", 32);
    let method = name.as_deref().and_then(Method::from_name).filter(|method| !charges || *method != Method::Balance);
    if name.is_some() && method.is_none() {
        inner.problem(
            "method",
            if charges { "must be card or simulated" } else { "must be card, simulated or balance" },
        );
    }
    let token = inner.optional_text("token", TOKEN_CHARS_MAX);
    if token.is_some() && method.is_some_and(|method| method == Method::Balance) {
        inner.problem("token", "belongs to a card");
    }
    inner.finish();
    Some(Means { method: method?, token: token.map(Secret::new) })
}
