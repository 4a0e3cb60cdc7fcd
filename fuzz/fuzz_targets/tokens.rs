//! Tokens and key documents. What nobody signed is refused; what was signed is read as it was meant; one changed bit
//! makes a token worthless. Active tokens are also signed over whatever the fuzzer puts in them, so that what lies
//! behind the signature is reached.

#![no_main]

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId, is_valid_id},
    token::{
        active::{ActiveGrant, ActiveSigner, ActiveTokenError, ActiveVerifier, JTI_BYTES_MAX},
        jwks,
        keys::SigningKey,
        place::{PlaceClaims, PlaceKeys},
    },
};

const NOW: Millis = Millis(1_700_000_000_000);

struct Keys {
    place: PlaceKeys,
    signer: ActiveSigner,
    encoding: EncodingKey,
    verifier: ActiveVerifier,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = SigningKey::from_seed(&[7; 32]).expect("any seed is a key");
    let public = key.public().clone();
    Keys {
        place: PlaceKeys::new(&[b"a-place-secret-of-at-least-32-bytes"]).expect("it is long enough"),
        encoding: EncodingKey::from_ed_pem(key.to_pem().as_bytes()).expect("our own PEM"),
        signer: ActiveSigner::new("usher", "tickets", key),
        verifier: ActiveVerifier::new("usher", "tickets", &[public]),
    }
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 5 {
        0 => strangers(data),
        1 => documents(data),
        2 => {
            let _ = places(&mut Unstructured::new(data));
        }
        3 => {
            let _ = actives(&mut Unstructured::new(data));
        }
        _ => signed(data),
    }
});

/// Nobody without the keys makes a token.
fn strangers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(KEYS.place.verify(&text).is_err());
    assert!(KEYS.verifier.verify(&text, NOW).is_err());
}

fn documents(data: &[u8]) {
    if let Ok(keys) = jwks::from_json(data) {
        let again = jwks::from_json(jwks::to_json(&keys).as_bytes()).expect("our own document");
        assert!(again.len() <= keys.len());
        let _ = ActiveVerifier::new("usher", "tickets", &keys);
    }
    let _ = SigningKey::from_pem(data);
}

fn places(u: &mut Unstructured<'_>) -> Result<()> {
    let claims = PlaceClaims {
        event: event(u)?,
        visitor: visitor(u)?,
        seq: Seq(u.arbitrary()?),
        generation: Generation(u.arbitrary()?),
    };
    let token = KEYS.place.sign(&claims);
    assert!(token.len() <= 512);
    assert_eq!(KEYS.place.verify(&token), Ok(claims));
    let changed = changed(u, &token)?;
    if changed != token {
        assert!(KEYS.place.verify(&changed).is_err(), "{changed}");
    }
    Ok(())
}

fn actives(u: &mut Unstructured<'_>) -> Result<()> {
    let jti = Jti { generation: Generation(u.arbitrary()?), seq: Seq(u.int_in_range(1..=u64::MAX)?) };
    // Far enough that no sum of time overflows for a reason that no clock can give.
    let issued_at = Millis(NOW.0 - u.int_in_range(0..=10_000_000)?);
    let expires_at = Millis(NOW.0 + u.int_in_range(1_000..=10_000_000)?);
    let grant = ActiveGrant { visitor: visitor(u)?, event: event(u)?, jti, issued_at, expires_at };
    let token = KEYS.signer.sign(&grant);
    let claims = KEYS.verifier.verify(&token, NOW).expect("a token of our own");
    assert_eq!((&claims.visitor, &claims.event, claims.parse_jti()), (&grant.visitor, &grant.event, Ok(jti)));
    let late = grant.expires_at.plus(10_000);
    assert!(matches!(KEYS.verifier.verify(&token, late), Err(ActiveTokenError::Expired(_))));
    let changed = changed(u, &token)?;
    if changed != token {
        assert!(KEYS.verifier.verify(&changed, NOW).is_err(), "{changed}");
    }
    Ok(())
}

/// A good signature over anything: header and claims are apart where the input has its first NUL.
fn signed(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (header, claims) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let own = serde_json::json!({"typ": "active+jwt", "alg": "EdDSA", "kid": KEYS.signer.public().kid()}).to_string();
    let header = if header.is_empty() { own.as_bytes() } else { header };
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &KEYS.encoding, Algorithm::EdDSA);
    let token = format!("{message}.{}", signature.expect("the key is good"));
    match KEYS.verifier.verify(&token, NOW) {
        Ok(claims) => {
            assert!(is_valid_id(claims.visitor.as_str()) && is_valid_id(claims.event.as_str()));
            assert!(claims.jti.len() <= JTI_BYTES_MAX && !claims.is_expired(NOW));
        }
        Err(ActiveTokenError::Expired(claims)) => assert!(claims.is_expired(NOW)),
        Err(_) => {}
    }
}

fn changed(u: &mut Unstructured<'_>, token: &str) -> Result<String> {
    let mut bytes = token.as_bytes().to_vec();
    let at = u.choose_index(bytes.len())?;
    bytes[at] ^= 1 << u.int_in_range(0..=6)?;
    Ok(String::from_utf8(bytes).expect("the top bit stays"))
}

fn id(u: &mut Unstructured<'_>) -> Result<String> {
    const FIRST: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const REST: &[u8] = b"ab_-.XYZ019";
    let mut text = String::from(char::from(*u.choose(FIRST)?));
    for _ in 0..u.int_in_range(0..=63)? {
        text.push(char::from(*u.choose(REST)?));
    }
    Ok(text)
}

fn event(u: &mut Unstructured<'_>) -> Result<EventId> {
    Ok(EventId::new(&id(u)?).expect("made to be valid"))
}

fn visitor(u: &mut Unstructured<'_>) -> Result<VisitorId> {
    let text = match u.int_in_range(0..=2)? {
        0 => format!("a_{}", BASE64.encode(u.arbitrary::<[u8; 16]>()?)),
        1 => format!("u_{}", BASE64.encode(u.arbitrary::<[u8; 32]>()?)),
        _ => id(u)?,
    };
    Ok(VisitorId::new(&text).expect("made to be valid"))
}
