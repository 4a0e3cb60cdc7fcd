//! A visitor's life over HTTP.

use reqwest::header::{AUTHORIZATION, COOKIE, ORIGIN};
use serde_json::{Value, json};

use super::support::{Ask, TestServer, capacity, text};

const PLACE: &str = "x-usher-place";

#[tokio::test]
async fn joining_below_capacity_admits_at_once() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let answer = server.post("check", "faults").answer().await;
    assert_eq!(answer.status, 200);
    let status = &answer.json;
    assert_eq!(status["status"], "ACTIVE");
    assert_eq!(status["eventId"], "faults");
    for field in ["asOf", "placeToken", "activeToken", "expiresAt"] {
        assert!(status[field].is_string(), "{field}");
    }
    for field in ["position", "waiting", "eta", "paused", "keptUntil", "pollAfterMs", "opensAt", "reason"] {
        assert!(status.get(field).is_none(), "{field}");
    }
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn joining_above_capacity_waits() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    for position in 1..=3 {
        let status = server.join("faults").await;
        assert_eq!((&status["status"], &status["position"]), (&json!("WAITING"), &json!(position)));
        assert_eq!(status["waiting"], position);
        assert_eq!(status["paused"], false);
        assert!(status["eta"].is_null() && status.get("eta").is_some(), "unknown is said as null");
        for field in ["asOf", "placeToken", "keptUntil"] {
            assert!(status[field].is_string(), "{field}");
        }
        assert!(status["pollAfterMs"].is_u64());
        for field in ["activeToken", "expiresAt", "opensAt", "reason"] {
            assert!(status.get(field).is_none(), "{field}");
        }
    }
}

#[tokio::test]
async fn times_are_rfc3339_with_milliseconds() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let status = server.join("faults").await;
    for field in ["asOf", "expiresAt"] {
        let time = text(&status[field]);
        assert!(time.len() == 24 && time.ends_with('Z') && &time[19..20] == ".", "{time}");
    }
}

#[tokio::test]
async fn the_place_is_found_again_however_the_token_travels() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    let place = text(&server.join("faults").await["placeToken"]).to_owned();
    server.join("faults").await;
    let own = server.url.clone();
    for (name, value) in [
        (PLACE, place.clone()),
        ("authorization", format!("Bearer {place}")),
        ("cookie", format!("other=1; usher_place.faults={place}")),
    ] {
        let answer = server.post("check", "faults").header(name, &value).header(ORIGIN, &own).answer().await;
        assert_eq!((answer.status, &answer.json["position"]), (200, &json!(1)), "{name}");
        assert_eq!(answer.json["waiting"], 2, "nobody has joined twice");
        assert!(answer.json["placeToken"].is_string());
        let answer = server.status("faults").header(name, &value).answer().await;
        assert_eq!((answer.status, &answer.json["position"]), (200, &json!(1)), "{name}");
        assert!(answer.json.get("placeToken").is_none(), "the token is told to who joins");
    }
}

#[tokio::test]
async fn the_header_goes_before_the_bearer_before_the_cookie() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(text(&server.join("faults").await["placeToken"]).to_owned());
    }
    let ask = |header: Option<&str>, bearer: Option<&str>, cookie: Option<&str>| {
        let mut request = server.status("faults");
        if let Some(token) = header {
            request = request.header(PLACE, token);
        }
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        if let Some(token) = cookie {
            request = request.header(COOKIE, format!("usher_place.faults={token}"));
        }
        request.answer()
    };
    let (a, b, c) = (Some(places[0].as_str()), Some(places[1].as_str()), Some(places[2].as_str()));
    assert_eq!(ask(a, b, c).await.json["position"], 1);
    assert_eq!(ask(None, b, c).await.json["position"], 2);
    assert_eq!(ask(None, None, c).await.json["position"], 3);
    assert_eq!(ask(a, Some("junk"), Some("junk")).await.json["position"], 1);
    assert_eq!(ask(None, b, Some("junk")).await.json["position"], 2);
    let invalid = (403, "PLACE_TOKEN_INVALID");
    assert_eq!(ask(Some("junk"), b, c).await.refusal(), invalid, "a bad one that is given counts as given");
    assert_eq!(ask(Some(""), b, c).await.refusal(), invalid);
    assert_eq!(ask(None, Some("junk"), c).await.refusal(), invalid);
}

