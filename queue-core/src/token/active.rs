//! Active tokens: signed proof that a visitor's turn has come. A JWT that others verify too.
//!
//! Invariants: the algorithm is EdDSA, whatever a token's header says; `typ`, `iss`, `aud`,
//! `sub`, `evt`, `jti` and `exp` must stand in it; `now` comes in as a parameter.

use std::collections::HashMap;

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{
    jwks::{JWKS_KEYS_MAX, KID_BYTES_MAX},
    keys::{PublicKey, SigningKey},
};
use crate::{
    ids::{EventId, InvalidId, Jti, Millis, Seq, VisitorId},
    limits::TOKEN_BYTES_MAX,
};

/// The header's `typ`.
pub const ACTIVE_TYP: &str = "active+jwt";
/// Clocks of those who sign and those who verify may differ by this much.
pub const SKEW_MS: u64 = 5_000;
/// A session's name is at most this long.
pub const JTI_BYTES_MAX: usize = 64;
/// Room to decode a signature of 64 bytes.
const SIGNATURE_ROOM_BYTES: usize = 96;
/// Room for about any token of ours; a longer one grows.
const TYPICAL_TOKEN_BYTES: usize = 512;

/// What an active token is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveGrant {
    /// Whose session it is.
    pub visitor: VisitorId,
    /// The event it is for.
    pub event: EventId,
    /// Names the session; its `seq` is the token's too.
    pub jti: Jti,
    /// When the session began (`iat` and `nbf`). The same for each copy of the token.
    pub issued_at: Millis,
    /// When the session ends (`exp`, in whole seconds, rounded down).
    pub expires_at: Millis,
}

/// What a verified active token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveClaims {
    /// Whose session it is.
    pub visitor: VisitorId,
    /// The event it is for.
    pub event: EventId,
    /// Names the session.
    pub jti: String,
    /// The place that became the session, where the token says so.
    pub seq: Option<Seq>,
    /// When the session began, in whole seconds, where the token says so.
    pub issued_at: Option<Millis>,
    /// When the session ends.
    pub expires_at: Millis,
}

impl ActiveClaims {
    /// The session's name as our own queue writes it.
    pub fn parse_jti(&self) -> Result<Jti, InvalidId> {
        self.jti.parse()
    }

    /// Whether the session's end, with the skew allowed, has passed.
    pub fn is_expired(&self, now: Millis) -> bool {
        now > self.expires_at.plus(SKEW_MS)
    }
}

/// Why an active token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActiveTokenError {
    /// Longer than any token.
    #[error("longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not a JWT, or a claim is missing or of the wrong kind.
    #[error("not an active token")]
    Malformed,
    /// The header's `typ` is another one.
    #[error("typ is not {ACTIVE_TYP}")]
    WrongType,
    /// The header names another algorithm than EdDSA.
    #[error("alg is not EdDSA")]
    WrongAlgorithm,
    /// The header names a key that is not known here (or not yet).
    #[error("signed with a key that is not known here")]
    UnknownKey(String),
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
    /// Good in all else, but `exp` has passed: the session has ended.
    #[error("the session has ended")]
    Expired(Box<ActiveClaims>),
}

#[derive(Serialize)]
struct ClaimsOut<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    evt: &'a str,
    jti: Jti,
    seq: u64,
    iat: u64,
    nbf: u64,
    exp: u64,
}

#[derive(Deserialize)]
pub(super) struct ClaimsIn {
    iss: String,
    aud: Audience,
    sub: VisitorId,
    evt: EventId,
    pub(super) jti: String,
    seq: Option<Seq>,
    iat: Option<u64>,
    nbf: Option<u64>,
    exp: u64,
}

/// RFC 7519 section 4.1.3: one name, or several of which ours must be one.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

/// Makes active tokens.
///
/// The key stays parsed and the header encoded: the library would do both anew for each token,
/// which takes about as long as signing does.
#[derive(Clone, Debug)]
pub struct ActiveSigner {
    issuer: String,
    audience: String,
    /// The encoded header, the dot included.
    header: String,
    key: SigningKey,
}

impl ActiveSigner {
    /// Signs with `key` in the name of `issuer` for `audience`.
    pub fn new(issuer: &str, audience: &str, key: SigningKey) -> Self {
        let mut header = encoded_header(key.public().kid());
        header.push('.');
        Self { issuer: issuer.to_owned(), audience: audience.to_owned(), header, key }
    }

    /// The key that signs.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// Makes the token. The same grant gives the same token, byte for byte.
    pub fn sign(&self, grant: &ActiveGrant) -> String {
        let issued = grant.issued_at.secs();
        let claims = ClaimsOut {
            iss: &self.issuer,
            aud: &self.audience,
            sub: grant.visitor.as_str(),
            evt: grant.event.as_str(),
            jti: grant.jti,
            seq: grant.jti.seq.0,
            iat: issued,
            nbf: issued,
            exp: grant.expires_at.secs(),
        };
        let mut token = String::with_capacity(TYPICAL_TOKEN_BYTES);
        token.push_str(&self.header);
        append_json(&mut token, &claims);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

/// The header of our tokens that are signed by the key of this name.
fn encoded_header(kid: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(ACTIVE_TYP.to_owned());
    header.kid = Some(kid.to_owned());
    let mut encoded = String::new();
    append_json(&mut encoded, &header);
    encoded
}

fn append_json(text: &mut String, value: &impl Serialize) {
    let json = serde_json::to_vec(value).expect("strings and numbers are always JSON");
    URL_SAFE_NO_PAD.encode_string(json, text);
}

/// Checks active tokens against a set of public keys.
#[derive(Clone)]
pub struct ActiveVerifier {
    issuer: String,
    audience: String,
    keys: HashMap<String, DecodingKey>,
    /// By the header as our own signers write it, encoded: who shows just that names algorithm, type and key.
    plain: HashMap<String, ParsedPublicKey>,
    validation: Validation,
}

impl std::fmt::Debug for ActiveVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ActiveVerifier({} of {}, {} keys)", self.issuer, self.audience, self.keys.len())
    }
}

