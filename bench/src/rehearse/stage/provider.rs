//! The payment provider of a run: `docs/payments.md` over HTTP, with a book of its own that the auditor reads.
//!
//! What it was told to do it does whether or not the answer arrives; some answers it throws away on purpose. It keeps
//! what it was asked in the order in which it did it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use queue_core::{ids::Millis, service::secret::Secret};
use serde::Deserialize;
use serde_json::json;
use ticket_server::payments::{
    Operation, PaymentStatus,
    signature::{SIGNATURE, Signer, TIMESTAMP},
};
use tokio::{net::TcpListener, task::AbortHandle, time::sleep};

use crate::{
    clock::now_ms,
    random::Random,
    rehearse::record::{Entry, Payment},
};

/// A question is at most so long.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Payments that one book has, at most.
const PAYMENTS_MAX: usize = 1_000_000;
/// Lines of one payment in the book, at most: lookups of an order that hangs are many.
const HISTORY_MAX: usize = 200;
/// A card whose token begins like this is declined.
pub const BAD_CARD: &str = "tok_declined";

/// How it behaves when nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub delay_ms: [u64; 2],
    /// The share of operations that are done and never answered.
    pub lost: f64,
    pub seed: u64,
}

struct Desk {
    signer: Signer,
    manners: Manners,
    /// Every answer takes so long; 0 if nothing is wrong.
    slow_ms: AtomicU64,
    /// Authorizations and captures that are under way.
    under_way: AtomicU64,
    asked: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    payments: Vec<Payment>,
    index: HashMap<String, usize>,
    left_out: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    operation: String,
    payment_id: String,
    amount_minor: u64,
    currency: String,
    token: Option<String>,
}

/// A running provider; it ends when this is dropped.
pub struct Provider {
    pub address: SocketAddr,
    desk: Arc<Desk>,
    serving: AbortHandle,
}

impl Provider {
    /// Starts one on a free port.
    pub async fn start(secret: &str, manners: Manners) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the payment provider")?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            signer: Signer::new(&Secret::new(secret.to_owned())),
            manners,
            slow_ms: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            book: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, desk.clone())).abort_handle();
        Ok(Self { address, desk, serving })
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every answer takes so long; 0 is back to normal.
    pub fn slow_down(&self, ms: u64) {
        self.desk.slow_ms.store(ms, Relaxed);
    }

    /// Operations that it has been asked and has not answered yet.
    pub fn under_way(&self) -> u64 {
        self.desk.under_way.load(Relaxed)
    }

    /// Whether a payment waits for somebody who takes or calls off the money.
    pub fn has_open(&self) -> bool {
        let open = |payment: &Payment| matches!(payment.status.as_str(), "AUTHORIZED" | "PENDING");
        self.desk.book.lock().payments.iter().any(open)
    }

    /// The book, and what does not stand in it because of its bounds.
    pub fn book(&self) -> (Vec<Payment>, BTreeMap<String, u64>) {
        let book = self.desk.book.lock();
        (book.payments.clone(), book.left_out.clone())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for a moment.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let desk = desk.clone();
        tokio::spawn(async move {
            let answers = service_fn(move |request| answer(request, desk.clone()));
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new());
            // An answer that is thrown away ends the connection.
            let _ = connection.serve_connection(TokioIo::new(stream), answers).await;
        });
    }
}

/// The answer was thrown away.
#[derive(Debug, thiserror::Error)]
#[error("an answer that is not given")]
struct ThrownAway;

async fn answer(request: Request<Incoming>, desk: Arc<Desk>) -> Result<Response<Full<Bytes>>, ThrownAway> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (timestamp, signature) = (header(TIMESTAMP), header(SIGNATURE));
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else { return Err(ThrownAway) };
    let body = body.to_bytes();
    if desk.signer.check(timestamp.as_deref(), signature.as_deref(), &body, Millis(now_ms())).is_err() {
        return Ok(said(StatusCode::UNAUTHORIZED, &json!({})));
    }
    let Ok(question) = serde_json::from_slice::<Question>(&body) else {
        return Ok(said(StatusCode::BAD_REQUEST, &json!({})));
    };
    let Some(operation) = Operation::ALL.into_iter().find(|operation| operation.name() == question.operation) else {
        return Ok(said(StatusCode::BAD_REQUEST, &json!({})));
    };
    desk.under_way.fetch_add(1, Relaxed);
    let outcome = desk.carry_out(&question, operation).await;
    desk.under_way.fetch_sub(1, Relaxed);
    let status = outcome?;
    Ok(said(StatusCode::OK, &json!({"paymentId": question.payment_id, "status": status.name()})))
}

