//! The keys of a node: they are replaced while it runs, and nobody is refused for it.
//!
//! Which key signs and which are believed is decided by a [`Ring`] each for active and for place tokens; what is
//! read by every request lies ready beside it. What verifies is always replaced before what signs.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    policy::ACTIVE_TTL_SECONDS_MAX,
    service::{http::ApiError, secret::Secret},
    token::{
        active::{ActiveGrant, ActiveSigner, ActiveVerifier},
        jwks::{self, JWKS_KEYS_MAX},
        keys::SigningKey,
        place::{PLACE_SECRETS_MAX, PlaceClaims, PlaceKeys, PlaceKeysError},
    },
};

use super::ring::{Found, Ring, Turns};

/// After its end a token still serves for reading what was bought, and for so long.
const READ_AFTER_MS: u64 = 24 * 3_600_000;
/// A key that was taken away is believed until its very last token serves for nothing any more.
const KEPT_MS: u64 = ACTIVE_TTL_SECONDS_MAX as u64 * 1_000 + READ_AFTER_MS;

/// What keys are made of at the start.
pub struct KeyParts<'a> {
    /// Of active tokens, the one that should sign first.
    pub signing: Vec<Found<SigningKey>>,
    /// Of place tokens, the one that should sign first.
    pub place: Vec<Found<Secret>>,
    pub issuer: &'a str,
    pub audience: &'a str,
    /// From publishing a key to signing with it.
    pub lead: Duration,
}

/// What signs and verifies.
pub struct Keys {
    issuer: String,
    audience: String,
    rings: Mutex<Rings>,
    place: ArcSwap<PlaceKeys>,
    signer: ArcSwap<ActiveSigner>,
    verifier: ArcSwap<ActiveVerifier>,
    jwks: ArcSwap<Bytes>,
}

struct Rings {
    signing: Ring<SigningKey>,
    place: Ring<Secret>,
}

/// Why a node cannot have keys of these parts.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("no key of active tokens")]
    NoSigningKey,
    #[error(transparent)]
    Place(#[from] PlaceKeysError),
}

impl Keys {
    /// Keys of these parts, at the instant `now`.
    pub fn new(parts: KeyParts<'_>, now: Millis) -> Result<Self, KeysError> {
        let lead_ms = parts.lead.as_millis() as u64;
        let turns = |keys_max| Turns { lead_ms, kept_ms: KEPT_MS + lead_ms, keys_max };
        let signing = Ring::new(turns(JWKS_KEYS_MAX), parts.signing, now).ok_or(KeysError::NoSigningKey)?;
        let place = Ring::new(turns(PLACE_SECRETS_MAX), parts.place, now).ok_or(PlaceKeysError::Empty)?;
        let signer = ActiveSigner::new(parts.issuer, parts.audience, signing.signer().clone());
        let verifier = ActiveVerifier::new(parts.issuer, parts.audience, signing.all().map(SigningKey::public));
        Ok(Self {
            issuer: parts.issuer.to_owned(),
            audience: parts.audience.to_owned(),
            place: ArcSwap::from_pointee(place_keys(&place)?),
            signer: ArcSwap::from_pointee(signer),
            verifier: ArcSwap::from_pointee(verifier),
            jwks: ArcSwap::from_pointee(jwks_json(&signing)),
            rings: Mutex::new(Rings { signing, place }),
        })
    }

    /// These are the keys of active tokens now, the one that should sign first.
    pub fn found_signing(&self, keys: &[SigningKey], now: Millis) {
        let mut rings = self.rings.lock();
        if rings.signing.update(keys, now) {
            self.publish_signing(&rings.signing);
        }
    }

    /// These are the secrets of place tokens now, the one that should sign first.
    pub fn found_place(&self, secrets: &[Secret], now: Millis) -> Result<(), PlaceKeysError> {
        // Looked at before anything is taken over.
        PlaceKeys::new(&exposed(secrets.iter()))?;
        let mut rings = self.rings.lock();
        if rings.place.update(secrets, now) {
            self.publish_place(&rings.place);
        }
        Ok(())
    }

    /// Lets time pass: keys that were published long enough begin to sign.
    pub fn advance(&self, now: Millis) {
        let mut rings = self.rings.lock();
        if rings.signing.advance(now) {
            self.publish_signing(&rings.signing);
        }
        if rings.place.advance(now) {
            self.publish_place(&rings.place);
        }
    }

    fn publish_signing(&self, ring: &Ring<SigningKey>) {
        self.verifier.store(Arc::new(ActiveVerifier::new(
            &self.issuer,
            &self.audience,
            ring.all().map(SigningKey::public),
        )));
        self.jwks.store(Arc::new(jwks_json(ring)));
        let before = self.signer.load().public().kid().to_owned();
        let signer = ActiveSigner::new(&self.issuer, &self.audience, ring.signer().clone());
        let (kid, known) = (signer.public().kid().to_owned(), ring.all().count());
        self.signer.store(Arc::new(signer));
        tracing::info!(kid, known, signer_changed = kid != before, "the keys of active tokens changed");
    }

    fn publish_place(&self, ring: &Ring<Secret>) {
        match place_keys(ring) {
            Ok(keys) => {
                self.place.store(Arc::new(keys));
                tracing::info!(known = ring.all().count(), "the secrets of place tokens changed");
            }
            // Each one was looked at when it was found, and there are never more than fit.
            Err(error) => tracing::error!(%error, "the secrets of place tokens cannot be used"),
        }
    }

    /// What signs and verifies place tokens.
    pub fn place(&self) -> Arc<PlaceKeys> {
        self.place.load_full()
    }

    /// What verifies active tokens.
    pub fn verifier(&self) -> Arc<ActiveVerifier> {
        self.verifier.load_full()
    }

    /// The public keys as a JWKS document.
    pub fn jwks_json(&self) -> Bytes {
        self.jwks.load().as_ref().clone()
    }

    /// The claims of a place token of `event`, or 403.
    pub fn open_place(&self, event: &EventId, token: &str) -> Result<PlaceClaims, ApiError> {
        let claims = self.place.load().verify(token).map_err(|_| ApiError::new(Code::PlaceTokenInvalid))?;
        if &claims.event == event { Ok(claims) } else { Err(ApiError::new(Code::PlaceTokenInvalid)) }
    }

    pub(super) fn place_token(&self, event: &EventId, visitor: &VisitorId, seq: Seq, generation: Generation) -> String {
        let claims = PlaceClaims { event: event.clone(), visitor: visitor.clone(), seq, generation };
        self.place.load().sign(&claims)
    }

    pub(super) fn active_token(
        &self,
        event: &EventId,
        visitor: &VisitorId,
        jti: Jti,
        issued_at: Millis,
        expires_at: Millis,
    ) -> String {
        let grant = ActiveGrant { visitor: visitor.clone(), event: event.clone(), jti, issued_at, expires_at };
        self.signer.load().sign(&grant)
    }
}

fn jwks_json(ring: &Ring<SigningKey>) -> Bytes {
    Bytes::from(jwks::to_json(ring.all().map(SigningKey::public)))
}

fn place_keys(ring: &Ring<Secret>) -> Result<PlaceKeys, PlaceKeysError> {
    PlaceKeys::new(&exposed(ring.all()))
}

fn exposed<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Vec<&'a str> {
    secrets.map(Secret::expose).collect()
}