impl ActiveVerifier {
    /// Accepts what `issuer` signed for `audience` with one of `keys`, of which the first
    /// [`JWKS_KEYS_MAX`] count.
    pub fn new<'a>(issuer: &str, audience: &str, keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        let keys: Vec<&PublicKey> = keys.into_iter().take(JWKS_KEYS_MAX).collect();
        // A key that cannot be prepared verifies nothing; the long way says so.
        let plain = |key: &&PublicKey| {
            let parsed = ParsedPublicKey::new(&ED25519, key.raw()).ok()?;
            (key.kid().len() <= KID_BYTES_MAX).then(|| (encoded_header(key.kid()), parsed))
        };
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            plain: keys.iter().filter_map(plain).collect(),
            keys: keys.iter().map(|key| (key.kid().to_owned(), key.decoding_key())).collect(),
            validation: signature_only(),
        }
    }

    /// The same demands with other keys.
    #[must_use]
    pub fn with_keys<'a>(&self, keys: impl IntoIterator<Item = &'a PublicKey>) -> Self {
        Self::new(&self.issuer, &self.audience, keys)
    }

    /// How many keys it knows.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether it knows the key of this name.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Checks `token` at the instant `now`. [`ActiveTokenError::Expired`] is given only for a
    /// token that is good in everything else.
    pub fn verify(&self, token: &str, now: Millis) -> Result<ActiveClaims, ActiveTokenError> {
        let claims = match self.open_plain(token) {
            Some(opened) => opened?,
            None => self.open(token)?,
        };
        if claims.iss != self.issuer {
            return Err(ActiveTokenError::WrongIssuer);
        }
        if !claims.aud.contains(&self.audience) {
            return Err(ActiveTokenError::WrongAudience);
        }
        if claims.jti.is_empty() || claims.jti.len() > JTI_BYTES_MAX {
            return Err(ActiveTokenError::Malformed);
        }
        if claims.nbf.is_some_and(|nbf| from_secs(nbf) > now.plus(SKEW_MS)) {
            return Err(ActiveTokenError::NotYetValid);
        }
        let claims = ActiveClaims {
            visitor: claims.sub,
            event: claims.evt,
            jti: claims.jti,
            seq: claims.seq,
            issued_at: claims.iat.map(from_secs),
            expires_at: from_secs(claims.exp),
        };
        if claims.is_expired(now) { Err(ActiveTokenError::Expired(Box::new(claims))) } else { Ok(claims) }
    }

    /// The claims of a token whose header is, byte for byte, that of a key which signed it: header and key are
    /// known then without being read. `None` for whatever is not plainly so: [`ActiveVerifier::open`] looks at that.
    pub(super) fn open_plain(&self, token: &str) -> Option<Result<ClaimsIn, ActiveTokenError>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let key = self.plain.get(header).filter(|_| !claims.contains('.'))?;
        let mut raw = [0; SIGNATURE_ROOM_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut raw).ok()?;
        if key.verify_sig(signed.as_bytes(), &raw[..length]).is_err() {
            return Some(Err(ActiveTokenError::BadSignature));
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice(&claims).ok().map(Ok)
    }

    /// The claims of any token that was signed as it must be.
    pub(super) fn open(&self, token: &str) -> Result<ClaimsIn, ActiveTokenError> {
        let decoded = jsonwebtoken::decode(token, self.key_of(token)?, &self.validation);
        decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => ActiveTokenError::BadSignature,
            _ => ActiveTokenError::Malformed,
        })
    }

    /// The key that the header names. `alg` is only ever compared with the one that we take.
    fn key_of(&self, token: &str) -> Result<&DecodingKey, ActiveTokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(ActiveTokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| ActiveTokenError::Malformed)?;
        if header.alg != Algorithm::EdDSA {
            return Err(ActiveTokenError::WrongAlgorithm);
        }
        // RFC 8725 section 3.11: so that no other kind of token with our keys passes for this one.
        if header.typ.as_deref() != Some(ACTIVE_TYP) {
            return Err(ActiveTokenError::WrongType);
        }
        // RFC 7515 section 4.1.11: an extension that is critical and not understood refuses the token.
        if header.crit.is_some() {
            return Err(ActiveTokenError::Malformed);
        }
        let kid = header.kid.filter(|kid| kid.len() <= KID_BYTES_MAX).ok_or(ActiveTokenError::Malformed)?;
        self.keys.get(&kid).ok_or(ActiveTokenError::UnknownKey(kid))
    }
}

/// The library checks the signature; claims are checked here, where the time is a parameter.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn from_secs(secs: u64) -> Millis {
    Millis(secs.saturating_mul(1000))
}
