//! Seats as they change, over WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use queue_core::service::http::Method;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use crate::{
    on_both,
    support::{Ask as _, Kind, TestServer, Visitor, WITHIN},
};

on_both! {
    a_room_tells_what_becomes_of_seats;
    what_people_look_at_is_counted;
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(server: &TestServer, visitor: Option<&Visitor>) -> Self {
        let address = server.url.trim_start_matches("http://");
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        if let Some(visitor) = visitor {
            request.headers_mut().insert("authorization", format!("Bearer {}", visitor.token).parse().unwrap());
        }
        let tcp = TcpStream::connect(address).await.unwrap();
        Self(client_async(request, tcp).await.unwrap().0)
    }

    async fn say(&mut self, event: &str, data: Value) {
        let text = json!({"event": event, "data": data}).to_string();
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next message: its name and its data.
    async fn next(&mut self) -> (String, Value) {
        loop {
            match timeout(WITHIN, self.0.next()).await.expect("nothing came").unwrap().unwrap() {
                Message::Text(text) => {
                    let mut message: Value = serde_json::from_str(&text).unwrap();
                    return (message["event"].as_str().unwrap().to_owned(), message["data"].take());
                }
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    async fn expect(&mut self, event: &str) -> Value {
        let (name, data) = self.next().await;
        assert_eq!(name, event, "{data}");
        data
    }

    /// The code that it is closed with.
    async fn closed(&mut self) -> u16 {
        loop {
            match timeout(WITHIN, self.0.next()).await.expect("it is not closed") {
                Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |frame| frame.code.into()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn a_room_tells_what_becomes_of_seats(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let mut room = Socket::open(&server, None).await;
    room.say("join-event", json!({"eventId": "hall"})).await;
    let info = room.expect("room-info").await;
    assert_eq!((&info["eventId"], &info["subscribers"]), (&json!("hall"), &json!(1)));
    assert_eq!(info["availability"][0]["available"], 10);
    let mut seats = Socket::open(&server, None).await;
    seats.say("join-seat-selection", json!({"eventId": "hall"})).await;
    let info = seats.expect("room-info").await;
    let all = seats.expect("seat-update").await;
    assert_eq!((&all["full"], &all["part"], &all["parts"]), (&json!(true), &json!(1), &json!(1)));
    assert_eq!(all["seats"].as_array().unwrap().len(), 10);
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let locked = seats.expect("seat-locked").await;
    assert_eq!(locked["seatIds"], json!(["A-1-1"]));
    let told = json!({"ticketTypeId": "std", "total": 10, "held": 1, "sold": 0, "available": 9});
    for socket in [&mut seats, &mut room] {
        let updated = socket.expect("ticket-updated").await;
        for (field, value) in told.as_object().unwrap() {
            assert_eq!(updated[field], *value, "{updated}");
        }
    }
    server.act(&ann, &id, "confirm").await.ok(200);
    let sold = seats.expect("seat-update").await;
    assert_eq!((&sold["full"], &sold["seats"]), (&json!(false), &json!([{"seatId": "A-1-1", "state": "SOLD"}])));
    // Who knows something already is told what came after.
    let mut again = Socket::open(&server, None).await;
    let after = format!("{}-{}", info["epoch"].as_str().unwrap(), info["version"]);
    again.say("join-seat-selection", json!({"eventId": "hall", "after": after})).await;
    again.expect("room-info").await;
    assert_eq!(again.expect("seat-locked").await["seatIds"], json!(["A-1-1"]));
    again.expect("ticket-updated").await;
    assert_eq!(again.expect("seat-update").await, sold);
    room.say("join-event", json!({"eventId": "other"})).await;
    // What was sold changed the numbers again.
    room.expect("ticket-updated").await;
    assert_eq!(room.expect("error").await["code"], "INVALID_REQUEST");
}

async fn what_people_look_at_is_counted(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let join = async |socket: &mut Socket| {
        socket.say("join-seat-selection", json!({"eventId": "hall"})).await;
        socket.expect("room-info").await;
    };
    let mut watching = Socket::open(&server, None).await;
    join(&mut watching).await;
    watching.expect("seat-update").await;
    let mut one = Socket::open(&server, Some(&ann)).await;
    join(&mut one).await;
    one.say("seat-selection-changed", json!({"eventId": "hall", "seatIds": ["A-1-1", "A-1-2"]})).await;
    let told = watching.expect("seat-selection-changed").await;
    let seat = |id: &str, selecting: u64| json!({"seatId": id, "selecting": selecting});
    assert_eq!(told["seats"], json!([seat("A-1-1", 1), seat("A-1-2", 1)]));
    let mut other = Socket::open(&server, None).await;
    join(&mut other).await;
    other.expect("seat-selection-changed").await;
    other.expect("seat-update").await;
    let select = json!({"eventId": "hall", "seatIds": ["A-1-1"], "activeToken": bob.token});
    other.say("seat-selection-changed", select).await;
    assert_eq!(watching.expect("seat-selection-changed").await["seats"], json!([seat("A-1-1", 2)]));
    // Who goes looks at nothing any more.
    drop(one);
    assert_eq!(watching.expect("seat-selection-changed").await["seats"], json!([seat("A-1-1", 1), seat("A-1-2", 0)]));
    for (data, code) in [
        (json!({"eventId": "hall", "seatIds": ["A-1-1"]}), "ACTIVE_TOKEN_REQUIRED"),
        (json!({"eventId": "hall", "seatIds": ["A-1-1"], "activeToken": "x"}), "ACTIVE_TOKEN_INVALID"),
        (json!({"eventId": "hall", "seatIds": ["Z-1"], "activeToken": bob.token}), "SEAT_NOT_FOUND"),
        (json!({"eventId": "hall", "seatIds": ["A-1-1", "A-1-1"], "activeToken": bob.token}), "INVALID_REQUEST"),
        (
            json!({"eventId": "hall", "seatIds": [], "activeToken": server.visitor_of("other", 9, 300_000).token}),
            "WRONG_EVENT",
        ),
    ] {
        watching.say("seat-selection-changed", data.clone()).await;
        assert_eq!(watching.expect("error").await["code"], code, "{data}");
    }
}

#[tokio::test]
async fn sockets_have_limits() {
    let two = |flags: &mut Vec<String>, _: &std::path::Path| flags.push("--live-max=2".to_owned());
    let server = TestServer::start_with(Kind::Memory, two).await;
    server.get("/ws").await.is(426, "UPGRADE_REQUIRED");
    let foreign = server.request(Method::GET, "/ws").header("origin", "https://elsewhere.example");
    foreign.answer().await.is(403, "ORIGIN_NOT_ALLOWED");
    let _open = [Socket::open(&server, None).await, Socket::open(&server, None).await];
    assert_eq!(Socket::open(&server, None).await.closed().await, 1013);
    let mut server = TestServer::with_hall(Kind::Memory).await;
    let mut nowhere = Socket::open(&server, None).await;
    let mut socket = Socket::open(&server, None).await;
    nowhere.say("join-event", json!({"eventId": "nowhere"})).await;
    assert_eq!(nowhere.expect("error").await["code"], "EVENT_NOT_FOUND");
    assert_eq!(nowhere.closed().await, 4004);
    socket.say("join-event", json!({"eventId": "hall"})).await;
    socket.expect("room-info").await;
    for _ in 0..20 {
        socket.say("join-queue", json!({"eventId": "hall"})).await;
    }
    assert_eq!(socket.closed().await, 1008);
    let mut large = Socket::open(&server, None).await;
    large.say("join-event", json!({"eventId": "x".repeat(5_000)})).await;
    assert_eq!(large.closed().await, u16::from(CloseCode::Size));
    let mut binary = Socket::open(&server, None).await;
    binary.0.send(Message::Binary(vec![1].into())).await.unwrap();
    assert_eq!(binary.closed().await, 1003);
    let mut last = Socket::open(&server, None).await;
    last.say("join-event", json!({"eventId": "hall"})).await;
    last.expect("room-info").await;
    let (code, ()) = tokio::join!(last.closed(), server.stop());
    assert_eq!(code, 1012);
}

/// The description names every message.
#[test]
fn every_message_is_described() {
    let document: Value = serde_json::from_str(include_str!("../../asyncapi.json")).unwrap();
    let described = document["components"]["messages"].as_object().unwrap();
    let mut names: Vec<_> = described.values().map(|message| message["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let wanted = [
        "error",
        "join-event",
        "join-seat-selection",
        "room-info",
        "seat-locked",
        "seat-selection-changed",
        "seat-update",
        "ticket-updated",
    ];
    assert_eq!(names, wanted);
    let text = document.to_string();
    for rest in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", rest.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
    }
}
