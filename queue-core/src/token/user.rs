//! User tokens: what a site's own login says about who somebody is. A JWT that others sign.
//!
//! Invariants: the algorithm is that of the key, by configuration or by the kind of key in the JWKS document,
//! whatever a token's header says; `iss`, `aud`, `sub` and `exp` must stand in it; `now` comes in as a parameter.
//! Keys that are shared secrets come from configuration alone, never from a document that is public.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;

use super::{
    active::{ACTIVE_TYP, Audience, SKEW_MS},
    jwks::{JWKS_BYTES_MAX, JWKS_KEYS_MAX, JwksError, KID_BYTES_MAX},
};
use crate::{
    ids::{Millis, VisitorId},
    limits::TOKEN_BYTES_MAX,
};

/// A shared secret is at least this long (RFC 7518 section 3.2).
pub const HS256_SECRET_BYTES_MIN: usize = 32;
/// The modulus of an RSA key has at least this many bytes (RFC 7518 section 3.3) …
const RSA_BYTES_MIN: usize = 256;
/// … and at most this many, since checking takes longer the longer it is.
const RSA_BYTES_MAX: usize = 1024;

/// Why a user token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserTokenError {
    /// Longer than any token.
    #[error("longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not a JWT, or a claim is missing or of the wrong kind.
    #[error("not a user token")]
    Malformed,
    /// The header names another algorithm than its key is for.
    #[error("alg is not that of the key")]
    WrongAlgorithm,
    /// The header names a key that is not known here (or not yet), or none although there are several.
    #[error("signed with a key that is not known here")]
    UnknownKey,
    /// Not signed by the key it names.
    #[error("the signature is wrong")]
    BadSignature,
    /// From another issuer.
    #[error("from another issuer")]
    WrongIssuer,
    /// For another audience.
    #[error("for another audience")]
    WrongAudience,
    /// `nbf` lies in the future.
    #[error("not valid yet")]
    NotYetValid,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
}

/// What user tokens are signed with.
#[derive(Clone)]
pub struct UserKeys(Vec<UserKey>);

#[derive(Clone)]
struct UserKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for UserKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserKeys({} keys)", self.0.len())
    }
}

impl UserKeys {
    /// One secret that is shared with whoever signs (HS256); `None` if it is too short.
    pub fn hs256(secret: &[u8]) -> Option<Self> {
        let key = UserKey { kid: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) };
        (secret.len() >= HS256_SECRET_BYTES_MIN).then(|| Self(vec![key]))
    }

    /// The public keys of a JWKS document that can verify: RSA, P-256, P-384 and Ed25519. Others are passed over.
    pub fn from_jwks(document: &[u8]) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        if document.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLong);
        }
        let document: Document = serde_json::from_slice(document).map_err(|_| JwksError::Malformed)?;
        let keys: Vec<_> = document.keys.into_iter().filter_map(usable).take(JWKS_KEYS_MAX).collect();
        if keys.is_empty() { Err(JwksError::NoUsableUserKey) } else { Ok(Self(keys)) }
    }

    /// The key that a header names. Without a name there must be no choice.
    fn find(&self, kid: Option<&str>) -> Option<&UserKey> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys
                .iter()
                .find(|key| key.kid.as_deref() == Some(kid))
                // A secret has no name; whoever signs with it may give it one.
                .or_else(|| keys.iter().find(|key| key.algorithm == Algorithm::HS256)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

fn usable(value: serde_json::Value) -> Option<UserKey> {
    // RFC 7517 section 4.3: what a key is for.
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|u| *u != PublicKeyUse::Signature) {
        return None;
    }
    let kid = jwk.common.key_id.clone();
    if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > KID_BYTES_MAX) {
        return None;
    }
    let algorithm = algorithm_of(&jwk)?;
    Some(UserKey { kid, algorithm, key: DecodingKey::from_jwk(&jwk).ok()? })
}