fn said(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Desk {
    async fn carry_out(&self, question: &Question, operation: Operation) -> Result<PaymentStatus, ThrownAway> {
        let mut random = Random::new(self.manners.seed, self.asked.fetch_add(1, Relaxed));
        let [low, high] = self.manners.delay_ms;
        let slow = Duration::from_millis(self.slow_ms.load(Relaxed));
        sleep(random.between_ms(low, high).max(slow)).await;
        let lost = operation != Operation::Lookup && random.below(1_000_000) < (self.manners.lost * 1_000_000.0) as u64;
        let status = self.book.lock().note(question, operation, !lost);
        if lost { Err(ThrownAway) } else { Ok(status) }
    }
}

impl Book {
    fn note(&mut self, question: &Question, operation: Operation, answered: bool) -> PaymentStatus {
        let known = self.index.get(&question.payment_id).copied();
        let before = known.map_or(PaymentStatus::NotKnown, |at| {
            PaymentStatus::from_name(&self.payments[at].status).unwrap_or(PaymentStatus::NotKnown)
        });
        let bad = question.token.as_deref().is_some_and(|token| token.starts_with(BAD_CARD));
        let after = match before.after(operation) {
            PaymentStatus::Authorized if before != PaymentStatus::Authorized && bad => PaymentStatus::Declined,
            after => after,
        };
        if known.is_none() && (after == PaymentStatus::NotKnown || self.payments.len() >= PAYMENTS_MAX) {
            if after != PaymentStatus::NotKnown {
                *self.left_out.entry("payments".into()).or_default() += 1;
            }
            return after;
        }
        let at = known.unwrap_or_else(|| self.open(question));
        let payment = &mut self.payments[at];
        payment.status = after.name().into();
        if payment.history.len() < HISTORY_MAX {
            let entry =
                Entry { operation: operation.name().into(), status: after.name().into(), at: now_ms(), answered };
            payment.history.push(entry);
        } else {
            *self.left_out.entry("lines of payments".into()).or_default() += 1;
        }
        after
    }

    fn open(&mut self, question: &Question) -> usize {
        let at = self.payments.len();
        self.payments.push(Payment {
            payment_id: question.payment_id.clone(),
            amount_minor: question.amount_minor,
            currency: question.currency.clone(),
            status: PaymentStatus::NotKnown.name().into(),
            history: Vec::new(),
        });
        self.index.insert(question.payment_id.clone(), at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(operation: &str, payment: &str, token: Option<&str>) -> Question {
        Question {
            operation: operation.into(),
            payment_id: payment.into(),
            amount_minor: 500,
            currency: "EUR".into(),
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn the_book_keeps_the_rules() {
        let mut book = Book::default();
        let mut ask = |operation: Operation, payment: &str, token| {
            book.note(&question(operation.name(), payment, token), operation, true)
        };
        assert_eq!(ask(Operation::Lookup, "o_1", None), PaymentStatus::NotKnown);
        assert_eq!(ask(Operation::Authorize, "o_1", Some("tok_1")), PaymentStatus::Authorized);
        assert_eq!(ask(Operation::Authorize, "o_1", Some("tok_1")), PaymentStatus::Authorized);
        assert_eq!(ask(Operation::Capture, "o_1", None), PaymentStatus::Captured);
        assert_eq!(ask(Operation::Authorize, "o_2", Some(BAD_CARD)), PaymentStatus::Declined);
        assert_eq!(ask(Operation::Authorize, "o_2", Some("tok_1")), PaymentStatus::Declined);
        assert_eq!(ask(Operation::Void, "o_3", None), PaymentStatus::Voided);
        assert_eq!(ask(Operation::Authorize, "o_3", Some("tok_1")), PaymentStatus::Voided);
        let statuses: Vec<_> = book.payments.iter().map(|payment| payment.status.as_str()).collect();
        assert_eq!(statuses, ["CAPTURED", "DECLINED", "VOIDED"]);
        assert_eq!(book.payments[0].history.len(), 3);
    }

    #[tokio::test]
    async fn only_signed_questions_are_answered() -> Result<()> {
        let secret = "a secret of both that is long enough";
        let provider = Provider::start(secret, Manners { delay_ms: [0, 0], lost: 0.0, seed: 1 }).await?;
        let body = serde_json::to_vec(&json!({
            "operation": "authorize", "paymentId": "o_1", "amountMinor": 1, "currency": "EUR", "token": "tok"
        }))?;
        let http = crate::api::client()?;
        let unsigned = http.post(provider.url()).body(body.clone()).send().await?;
        assert_eq!(unsigned.status(), 401);
        assert!(!provider.has_open());
        let mut request = http.post(provider.url());
        for (name, value) in Signer::new(&Secret::new(secret.to_owned())).sign(Millis(now_ms()), &body) {
            request = request.header(name, value);
        }
        let answer: serde_json::Value = request.body(body).send().await?.json().await?;
        assert_eq!(answer, json!({"paymentId": "o_1", "status": "AUTHORIZED"}));
        assert!(provider.has_open());
        Ok(())
    }
}