#[tokio::test]
async fn bad_and_foreign_tokens_are_refused_where_they_are_given() {
    let server = TestServer::with_event("faults", capacity(9)).await;
    server.configure("other", capacity(9)).await;
    let foreign = text(&server.join("other").await["placeToken"]).to_owned();
    let good = text(&server.join("faults").await["placeToken"]).to_owned();
    let long = "A".repeat(600);
    let other = if &good[40..41] == "A" { "B" } else { "A" };
    let broken = format!("{}{other}{}", &good[..40], &good[41..]);
    for token in [&foreign, "junk", &long, &broken, &good[..good.len() - 1], &format!("{good}A")] {
        for verb in ["check", "leave"] {
            let answer = server.post(verb, "faults").header(PLACE, token).answer().await;
            assert_eq!(answer.refusal(), (403, "PLACE_TOKEN_INVALID"), "{verb} {token}");
            let answer = server.post(verb, "faults").bearer_auth(token).answer().await;
            assert_eq!(answer.refusal(), (403, "PLACE_TOKEN_INVALID"), "{verb} {token}");
        }
        let answer = server.status("faults").header(PLACE, token).answer().await;
        assert_eq!(answer.refusal(), (403, "PLACE_TOKEN_INVALID"), "{token}");
    }
    let twice = server.status("faults").header(PLACE, &good).header(PLACE, &good).answer().await;
    assert_eq!(twice.refusal(), (403, "PLACE_TOKEN_INVALID"));
    let other_scheme = server.status("faults").header(AUTHORIZATION, "Basic abc").answer().await;
    assert_eq!(other_scheme.refusal(), (401, "PLACE_TOKEN_REQUIRED"));
}

#[tokio::test]
async fn stale_and_foreign_cookies_are_ignored() {
    let server = TestServer::with_event("faults", capacity(9)).await;
    server.configure("other", capacity(9)).await;
    let foreign = text(&server.join("other").await["placeToken"]).to_owned();
    for token in [foreign.as_str(), "junk", ""] {
        let cookie = format!("usher_place.faults={token}");
        let answer = server.post("check", "faults").header(COOKIE, &cookie).answer().await;
        assert_eq!(answer.status, 200, "no token, so no origin is asked for either");
        assert!(answer.cookie("usher_place.faults").is_some_and(|new| new != token), "a new one is set");
        let answer = server.status("faults").header(COOKIE, &cookie).answer().await;
        assert_eq!(answer.refusal(), (401, "PLACE_TOKEN_REQUIRED"), "{token}");
        let answer = server.post("leave", "faults").header(COOKIE, &cookie).answer().await;
        assert_eq!(answer.refusal(), (401, "PLACE_TOKEN_REQUIRED"), "{token}");
    }
}

#[tokio::test]
async fn tokens_in_addresses_are_no_tokens() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let status = server.join("faults").await;
    let (place, active) = (text(&status["placeToken"]), text(&status["activeToken"]));
    for name in ["placeToken", "x-usher-place", "token", "usher_place.faults", "access_token"] {
        let answer = server.get(&format!("/api/v1/queue/status/faults?{name}={place}")).answer().await;
        assert_eq!(answer.refusal(), (401, "PLACE_TOKEN_REQUIRED"), "{name}");
        let answer = server.get(&format!("/api/v1/queue/verify?event=faults&{name}={active}")).answer().await;
        assert_eq!(answer.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"), "{name}");
    }
}

#[tokio::test]
async fn check_and_status_set_cookies() {
    let server = TestServer::with_event("faults", json!({"capacity": 1, "activeTtlSeconds": 100})).await;
    let answer = server.post("check", "faults").answer().await;
    let place = text(&answer.json["placeToken"]).to_owned();
    let lines = |answer: &super::support::Answer| {
        (answer.cookie_line("usher_place.faults").unwrap(), answer.cookie_line("usher_active.faults").unwrap())
    };
    let again = server.status("faults").header(PLACE, &place).answer().await;
    for answer in [&answer, &again] {
        let (place_line, active_line) = lines(answer);
        for line in [&place_line, &active_line] {
            for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
                assert!(line.contains(attribute), "{line}");
            }
            assert!(!line.contains("Secure") && !line.contains("Domain"), "{line}");
        }
        assert_eq!(answer.cookie("usher_place.faults").unwrap(), place);
        assert_eq!(answer.cookie("usher_active.faults").unwrap(), text(&answer.json["activeToken"]));
        let max_age = active_line.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
        assert!((90..=100).contains(&max_age.parse::<u32>().unwrap()), "{active_line}");
    }
    assert_eq!(answer.json["activeToken"], again.json["activeToken"], "the same session, the same token");
    let waiting = server.post("check", "faults").answer().await;
    assert!(waiting.cookie("usher_active.faults").is_none(), "there is none yet");
}

