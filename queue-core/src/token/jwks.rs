//! The JWKS document in which public keys are told to whoever verifies active tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, OctetKeyPairParameters,
    OctetKeyPairType, PublicKeyUse,
};
use serde::Deserialize;

use super::keys::PublicKey;

/// Keys read from one document, at most; the rest is ignored.
pub const JWKS_KEYS_MAX: usize = 64;
/// A document is at most this long.
pub const JWKS_BYTES_MAX: usize = 64 * 1024;
/// A key's name is at most this long.
pub const KID_BYTES_MAX: usize = 128;

/// Why a document cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Longer than [`JWKS_BYTES_MAX`].
    #[error("longer than {JWKS_BYTES_MAX} bytes")]
    TooLong,
    /// Not `{"keys":[…]}`.
    #[error("not a JWKS document ({{\"keys\":[…]}})")]
    Malformed,
    /// Nothing in it verifies an active token.
    #[error("no Ed25519 signing key with a kid in it")]
    NoUsableKey,
    /// Nothing in it verifies a user token.
    #[error("no RSA, P-256, P-384 or Ed25519 signing key in it")]
    NoUsableUserKey,
}

/// The document that publishes `keys`.
pub fn to_json<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> String {
    let set = JwkSet { keys: keys.into_iter().map(jwk).collect() };
    serde_json::to_string(&set).expect("keys of strings alone are always JSON")
}

fn jwk(key: &PublicKey) -> Jwk {
    Jwk {
        common: CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(KeyAlgorithm::EdDSA),
            key_id: Some(key.kid().to_owned()),
            ..CommonParameters::default()
        },
        algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: URL_SAFE_NO_PAD.encode(key.raw()),
        }),
    }
}

/// Reads the keys of a document that can verify active tokens. Others are passed over, as RFC
/// 7517 section 5 asks; of two with one name the first counts.
pub fn from_json(document: &[u8]) -> Result<Vec<PublicKey>, JwksError> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    if document.len() > JWKS_BYTES_MAX {
        return Err(JwksError::TooLong);
    }
    let document: Document = serde_json::from_slice(document).map_err(|_| JwksError::Malformed)?;
    let mut keys: Vec<PublicKey> = Vec::new();
    for key in document.keys.into_iter().filter_map(usable) {
        if keys.len() < JWKS_KEYS_MAX && keys.iter().all(|k| k.kid() != key.kid()) {
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(keys) }
}

fn usable(value: serde_json::Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let AlgorithmParameters::OctetKeyPair(parameters) = jwk.algorithm else { return None };
    let for_signing = jwk.common.public_key_use.is_none_or(|u| u == PublicKeyUse::Signature)
        && jwk.common.key_algorithm.is_none_or(|a| a == KeyAlgorithm::EdDSA)
        && parameters.curve == EllipticCurve::Ed25519;
    let kid = jwk.common.key_id.filter(|kid| !kid.is_empty() && kid.len() <= KID_BYTES_MAX)?;
    let raw: [u8; 32] = URL_SAFE_NO_PAD.decode(parameters.x).ok()?.try_into().ok()?;
    for_signing.then(|| PublicKey::named(kid, raw))
}
