//! What one client address may do, and what a node takes in all.

use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};

use super::support::{Answer, Ask as _, Server, WITHIN, eventually, user_flags, user_token};

type Socket = WebSocketStream<TcpStream>;

fn retry_after(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn requests_are_limited_by_client_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--address-requests-per-second=5", "--trusted-proxies=127.0.0.1"]);
    let ask = async |from: &str| server.get("/health").header("x-forwarded-for", from).answer().await;
    // Some more than allowed, since some are given back meanwhile.
    let burst = async |from: &str| {
        let mut refused = None;
        for _ in 0..50 {
            let answer = ask(from).await;
            match answer.refusal() {
                (200, _) => {}
                other => {
                    assert_eq!(other, (429, "RATE_LIMITED"));
                    assert!(retry_after(&answer) >= 1 && answer.json["retryable"] == true);
                    refused = Some(());
                }
            }
        }
        refused
    };
    assert!(burst("192.0.2.1").await.is_some());
    assert_eq!(ask("192.0.2.2").await.status, 200, "another address");
    // All of a /64 is one subscriber.
    let mut refused = 0;
    for i in 0..50 {
        refused += usize::from(ask(&format!("2001:db8:1:2::{i:x}")).await.status == 429);
    }
    assert!(refused > 0);
    assert_eq!(ask("2001:db8:1:3::1").await.status, 200, "another subscriber");
}

#[tokio::test]
async fn nobody_is_believed_to_be_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--address-requests-per-second=5"]);
    let mut refused = 0;
    for i in 0..50 {
        let request = server.get("/health").header("x-forwarded-for", format!("192.0.2.{i}"));
        refused += usize::from(request.answer().await.status == 429);
    }
    assert!(refused > 0, "no proxy is trusted");
}

/// As many as one address may take in the tests below: the first is in, the others wait.
async fn three_places(server: &Server) -> Vec<String> {
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(server.check("e").answer().await.json["placeToken"].as_str().unwrap().to_owned());
    }
    places
}

#[tokio::test]
async fn joins_are_limited_by_client_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--address-joins-per-minute=3"]);
    server.event("e", 1).await;
    let places = three_places(&server).await;
    let fourth = server.check("e").answer().await;
    assert_eq!(fourth.refusal(), (429, "RATE_LIMITED"));
    assert!((1..=20).contains(&retry_after(&fourth)), "{fourth:?}");
    // Who has a place finds it as often as they like.
    for place in places.iter().cycle().take(12) {
        assert_eq!(server.check("e").header("x-usher-place", place).answer().await.status, 200);
    }
    let mut socket = connect(&server).await.unwrap();
    let refused = join(&mut socket, None).await;
    assert_eq!((&refused["event"], &refused["data"]["code"]), (&json!("error"), &json!("RATE_LIMITED")));
    let resumed = join(&mut socket, Some(&places[2])).await;
    assert_eq!(resumed["event"], "queue-updated", "{resumed}");
}

#[tokio::test]
async fn a_place_that_has_ended_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--address-joins-per-minute=3"]);
    server.event("e", 1).await;
    let places = three_places(&server).await;
    let [active, waiting, leaving] = &places[..] else { panic!() };
    let check = async |place: &str| server.check("e").header("x-usher-place", place).answer().await;
    let leave_and_join = async || {
        let left = server.leave("e").header("x-usher-place", leaving).answer().await;
        assert_eq!(left.status, 204);
        check(leaving).await
    };
    assert_eq!(leave_and_join().await.status, 200, "this node has not asked the store: it counts afterwards");
    assert_eq!(leave_and_join().await.refusal(), (429, "RATE_LIMITED"));
    let mut socket = connect(&server).await.unwrap();
    let refused = join(&mut socket, Some(leaving)).await;
    assert_eq!((&refused["event"], &refused["data"]["code"]), (&json!("error"), &json!("RATE_LIMITED")));
    for _ in 0..5 {
        assert_eq!(check(active).await.json["status"], "ACTIVE", "who is in passes");
        assert_eq!(check(waiting).await.json["position"], 1, "who waits passes");
    }
    let resumed = join(&mut socket, Some(active)).await;
    assert_eq!(resumed["event"], "queue-entry-allowed", "{resumed}");
}

#[tokio::test]
async fn a_user_whose_place_has_ended_counts_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = user_flags(folder.path());
    flags.push("--address-joins-per-minute=1".to_owned());
    let server = Server::start(folder.path(), &flags.iter().map(String::as_str).collect::<Vec<_>>());
    server.event("e", 1).await;
    let check = || server.check("e").bearer_auth(user_token("ann"));
    let place = check().answer().await.json["placeToken"].as_str().unwrap().to_owned();
    let leave_and_join = async || {
        assert_eq!(server.leave("e").header("x-usher-place", &place).answer().await.status, 204);
        check().header("x-usher-place", &place).answer().await
    };
    assert_eq!(leave_and_join().await.status, 200);
    assert_eq!(check().header("x-usher-place", &place).answer().await.status, 200, "the place is there");
    assert_eq!(leave_and_join().await.refusal(), (429, "RATE_LIMITED"));
}

