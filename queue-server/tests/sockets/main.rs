//! The WebSocket contract, against a real server.

mod autobahn;
mod server;

use futures_util::SinkExt;
use queue_core::service::testing::eventually;
use serde_json::{Value, json};
use server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

fn code(frame: &tokio_tungstenite::tungstenite::protocol::CloseFrame) -> u16 {
    frame.code.into()
}

#[tokio::test]
async fn below_capacity_one_enters_at_once() {
    let server = Server::start();
    server.event("direct", 1).await;
    let (_socket, answer) = server.join("direct", None).await;
    assert_eq!(answer["event"], "queue-entry-allowed");
    let status = &answer["data"];
    assert_eq!(status["status"], "ACTIVE");
    assert_eq!(status["activeToken"].as_str().unwrap().split('.').count(), 3);
    assert!(status["placeToken"].is_string() && status["expiresAt"].is_string());
    assert!(status.get("position").is_none());
}

#[tokio::test]
async fn positions_fall_and_the_next_one_enters() {
    let server = Server::start();
    server.event("line", 1).await;
    let first = server.check("line").await;
    let (mut second, answer) = server.join("line", None).await;
    assert_eq!((answer["event"].as_str(), answer["data"]["position"].as_u64()), (Some("queue-updated"), Some(1)));
    let (mut third, answer) = server.join("line", None).await;
    assert_eq!(answer["data"]["position"], 2);
    assert_eq!(answer["data"]["paused"], false);
    assert!(answer["data"].get("eta").is_some(), "null while nothing is known, but said");

    server.leave("line", &first["placeToken"]).await;
    let allowed = second.named("queue-entry-allowed").await;
    assert_eq!(allowed["status"], "ACTIVE");
    let moved = third.until(|event| event["data"]["position"] == 1).await;
    assert_eq!(moved["data"]["waiting"], 1);

    // Over the socket, too, one can give up.
    second.send(json!({"event":"leave-queue","data":{"eventId":"line"}}).to_string()).await;
    assert_eq!(second.named("queue-cleared").await["reason"], "LEFT");
    assert_eq!(code(&second.closed().await), 1000);
    third.named("queue-entry-allowed").await;
}

#[tokio::test]
async fn a_place_outlives_its_socket_and_the_older_tab_is_told() {
    let server = Server::start();
    server.event("tabs", 1).await;
    server.check("tabs").await;
    let (socket, answer) = server.join("tabs", None).await;
    let place = answer["data"]["placeToken"].clone();
    server.check("tabs").await;
    drop(socket);
    let (mut older, answer) = server.join("tabs", Some(&place)).await;
    assert_eq!(answer["data"]["position"], 1, "the place is kept");
    let (mut newer, answer) = server.join("tabs", Some(&place)).await;
    assert_eq!(answer["data"]["position"], 1);
    assert_eq!(code(&older.closed().await), 4001);
    // The newer one lives on.
    newer.join("tabs", None).await;
    assert_eq!(newer.named("queue-updated").await["position"], 1);
}

#[tokio::test]
async fn two_tabs_on_one_token_never_close_each_other() {
    let server = Server::start();
    server.event("race", 1).await;
    server.check("race").await;
    let place = server.check("race").await["placeToken"].clone();
    for _ in 0..10 {
        let (mut a, mut b) = (server.socket().await, server.socket().await);
        tokio::join!(a.join("race", Some(&place)), b.join("race", Some(&place)));
        // One of them is closed with 4001; the other one still answers.
        let stays = tokio::select! { _ = a.closed() => &mut b, _ = b.closed() => &mut a };
        stays.join("race", None).await;
        stays.named("queue-updated").await;
    }
}

#[tokio::test]
async fn what_an_operator_does_is_felt() {
    let server = Server::start();
    server.event("ops", 1).await;
    let (mut active, _) = server.join("ops", None).await;
    let (mut waiting, _) = server.join("ops", None).await;
    server.operator("POST", "pause/ops", json!({})).await;
    let paused = waiting.until(|event| event["data"]["paused"] == true).await;
    assert_eq!(paused["data"]["eta"], Value::Null);
    server.operator("POST", "clear/ops", json!({})).await;
    assert_eq!(waiting.named("queue-cleared").await["reason"], "CLEARED");
    assert_eq!(code(&waiting.closed().await), 1000);
    server.operator("POST", "clear/ops", json!({"active": true})).await;
    let cleared = active.named("queue-cleared").await;
    assert_eq!((&cleared["status"], &cleared["reason"]), (&json!("ENDED"), &json!("CLEARED")));
    assert_eq!(code(&active.closed().await), 1000);
}