#[tokio::test]
async fn cookies_are_secure_behind_tls() {
    let server = TestServer::start_with(&["--trusted-proxies=127.0.0.0/8"]).await;
    server.configure("faults", capacity(1)).await;
    let tls =
        server.post("check", "faults").header("x-forwarded-for", "192.0.2.1").header("x-forwarded-proto", "https");
    let answer = tls.answer().await;
    for name in ["usher_place.faults", "usher_active.faults"] {
        assert!(answer.cookie_line(name).unwrap().ends_with("; Secure"), "{name}");
    }
    let plain = server.post("check", "faults").header("x-forwarded-proto", "http").answer().await;
    assert!(!plain.cookie_line("usher_place.faults").unwrap().contains("Secure"));
}

#[tokio::test]
async fn a_session_that_is_over_takes_its_cookie_away() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let first = server.post("check", "faults").answer().await;
    let (place, active) = (text(&first.json["placeToken"]), text(&first.json["activeToken"]));
    let answer = server.post("release", "faults").bearer_auth(active).answer().await;
    assert_eq!(answer.status, 204);
    let cookie = format!("usher_active.faults={active}");
    let answer = server.status("faults").header(PLACE, place).header(COOKIE, cookie).answer().await;
    assert_eq!(answer.json["status"], "ENDED");
    assert!(answer.cookie_line("usher_active.faults").unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn leaving_gives_the_place_to_the_next() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    let first = text(&server.join("faults").await["placeToken"]).to_owned();
    let second = text(&server.join("faults").await["placeToken"]).to_owned();
    let third = text(&server.join("faults").await["placeToken"]).to_owned();
    let answer = server.post("leave", "faults").header(PLACE, &second).answer().await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let status = server.status_of("faults", &second).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("ENDED"), &json!("LEFT")));
    let answer = server.post("leave", "faults").header(PLACE, &second).answer().await;
    assert_eq!(answer.status, 204, "who has left has left");
    let status = server.await_status("faults", &third, "WAITING").await;
    assert_eq!(status["position"], 1);
    assert_eq!(server.post("leave", "faults").header(PLACE, &first).answer().await.status, 204);
    let status = server.await_status("faults", &third, "ACTIVE").await;
    assert!(status["activeToken"].is_string());
    let answer = server.post("leave", "faults").answer().await;
    assert_eq!(answer.refusal(), (401, "PLACE_TOKEN_REQUIRED"));
}

#[tokio::test]
async fn who_has_ended_joins_anew_at_the_end() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.join("faults").await;
    let place = text(&server.join("faults").await["placeToken"]).to_owned();
    server.join("faults").await;
    assert_eq!(server.post("leave", "faults").header(PLACE, &place).answer().await.status, 204);
    let answer = server.post("check", "faults").header(PLACE, &place).answer().await;
    assert_eq!((&answer.json["status"], &answer.json["position"]), (&json!("WAITING"), &json!(2)));
    assert_ne!(answer.json["placeToken"], Value::String(place));
}

#[tokio::test]
async fn releasing_admits_the_next_and_can_be_repeated() {
    let server = TestServer::with_event("faults", capacity(1)).await;
    server.configure("other", capacity(1)).await;
    let first = server.join("faults").await;
    let other = server.join("other").await;
    let second = text(&server.join("faults").await["placeToken"]).to_owned();
    let release = |token: &str| server.post("release", "faults").bearer_auth(token).answer();
    assert_eq!(server.post("release", "faults").answer().await.refusal(), (401, "ACTIVE_TOKEN_REQUIRED"));
    for bad in ["junk", text(&other["activeToken"]), text(&first["placeToken"])] {
        assert_eq!(release(bad).await.refusal(), (401, "ACTIVE_TOKEN_INVALID"), "{bad}");
    }
    for _ in 0..2 {
        assert_eq!(release(text(&first["activeToken"])).await.status, 204);
    }
    server.await_status("faults", &second, "ACTIVE").await;
    assert_eq!(release(text(&first["activeToken"])).await.status, 204, "and ends nobody else's session");
    assert_eq!(server.status_of("faults", &second).await["status"], "ACTIVE");
    let status = server.status_of("faults", text(&first["placeToken"])).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("ENDED"), &json!("RELEASED")));
}

#[tokio::test]
async fn closed_and_full_queues_say_so() {
    let server = TestServer::with_event("faults", json!({"capacity": 1, "maxWaiting": 1})).await;
    let active = server.join("faults").await;
    let waiting = server.join("faults").await;
    let answer = server.post("check", "faults").answer().await;
    assert_eq!(answer.refusal(), (503, "QUEUE_FULL"));
    server.operate(reqwest::Method::POST, "admin/drain/faults", None).await;
    let answer = server.post("check", "faults").answer().await;
    assert_eq!(answer.refusal(), (409, "QUEUE_CLOSED"));
    for known in [active, waiting] {
        let answer = server.post("check", "faults").header(PLACE, text(&known["placeToken"])).answer().await;
        assert_eq!((answer.status, &answer.json["status"]), (200, &known["status"]), "who is in stays in");
    }
}
