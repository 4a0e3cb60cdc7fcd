use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    ids::Millis,
    limits::TOKEN_BYTES_MAX,
    token::user::{UserDemands, UserKeys, UserTokenError, looks_like_jwt, verify, visitor},
};

const NOW: Millis = Millis(1_700_000_000_000);
const SECRET: &[u8] = b"a secret of thirty-two characters";

fn demands() -> UserDemands {
    UserDemands { issuer: "https://id.example/".into(), audience: "queue".into() }
}

fn claims() -> Value {
    json!({"iss": "https://id.example/", "aud": "queue", "sub": "user|1", "exp": NOW.secs() + 60, "iat": NOW.secs()})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn token(header: Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = B64.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(secret: &[u8], header: Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    token(header, claims, |message| hmac::sign(&key, message).as_ref().to_vec())
}

fn shared() -> UserKeys {
    UserKeys::hs256(SECRET).unwrap()
}

fn check(claims: &Value) -> Result<String, UserTokenError> {
    let token = hs256(SECRET, json!({"alg": "HS256", "typ": "JWT"}), claims);
    verify(&token, &shared(), &demands(), NOW).map(|visitor| visitor.to_string())
}

/// An identity provider with a key of each kind.
struct Provider {
    rsa: rsa::KeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Provider {
    fn new() -> Self {
        Self {
            rsa: rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
        }
    }

    fn document(&self) -> Value {
        // PKCS #1: two headers of four bytes, a zero, the modulus.
        let modulus = &self.rsa.public_key().as_ref()[9..265];
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [
            {"kty": "oct", "kid": "public secret", "k": B64.encode(SECRET), "alg": "HS256"},
            {"kty": "RSA", "kid": "encrypts", "use": "enc", "n": B64.encode(modulus), "e": "AQAB"},
            {"kty": "RSA", "kid": "short", "n": B64.encode(&modulus[..128]), "e": "AQAB"},
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": B64.encode(modulus), "e": "AQAB"},
            {"kty": "EC", "kid": "ec", "crv": "P-256", "x": B64.encode(x), "y": B64.encode(y), "alg": "ES256"},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": B64.encode(self.ed.public_key().as_ref())},
            {"kty": "new", "kid": "unheard of"},
        ]})
    }

    fn keys(&self) -> UserKeys {
        UserKeys::from_jwks(self.document().to_string().as_bytes()).unwrap()
    }

    fn rs256(&self, header: Value) -> String {
        token(header, &claims(), |message| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        })
    }

    fn es256(&self, header: Value) -> String {
        let sign = |message: &[u8]| self.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
        token(header, &claims(), sign)
    }

    fn eddsa(&self, header: Value) -> String {
        token(header, &claims(), |message| self.ed.sign(message).as_ref().to_vec())
    }
}

#[test]
fn a_visitor_is_the_hash_of_issuer_and_subject() {
    // printf 'https://id.example/\0user|1' | openssl dgst -sha256 -binary | basenc --base64url
    let expected = "u_F84UlmTAoL414B1wywDYu0A3x4VdsRR39JFvvPi9NAE";
    assert_eq!(check(&claims()).unwrap(), expected);
    assert_eq!(visitor("https://id.example/", "user|1").as_str(), expected);
    assert_ne!(visitor("a", "b"), visitor("ab", ""));
}

#[test]
fn every_kind_of_key_verifies_its_own_algorithm_only() {
    let provider = Provider::new();
    let keys = provider.keys();
    let check = |token: &str| verify(token, &keys, &demands(), NOW).map(drop);
    assert_eq!(check(&provider.rs256(json!({"alg": "RS256", "kid": "rsa"}))), Ok(()));
    assert_eq!(check(&provider.es256(json!({"alg": "ES256", "kid": "ec"}))), Ok(()));
    assert_eq!(check(&provider.eddsa(json!({"alg": "EdDSA", "kid": "ed"}))), Ok(()));

    // The header says one thing, the key is for another.
    assert_eq!(check(&provider.rs256(json!({"alg": "RS512", "kid": "rsa"}))), Err(UserTokenError::WrongAlgorithm));
    assert_eq!(check(&provider.rs256(json!({"alg": "RS256", "kid": "ec"}))), Err(UserTokenError::WrongAlgorithm));
    assert_eq!(check(&provider.es256(json!({"alg": "ES256", "kid": "ed"}))), Err(UserTokenError::WrongAlgorithm));
    // The public key as if it were a shared secret.
    let confused = hs256(provider.rsa.public_key().as_ref(), json!({"alg": "HS256", "kid": "rsa"}), &claims());
    assert_eq!(check(&confused), Err(UserTokenError::WrongAlgorithm));
    let unsigned = token(json!({"alg": "none", "kid": "rsa"}), &claims(), |_| Vec::new());
    assert_eq!(check(&unsigned), Err(UserTokenError::Malformed));

    // Keys that must not count.
    let published = hs256(SECRET, json!({"alg": "HS256", "kid": "public secret"}), &claims());
    assert_eq!(check(&published), Err(UserTokenError::UnknownKey));
    for kid in ["encrypts", "short", "unheard of", "nobody's", ""] {
        assert_eq!(check(&provider.rs256(json!({"alg": "RS256", "kid": kid}))), Err(UserTokenError::UnknownKey));
    }
    assert_eq!(check(&provider.rs256(json!({"alg": "RS256"}))), Err(UserTokenError::UnknownKey), "there is a choice");
}

