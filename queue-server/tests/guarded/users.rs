//! Visitors whom a site's own login names.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use futures_util::{SinkExt as _, StreamExt as _};
use queue_core::token::user::visitor;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};

use super::support::{AUDIENCE, Ask as _, ISSUER, Server, WITHIN, claims, jwt, signed, user_flags, user_token};

type Socket = WebSocketStream<TcpStream>;

struct Setup {
    server: Server,
    _folder: tempfile::TempDir,
}

async fn setup(capacity: u32) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let flags = user_flags(folder.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(folder.path(), &flags);
    server.event("e", capacity).await;
    Setup { server, _folder: folder }
}

fn place(json: &Value) -> &str {
    json["placeToken"].as_str().unwrap()
}

#[tokio::test]
async fn joining_needs_a_user_token() {
    let Setup { server, .. } = &setup(1).await;
    let without = server.check("e").answer().await;
    assert_eq!(without.refusal(), (401, "USER_TOKEN_REQUIRED"));
    assert_eq!(without.headers["www-authenticate"], "Bearer");

    let ann = server.check("e").bearer_auth(user_token("ann")).answer().await;
    assert_eq!((ann.status, &ann.json["status"]), (200, &json!("ACTIVE")), "{ann:?}");
    let id = visitor(ISSUER, "ann");
    let seen = server.operate(Method::GET, &format!("admin/e/visitors/{id}"), None).await;
    assert_eq!((seen.status, &seen.json["status"]), (200, &json!("ACTIVE")));

    let bob = server.check("e").bearer_auth(user_token("bob")).answer().await;
    assert_eq!(bob.json["position"], 1);
    let again = server.check("e").bearer_auth(user_token("bob")).answer().await;
    assert_eq!(again.json["position"], 1, "the same person has the same place, whatever token they kept");
    assert_eq!(server.operate(Method::GET, "admin/e", None).await.json["waiting"], 1);
}

#[tokio::test]
async fn bad_user_tokens_are_refused() {
    let Setup { server, .. } = &setup(1).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("ann");
        claims[name] = value;
        signed(&claims)
    };
    for (why, bad) in [
        ("another issuer", with("iss", json!("https://other.example/"))),
        ("another audience", with("aud", json!("tickets"))),
        ("expired", with("exp", json!(1_000_000))),
        ("not yet", with("nbf", json!(99_999_999_999_u64))),
        ("no subject", with("sub", json!(""))),
        ("another secret", format!("{}AAAA", user_token("ann").rsplit_once('.').unwrap().0.to_owned() + ".")),
        ("no signature", jwt(&json!({"alg": "none"}), &claims("ann"), |_| Vec::new())),
        ("junk", "a.b.c".to_owned()),
    ] {
        let answer = server.check("e").bearer_auth(bad).answer().await;
        assert_eq!(answer.refusal(), (401, "USER_TOKEN_INVALID"), "{why}");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"), "{why}");
    }
    assert_eq!(server.operate(Method::GET, "admin/e", None).await.json["active"], 0);
}

#[tokio::test]
async fn a_place_and_a_user_are_the_same_person() {
    let Setup { server, .. } = &setup(1).await;
    let ann = server.check("e").bearer_auth(user_token("ann")).answer().await.json;
    let bob = server.check("e").bearer_auth(user_token("bob")).answer().await.json;

    let stolen = server.check("e").bearer_auth(user_token("bob")).header("x-usher-place", place(&ann)).answer().await;
    assert_eq!(stolen.refusal(), (403, "PLACE_TOKEN_INVALID"));
    let own = server.check("e").bearer_auth(user_token("bob")).header("x-usher-place", place(&bob)).answer().await;
    assert_eq!((own.status, &own.json["position"]), (200, &json!(1)));
    // A browser may still have somebody else's cookie.
    let cookie = format!("usher_place.e={}", place(&ann));
    let cookie = server.check("e").bearer_auth(user_token("bob")).header("cookie", cookie).answer().await;
    assert_eq!((cookie.status, &cookie.json["position"]), (200, &json!(1)));

    // Asking and leaving need no more than the place token, in any of its places, a user token beside it or not.
    assert_eq!(server.status("e").bearer_auth(place(&bob)).answer().await.json["position"], 1);
    let both = server.status("e").bearer_auth(user_token("bob")).header("x-usher-place", place(&bob));
    assert_eq!(both.answer().await.json["position"], 1);
    let user_only = server.status("e").bearer_auth(user_token("bob")).answer().await;
    assert_eq!(user_only.refusal(), (401, "PLACE_TOKEN_REQUIRED"));

    // Finding the place again does too; taking a new one does not.
    assert_eq!(server.check("e").header("x-usher-place", place(&bob)).answer().await.json["position"], 1);
    assert_eq!(server.leave("e").header("x-usher-place", place(&bob)).answer().await.status, 204);
    let gone = server.check("e").header("x-usher-place", place(&bob)).answer().await;
    assert_eq!(gone.refusal(), (401, "USER_TOKEN_REQUIRED"));
    assert_eq!(server.check("e").bearer_auth(user_token("bob")).answer().await.json["position"], 1);
}

#[tokio::test]
async fn whoever_was_in_line_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let redis = queue_core::service::testing::TestRedis::start();
    let store = format!("--store={}", redis.url());
    let anonymous = Server::start(folder.path(), &[&store]);
    anonymous.event("e", 1).await;
    anonymous.check("e").answer().await;
    let early = anonymous.check("e").answer().await.json;
    drop(anonymous);
    let mut flags = user_flags(folder.path());
    flags.push(store);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(folder.path(), &flags);
    let found = server.check("e").header("x-usher-place", place(&early)).answer().await;
    assert_eq!((found.status, &found.json["position"]), (200, &json!(1)));
}

