//! What the ticket server asks for.

use queue_core::ids::{EventId, VisitorId};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Answer, Ask, TestServer, capacity, eventually, text};

/// A server with one session, and what names it.
struct OneSession {
    server: TestServer,
    status: Value,
    visitor: VisitorId,
    jti: String,
}

impl OneSession {
    async fn start() -> Self {
        let server = TestServer::with_event("faults", capacity(1)).await;
        let status = server.join("faults").await;
        let claims = server.place_keys().verify(text(&status["placeToken"])).unwrap();
        let jti = queue_core::ids::Jti { generation: claims.generation, seq: claims.seq }.to_string();
        assert_eq!(claims.event, EventId::new("faults").unwrap());
        Self { server, status, visitor: claims.visitor, jti }
    }

    async fn ask(&self, event: &str, jti: &str) -> Answer {
        let request = self.server.ops_request(Method::GET, &format!("/api/v1/queue/sessions/{event}/{jti}"));
        request.bearer_auth(&self.server.peer).answer().await
    }

    async fn tell(&self, body: &Value) -> Answer {
        let request = self.server.ops_request(Method::POST, "/api/v1/queue/booking-done");
        request.bearer_auth(&self.server.peer).json(body).answer().await
    }

    fn done(&self) -> Value {
        json!({"type": "BOOKING_DONE", "eventId": "faults", "visitorId": self.visitor, "jti": self.jti,
            "outcome": "BOOKED", "reservationId": "r-1", "at": "2026-11-20T10:00:00.000Z"})
    }

    /// The answer once the session is known to be over.
    async fn gone(&self) -> Answer {
        eventually("the session is over", async || {
            Some(self.ask("faults", &self.jti).await).filter(|answer| answer.status == 410)
        })
        .await
    }
}

#[tokio::test]
async fn only_the_peer_token_opens_these_routes() {
    let one = OneSession::start().await;
    for (method, path) in [
        (Method::GET, format!("/api/v1/queue/sessions/faults/{}", one.jti)),
        (Method::POST, "/api/v1/queue/booking-done".to_owned()),
        (Method::POST, "/api/v1/queue/inventory".to_owned()),
    ] {
        let request = || one.server.ops_request(method.clone(), &path);
        assert_eq!(request().answer().await.status, 401, "{path}");
        for token in [one.server.operator.as_str(), text(&one.status["activeToken"]), "wrong"] {
            assert_eq!(request().bearer_auth(token).answer().await.status, 403, "{path}");
        }
    }
}

#[tokio::test]
async fn admissions_are_counted_for_each_incarnation_of_a_line() {
    let one = OneSession::start().await;
    let ask = |event: &str| {
        let request = one.server.ops_request(Method::GET, &format!("/api/v1/queue/totals/{event}"));
        request.bearer_auth(&one.server.peer).answer()
    };
    let answer = ask("faults").await;
    let (generation, _) = one.jti.split_once('.').unwrap();
    assert_eq!(answer.json, json!({"eventId": "faults", "generation": generation, "admittedTotal": 1}));
    assert_eq!((ask("nowhere").await.status, answer.status), (404, 200));
    let request = || one.server.ops_request(Method::GET, "/api/v1/queue/totals/faults");
    assert_eq!(request().answer().await.status, 401);
    assert_eq!(request().bearer_auth(&one.server.operator).answer().await.status, 403);
}

#[tokio::test]
async fn live_sessions_are_live() {
    let one = OneSession::start().await;
    let answer = one.ask("faults", &one.jti).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json["eventId"], "faults");
    assert_eq!(answer.json["jti"], one.jti.as_str());
    assert_eq!(answer.json["visitorId"], one.visitor.as_str());
    assert_eq!(answer.json["expiresAt"], one.status["expiresAt"]);
}

#[tokio::test]
async fn ended_and_unknown_sessions_are_gone() {
    let one = OneSession::start().await;
    let (generation, _) = one.jti.split_once('.').unwrap();
    for (event, jti) in [
        ("faults", format!("{generation}.999")),
        ("faults", "junk".to_owned()),
        ("nowhere", one.jti.clone()),
        ("-x", one.jti.clone()),
    ] {
        let answer = one.ask(event, &jti).await;
        assert_eq!(answer.refusal(), (410, "SESSION_GONE"), "{event} {jti}");
        assert_eq!(answer.json["details"]["reason"], "GONE", "{event} {jti}");
    }
    let other_line = one.ask("faults", "0000000000000001.1").await;
    assert_eq!(other_line.refusal(), (410, "SESSION_GONE"));
    let leave = one.server.post("leave", "faults").header("x-usher-place", text(&one.status["placeToken"]));
    assert_eq!(leave.answer().await.status, 204);
    assert_eq!(one.gone().await.json["details"]["reason"], "LEFT");
}

#[tokio::test]
async fn a_booking_releases_its_session_and_admits_the_next() {
    let one = OneSession::start().await;
    let next = text(&one.server.join("faults").await["placeToken"]).to_owned();
    for _ in 0..2 {
        assert_eq!(one.tell(&one.done()).await.status, 204);
    }
    assert_eq!(one.gone().await.json["details"]["reason"], "RELEASED");
    one.server.await_status("faults", &next, "ACTIVE").await;
    assert_eq!(one.tell(&one.done()).await.status, 204);
    assert_eq!(one.server.status_of("faults", &next).await["status"], "ACTIVE", "no other session ends");
}