#[test]
fn without_a_choice_a_token_need_not_name_its_key() {
    let provider = Provider::new();
    let mut document = provider.document();
    document["keys"].as_array_mut().unwrap().retain(|key| key["kid"] == "ed");
    let keys = UserKeys::from_jwks(document.to_string().as_bytes()).unwrap();
    assert!(verify(&provider.eddsa(json!({"alg": "EdDSA"})), &keys, &demands(), NOW).is_ok());
}

#[test]
fn documents_without_a_usable_key_are_refused() {
    for bad in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[1,{"kty":"oct","k":"AAAA"}]}"#] {
        assert!(UserKeys::from_jwks(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(UserKeys::from_jwks(&vec![b' '; 65 * 1024]).is_err());
    assert!(UserKeys::hs256(&[1; 31]).is_none());
}

#[test]
fn claims_are_demanded_and_checked() {
    let secs = NOW.secs();
    for good in [
        with("aud", json!(["shop", "queue"])),
        with("exp", json!(secs - 5)),
        with("exp", json!(secs as f64 + 0.5)),
        with("nbf", json!(secs + 5)),
        with("anything", json!({"else": [1, 2]})),
    ] {
        assert!(check(&good).is_ok(), "{good}");
    }
    for (bad, error) in [
        (with("iss", json!("https://id.example")), UserTokenError::WrongIssuer),
        (with("aud", json!("Queue")), UserTokenError::WrongAudience),
        (with("aud", json!([])), UserTokenError::WrongAudience),
        (with("exp", json!(secs - 6)), UserTokenError::Expired),
        (with("exp", json!(-1)), UserTokenError::Expired),
        (with("nbf", json!(secs + 6)), UserTokenError::NotYetValid),
        (with("sub", json!("")), UserTokenError::Malformed),
        (with("sub", json!(7)), UserTokenError::Malformed),
        (with("exp", json!("soon")), UserTokenError::Malformed),
    ] {
        assert_eq!(check(&bad), Err(error), "{bad}");
    }
    for missing in ["iss", "aud", "sub", "exp"] {
        assert_eq!(check(&with(missing, Value::Null)), Err(UserTokenError::Malformed), "{missing}");
    }
}

#[test]
fn odd_tokens_are_refused() {
    let refused = |token: &str| verify(token, &shared(), &demands(), NOW).unwrap_err();
    let sign = |header: Value| hs256(SECRET, header, &claims());
    assert_eq!(refused(&sign(json!({"alg": "HS256", "typ": "active+jwt"}))), UserTokenError::Malformed);
    assert_eq!(refused(&sign(json!({"alg": "HS256", "crit": ["x"], "x": 1}))), UserTokenError::Malformed);
    assert_eq!(refused(&sign(json!({"alg": "HS384"}))), UserTokenError::WrongAlgorithm);
    let other = hs256(&[9; 32], json!({"alg": "HS256"}), &claims());
    assert_eq!(refused(&other), UserTokenError::BadSignature);
    assert_eq!(refused(&"x".repeat(TOKEN_BYTES_MAX + 1)), UserTokenError::TooLong);
    for bad in ["", ".", "..", "a.b.c", "a.b.c.d"] {
        assert_eq!(refused(bad), UserTokenError::Malformed, "{bad}");
    }
    assert!(looks_like_jwt(&other) && !looks_like_jwt("AbC-_0") && !looks_like_jwt("a.b"));
}

proptest! {
    #[test]
    fn one_changed_byte_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let good = hs256(SECRET, json!({"alg": "HS256"}), &claims());
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        prop_assume!(bytes != good.as_bytes());
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(verify(&changed, &shared(), &demands(), NOW).is_err());
        }
    }

    #[test]
    fn nothing_makes_it_panic(token in ".{0,300}") {
        prop_assert!(verify(&token, &shared(), &demands(), NOW).is_err());
    }
}
