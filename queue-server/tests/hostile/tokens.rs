//! Tokens that were forged, bent, borrowed or kept too long.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use queue_core::{
    ids::{EventId, Generation, Seq, VisitorId},
    service::keyfiles::{SigningKeys, StateDir},
    token::place::{PlaceClaims, PlaceKeys},
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{
    PROGRAM,
    hostile::{Raw, Reply, Victim},
    store,
};

/// Makes any token with the server's own key, or with what else is asked for.
struct Forge {
    keys: SigningKeys,
    pair: Ed25519KeyPair,
    header: Value,
    claims: Value,
}

impl Forge {
    /// From a good token of the server's.
    fn new(victim: &Victim, token: &str) -> Self {
        let keys = StateDir::open(victim.state.path()).unwrap().signing_keys().unwrap();
        let pem = keys.signer.to_pem();
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = Ed25519KeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
        let part = |at| serde_json::from_slice(&BASE64.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap();
        let forge = Self { keys, pair, header: part(0), claims: part(1) };
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

    fn with_claim(&self, field: &str, value: Value) -> String {
        self.signed(&self.header, &with(&self.claims, field, value))
    }

    /// Signed by HMAC with what everybody may know.
    fn hmac(&self, algorithm: hmac::Algorithm, name: &str, secret: &[u8]) -> String {
        let message = message(&with(&self.header, "alg", json!(name)), &self.claims);
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
        format!("{message}.{}", BASE64.encode(tag))
    }

    /// Everything that is no good token, and what it is.
    fn all(&self) -> Vec<(String, String)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let public = self.keys.signer.public();
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

/// Asks again and again on one connection.
struct Client {
    raw: Raw,
    host: String,
}

impl Client {
    async fn new(victim: &Victim) -> Self {
        Self { raw: Raw::open(victim.public).await, host: victim.public.to_string() }
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str) -> Reply {
        let text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.host);
        self.raw.tcp.write_all(text.as_bytes()).await.unwrap();
        self.raw.reply().await.unwrap_or_else(|| panic!("no answer to {text}"))
    }

    async fn gate(&mut self, event: &str, headers: &str) -> Reply {
        self.ask("GET", &format!("/api/v1/queue/verify?event={event}"), headers).await
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// The same token with one bit of one character changed, as far as a header can carry it.
fn bent(token: &str) -> impl Iterator<Item = String> + '_ {
    (0..token.len()).flat_map(move |at| {
        (0..7).filter_map(move |bit| {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let visible = bytes[at].is_ascii_graphic() && !b",;\"\\".contains(&bytes[at]);
            visible.then(|| String::from_utf8(bytes).unwrap())
        })
    })
}

#[tokio::test]
async fn active_tokens_that_nobody_gave() {
    store::each(async |victim| {
        store::event(victim, "t", 1).await;
        store::event(victim, "other", 1).await;
        let token = store::join(victim, "t").await["activeToken"].as_str().unwrap().to_owned();
        let foreign = store::join(victim, "other").await["activeToken"].as_str().unwrap().to_owned();
        let forge = Forge::new(victim, &token);
        let mut client = Client::new(victim).await;
        let mut all = forge.all();
        all.push(("of another event".into(), foreign));
        for (what, bad) in &all {
            let reply = client.gate("t", &bearer(bad)).await;
            assert_eq!(reply.refusal(), (401, "ACTIVE_TOKEN_INVALID".into()), "{what}");
            assert_eq!(client.gate("t", &format!("cookie: usher_active.t={bad}\r\n")).await.status, 401, "{what}");
            // Whoever names no live session of this line releases none.
            let reply = client.ask("POST", "/api/v1/queue/release/t", &bearer(bad)).await;
            assert!(matches!(reply.status, 204 | 401), "{what}: {reply:?}");
            // An active token is no place token.
            let reply = client.ask("GET", "/api/v1/queue/status/t", &bearer(bad)).await;
            assert_eq!(reply.refusal(), (403, "PLACE_TOKEN_INVALID".into()), "{what}");
        }
        for bad in bent(&token) {
            assert_eq!(client.gate("t", &bearer(&bad)).await.status, 401, "{bad}");
        }
        assert_eq!(client.gate("t", &bearer(&token)).await.status, 200, "the true one still passes");
        assert_eq!(store::overview(victim, "t").await["active"], 1, "nobody was released");
    })
    .await;
}

#[tokio::test]
async fn place_tokens_that_nobody_gave() {
    store::each(async |victim| {
        store::event(victim, "p", 1).await;
        store::event(victim, "other", 1).await;
        store::join(victim, "p").await;
        let place = store::join(victim, "p").await["placeToken"].as_str().unwrap().to_owned();
        let foreign = store::join(victim, "other").await["placeToken"].as_str().unwrap().to_owned();
        let stranger = PlaceKeys::new(&[b"not-the-secret-but-just-as-long-as-it"]).unwrap();
        let claims = PlaceClaims {
            event: EventId::new("p").unwrap(),
            visitor: VisitorId::anonymous([7; 16]),
            seq: Seq(1),
            generation: Generation(1),
        };
        let mut bad: Vec<String> = bent(&place).collect();
        bad.extend([foreign, stranger.sign(&claims), "x".into(), "=".into(), "x".repeat(513), "x".repeat(8_000)]);
        bad.extend([format!("{place}="), format!("{place}A"), place[..place.len() - 1].to_owned(), place.repeat(2)]);
        let mut client = Client::new(victim).await;
        for bad in &bad {
            for headers in [format!("x-usher-place: {bad}\r\n"), bearer(bad)] {
                let reply = client.ask("GET", "/api/v1/queue/status/p", &headers).await;
                assert_eq!(reply.refusal(), (403, "PLACE_TOKEN_INVALID".into()), "{bad}");
            }
            let headers = format!("x-usher-place: {bad}\r\n");
            for path in ["check", "leave"] {
                let reply = client.ask("POST", &format!("/api/v1/queue/{path}/p"), &headers).await;
                assert_eq!(reply.refusal(), (403, "PLACE_TOKEN_INVALID".into()), "{bad}");
            }
        }
        // Two at once, and one that is no text.
        let two = format!("x-usher-place: {place}\r\nx-usher-place: {place}\r\n");
        for headers in [two.as_str(), "x-usher-place: \u{e9}\r\n", "x-usher-place:\r\n"] {
            let reply = client.ask("GET", "/api/v1/queue/status/p", headers).await;
            assert_eq!(reply.refusal(), (403, "PLACE_TOKEN_INVALID".into()), "{headers}");
        }
        let seen = store::overview(victim, "p").await;
        assert_eq!((&seen["waiting"], &seen["active"]), (&1.into(), &1.into()), "nobody came or went");
    })
    .await;
}

/// The event was removed and made anew: what was given before is worth nothing now.
#[tokio::test]
async fn tokens_of_an_older_generation() {
    store::each(async |victim| {
        store::event(victim, "old", 1).await;
        let active = store::join(victim, "old").await;
        let waiting = store::join(victim, "old").await;
        let cleared = victim.operate("POST", "/api/v1/queue/admin/clear/old", "{\"active\":true}").await;
        assert_eq!(cleared.status, 200);
        let removed = victim.operate("DELETE", "/api/v1/queue/admin/old", "").await;
        assert_eq!(removed.status, 204, "{removed:?}");
        let place = format!("x-usher-place: {}\r\n", waiting["placeToken"].as_str().unwrap());
        let token = bearer(active["activeToken"].as_str().unwrap());
        let mut client = Client::new(victim).await;
        let gone = client.ask("GET", "/api/v1/queue/status/old", &place).await;
        assert_eq!(gone.refusal(), (404, "EVENT_NOT_FOUND".into()));
        assert_eq!(client.gate("old", &token).await.status, 401);
        store::event(victim, "old", 1).await;
        store::join(victim, "old").await;
        let told = client.ask("GET", "/api/v1/queue/status/old", &place).await.json();
        assert_eq!(told["status"], "ENDED", "{told}");
        assert_eq!(client.gate("old", &token).await.status, 401);
        // The number of the old session is that of the new one: it must not be taken for it.
        assert_eq!(client.ask("POST", "/api/v1/queue/release/old", &token).await.status, 204);
        assert_eq!(store::overview(victim, "old").await["active"], 1);
        let anew = client.ask("POST", "/api/v1/queue/check/old", &place).await.json();
        assert_eq!((&anew["status"], &anew["position"]), (&"WAITING".into(), &1.into()), "{anew}");
        assert_ne!(anew["placeToken"], waiting["placeToken"]);
    })
    .await;
}

/// Tokens of operators and peers: nothing goes without, and nearly right is wrong.
#[tokio::test]
async fn operators_that_are_none() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "o", 1).await;
    // Names that are not the listener's, however they are said.
    for (target, host) in
        [("/api/v1/queue/admin", "evil.example"), ("http://evil.example/api/v1/queue/admin", "127.0.0.1")]
    {
        let text = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{}\r\n", bearer(&victim.operator));
        let reply = Raw::say(victim.ops, text).await.reply().await.unwrap();
        assert_eq!(reply.refusal(), (421, "MISDIRECTED_REQUEST".into()), "{target} {host}");
    }
    let bad = [
        String::new(),
        "x".into(),
        victim.peer.clone(),
        victim.operator[1..].to_owned(),
        victim.operator.to_uppercase(),
        format!("{}x", victim.operator),
        victim.operator.repeat(50),
        "\u{e9}".into(),
    ];
    for token in bad {
        let headers = if token.is_empty() { String::new() } else { bearer(&token) };
        for (method, path) in
            [("GET", "/api/v1/queue/admin"), ("DELETE", "/api/v1/queue/admin/o"), ("GET", "/api/v1/queue/admin/audit")]
        {
            let reply = super::hostile::ask(victim.ops, method, path, &headers, "").await;
            // Who tries too often waits.
            assert!(matches!(reply.refusal().0, 401 | 403 | 429), "{token}: {reply:?}");
        }
        // What visitors reach is no way in.
        let reply = super::hostile::ask(victim.public, "GET", "/api/v1/queue/admin", &headers, "").await;
        assert_eq!(reply.refusal(), (404, "NOT_FOUND".into()));
    }
    assert_eq!(store::join(&victim, "o").await["status"], "ACTIVE", "the event is still there");
    victim.unhurt().await;
}
