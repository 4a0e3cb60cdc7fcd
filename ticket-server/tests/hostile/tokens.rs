//! Active tokens that nobody gave: nothing is taken with them, and nothing of others is read.

use serde_json::json;

use super::{
    hostile::forge::{Forge, bent},
    sale::{self, Sale},
};

/// What differs from a good token in the session alone is a token of another session.
const OTHER_SESSIONS: [&str; 3] = ["sub \"a_AAAAAAAAAAAAAAAAAAAAAA\"", "jti \"0000000000000001.1\"", "evt \"other\""];

#[tokio::test]
async fn forged_tokens_take_nothing() {
    let sale = Sale::open().await;
    let forge = Forge::new(sale.key.clone(), &sale.token);
    let body = json!({"eventId": "hall", "seatIds": ["A-1-1"]}).to_string();
    let mut refused = 0;
    for (what, bad) in forge.all() {
        let taking = sale.victim.ask("POST", "/api/v1/seats/reserve", &sale::bearer(&bad), &body).await;
        let reading = sale.victim.ask("GET", "/api/v1/reservations/my", &sale::bearer(&bad), "").await;
        if OTHER_SESSIONS.contains(&what.as_str()) {
            continue;
        }
        match what.split(' ').next() {
            // Good in all else: it reads what it once took, and takes nothing.
            Some("exp") if taking.status == 403 => {
                assert_eq!(taking.refusal(), (403, "SESSION_ENDED".into()), "{what}");
                assert!(matches!(reading.status, 200 | 401 | 403), "{what}: {reading:?}");
            }
            _ => {
                assert_eq!(taking.refusal(), (401, "ACTIVE_TOKEN_INVALID".into()), "{what}");
                assert_eq!(reading.refusal(), (401, "ACTIVE_TOKEN_INVALID".into()), "{what}");
            }
        }
        refused += 1;
    }
    assert!(refused > 60, "{refused}");
    for bad in bent(&sale.token).step_by(3) {
        let reply = sale.victim.ask("POST", "/api/v1/seats/reserve", &sale::bearer(&bad), &body).await;
        assert_eq!(reply.refusal(), (401, "ACTIVE_TOKEN_INVALID".into()), "{bad}");
    }
    let reply = sale.victim.ask("POST", "/api/v1/seats/reserve", "", &body).await;
    assert_eq!(reply.refusal(), (401, "ACTIVE_TOKEN_REQUIRED".into()));
    sale.victim.unhurt().await;
}

/// Somebody else's reservation is not there, whatever is tried with it.
#[tokio::test]
async fn other_visitors_see_nothing() {
    let sale = Sale::open().await;
    let held = sale.post("/api/v1/seats/reserve", &json!({"eventId": "hall", "seatIds": ["A-2-2"]})).await.json();
    let id = held["reservationId"].as_str().unwrap();
    let stranger = sale::bearer(&sale::token(&sale.key, "hall", 9));
    for (method, path) in [
        ("GET", format!("/api/v1/reservations/{id}")),
        ("GET", format!("/api/v1/seats/reservation/{id}")),
        ("DELETE", format!("/api/v1/reservations/{id}")),
        ("POST", format!("/api/v1/reservations/{id}/cancel")),
        ("POST", format!("/api/v1/reservations/{id}/extend")),
        ("POST", format!("/api/v1/reservations/{id}/confirm")),
    ] {
        let reply = sale.victim.ask(method, &path, &stranger, "").await;
        assert!(matches!(reply.refusal().0, 403 | 404), "{method} {path}: {reply:?}");
    }
    assert!(sale.taken().await.contains(&json!("A-2-2")), "it is still held");
    sale.victim.unhurt().await;
}
