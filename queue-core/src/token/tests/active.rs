use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    limits::TOKEN_BYTES_MAX,
    token::{
        active::{ActiveGrant, ActiveSigner, ActiveTokenError, ActiveVerifier},
        jwks,
        keys::SigningKey,
    },
};

const NOW: Millis = Millis(1_700_000_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn grant() -> ActiveGrant {
    ActiveGrant {
        visitor: VisitorId::anonymous([9; 16]),
        event: EventId::new("concert").unwrap(),
        jti: Jti { generation: Generation(0xabc), seq: Seq(42) },
        issued_at: NOW,
        expires_at: NOW.plus(300_900),
    }
}

fn verifier() -> ActiveVerifier {
    ActiveVerifier::new("usher", "tickets", [key(1).public(), key(2).public()])
}

fn good_claims() -> Value {
    json!({"iss": "usher", "aud": "tickets", "sub": "someone", "evt": "concert", "jti": "x.1", "seq": 1,
           "iat": NOW.secs(), "nbf": NOW.secs(), "exp": NOW.secs() + 300})
}

fn good_header() -> Value {
    json!({"typ": "active+jwt", "alg": "EdDSA", "kid": key(1).public().kid()})
}

fn signature(seed: u8, message: &str) -> String {
    URL_SAFE_NO_PAD.encode(key(seed).sign(message.as_bytes()))
}

/// A token with this header and these claims, well signed by key 1 whatever the header says.
fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    format!("{message}.{}", signature(1, &message))
}

fn with(base: Value, name: &str, value: Value) -> Value {
    let mut changed = base;
    match value {
        Value::Null => drop(changed.as_object_mut().unwrap().remove(name)),
        value => changed[name] = value,
    }
    changed
}

/// Whatever is done to one of our tokens, both ways of opening it come to the same.
#[test]
fn the_short_way_opens_what_the_long_way_does() {
    let verifier = verifier();
    let good = ActiveSigner::new("usher", "tickets", key(2)).sign(&grant());
    assert!(verifier.open_plain(&good).is_some_and(|opened| opened.is_ok()), "ours go the short way");
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{good}") };
    let mut tokens = vec![good.clone(), format!("{header}.{claims}"), format!("{header}.{claims}.{signature}.x")];
    tokens.push(format!("{header}.{claims}.{signature}="));
    tokens.push(format!("{header}.{claims}.{}", &signature[..80]));
    tokens.push(format!("{header}.{claims}.{signature}{signature}"));
    for raw in ["{}", "[]", "5", "nothing", r#"{"iss":"usher"}"#] {
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(raw));
        tokens.push(format!("{signed}.{}", self::signature(2, &signed)));
        tokens.push(format!("{signed}.{}", self::signature(1, &signed)));
    }
    for at in 0..good.len() {
        for with in ["", ".", "A", "_", "=", " "] {
            tokens.push(format!("{}{with}{}", &good[..at], &good[at + 1..]));
        }
    }
    for token in tokens {
        let opened = verifier.open_plain(&token);
        let (short, long) = (opened.map(|opened| opened.map(|claims| claims.jti)), verifier.open(&token));
        match short {
            Some(short) => assert_eq!(short, long.map(|claims| claims.jti), "{token}"),
            None => assert!(long.is_err() || token != good, "{token}"),
        }
    }
}

#[test]
fn says_what_was_granted() {
    let token = ActiveSigner::new("usher", "tickets", key(2)).sign(&grant());
    let claims = verifier().verify(&token, NOW).unwrap();
    assert_eq!((claims.visitor.clone(), claims.event.clone()), (grant().visitor, grant().event));
    assert_eq!((claims.parse_jti(), claims.seq), (Ok(grant().jti), Some(Seq(42))));
    assert_eq!(claims.expires_at, NOW.plus(300_000), "whole seconds, rounded down");
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("active+jwt"), Some(key(2).public().kid())));
    assert_eq!(token, ActiveSigner::new("usher", "tickets", key(2)).sign(&grant()), "the same however often");
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&token).unwrap().claims;
    let names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "evt", "exp", "iat", "iss", "jti", "nbf", "seq", "sub"]);
}

#[test]
fn published_keys_verify() {
    let document = jwks::to_json([key(1).public(), key(2).public()]);
    let keys = jwks::from_json(document.as_bytes()).unwrap();
    let verifier = ActiveVerifier::new("usher", "tickets", &keys);
    assert!(verifier.verify(&ActiveSigner::new("usher", "tickets", key(1)).sign(&grant()), NOW).is_ok());
    let stranger = ActiveSigner::new("usher", "tickets", key(3));
    assert_eq!(
        verifier.verify(&stranger.sign(&grant()), NOW),
        Err(ActiveTokenError::UnknownKey(key(3).public().kid().to_owned()))
    );
    let refreshed = verifier.with_keys([key(3).public()]);
    assert!(refreshed.verify(&stranger.sign(&grant()), NOW).is_ok());
}

