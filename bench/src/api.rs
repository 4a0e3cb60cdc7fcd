//! The public and operator interfaces of both servers, as a client sees them.

use std::time::Duration;

use queue_core::{
    ids::Millis,
    wire::{ErrorBody, PLACE_HEADER, QueueStatus},
};
use reqwest::{Method, RequestBuilder, StatusCode, header::RETRY_AFTER};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A request that takes longer is given up.
const REQUEST_WAIT: Duration = Duration::from_secs(15);
/// An order is waited for longer: the server lets it run for 25 seconds.
const ORDER_WAIT: Duration = Duration::from_secs(40);

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server said no.
    #[error("{status} {code}: {message}")]
    Refused { status: StatusCode, code: String, message: String, retry_after: Option<Duration>, details: Value },
    /// No answer, or none that can be read.
    #[error("{0}")]
    Lost(#[from] reqwest::Error),
}

impl ApiError {
    /// The error code, or what stands for it.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Lost(error) if error.is_timeout() => "TIMEOUT",
            Self::Lost(error) if error.is_connect() => "NO_CONNECTION",
            Self::Lost(error) if error.is_decode() => "UNREADABLE",
            Self::Lost(_) => "LOST",
        }
    }

    /// The status; 0 where there was no answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => status.as_u16(),
            Self::Lost(_) => 0,
        }
    }

    /// When to ask again, where the server says it.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Lost(_) => None,
        }
    }

    /// What else the server says of it; `null` if nothing.
    pub const fn details(&self) -> &Value {
        match self {
            Self::Refused { details, .. } => details,
            Self::Lost(_) => &Value::Null,
        }
    }

    /// Whether the same request may succeed later.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Lost(_) => true,
        }
    }
}

/// Result of a request.
pub type Answer<T> = Result<T, ApiError>;

/// An HTTP client for many visitors at once.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(REQUEST_WAIT).tcp_nodelay(true).no_proxy().build()
}

async fn send(request: RequestBuilder) -> Answer<reqwest::Response> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    let (code, message, details) = match response.json::<ErrorBody>().await {
        Ok(body) => (body.code, body.message, body.details.unwrap_or_default()),
        Err(_) => (format!("HTTP_{}", status.as_u16()), "no error body".to_owned(), Value::Null),
    };
    Err(ApiError::Refused { status, code, message, retry_after, details })
}

async fn send_for<T: DeserializeOwned>(request: RequestBuilder) -> Answer<T> {
    Ok(send(request).await?.json().await?)
}

/// The public side of the queue, for one event.
#[derive(Clone, Debug)]
pub struct Queue {
    http: reqwest::Client,
    url: String,
    event: String,
}

impl Queue {
    /// The queue at `url` for `event`.
    pub fn new(http: reqwest::Client, url: &str, event: &str) -> Self {
        Self { http, url: url.trim_end_matches('/').to_owned(), event: event.to_owned() }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which event it is for.
    pub fn event(&self) -> &str {
        &self.event
    }

    fn request(&self, method: Method, verb: &str, place: Option<&str>) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1/queue/{verb}/{}", self.url, self.event));
        match place {
            Some(token) => request.header(PLACE_HEADER, token),
            None => request,
        }
    }

    /// Joins, or finds the place again.
    pub async fn check(&self, place: Option<&str>) -> Answer<QueueStatus> {
        send_for(self.request(Method::POST, "check", place)).await
    }

    /// Where the visitor stands.
    pub async fn status(&self, place: &str) -> Answer<QueueStatus> {
        send_for(self.request(Method::GET, "status", Some(place))).await
    }

    /// Gives the place or the session up.
    pub async fn leave(&self, place: &str) -> Answer<()> {
        send(self.request(Method::POST, "leave", Some(place))).await.map(drop)
    }

    /// The visitor is done.
    pub async fn release(&self, active_token: &str) -> Answer<()> {
        send(self.request(Method::POST, "release", None).bearer_auth(active_token)).await.map(drop)
    }
}

/// A seat of the map.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// Its id.
    pub seat_id: String,
    /// `FREE`, `HELD` or `SOLD`.
    pub state: String,
}

#[derive(Deserialize)]
struct SeatMap {
    seats: Vec<Seat>,
}

/// A hold or a booking.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Its id.
    pub reservation_id: String,
    /// Its seats.
    #[serde(default)]
    pub seat_ids: Vec<String>,
    /// What it is of, where it has no seats.
    pub ticket_type_id: Option<String>,
    /// And how many.
    pub quantity: Option<u64>,
    /// `HELD`, `CONFIRMED`, `CANCELLED` or `EXPIRED`.
    pub state: String,
    /// When the hold ends.
    pub hold_expires_at: Millis,
    /// What all of it costs.
    pub total_minor: u64,
}

#[derive(Deserialize)]
struct Reservations {
    items: Vec<Reservation>,
}

/// An order as its buyer sees it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// What it is of.
    pub reservation_id: String,
    /// `PENDING`, `PAID`, `CONFIRMED`, `FAILED` or `REFUNDED`.
    pub state: String,
    /// Its seats.
    #[serde(default)]
    pub seat_ids: Vec<String>,
    /// What it is of, where it has no seats.
    pub ticket_type_id: Option<String>,
    /// And how many.
    pub quantity: Option<u64>,
    /// What all of it costs.
    pub total_minor: u64,
    /// What was done.
    pub steps: Vec<OrderStep>,
}

/// A step of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct OrderStep {
    /// `PIN`, `AUTHORIZE`, …
    pub step: String,
    /// `STARTED`, `DONE`, `FAILED`, …
    pub status: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reserve<'a> {
    event_id: &'a str,
    seat_ids: &'a [String],
}