#[tokio::test]
async fn a_booking_of_somebody_else_releases_nothing() {
    let one = OneSession::start().await;
    for (field, value) in
        [("visitorId", json!("a_somebody-else")), ("jti", json!("0000000000000001.1")), ("eventId", json!("nowhere"))]
    {
        let mut body = one.done();
        body[field] = value;
        assert_eq!(one.tell(&body).await.status, 204, "{field}");
    }
    let status = one.server.status_of("faults", text(&one.status["placeToken"])).await;
    assert_eq!(status["status"], "ACTIVE");
}

#[tokio::test]
async fn malformed_messages_are_refused() {
    let one = OneSession::start().await;
    for field in ["type", "eventId", "visitorId", "jti", "outcome", "at"] {
        let mut body = one.done();
        body.as_object_mut().unwrap().remove(field);
        let answer = one.tell(&body).await;
        assert_eq!(answer.refusal(), (422, "INVALID_REQUEST"), "without {field}");
        assert_eq!(answer.json["details"]["field"], field);
        for bad in [json!(5), json!("-"), json!(null), json!({})] {
            body[field] = bad.clone();
            let answer = one.tell(&body).await;
            assert_eq!(answer.refusal(), (422, "INVALID_REQUEST"), "{field} {bad}");
            assert_eq!(answer.json["details"]["field"], field, "{answer:?}");
        }
    }
    for reservation in [json!(""), json!("x".repeat(129)), json!(5)] {
        let mut body = one.done();
        body["reservationId"] = reservation;
        assert_eq!(one.tell(&body).await.refusal(), (422, "INVALID_REQUEST"));
    }
    let post = || one.server.ops_request(Method::POST, "/api/v1/queue/booking-done").bearer_auth(&one.server.peer);
    assert_eq!(post().answer().await.refusal(), (400, "MALFORMED_BODY"));
    let typed = post().header("content-type", "text/plain").body(one.done().to_string());
    assert_eq!(typed.answer().await.refusal(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let mut later = one.done();
    later["newField"] = json!({"of": "a later version"});
    assert_eq!(one.tell(&later).await.status, 204, "what is new to us does no harm");
}

#[tokio::test]
async fn a_line_ends_when_everything_is_sold() {
    let one = OneSession::start().await;
    let stock = async |left: u64, held: u64, second: u32| {
        let body = json!({"type": "INVENTORY", "eventId": "faults", "left": left, "held": held,
            "at": format!("2026-11-20T10:00:{second:02}.000Z")});
        let request = one.server.ops_request(Method::POST, "/api/v1/queue/inventory");
        assert_eq!(request.bearer_auth(&one.server.peer).json(&body).answer().await.status, 204);
    };
    let waiting = one.server.join("faults").await;
    let place = text(&waiting["placeToken"]);
    stock(7, 1, 1).await;
    eventually("what is left is told", async || {
        (one.server.status_of("faults", place).await["ticketsLeft"] == 7).then_some(())
    })
    .await;
    stock(0, 0, 2).await;
    let ended = one.server.await_status("faults", place, "ENDED").await;
    assert_eq!(ended["reason"], "SOLD_OUT");
    assert_eq!(one.server.post("check", "faults").answer().await.refusal(), (409, "QUEUE_CLOSED"));
    let overview = one.server.operate(Method::GET, "admin/faults", None).await;
    assert_eq!((&overview.json["phase"], &overview.json["ticketsLeft"]), (&json!("CLOSED"), &json!(0)));
    assert_eq!(one.ask("faults", &one.jti).await.status, 200, "who is in stays in");
    stock(1, 0, 3).await;
    assert_eq!(one.server.post("check", "faults").answer().await.refusal(), (409, "QUEUE_CLOSED"));
    assert_eq!(one.server.operate(Method::POST, "admin/resume/faults", None).await.json["phase"], "OPEN");
    assert_eq!(one.server.join("faults").await["status"], "WAITING");

    for (body, status) in [
        (
            json!({"type": "INVENTORY", "eventId": "elsewhere", "left": 0, "held": 0, "at": "2026-11-20T10:00:00.000Z"}),
            204,
        ),
        (
            json!({"type": "INVENTORY", "eventId": "faults", "left": -1, "held": 0, "at": "2026-11-20T10:00:00.000Z"}),
            422,
        ),
        (
            json!({"type": "INVENTORY", "eventId": "faults", "left": 1_u64 << 53, "held": 0, "at": "2026-11-20T10:00:00.000Z"}),
            422,
        ),
        (json!({"type": "STOCK", "eventId": "faults", "left": 0, "held": 0, "at": "2026-11-20T10:00:00.000Z"}), 422),
    ] {
        let request = one.server.ops_request(Method::POST, "/api/v1/queue/inventory");
        assert_eq!(request.bearer_auth(&one.server.peer).json(&body).answer().await.status, status, "{body}");
    }
}
