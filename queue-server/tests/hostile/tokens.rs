//! Tokens that were forged, bent, borrowed or kept too long.

use queue_core::{
    ids::{EventId, Generation, Seq, VisitorId},
    service::keyfiles::StateDir,
    token::{
        keys::SigningKey,
        place::{PlaceClaims, PlaceKeys},
    },
};
use tokio::io::AsyncWriteExt;

use super::{
    PROGRAM,
    hostile::{
        Raw, Reply, Victim,
        forge::{Forge, bent},
    },
    store,
};

fn signing_key(victim: &Victim) -> SigningKey {
    StateDir::open(victim.state.path()).unwrap().signing_keys().unwrap().signer
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

#[tokio::test]
async fn active_tokens_that_nobody_gave() {
    store::each(async |victim| {
        store::event(victim, "t", 1).await;
        store::event(victim, "other", 1).await;
        let token = store::join(victim, "t").await["activeToken"].as_str().unwrap().to_owned();
        let foreign = store::join(victim, "other").await["activeToken"].as_str().unwrap().to_owned();
        let forge = Forge::new(signing_key(victim), &token);
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
