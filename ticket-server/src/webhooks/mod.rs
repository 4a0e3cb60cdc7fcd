//! What a payment provider tells by itself. It is believed only in so far as somebody looks: a message that is
//! signed and new makes the order's payment be looked up at once, and changes nothing else.

use queue_core::{
    codes::Code,
    ids::Millis,
    service::{http::ApiError, secret::Secret},
};
use serde_json::Value;

use crate::{
    fields::{Fields, Problem, Problems},
    payments::signature::Signer,
};

/// Ids and types of a provider's messages are at most so long.
const NAME_CHARS_MAX: usize = 128;

/// Checks what comes from the provider.
pub struct Webhooks(Option<Signer>);

/// A message of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The provider's id of the message; told twice, it is one.
    pub id: String,
    /// What it says happened.
    pub kind: String,
    /// Our name for the payment.
    pub payment: String,
}

impl Webhooks {
    /// With the secret that both know. Without one, nothing is believed.
    pub fn new(secret: Option<&Secret>) -> Self {
        Self(secret.map(Signer::new))
    }

    /// Whether the body was signed with the secret, and lately.
    pub fn check(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now: Millis,
    ) -> Result<(), ApiError> {
        let refused = |reason: String| ApiError::new(Code::SignatureInvalid).log(reason);
        let signer = self.0.as_ref().ok_or_else(|| refused("no secret is configured".into()))?;
        signer.check(timestamp, signature, body, now).map_err(|error| refused(error.to_string()))
    }
}

/// Reads a message. What else a provider says in it is its own affair.
pub fn read(body: Value) -> Result<Told, Vec<Problem>> {
    let mut problems = Problems::default();
    let told = Fields::open(body, String::new(), &mut problems).and_then(|mut fields| {
        let id = fields.text("id", NAME_CHARS_MAX);
        let kind = fields.text("type", NAME_CHARS_MAX);
        let payment = fields.text("paymentId", NAME_CHARS_MAX);
        Some(Told { id: id?, kind: kind?, payment: payment? })
    });
    problems.or(told)
}
