//! Active tokens whose signature was checked before, so that a gate checks each one once.
//!
//! Kept under the SHA-256 of the whole token, bounded: two maps, of which the older is dropped when
//! the younger is full, so what is used stays. Only good tokens are kept, and `exp` is looked at each
//! time. What is kept is valid for one set of keys: another set begins anew.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::RwLock;
use queue_core::{
    ids::{EventId, Jti, Millis, VisitorId},
    limits::TOKEN_BYTES_MAX,
    token::active::{ActiveVerifier, SKEW_MS},
};

/// Tokens in one of the two maps, at most.
const YOUNG_MAX: usize = 32_768;

/// A good active token of ours.
#[derive(Clone, Debug)]
pub struct Session {
    pub visitor: VisitorId,
    pub event: EventId,
    pub jti: Jti,
    expires: Millis,
}

/// What is remembered.
#[derive(Default)]
pub struct Verified {
    maps: RwLock<Maps>,
}

type Key = [u8; 32];

#[derive(Default)]
struct Maps {
    verifier: Option<Arc<ActiveVerifier>>,
    young: HashMap<Key, Session>,
    old: HashMap<Key, Session>,
}

impl Verified {
    /// The session that `token` names, if the token is good at the instant `now`.
    pub fn check(&self, token: &str, verifier: &Arc<ActiveVerifier>, now: Millis) -> Option<Session> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let key: Key = digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 is 32 bytes");
        if let Some(session) = self.recall(&key, verifier) {
            return (now <= session.expires.plus(SKEW_MS)).then_some(session);
        }
        let claims = verifier.verify(token, now).ok()?;
        let jti = claims.parse_jti().ok()?;
        let session = Session { visitor: claims.visitor, event: claims.event, jti, expires: claims.expires_at };
        self.maps.write().keep(key, session.clone(), verifier);
        Some(session)
    }

    fn recall(&self, key: &Key, verifier: &Arc<ActiveVerifier>) -> Option<Session> {
        let maps = self.maps.read();
        if !maps.is_for(verifier) {
            return None;
        }
        if let Some(session) = maps.young.get(key) {
            return Some(session.clone());
        }
        let session = maps.old.get(key)?.clone();
        drop(maps);
        self.maps.write().keep(*key, session.clone(), verifier);
        Some(session)
    }
}

impl Maps {
    fn is_for(&self, verifier: &Arc<ActiveVerifier>) -> bool {
        self.verifier.as_ref().is_some_and(|known| Arc::ptr_eq(known, verifier))
    }

    fn keep(&mut self, key: Key, session: Session, verifier: &Arc<ActiveVerifier>) {
        if !self.is_for(verifier) {
            *self = Self { verifier: Some(verifier.clone()), ..Self::default() };
        }
        if self.young.len() >= YOUNG_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, session);
    }
}

#[cfg(test)]
mod tests {
    use queue_core::{
        ids::{Generation, Seq},
        token::{
            active::{ActiveGrant, ActiveSigner},
            keys::SigningKey,
        },
    };

    use super::*;

    fn parts(seed: u8) -> (ActiveSigner, Arc<ActiveVerifier>) {
        let key = SigningKey::from_seed(&[seed; 32]).unwrap();
        let verifier = ActiveVerifier::new("usher", "tickets", [key.public()]);
        (ActiveSigner::new("usher", "tickets", key), Arc::new(verifier))
    }

    fn grant(seq: u64) -> ActiveGrant {
        ActiveGrant {
            visitor: VisitorId::new("a_x").unwrap(),
            event: EventId::new("e").unwrap(),
            jti: Jti { generation: Generation(1), seq: Seq(seq) },
            issued_at: Millis(1_000_000),
            expires_at: Millis(1_060_000),
        }
    }

    #[test]
    fn remembered_tokens_still_end() {
        let (signer, verifier) = parts(1);
        let token = signer.sign(&grant(7));
        let verified = Verified::default();
        for now in [1_000_000, 1_030_000, 1_065_000] {
            assert_eq!(verified.check(&token, &verifier, Millis(now)).unwrap().jti.seq, Seq(7), "{now}");
        }
        assert!(verified.check(&token, &verifier, Millis(1_065_001)).is_none());
    }

    #[test]
    fn other_keys_do_not_inherit() {
        let (signer, verifier) = parts(1);
        let token = signer.sign(&grant(7));
        let verified = Verified::default();
        assert!(verified.check(&token, &verifier, Millis(1_000_000)).is_some());
        let (_, other) = parts(2);
        assert!(verified.check(&token, &other, Millis(1_000_000)).is_none());
        assert!(verified.check(&token, &verifier, Millis(1_000_000)).is_some());
    }

    #[test]
    fn bad_tokens_are_not_kept_and_the_rest_is_bounded() {
        let (_, verifier) = parts(1);
        let verified = Verified::default();
        for bad in ["", "x", "a.b.c", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(verified.check(bad, &verifier, Millis(0)).is_none());
        }
        assert!(verified.maps.read().young.is_empty());
        let g = grant(1);
        let session = Session { visitor: g.visitor, event: g.event, jti: g.jti, expires: g.expires_at };
        for i in 0..(3 * YOUNG_MAX as u64) {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&i.to_be_bytes());
            verified.maps.write().keep(key, session.clone(), &verifier);
        }
        let maps = verified.maps.read();
        assert!(maps.young.len() <= YOUNG_MAX && maps.old.len() <= YOUNG_MAX);
    }
}
