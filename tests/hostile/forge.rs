//! Active tokens that were forged or bent.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use queue_core::token::keys::SigningKey;
use serde_json::{Value, json};

/// Makes any token with the server's own key, or with what else is asked for.
pub struct Forge {
    key: SigningKey,
    pair: Ed25519KeyPair,
    header: Value,
    claims: Value,
}

impl Forge {
    /// From a good token of the server's.
    pub fn new(key: SigningKey, token: &str) -> Self {
        let pem = key.to_pem();
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = Ed25519KeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
        let part = |at| serde_json::from_slice(&BASE64.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap();
        let forge = Self { key, pair, header: part(0), claims: part(1) };
        assert_eq!(forge.signed(&forge.header, &forge.claims).len(), token.len(), "what is forged has the right form");
        forge
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature))
    }

    /// With the server's own signature over a changed header; `null` takes a field away.
    fn with_header(&self, field: &str, value: Value) -> String {
        self.signed(&with(&self.header, field, value), &self.claims)
    }

    pub fn with_claim(&self, field: &str, value: Value) -> String {
        self.signed(&self.header, &with(&self.claims, field, value))
    }

    /// Signed by HMAC with what everybody may know.
    fn hmac(&self, algorithm: hmac::Algorithm, name: &str, secret: &[u8]) -> String {
        let message = message(&with(&self.header, "alg", json!(name)), &self.claims);
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
        format!("{message}.{}", BASE64.encode(tag))
    }

    /// Everything that is no good token, and what it is.
    pub fn all(&self) -> Vec<(String, String)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let public = self.key.public();
        let parts: Vec<String> = self.signed(&self.header, &self.claims).split('.').map(str::to_owned).collect();
        let mut all = vec![
            ("HS256 with the public key".to_owned(), self.hmac(hmac::HMAC_SHA256, "HS256", public.raw())),
            (
                "HS256 with the key in base64".to_owned(),
                self.hmac(hmac::HMAC_SHA256, "HS256", BASE64.encode(public.raw()).as_bytes()),
            ),
            ("HS512 with the key's name".to_owned(), self.hmac(hmac::HMAC_SHA512, "HS512", public.kid().as_bytes())),
            ("HS256 with nothing".to_owned(), self.hmac(hmac::HMAC_SHA256, "HS256", b"")),
            ("no signature".to_owned(), format!("{}.{}.", parts[0], parts[1])),
            ("two parts".to_owned(), format!("{}.{}", parts[0], parts[1])),
            ("four parts".to_owned(), format!("{}.{}.{}.{}", parts[0], parts[1], parts[2], parts[2])),
            ("padded".to_owned(), format!("{}=.{}.{}", parts[0], parts[1], parts[2])),
            ("half a signature".to_owned(), format!("{}.{}.{}", parts[0], parts[1], &parts[2][..43])),
            (
                "another's signature".to_owned(),
                format!("{}.{}.{}", parts[0], parts[1], BASE64.encode(self.pair.sign(b"x"))),
            ),
            ("a signature of zeros".to_owned(), format!("{}.{}.{}", parts[0], parts[1], BASE64.encode([0; 64]))),
            ("dots".to_owned(), "..".to_owned()),
            ("nothing much".to_owned(), "x".to_owned()),
            ("claims that are a list".to_owned(), self.signed(&self.header, &json!([]))),
            ("claims that are nothing".to_owned(), self.signed(&self.header, &Value::Null)),
            ("a header that is a list".to_owned(), self.signed(&json!([]), &self.claims)),
            ("far too long".to_owned(), self.with_claim("more", json!("x".repeat(5_000)))),
            (
                "an extension that must be understood".to_owned(),
                self.signed(&with(&with(&self.header, "crit", json!(["b64"])), "b64", json!(false)), &self.claims),
            ),
        ];
        for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "ES256", "PS512", "Ed448", "eddsa"] {
            all.push((format!("alg {alg:?} with a good signature"), self.with_header("alg", json!(alg))));
            let unsigned = message(&with(&self.header, "alg", json!(alg)), &self.claims);
            all.push((format!("alg {alg:?} without one"), format!("{unsigned}.")));
        }
        for (field, values) in [
            ("alg", vec![Value::Null, json!(5), json!(["EdDSA"])]),
            ("typ", vec![Value::Null, json!("JWT"), json!("at+jwt"), json!("ACTIVE"), json!(5), json!("")]),
            (
                "kid",
                vec![
                    Value::Null,
                    json!(""),
                    json!("../../etc/passwd"),
                    json!("' or 1=1"),
                    json!(5),
                    json!("k".repeat(600)),
                    json!(format!("{}x", public.kid())),
                ],
            ),
        ] {
            all.extend(values.into_iter().map(|value| (format!("{field} {value}"), self.with_header(field, value))));
        }
        for (field, values) in [
            ("iss", vec![Value::Null, json!("evil"), json!(["usher"]), json!("")]),
            ("aud", vec![Value::Null, json!("evil"), json!([]), json!(["evil"]), json!({"tickets": 1}), json!("")]),
            (
                "sub",
                vec![
                    Value::Null,
                    json!(""),
                    json!("a b"),
                    json!(5),
                    json!("x".repeat(65)),
                    json!("a_AAAAAAAAAAAAAAAAAAAAAA"),
                ],
            ),
            ("evt", vec![Value::Null, json!(""), json!("other"), json!(["t"]), json!("t\u{0}")]),
            (
                "jti",
                vec![Value::Null, json!(""), json!("x"), json!(5), json!("0000000000000001.1"), json!("x".repeat(65))],
            ),
            (
                "exp",
                vec![Value::Null, json!(now - 6), json!(0), json!(-1), json!("9999999999"), json!(1e300), json!([])],
            ),
            ("nbf", vec![json!(now + 60), json!("soon"), json!(-1)]),
        ] {
            all.extend(values.into_iter().map(|value| (format!("{field} {value}"), self.with_claim(field, value))));
        }
        all
    }
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut changed = base.clone();
    match value {
        Value::Null => drop(changed.as_object_mut().unwrap().remove(field)),
        value => changed[field] = value,
    }
    changed
}

/// The same token with one bit of one character changed, as far as a header can carry it.
pub fn bent(token: &str) -> impl Iterator<Item = String> + '_ {
    (0..token.len()).flat_map(move |at| {
        (0..7).filter_map(move |bit| {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let visible = bytes[at].is_ascii_graphic() && !b",;\"\\".contains(&bytes[at]);
            visible.then(|| String::from_utf8(bytes).unwrap())
        })
    })
}