async fn connect(server: &Server) -> Result<Socket, (u16, bool)> {
    let request = format!("ws://{}/ws", server.program.public).into_client_request().unwrap();
    let tcp = TcpStream::connect(&server.program.public).await.unwrap();
    match tokio_tungstenite::client_async(request, tcp).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            Err((response.status().as_u16(), response.headers().contains_key("retry-after")))
        }
        Err(other) => panic!("{other}"),
    }
}

async fn join(socket: &mut Socket, place: Option<&str>) -> Value {
    let mut data = json!({"eventId": "e"});
    if let Some(place) = place {
        data["placeToken"] = json!(place);
    }
    socket.send(Message::text(json!({"event": "join-queue", "data": data}).to_string())).await.unwrap();
    loop {
        if let Message::Text(text) = tokio::time::timeout(WITHIN, socket.next()).await.unwrap().unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn open_sockets_are_limited_by_client_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--address-sockets=2"]);
    let first = connect(&server).await.unwrap();
    let _second = connect(&server).await.unwrap();
    assert_eq!(connect(&server).await.err(), Some((429, true)));
    assert_eq!(server.get("/health").answer().await.status, 200, "only sockets count");
    drop(first);
    eventually("room for another", async || connect(&server).await.ok()).await;
}

#[tokio::test]
async fn sockets_that_end_at_once_are_all_counted_off() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let url = format!("{}/metrics", server.program.ops_url());
    let counted = async |number: usize| {
        let line = format!("\nusher_queue_sockets {number}\n");
        let metrics = async || reqwest::get(&url).await.unwrap().text().await.unwrap();
        eventually("the number of sockets", async || metrics().await.contains(&line).then_some(())).await;
    };
    let sockets = join_all((0..50).map(|_| connect(&server))).await;
    counted(50).await;
    drop(sockets);
    counted(0).await;
}

#[tokio::test]
async fn a_full_node_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--sockets-max=2"]);
    server.event("e", 1).await;
    let (mut first, mut second) = (connect(&server).await.unwrap(), connect(&server).await.unwrap());
    // A socket counts once its task runs, which may be after the handshake was answered.
    let joined = join(&mut first, None).await;
    assert_eq!(joined["event"], "queue-entry-allowed");
    assert_eq!(join(&mut second, None).await["event"], "queue-updated");
    let mut third = connect(&server).await.unwrap();
    let Message::Close(Some(frame)) = tokio::time::timeout(WITHIN, third.next()).await.unwrap().unwrap().unwrap()
    else {
        panic!("it is closed")
    };
    assert_eq!(u16::from(frame.code), 1013);
    let reason: Value = serde_json::from_str(&frame.reason).unwrap();
    assert!(reason["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0), "{reason}");
    let again = join(&mut first, joined["data"]["placeToken"].as_str()).await;
    assert_eq!(again["event"], "queue-entry-allowed", "who is in stays in");
    drop((second, third));
    eventually("room for another", async || {
        let mut socket = connect(&server).await.ok()?;
        (join_or_closed(&mut socket).await == "queue-updated").then_some(())
    })
    .await;
}

async fn join_or_closed(socket: &mut Socket) -> String {
    let message = json!({"event": "join-queue", "data": {"eventId": "e"}}).to_string();
    let _ = socket.send(Message::text(message)).await;
    match tokio::time::timeout(WITHIN, socket.next()).await.unwrap() {
        Some(Ok(Message::Text(text))) => {
            let value: Value = serde_json::from_str(&text).unwrap();
            value["event"].as_str().unwrap().to_owned()
        }
        _ => "closed".to_owned(),
    }
}

#[tokio::test]
async fn wrong_operator_tokens_lock_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let guess = async |path: &str, token: &str| server.ops(Method::GET, path).bearer_auth(token).answer().await;
    let mut answers = Vec::new();
    for i in 0..15 {
        answers.push(guess("admin", &format!("a-wrong-operator-token-number-{i}-of-several")).await);
    }
    assert!(answers[..10].iter().all(|answer| answer.refusal() == (403, "OPERATOR_TOKEN_INVALID")));
    let last = answers.last().unwrap();
    assert_eq!(last.refusal(), (429, "RATE_LIMITED"));
    assert!((1..=60).contains(&retry_after(last)));
    assert_eq!(
        guess("admin", &server.operator).await.refusal(),
        (429, "RATE_LIMITED"),
        "the right one is not told apart"
    );
    // The two servers go on talking, and probes go on being answered.
    assert_eq!(guess("sessions/e/0000000000000001.1", &server.peer).await.refusal(), (410, "SESSION_GONE"));
    eventually("the operator again", async || (guess("admin", &server.operator).await.status == 200).then_some(()))
        .await;
}