/// The one algorithm that a key is for: what the document says, if that fits the kind of key, else the usual one.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let said = jwk.common.key_algorithm;
    match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bytes = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?.len();
            if !(RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&bytes) {
                return None;
            }
            match said {
                None | Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
                Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
                Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
                Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
                Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
                Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
                Some(_) => None,
            }
        }
        AlgorithmParameters::EllipticCurve(curve) => match (&curve.curve, said) {
            (EllipticCurve::P256, None | Some(KeyAlgorithm::ES256)) => Some(Algorithm::ES256),
            (EllipticCurve::P384, None | Some(KeyAlgorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => match (&pair.curve, said) {
            (EllipticCurve::Ed25519, None | Some(KeyAlgorithm::EdDSA)) => Some(Algorithm::EdDSA),
            _ => None,
        },
        // A secret that anybody can fetch is none.
        AlgorithmParameters::OctetKey(_) => None,
        #[allow(unreachable_patterns, reason = "kinds of keys that the library learns later are not ours")]
        _ => None,
    }
}

/// What user tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDemands {
    /// Who signs them.
    pub issuer: String,
    /// For whom.
    pub audience: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: String,
    /// RFC 7519 section 2: a number of seconds, not necessarily a whole one.
    exp: f64,
    nbf: Option<f64>,
}

/// Checks `token` at the instant `now` and names the visitor.
pub fn verify(token: &str, keys: &UserKeys, demands: &UserDemands, now: Millis) -> Result<VisitorId, UserTokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(UserTokenError::TooLong);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| UserTokenError::Malformed)?;
    // An extension that is critical is not understood here; and an active token is nobody's login.
    if header.crit.is_some() || header.typ.as_deref() == Some(ACTIVE_TYP) {
        return Err(UserTokenError::Malformed);
    }
    let key = keys.find(header.kid.as_deref()).ok_or(UserTokenError::UnknownKey)?;
    if header.alg != key.algorithm {
        return Err(UserTokenError::WrongAlgorithm);
    }
    let claims: Claims = jsonwebtoken::decode(token, &key.key, &signature_only(key.algorithm))
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => UserTokenError::BadSignature,
            _ => UserTokenError::Malformed,
        })?
        .claims;
    check(&claims, demands, now)?;
    Ok(visitor(&claims.iss, &claims.sub))
}

fn check(claims: &Claims, demands: &UserDemands, now: Millis) -> Result<(), UserTokenError> {
    if claims.iss != demands.issuer {
        return Err(UserTokenError::WrongIssuer);
    }
    if !claims.aud.contains(&demands.audience) {
        return Err(UserTokenError::WrongAudience);
    }
    let times = [Some(claims.exp), claims.nbf];
    if claims.sub.is_empty() || times.into_iter().flatten().any(|time| !time.is_finite()) {
        return Err(UserTokenError::Malformed);
    }
    let now = now.0 as f64;
    if now > claims.exp * 1_000.0 + SKEW_MS as f64 {
        return Err(UserTokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| nbf * 1_000.0 > now + SKEW_MS as f64) {
        return Err(UserTokenError::NotYetValid);
    }
    Ok(())
}

/// The visitor that `sub` of `iss` is: the same on every node and in both servers, and no name of a person.
pub fn visitor(issuer: &str, subject: &str) -> VisitorId {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(issuer.as_bytes());
    hash.update(&[0]);
    hash.update(subject.as_bytes());
    let mut text = String::from("u_");
    URL_SAFE_NO_PAD.encode_string(hash.finish(), &mut text);
    VisitorId::new(&text).expect("45 letters and digits are an identifier")
}

/// Whether this has the shape of a JWT (three parts with dots between), which no place token has.
pub fn looks_like_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Whether this is meant as a user token where active tokens travel too: a JWT that is not typed as one of those.
pub fn is_meant_as_user_token(token: &str) -> bool {
    token.len() <= TOKEN_BYTES_MAX
        && looks_like_jwt(token)
        && jsonwebtoken::decode_header(token).is_ok_and(|header| header.typ.as_deref() != Some(ACTIVE_TYP))
}

/// The library checks the signature; claims are checked here, where the time is a parameter.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}