#[test]
fn time_is_a_parameter_with_five_seconds_of_skew() {
    let token = token(&good_header(), &good_claims());
    let verify = |now| verifier().verify(&token, now);
    assert!(verify(NOW).is_ok());
    assert!(verify(Millis(NOW.0 - 5_000)).is_ok());
    assert_eq!(verify(Millis(NOW.0 - 5_001)), Err(ActiveTokenError::NotYetValid));
    assert!(verify(NOW.plus(305_000)).is_ok());
    match verify(NOW.plus(305_001)) {
        Err(ActiveTokenError::Expired(claims)) => assert_eq!(claims.event.as_str(), "concert"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_may_be_missing_may_be_missing() {
    for name in ["nbf", "iat", "seq"] {
        let token = token(&good_header(), &with(good_claims(), name, Value::Null));
        assert!(verifier().verify(&token, NOW).is_ok(), "{name}");
    }
    let several = with(good_claims(), "aud", json!(["others", "tickets"]));
    assert!(verifier().verify(&token(&good_header(), &several), NOW).is_ok());
}

#[test]
fn hostile_claims_are_refused() {
    use ActiveTokenError::{Malformed, NotYetValid, WrongAudience, WrongIssuer};
    let table = [
        ("iss", Value::Null, Malformed),
        ("iss", json!("other"), WrongIssuer),
        ("iss", json!(["usher"]), Malformed),
        ("aud", Value::Null, Malformed),
        ("aud", json!("other"), WrongAudience),
        ("aud", json!(["other", "ticket"]), WrongAudience),
        ("aud", json!([]), WrongAudience),
        ("aud", json!({"tickets": 1}), Malformed),
        ("sub", Value::Null, Malformed),
        ("sub", json!(""), Malformed),
        ("sub", json!("a b"), Malformed),
        ("evt", Value::Null, Malformed),
        ("evt", json!("../x"), Malformed),
        ("jti", Value::Null, Malformed),
        ("jti", json!(""), Malformed),
        ("jti", json!("j".repeat(65)), Malformed),
        ("exp", Value::Null, Malformed),
        ("exp", json!("1700000300"), Malformed),
        ("exp", json!(-1), Malformed),
        ("nbf", json!(NOW.secs() + 6), NotYetValid),
        ("nbf", json!(u64::MAX), NotYetValid),
        ("nbf", json!("soon"), Malformed),
        ("seq", json!("1"), Malformed),
    ];
    for (name, value, refusal) in table {
        let token = token(&good_header(), &with(good_claims(), name, value.clone()));
        assert_eq!(verifier().verify(&token, NOW), Err(refusal), "{name} = {value}");
    }
}

#[test]
fn hostile_headers_are_refused() {
    use ActiveTokenError::{Malformed, UnknownKey, WrongAlgorithm, WrongType};
    let table = [
        ("typ", Value::Null, WrongType),
        ("typ", json!("JWT"), WrongType),
        ("kid", Value::Null, Malformed),
        ("kid", json!("other"), UnknownKey("other".into())),
        ("kid", json!("k".repeat(200)), Malformed),
        ("alg", Value::Null, Malformed),
        ("alg", json!("none"), Malformed),
        ("alg", json!("HS256"), WrongAlgorithm),
        ("alg", json!("ES256"), WrongAlgorithm),
        ("crit", json!(["b64"]), Malformed),
    ];
    for (name, value, refusal) in table {
        let token = token(&with(good_header(), name, value.clone()), &good_claims());
        assert_eq!(verifier().verify(&token, NOW), Err(refusal), "{name} = {value}");
    }
}

#[test]
fn keys_are_not_taken_for_others() {
    // The public key as an HMAC secret, under the right name.
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("active+jwt".into());
    header.kid = Some(key(1).public().kid().into());
    let forged = jsonwebtoken::encode(&header, &good_claims(), &EncodingKey::from_secret(key(1).public().raw()));
    assert_eq!(verifier().verify(&forged.unwrap(), NOW), Err(ActiveTokenError::WrongAlgorithm));
    // The same signature under a header that claims EdDSA, and another key's signature under this name.
    let other = with(good_header(), "kid", json!(key(2).public().kid()));
    assert_eq!(verifier().verify(&token(&other, &good_claims()), NOW), Err(ActiveTokenError::BadSignature));
    // A key that the token brings along is not looked at.
    let own = key(3);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(own.public().raw())});
    let message = token(&with(good_header(), "jwk", jwk), &good_claims());
    let message = &message[..message.rfind('.').unwrap()];
    assert_eq!(
        verifier().verify(&format!("{message}.{}", signature(3, message)), NOW),
        Err(ActiveTokenError::BadSignature)
    );
}

#[test]
fn shapes_that_are_no_token_are_refused() {
    let good = token(&good_header(), &good_claims());
    let (head, tail) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        "..".into(),
        "a.b.c".into(),
        head.into(),
        format!("{head}."),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{good}"),
        format!("{good}=="),
        format!("{good} "),
        format!("{head}.{}", &tail[1..]),
        good.replacen('.', "..", 1),
    ] {
        let refused = verifier().verify(&bad, NOW);
        assert!(
            matches!(refused, Err(ActiveTokenError::Malformed | ActiveTokenError::BadSignature)),
            "{bad}: {refused:?}"
        );
    }
    assert_eq!(verifier().verify(&"A".repeat(TOKEN_BYTES_MAX + 1), NOW), Err(ActiveTokenError::TooLong));
    let twice = good_claims().to_string().replace("\"seq\":1", "\"seq\":1,\"evt\":\"other\"");
    let message = format!("{}.{}", good.split('.').next().unwrap(), URL_SAFE_NO_PAD.encode(twice));
    let signed = signature(1, &message);
    assert_eq!(
        verifier().verify(&format!("{message}.{signed}"), NOW),
        Err(ActiveTokenError::Malformed),
        "a claim twice"
    );
}

proptest! {
    #[test]
    fn one_changed_bit_is_refused(position: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = ActiveSigner::new("usher", "tickets", key(1)).sign(&grant()).into_bytes();
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(token) = String::from_utf8(bytes) {
            prop_assert!(verifier().verify(&token, NOW).is_err());
        }
    }

    #[test]
    fn noise_is_refused(noise in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(verifier().verify(&noise, NOW).is_err());
    }
}
