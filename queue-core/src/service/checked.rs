//! Tokens whose signature was checked before, so that each is checked once.
//!
//! Kept under the whole token, compared byte for byte: a lookup costs one pass of a fast hash, where a
//! cryptographic one would cost more than all the rest of a request. Only good tokens may be kept, so nobody
//! without a key chooses what is hashed together. Bounded: two maps, of which the older is dropped when the younger
//! is full, so what is used stays.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;

use crate::{
    ids::{EventId, Jti, Millis, VisitorId},
    limits::TOKEN_BYTES_MAX,
    token::active::{ActiveVerifier, SKEW_MS},
};

/// What was learned of tokens.
#[derive(Debug)]
pub struct CheckedTokens<V> {
    most: usize,
    maps: RwLock<Maps<V>>,
}

type Map<V> = HashMap<Box<str>, V, foldhash::quality::RandomState>;

#[derive(Debug)]
struct Maps<V> {
    young: Map<V>,
    old: Map<V>,
}

impl<V: Clone> CheckedTokens<V> {
    /// Remembers at least `most / 2` tokens that are in use, and at most `most`.
    pub fn new(most: usize) -> Self {
        Self { most: (most / 2).max(1), maps: RwLock::new(Maps { young: Map::default(), old: Map::default() }) }
    }

    /// What was kept of this token.
    pub fn get(&self, token: &str) -> Option<V> {
        let maps = self.maps.read();
        if let Some(value) = maps.young.get(token) {
            return Some(value.clone());
        }
        let value = maps.old.get(token)?.clone();
        drop(maps);
        self.keep(token, value.clone());
        Some(value)
    }

    /// Keeps what is known of a good token.
    pub fn keep(&self, token: &str, value: V) {
        let mut maps = self.maps.write();
        if maps.young.len() >= self.most && !maps.young.contains_key(token) {
            let full = std::mem::take(&mut maps.young);
            maps.old = full;
        }
        maps.young.insert(token.into(), value);
    }

    /// Makes room: this one will hardly be shown again.
    pub fn forget(&self, token: &str) {
        let mut maps = self.maps.write();
        maps.young.remove(token);
        maps.old.remove(token);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        let maps = self.maps.read();
        maps.young.len() + maps.old.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn clear(&self) {
        let mut maps = self.maps.write();
        (maps.young, maps.old) = (Map::default(), Map::default());
    }
}

/// Tokens that are remembered, at most.
const TOKENS_MAX: usize = 65_536;

/// A good active token of ours.
#[derive(Clone, Debug)]
pub struct ActiveSession {
    pub visitor: VisitorId,
    pub event: EventId,
    pub jti: Jti,
    expires: Millis,
}

/// Active tokens that were checked; for one set of keys: another set begins anew. `exp` is looked at each time.
#[derive(Default)]
pub struct CheckedActive {
    known: ArcSwapOption<KnownActive>,
}

/// What was checked with one set of keys.
struct KnownActive {
    verifier: Arc<ActiveVerifier>,
    tokens: CheckedTokens<ActiveSession>,
}

impl CheckedActive {
    /// The session that `token` names, if the token is good at the instant `now`.
    pub fn check(&self, token: &str, verifier: &Arc<ActiveVerifier>, now: Millis) -> Option<ActiveSession> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let known = self.known.load();
        let known = known.as_ref().filter(|known| Arc::ptr_eq(&known.verifier, verifier));
        if let Some(session) = known.and_then(|known| known.tokens.get(token)) {
            return (now <= session.expires.plus(SKEW_MS)).then_some(session);
        }
        let claims = verifier.verify(token, now).ok()?;
        let jti = claims.parse_jti().ok()?;
        let session = ActiveSession { visitor: claims.visitor, event: claims.event, jti, expires: claims.expires_at };
        match known {
            Some(known) => known.tokens.keep(token, session.clone()),
            None => {
                let known = KnownActive { verifier: verifier.clone(), tokens: CheckedTokens::new(TOKENS_MAX) };
                known.tokens.keep(token, session.clone());
                self.known.store(Some(Arc::new(known)));
            }
        }
        Some(session)
    }

    /// The session of this token is over: if it is shown again, it is checked again.
    pub fn forget(&self, token: &str) {
        if let Some(known) = self.known.load().as_ref() {
            known.tokens.forget(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
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
        let verified = CheckedActive::default();
        for now in [1_000_000, 1_030_000, 1_065_000] {
            assert_eq!(verified.check(&token, &verifier, Millis(now)).unwrap().jti.seq, Seq(7), "{now}");
        }
        assert!(verified.check(&token, &verifier, Millis(1_065_001)).is_none());
    }

    #[test]
    fn other_keys_do_not_inherit() {
        let (signer, verifier) = parts(1);
        let token = signer.sign(&grant(7));
        let verified = CheckedActive::default();
        assert!(verified.check(&token, &verifier, Millis(1_000_000)).is_some());
        let (_, other) = parts(2);
        assert!(verified.check(&token, &other, Millis(1_000_000)).is_none());
        assert!(verified.check(&token, &verifier, Millis(1_000_000)).is_some());
    }

    #[test]
    fn bad_tokens_are_not_kept() {
        let (signer, verifier) = parts(1);
        let verified = CheckedActive::default();
        assert!(verified.check(&signer.sign(&grant(7)), &verifier, Millis(1_000_000)).is_some());
        for bad in ["", "x", "a.b.c", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(verified.check(bad, &verifier, Millis(0)).is_none());
        }
        assert_eq!(verified.known.load().as_ref().unwrap().tokens.len(), 1);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let checked = CheckedTokens::new(100);
        checked.keep("used", 0);
        for n in 1..10_000 {
            checked.keep(&format!("token {n}"), n);
            assert!(checked.len() <= 100, "{n}");
            if n % 20 == 0 {
                assert_eq!(checked.get("used"), Some(0), "{n}");
            }
        }
        assert_eq!(checked.get("token 1"), None);
        assert_eq!(checked.get("token 9999"), Some(9_999));
        assert_eq!(checked.get("use"), None);
        checked.forget("token 9999");
        assert_eq!((checked.get("token 9999"), checked.get("used")), (None, Some(0)));
        checked.clear();
        assert!(checked.is_empty() && checked.get("used").is_none());
    }
}
