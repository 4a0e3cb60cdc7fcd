use crate::token::{
    jwks::{self, JWKS_BYTES_MAX, JWKS_KEYS_MAX, JwksError},
    keys::{KeyError, PublicKey, SigningKey},
};

// RFC 8037 appendix A: its key, and the thumbprint of it.
const RFC_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const RFC_KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
const RFC_SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
// `openssl genpkey -algorithm ED25519` writes this for the same seed.
const RFC_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
const EC_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n\
    OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n\
    1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n\
    -----END PRIVATE KEY-----\n";

#[test]
fn a_key_is_named_by_its_thumbprint() {
    let key = SigningKey::from_seed(&RFC_SEED).unwrap();
    assert_eq!(key.public().kid(), RFC_KID);
    assert_eq!(
        jwks::to_json([key.public()]),
        format!(
            r#"{{"keys":[{{"use":"sig","alg":"EdDSA","kid":"{RFC_KID}","kty":"OKP","crv":"Ed25519","x":"{RFC_X}"}}]}}"#
        )
    );
}

#[test]
fn pem_is_what_openssl_writes_and_reads() {
    let key = SigningKey::from_seed(&RFC_SEED).unwrap();
    assert_eq!(key.to_pem(), RFC_PEM);
    assert_eq!(SigningKey::from_pem(RFC_PEM.as_bytes()).unwrap().public(), key.public());
    assert!(!format!("{key:?}").contains("nWGx"), "no secret in debug output");
}

#[test]
fn other_pem_is_refused() {
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let cut = RFC_PEM.replace("rn9g\n", "\n");
    let long = "x".repeat(20_000);
    for bad in ["", "nonsense", EC_PEM, public, &cut, &long] {
        assert_eq!(SigningKey::from_pem(bad.as_bytes()).unwrap_err(), KeyError::NotEd25519Pem, "{bad}");
    }
}

#[test]
fn a_document_gives_the_keys_it_was_made_of() {
    let keys: Vec<PublicKey> = (0..3).map(|n| SigningKey::from_seed(&[n; 32]).unwrap().public().clone()).collect();
    assert_eq!(jwks::from_json(jwks::to_json(&keys).as_bytes()), Ok(keys));
}

#[test]
fn keys_that_cannot_verify_are_passed_over() {
    let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{RFC_X}","kid":"k"}}"#);
    let others = [
        "1".to_owned(),
        "{}".to_owned(),
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"r","alg":"RS256"}"#.to_owned(),
        r#"{"kty":"oct","k":"AAAA","kid":"o"}"#.to_owned(),
        r#"{"kty":"NEW","kid":"n"}"#.to_owned(),
        good.replace(r#","kid":"k""#, ""),
        good.replace(r#""kid":"k""#, r#""kid":"""#),
        good.replace(r#""kid":"k""#, r#""kid":"k2","use":"enc""#),
        good.replace(r#""kid":"k""#, r#""kid":"k3","alg":"HS256""#),
        good.replace("Ed25519", "X25519"),
        good.replace(RFC_X, "AAAA"),
        good.replace("kid\":\"k", &format!("kid\":\"{}", "k".repeat(200))),
    ];
    let document = |keys: &[String]| format!(r#"{{"keys":[{}],"more":1}}"#, keys.join(","));
    for other in &others {
        let lone = jwks::from_json(document(std::slice::from_ref(other)).as_bytes());
        assert_eq!(lone, Err(JwksError::NoUsableKey), "{other}");
        let both = jwks::from_json(document(&[other.clone(), good.clone()]).as_bytes()).unwrap();
        assert_eq!(both.iter().map(PublicKey::kid).collect::<Vec<_>>(), ["k"], "{other}");
    }
}

#[test]
fn documents_are_bounded() {
    let many: Vec<PublicKey> = (0..80).map(|n| SigningKey::from_seed(&[n; 32]).unwrap().public().clone()).collect();
    assert_eq!(jwks::from_json(jwks::to_json(&many).as_bytes()).unwrap().len(), JWKS_KEYS_MAX);
    assert_eq!(jwks::from_json(&vec![b' '; JWKS_BYTES_MAX + 1]), Err(JwksError::TooLong));
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[}"#] {
        assert_eq!(jwks::from_json(bad.as_bytes()), Err(JwksError::Malformed), "{bad}");
    }
}
