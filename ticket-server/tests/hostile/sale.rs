//! A ticket server with one event on sale, and the keys of a queue that is not there.

use std::time::{SystemTime, UNIX_EPOCH};

use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    token::{
        active::{ActiveGrant, ActiveSigner},
        jwks,
        keys::SigningKey,
    },
};
use serde_json::{Value, json};

use super::{
    PROGRAM,
    hostile::{Reply, Victim},
};

pub struct Sale {
    pub victim: Victim,
    pub key: SigningKey,
    /// A good active token.
    pub token: String,
    _keys: tempfile::TempDir,
}

/// The time by this machine's clock.
pub fn now() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

pub fn hall() -> Value {
    json!({
        "name": "Hall", "startsAt": "2030-01-01T19:00:00.000Z", "currency": "EUR", "payment": "none",
        "maxSeatsPerVisitor": 8,
        "ticketTypes": [{"ticketTypeId": "std", "name": "Seat", "priceMinor": 1000},
            {"ticketTypeId": "floor", "name": "Floor", "priceMinor": 500, "quantity": 100}],
        "sections": [{"section": "A", "ticketTypeId": "std", "rows": 10, "seatsPerRow": 20}],
    })
}

impl Sale {
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(args: &[&str]) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let file = keys.path().join("jwks.json");
        std::fs::write(&file, jwks::to_json([key.public()])).unwrap();
        // Nobody listens there: signature and `exp` decide.
        let file = file.display().to_string();
        let own = ["--jwks", &file, "--queue", "http://127.0.0.1:9"];
        let args: Vec<&str> = own.into_iter().chain(args.iter().copied()).collect();
        let victim = Victim::start(PROGRAM, &args).await;
        let token = token(&key, "hall", 1);
        let mut sale = Self { victim, key, token, _keys: keys };
        sale.event("hall", &hall()).await;
        // Whatever the first hold opens stays open.
        let reply = sale.post("/api/v1/seats/reserve", &json!({"eventId": "hall", "seatIds": ["A-10-20"]})).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        sale.victim.remember().await;
        sale
    }

    pub async fn event(&self, event: &str, body: &Value) {
        let reply = self.victim.operate("PUT", &format!("/api/v1/admin/events/{event}"), &body.to_string()).await;
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }

    pub fn bearer(&self) -> String {
        bearer(&self.token)
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.victim.ask("POST", path, &self.bearer(), &body.to_string()).await
    }

    /// Seats that are not free.
    pub async fn taken(&self) -> Vec<Value> {
        let map = self.victim.ask("GET", "/api/v1/seats/events/hall", "", "").await.json();
        let seats = map["seats"].as_array().unwrap().iter().filter(|seat| seat["state"] != "FREE");
        seats.map(|seat| seat["seatId"].clone()).collect()
    }
}

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// A good token of one visitor.
pub fn token(key: &SigningKey, event: &str, visitor: u8) -> String {
    ActiveSigner::new("usher", "tickets", key.clone()).sign(&ActiveGrant {
        visitor: VisitorId::anonymous([visitor; 16]),
        event: EventId::new(event).unwrap(),
        jti: Jti { generation: Generation(1), seq: Seq(u64::from(visitor)) },
        issued_at: Millis(now().0 - 1_000),
        expires_at: now().plus(600_000),
    })
}