/// The public side of the ticket server, for one event.
#[derive(Clone, Debug)]
pub struct Tickets {
    http: reqwest::Client,
    url: String,
    event: String,
}

impl Tickets {
    /// The ticket server at `url` for `event`.
    pub fn new(http: reqwest::Client, url: &str, event: &str) -> Self {
        Self { http, url: url.trim_end_matches('/').to_owned(), event: event.to_owned() }
    }

    fn path(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.url)
    }

    /// The seat map.
    pub async fn seats(&self) -> Answer<Vec<Seat>> {
        let map: SeatMap = send_for(self.http.get(self.path(&format!("seats/events/{}", self.event)))).await?;
        Ok(map.seats)
    }

    /// Holds seats, all or none.
    pub async fn reserve(&self, active_token: &str, seat_ids: &[String]) -> Answer<Reservation> {
        let body = Reserve { event_id: &self.event, seat_ids };
        send_for(self.http.post(self.path("seats/reserve")).bearer_auth(active_token).json(&body)).await
    }

    /// Holds seats, and says how many bytes the answer had.
    pub async fn reserve_length(&self, active_token: &str, seat_ids: &[String]) -> Answer<usize> {
        let body = Reserve { event_id: &self.event, seat_ids };
        let request = self.http.post(self.path("seats/reserve")).bearer_auth(active_token).json(&body);
        Ok(send(request).await?.bytes().await?.len())
    }

    async fn act(&self, active_token: &str, reservation: &str, verb: &str) -> Answer<Reservation> {
        let url = self.path(&format!("reservations/{reservation}/{verb}"));
        send_for(self.http.post(url).bearer_auth(active_token)).await
    }

    /// Holds what `wish` says beside the event: `seatIds` at `seats/reserve`, a type and a quantity at
    /// `reservations`.
    pub async fn hold(&self, active_token: &str, path: &str, mut wish: Value) -> Answer<Reservation> {
        wish["eventId"] = json!(self.event);
        send_for(self.http.post(self.path(path)).bearer_auth(active_token).json(&wish)).await
    }

    /// What the visitor holds and has booked.
    pub async fn mine(&self, active_token: &str) -> Answer<Vec<Reservation>> {
        let url = self.path(&format!("reservations/my?eventId={}", self.event));
        let found: Reservations = send_for(self.http.get(url).bearer_auth(active_token)).await?;
        Ok(found.items)
    }

    /// Where a reservation stands.
    pub async fn reservation(&self, active_token: &str, reservation: &str) -> Answer<Reservation> {
        let url = self.path(&format!("reservations/{reservation}"));
        send_for(self.http.get(url).bearer_auth(active_token)).await
    }

    /// Orders a hold, paid with a card that the provider knows by `card`.
    pub async fn order(&self, active_token: &str, key: &str, reservation: &str, card: &str) -> Answer<Order> {
        let body = json!({"reservationId": reservation, "payment": {"method": "card", "token": card}});
        let request = self.http.post(self.path("orders")).bearer_auth(active_token).json(&body);
        send_for(request.header("idempotency-key", key).timeout(ORDER_WAIT)).await
    }

    /// Makes a hold a booking.
    pub async fn confirm(&self, active_token: &str, reservation: &str) -> Answer<Reservation> {
        self.act(active_token, reservation, "confirm").await
    }

    /// Lets a hold go.
    pub async fn cancel(&self, active_token: &str, reservation: &str) -> Answer<Reservation> {
        self.act(active_token, reservation, "cancel").await
    }
}

/// The operator's side of either server.
#[derive(Clone, Debug)]
pub struct Operator {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Operator {
    /// The operations listener at `url`.
    pub fn new(http: reqwest::Client, url: &str, token: &str) -> Self {
        Self { http, url: url.to_owned(), token: token.to_owned() }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer<Value> {
        let mut request = self.http.request(method, format!("{}/api/v1/{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        send_for(request).await
    }

    /// Creates or replaces a policy.
    pub async fn put_queue(&self, event: &str, policy: &Value) -> Answer<Value> {
        self.call(Method::PUT, &format!("queue/admin/{event}"), Some(policy)).await
    }

    /// The state of a line.
    pub async fn queue(&self, event: &str) -> Answer<Value> {
        self.call(Method::GET, &format!("queue/admin/{event}"), None).await
    }

    /// `pause`, `resume`, `drain` or `clear`.
    pub async fn order(&self, verb: &str, event: &str) -> Answer<Value> {
        self.call(Method::POST, &format!("queue/admin/{verb}/{event}"), None).await
    }

    /// Creates or changes a ticket event.
    pub async fn put_event(&self, event: &str, body: &Value) -> Answer<Value> {
        self.call(Method::PUT, &format!("admin/events/{event}"), Some(body)).await
    }
}

/// A ticket event without payment whose seats stand in sections of rows × seats.
pub fn hall(name: &str, starts_at: &str, sections: &[(&str, u32, u32, u64)]) -> Value {
    let types = sections.iter().map(|(section, _, _, price_minor)| {
        json!({"ticketTypeId": format!("type-{section}"), "name": format!("Section {section}"), "priceMinor": price_minor})
    });
    let rows = sections.iter().map(|(section, rows, seats_per_row, _)| {
        json!({"section": section, "ticketTypeId": format!("type-{section}"), "rows": rows, "seatsPerRow": seats_per_row})
    });
    json!({
        "name": name, "startsAt": starts_at, "venue": "Usher Hall", "currency": "EUR", "payment": "none",
        "maxSeatsPerVisitor": 8,
        "ticketTypes": types.collect::<Vec<_>>(), "sections": rows.collect::<Vec<_>>(),
    })
}
