//! The keys of a node: they can be replaced while it runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use queue_core::{
    codes::Code,
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::http::ApiError,
    token::{
        active::{ActiveGrant, ActiveSigner, ActiveVerifier},
        jwks,
        keys::PublicKey,
        place::{PlaceClaims, PlaceKeys},
    },
};

/// What signs and verifies.
pub struct Keys {
    place: ArcSwap<PlaceKeys>,
    signer: ArcSwap<ActiveSigner>,
    verifier: ArcSwap<ActiveVerifier>,
    jwks: ArcSwap<Bytes>,
}

impl Keys {
    /// `public`: every key that verifies, the signer's among them.
    pub fn new(place: PlaceKeys, signer: ActiveSigner, verifier: ActiveVerifier, public: &[PublicKey]) -> Self {
        Self {
            place: ArcSwap::from_pointee(place),
            signer: ArcSwap::from_pointee(signer),
            verifier: ArcSwap::from_pointee(verifier),
            jwks: ArcSwap::from_pointee(Bytes::from(jwks::to_json(public))),
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
