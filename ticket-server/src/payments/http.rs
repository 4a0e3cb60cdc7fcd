//! A provider behind an address: one `POST` for each operation, signed, with our name for the payment in it.
//! `docs/payments.md` says what the other side has to do.

use std::time::Duration;

use async_trait::async_trait;
use queue_core::service::{
    context,
    secret::Secret,
    spans::{self, Kind},
    trace::TRACEPARENT,
};
use serde::{Deserialize, Serialize};

use super::{Operation, Payment, PaymentError, PaymentStatus, Provider, signature::Signer};
use crate::{
    clock::Clock,
    peer::{chain, client, read_bounded},
};

/// Answers are at most so long.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    operation: &'static str,
    payment_id: &'a str,
    amount_minor: u64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// What is answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    payment_id: String,
    status: String,
}

/// The provider at an address.
pub struct HttpProvider {
    http: reqwest::Client,
    url: String,
    signer: Signer,
    clock: Clock,
}

impl HttpProvider {
    /// The provider at `url`, with the secret that both know. A call takes at most `timeout`.
    pub fn new(url: String, secret: &Secret, timeout: Duration, clock: Clock) -> Result<Self, String> {
        Ok(Self { http: client(timeout)?, url, signer: Signer::new(secret), clock })
    }

    async fn send(&self, body: Vec<u8>) -> Result<reqwest::Response, PaymentError> {
        let mut request = self.http.post(&self.url).header("content-type", "application/json");
        for (name, value) in self.signer.sign(self.clock.now(), &body) {
            request = request.header(name, value);
        }
        if let Some(trace) = context::traceparent() {
            request = request.header(TRACEPARENT, trace);
        }
        request.body(body).send().await.map_err(|error| {
            let error = error.without_url();
            let reason = chain(&error);
            // Without a connection nothing was sent.
            if error.is_connect() { PaymentError::not_sent(reason) } else { PaymentError::unknown(reason) }
        })
    }
}

#[async_trait]
impl Provider for HttpProvider {
    async fn ask(&self, operation: Operation, payment: &Payment) -> Result<PaymentStatus, PaymentError> {
        let question = Question {
            operation: operation.name(),
            payment_id: &payment.id,
            amount_minor: payment.amount_minor,
            currency: &payment.currency,
            token: payment.token.as_ref().filter(|_| operation == Operation::Authorize).map(Secret::expose),
        };
        let body = serde_json::to_vec(&question).map_err(PaymentError::not_sent)?;
        let response = spans::step(Kind::Client, "payment provider", self.send(body)).await?;
        let status = response.status().as_u16();
        let answer = read_bounded(response, ANSWER_BYTES_MAX).await.map_err(PaymentError::unknown)?;
        if status != 200 {
            return Err(PaymentError::unknown(format!("the payment provider answered {status}")));
        }
        let said: Said = serde_json::from_slice(&answer).map_err(PaymentError::unknown)?;
        let known = PaymentStatus::from_name(&said.status).filter(|_| said.payment_id == payment.id);
        known.ok_or_else(|| PaymentError::unknown("an answer of the payment provider that means nothing"))
    }
}
