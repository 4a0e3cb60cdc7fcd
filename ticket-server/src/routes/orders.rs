//! Orders, stored value, and what the payment provider tells.

use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use queue_core::{
    codes::Code,
    service::http::{ApiError, Request, Response, empty, json, parse_json},
};
use serde_json::{Value, json};

use super::{
    PublicApp, bodies, order_bodies,
    visitor::{Asker, private},
};
use crate::{
    balance,
    office::Caller,
    orders::{OrderId, Placed},
    payments::signature::{SIGNATURE, TIMESTAMP},
    webhooks,
};

/// A key is at most so long.
const KEY_CHARS_MAX: usize = 255;
/// Messages of a payment provider are at most so long.
const WEBHOOK_BYTES_MAX: usize = 16 * 1024;

impl PublicApp {
    pub(super) async fn order(&self, mut request: Request) -> Result<Response, ApiError> {
        let shown = self.changing(&request).await?;
        let key = idempotency_key(&request)?;
        let wish = order_bodies::order(&mut request).await?;
        let caller = shown.owner(&wish.reservation, self.office.now())?;
        let trace = request.trace_id();
        let placed = self.orders.place(&caller, &key, &wish.reservation, wish.means, trace).await?;
        answer(placed)
    }

    pub(super) async fn read_order(&self, request: &Request) -> Result<Response, ApiError> {
        let callers = self.everybody(request).await?;
        let id = request.param("id").and_then(|id| OrderId::new(&id).ok()).ok_or(Code::OrderNotFound)?;
        let callers: Vec<&Caller> = callers.iter().collect();
        Ok(private(json(StatusCode::OK, &self.orders.read(&callers, &id).await?)))
    }

    pub(super) async fn history(&self, request: &Request) -> Result<Response, ApiError> {
        let (caller, id) = self.owner_of(&self.asker(request).await?, request).await?;
        let items = self.orders.history(&caller, &id).await?;
        Ok(private(json(StatusCode::OK, &json!({"reservationId": id, "items": items}))))
    }

    pub(super) async fn charge(&self, mut request: Request) -> Result<Response, ApiError> {
        if let Asker::Session(shown) = self.changing_asker(&request).await? {
            // Whoever has no right to anything is told so before what is wrong with the body.
            shown.readers(self.office.now())?;
        }
        let key = idempotency_key(&request)?;
        let charge = order_bodies::charge(&mut request).await?;
        let caller = self.holder(&request).await?;
        answer(self.orders.charge(&caller, &key, charge, request.trace_id()).await?)
    }

    pub(super) async fn balance(&self, request: &Request) -> Result<Response, ApiError> {
        let caller = self.holder(request).await?;
        Ok(private(json(StatusCode::OK, &balance::shown(&self.office.ledger, &caller.visitor).await?)))
    }

    pub(super) async fn webhook(&self, mut request: Request) -> Result<Response, ApiError> {
        let body = request.read_body(WEBHOOK_BYTES_MAX).await?;
        let (timestamp, signature) = (request.header(TIMESTAMP), request.header(SIGNATURE));
        self.webhooks.check(timestamp, signature, &body, self.office.now())?;
        let told = webhooks::read(parse_json::<Value>(&body)?).map_err(bodies::refused)?;
        self.orders.told(&told).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Everybody whom the request shows and who may read.
    async fn everybody(&self, request: &Request) -> Result<Vec<Caller>, ApiError> {
        Ok(match self.asker(request).await? {
            Asker::Session(shown) => {
                shown.readers(self.office.now())?.iter().map(|caller| caller.as_ref().clone()).collect()
            }
            Asker::User(user) => self.user_alone(&user).into_iter().collect(),
        })
    }

    /// The one visitor whose stored value is meant.
    async fn holder(&self, request: &Request) -> Result<Caller, ApiError> {
        let wanted = request.query("eventId");
        let mut callers = self.everybody(request).await?;
        if let Some(wanted) = wanted {
            callers.retain(|caller| caller.event.as_str() == wanted);
        }
        let caller = callers.pop().ok_or(Code::ActiveTokenRequired)?;
        if callers.iter().any(|other| other.visitor != caller.visitor) {
            return Err(ApiError::invalid("eventId", "must name the event: the cookies are of several visitors"));
        }
        Ok(caller)
    }
}

fn idempotency_key(request: &Request) -> Result<String, ApiError> {
    let mut keys = request.headers().get_all("idempotency-key").iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.to_str().ok(),
        _ => None,
    };
    let key = key.filter(|key| {
        (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    });
    key.map(str::to_owned).ok_or_else(|| Code::IdempotencyKeyRequired.into())
}

fn answer(placed: Placed) -> Result<Response, ApiError> {
    let status = StatusCode::from_u16(placed.answer.status).map_err(ApiError::internal)?;
    let mut response = empty(status);
    let body: Value = serde_json::from_str(&placed.answer.body).map_err(ApiError::internal)?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(order) = body["orderId"].as_str()
        && let Ok(location) = HeaderValue::try_from(format!("/api/v1/orders/{order}"))
    {
        headers.insert(LOCATION, location);
    }
    if placed.answer.status == 503 {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    *response.body_mut() = queue_core::service::http::Body::full(placed.answer.body);
    Ok(private(response))
}