async fn connect(server: &Server, bearer: Option<&str>) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/ws", server.program.public).into_client_request().unwrap();
    if let Some(bearer) = bearer {
        request.headers_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    let tcp = TcpStream::connect(&server.program.public).await.unwrap();
    match tokio_tungstenite::client_async(request, tcp).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn join(socket: &mut Socket, place: Option<&str>) -> Value {
    let mut data = json!({"eventId": "e"});
    if let Some(place) = place {
        data["placeToken"] = json!(place);
    }
    socket.send(Message::text(json!({"event": "join-queue", "data": data}).to_string())).await.unwrap();
    next(socket).await
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(WITHIN, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => return json!({"closed": frame.map(|frame| u16::from(frame.code))}),
            _ => {}
        }
    }
}

#[tokio::test]
async fn sockets_know_users_too() {
    let Setup { server, .. } = &setup(1).await;
    server.check("e").bearer_auth(user_token("ann")).answer().await;
    let bob = server.check("e").bearer_auth(user_token("bob")).answer().await.json;

    // A browser: it joins by check, and resumes here. Trying without is no end.
    let mut browser = connect(server, None).await.unwrap();
    let refused = join(&mut browser, None).await;
    assert_eq!((&refused["event"], &refused["data"]["code"]), (&json!("error"), &json!("USER_TOKEN_REQUIRED")));
    let resumed = join(&mut browser, Some(place(&bob))).await;
    assert_eq!((&resumed["event"], &resumed["data"]["position"]), (&json!("queue-updated"), &json!(1)));

    // A program: it shows the user token with the handshake.
    let token = user_token("cay");
    let mut program = connect(server, Some(&token)).await.unwrap();
    let joined = join(&mut program, None).await;
    assert_eq!((&joined["event"], &joined["data"]["position"]), (&json!("queue-updated"), &json!(2)), "{joined}");
    let mut thief = connect(server, Some(&token)).await.unwrap();
    assert_eq!(join(&mut thief, Some(place(&bob))).await["data"]["code"], "PLACE_TOKEN_INVALID");
    assert_eq!(next(&mut thief).await["closed"], 1008);
    assert_eq!(connect(server, Some("a.b.c")).await.err(), Some(401));
    assert_eq!(server.operate(Method::GET, "admin/e", None).await.json["waiting"], 2);
}

#[tokio::test]
async fn the_older_socket_of_a_user_is_told_on_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let redis = queue_core::service::testing::TestRedis::start();
    let mut flags = user_flags(folder.path());
    flags.push(format!("--store={}", redis.url()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (one, other) = (Server::start(folder.path(), &flags), Server::start(folder.path(), &flags));
    one.event("e", 1).await;
    one.check("e").bearer_auth(user_token("ann")).answer().await;
    // Neither shows a place token: the login names the place.
    let token = user_token("bob");
    let mut older = connect(&one, Some(&token)).await.unwrap();
    assert_eq!(join(&mut older, None).await["data"]["position"], 1);
    let mut newer = connect(&other, Some(&token)).await.unwrap();
    assert_eq!(join(&mut newer, None).await["data"]["position"], 1);
    loop {
        let said = next(&mut older).await;
        if let Some(code) = said.get("closed") {
            assert_eq!(code, 4001);
            break;
        }
    }
    assert_eq!(join(&mut newer, None).await["event"], "queue-updated", "the newer one stays");
}

#[tokio::test]
async fn public_keys_of_users_are_fetched_and_rotate() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("users.json");
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let jwk = |seed: u8| {
        let x = B64.encode(pair(seed).public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("key {seed}"), "x": x})
    };
    let publish = |keys: Vec<Value>| std::fs::write(&document, json!({"keys": keys}).to_string()).unwrap();
    let token = |seed: u8| {
        let header = json!({"alg": "EdDSA", "kid": format!("key {seed}")});
        jwt(&header, &claims("ann"), |message| pair(seed).sign(message).as_ref().to_vec())
    };
    let source = format!("--user-jwks={}", document.display());
    let (issuer, audience) = (format!("--user-issuer={ISSUER}"), format!("--user-audience={AUDIENCE}"));
    let server = Server::start(folder.path(), &[&source, &issuer, &audience]);
    server.event("e", 5).await;
    let early = server.check("e").bearer_auth(token(1)).answer().await;
    assert_eq!(early.refusal(), (503, "KEYS_UNAVAILABLE"), "there are none yet");
    assert!(early.headers.contains_key("retry-after"));
    publish(vec![jwk(1)]);
    super::support::eventually("the keys", async || {
        (server.check("e").bearer_auth(token(1)).answer().await.status == 200).then_some(())
    })
    .await;
    publish(vec![jwk(1), jwk(2)]);
    // Unknown keys have the document read again at most once in ten seconds.
    super::support::eventually("the second key", async || {
        (server.check("e").bearer_auth(token(2)).answer().await.status == 200).then_some(())
    })
    .await;
    assert_eq!(server.check("e").bearer_auth(token(1)).answer().await.status, 200);
    assert_eq!(server.check("e").bearer_auth(token(3)).answer().await.refusal(), (401, "USER_TOKEN_INVALID"));
}