#[tokio::test]
async fn nobody_is_pushed_to_more_than_once_a_second() {
    let server = Server::start();
    server.event("calm", 1).await;
    server.check("calm").await;
    let (mut waiting, _) = server.join("calm", None).await;
    let began = tokio::time::Instant::now();
    // However often the line changes, and is looked at.
    for _ in 0..5 {
        server.operator("POST", "pause/calm", json!({})).await;
        server.operator("POST", "resume/calm", json!({})).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    // Somebody new behind: the last change, which is told as well.
    server.check("calm").await;
    let mut pushes = 1;
    while waiting.named("queue-updated").await["waiting"] != 2 {
        pushes += 1;
    }
    // A tick may come a tenth early.
    let most = began.elapsed().as_millis() / 900 + 1;
    assert!(pushes <= most, "{pushes} in {:?}", began.elapsed());
}

#[tokio::test]
async fn bad_tokens_and_events_are_refused() {
    let server = Server::start();
    server.event("here", 1).await;
    server.event("there", 1).await;
    let place = server.check("there").await["placeToken"].clone();
    let mut flipped = place.as_str().unwrap().as_bytes().to_vec();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    for bad in [place, json!(String::from_utf8(flipped).unwrap()), json!(""), json!("x".repeat(600))] {
        let (mut socket, answer) = server.join("here", Some(&bad)).await;
        assert_eq!((&answer["event"], &answer["data"]["code"]), (&json!("error"), &json!("PLACE_TOKEN_INVALID")));
        assert_eq!(answer["data"]["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(code(&socket.closed().await), 1008);
    }
    let (mut socket, answer) = server.join("nowhere", None).await;
    assert_eq!(answer["data"]["code"], "EVENT_NOT_FOUND");
    assert_eq!(code(&socket.closed().await), 4004);
}

#[tokio::test]
async fn a_bad_message_is_named_and_the_socket_stays() {
    let server = Server::start();
    server.event("talk", 1).await;
    let mut socket = server.socket().await;
    for (text, wanted) in [
        ("", "MALFORMED_BODY"),
        ("{", "MALFORMED_BODY"),
        ("[]", "INVALID_REQUEST"),
        (r#"{"event":"dance","data":{}}"#, "INVALID_REQUEST"),
        (r#"{"event":"join-queue","data":{"eventId":"../etc"}}"#, "INVALID_REQUEST"),
        (r#"{"event":"join-queue","data":{"eventId":"talk","x":1}}"#, "INVALID_REQUEST"),
        (r#"{"event":"leave-queue","data":{"eventId":"talk"}}"#, "INVALID_REQUEST"),
    ] {
        socket.send(text).await;
        assert_eq!(socket.named("error").await["code"], wanted, "{text}");
    }
    socket.join("talk", None).await;
    assert_eq!(socket.named("queue-entry-allowed").await["status"], "ACTIVE");
    socket.join("other", None).await;
    assert_eq!(socket.named("error").await["code"], "INVALID_REQUEST", "one event per socket");
}

#[tokio::test]
async fn frames_beyond_the_contract_close_the_socket() {
    let server = Server::start();
    server.event("frames", 1).await;
    let mut socket = server.socket().await;
    socket.ws.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(code(&socket.closed().await), 1003);

    let mut socket = server.socket().await;
    socket.send("x".repeat(4097)).await;
    assert_eq!(code(&socket.closed().await), 1009);

    let mut socket = server.socket().await;
    for _ in 0..21 {
        socket.send("{}").await;
    }
    assert_eq!(code(&socket.closed().await), 1008);
}

/// A handshake by hand, for frames that no library sends.
async fn raw(server: &Server, headers: &str) -> (tokio::net::TcpStream, String) {
    let mut tcp = tokio::net::TcpStream::connect(&server.program.public).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
        server.program.public
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    (tcp, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn broken_frames_close_with_their_code() {
    let server = Server::start();
    // A masked text frame of one byte that is not UTF-8; an unmasked one; one with a reserved opcode.
    let frames: [(&[u8], u16); 3] =
        [(&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007), (&[0x81, 0x01, b'x'], 1002), (&[0x83, 0x80, 0, 0, 0, 0], 1002)];
    for (frame, wanted) in frames {
        let (mut tcp, head) = raw(&server, "").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        tcp.write_all(frame).await.unwrap();
        let mut answer = [0; 4];
        tcp.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer[0], u16::from_be_bytes([answer[2], answer[3]])), (0x88, wanted));
    }
}

#[tokio::test]
async fn the_handshake_is_checked() {
    let server = Server::start();
    let (_, head) = raw(&server, "Sec-WebSocket-Protocol: chat, usher.v1\r\n").await;
    let head = head.to_ascii_lowercase();
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: usher.v1"), "{head}");
    let (_, head) = raw(&server, "Origin: https://elsewhere.example\r\n").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let (_, head) = raw(&server, &format!("Origin: http://{}\r\n", server.program.public)).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // A token that is given explicitly counts, also where it is too long, or there are two: never as none.
    for bad in [format!("x-usher-place: {}\r\n", "x".repeat(600)), "x-usher-place: a\r\nx-usher-place: b\r\n".into()] {
        let (_, head) = raw(&server, &bad).await;
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    }
    let answer = server.http.get(format!("http://{}/ws", server.program.public)).send().await.unwrap();
    assert_eq!(answer.status(), 426);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "UPGRADE_REQUIRED");
}

#[tokio::test]
async fn a_cookie_resumes_only_beside_an_allowed_origin() {
    let server = Server::start();
    server.event("cookie", 1).await;
    server.check("cookie").await;
    let place = server.check("cookie").await["placeToken"].clone();
    server.check("cookie").await;
    let cookie = format!("Cookie: a=b; usher_place.cookie={}\r\n", place.as_str().unwrap());
    for (origin, position) in [(format!("Origin: http://{}\r\n", server.program.public), 1), (String::new(), 3)] {
        let (tcp, head) = raw(&server, &format!("{cookie}{origin}")).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let plain = tokio_tungstenite::MaybeTlsStream::Plain(tcp);
        let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
        let ws = tokio_tungstenite::WebSocketStream::from_raw_socket(plain, role, None).await;
        let mut socket = server::Socket { ws };
        socket.join("cookie", None).await;
        assert_eq!(socket.named("queue-updated").await["position"], position, "{origin}");
    }
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let server = Server::start();
    let mut socket = server.socket().await;
    assert_eq!(code(&socket.closed().await), 4008);
}

#[tokio::test]
async fn a_draining_server_sends_its_sockets_away() {
    let mut server = Server::start();
    server.event("drain", 1).await;
    let (mut active, _) = server.join("drain", None).await;
    let (mut waiting, _) = server.join("drain", None).await;
    let mut silent = server.socket().await;
    server.program.signal("-TERM");
    for socket in [&mut active, &mut waiting, &mut silent] {
        let frame = socket.closed().await;
        assert_eq!(code(&frame), 1012);
        let reason: Value = serde_json::from_str(&frame.reason).unwrap();
        assert!(reason["retryAfterMs"].as_u64().unwrap() > 0);
    }
    assert!(server.program.ended().await.success());
}

#[tokio::test]
async fn a_poll_never_lags_behind_what_was_done() {
    let server = Server::start();
    server.event("polls", 1).await;
    let url = format!("http://{}/api/v1/queue/status/polls", server.program.public);
    let status = async |place: &Value| -> Value {
        let request = server.http.get(&url).header("x-usher-place", place.as_str().unwrap());
        request.send().await.unwrap().json().await.unwrap()
    };
    for _ in 0..5 {
        let first = server.check("polls").await;
        let (mut second, answer) = server.join("polls", None).await;
        let third = server.check("polls").await;
        let (second_place, third_place) = (answer["data"]["placeToken"].clone(), third["placeToken"].clone());
        // The node has looked at the line with both in it.
        second.until(|event| event["data"]["waiting"] == 2).await;
        server.leave("polls", &third_place).await;
        assert_eq!(status(&third_place).await["reason"], "LEFT");
        server.leave("polls", &first["placeToken"]).await;
        second.named("queue-entry-allowed").await;
        assert_eq!(status(&second_place).await["status"], "ACTIVE");
        server.operator("POST", "pause/polls", json!({})).await;
        let waiting = server.check("polls").await;
        assert_eq!(status(&waiting["placeToken"]).await["paused"], true);
        server.operator("POST", "resume/polls", json!({})).await;
        server.operator("POST", "clear/polls", json!({"active": true})).await;
        assert_eq!(status(&waiting["placeToken"]).await["status"], "ENDED");
    }
}

#[tokio::test]
async fn the_newer_tab_stays_whichever_node_it_is_on() {
    let redis = queue_core::service::testing::TestRedis::start();
    let store = redis.url();
    let nodes = [Server::with(&["--store", &store]), Server::with(&["--store", &store])];
    // A node may serve before it listens, and what was said before it never hears.
    eventually("both nodes listen", async || {
        let listening = redis.cli(&["PUBSUB", "NUMSUB", "usher:taken-over"]);
        listening.ends_with('2').then_some(())
    })
    .await;
    nodes[0].event("moves", 1).await;
    nodes[0].check("moves").await;
    let (mut older, answer) = nodes[0].join("moves", None).await;
    let place = answer["data"]["placeToken"].clone();
    for turn in 1..20 {
        let (newer, answer) = nodes[turn % 2].join("moves", Some(&place)).await;
        assert_eq!(answer["data"]["position"], 1);
        assert_eq!(code(&older.closed().await), 4001);
        older = newer;
    }
    older.join("moves", None).await;
    assert_eq!(older.named("queue-updated").await["position"], 1);
}
