//! A store that is away, that lost its data, and a ledger that is right.

use queue_core::ids::{EventId, VisitorId};
use serde_json::json;
use ticket_server::{
    clock::Clock,
    engine::{Engine as _, RedisEngine},
    ids::ReservationId,
    ledger::{Booking, Ledger, LedgerUrl, Ordered, Tickets},
    model::{Command, Outcome},
};

use crate::support::{Kind, TestServer, eventually, hall, now};

#[tokio::test]
async fn a_store_that_is_away_is_said_to_be() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let (bob, booked) = (server.visitor(2), server.hold(&server.visitor(2), &["A-2-1"]).await);
    let before = server.act(&bob, &booked, "confirm").await.ok(200);
    server.store.as_ref().unwrap().pause();
    assert_eq!(server.act(&bob, &booked, "confirm").await.ok(200), before, "the ledger has it");
    let answer = server.reserve(&ann, &["A-1-2"]).await.is(503, "STORE_UNAVAILABLE");
    assert!(answer.headers.contains_key("retry-after"));
    server.act(&ann, &id, "confirm").await.is(503, "STORE_UNAVAILABLE");
    server.store.as_ref().unwrap().resume();
    eventually("the store", async || (server.act(&ann, &id, "confirm").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_store_that_lost_its_data_is_rebuilt_from_the_ledger() {
    let mut server = TestServer::with_hall(Kind::Redis).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let sold = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &sold, "confirm").await.ok(200);
    let wish = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 3});
    let standing = server.post_as(&bob, "/api/v1/reservations", wish).await.ok(201);
    let standing = standing["reservationId"].as_str().unwrap().to_owned();
    let lost = server.hold(&bob, &["A-1-2"]).await;
    server.act(&bob, &standing, "confirm").await.ok(200);
    for how in ["flushed", "restarted"] {
        let store = server.store.as_mut().unwrap();
        match how {
            "flushed" => drop(store.cli(&["FLUSHALL"])),
            _ => store.restart(),
        }
        let map = eventually("the map", async || {
            let answer = server.get("/api/v1/seats/events/hall").await;
            (answer.status == 200).then_some(answer.json)
        })
        .await;
        let state = |seat: &str| {
            map["seats"].as_array().unwrap().iter().find(|s| s["seatId"] == seat).unwrap()["state"].clone()
        };
        assert_eq!((state("A-1-1"), state("A-1-2")), (json!("SOLD"), json!("FREE")), "{how}");
        let left = server.get("/api/v1/tickets/availability/standing?eventId=hall").await.ok(200);
        assert_eq!((&left["sold"], &left["available"]), (&json!(3), &json!(7)), "{how}");
        server.act(&bob, &lost, "confirm").await.is(410, "HOLD_EXPIRED");
        server.get_as(&bob, &format!("/api/v1/reservations/{lost}")).await.is(410, "HOLD_EXPIRED");
    }
    server.reserve(&server.visitor(3), &["A-1-1"]).await.is(409, "SEAT_TAKEN");
    server.hold(&server.visitor(3), &["A-1-2"]).await;
}

/// A process pinned a hold, asked the ledger or not, and died. What is not booked by then goes on as long as it
/// would have, and no longer.
#[tokio::test]
async fn pinned_holds_are_settled() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let engine = RedisEngine::new(server.store_client().await);
    let ledger =
        Ledger::open(&LedgerUrl::file(server.folder.path().join("state/tickets.db")), Clock::Real).await.unwrap();
    let event = EventId::new("hall").unwrap();
    let (ann, bob, eve) = (server.visitor(1), server.visitor(2), server.visitor(3));
    let wish = json!({"eventId": "hall", "seatIds": ["A-1-3"], "holdSeconds": 10});
    let short = server.post_as(&eve, "/api/v1/seats/reserve", wish).await.ok(201)["reservationId"].clone();
    let short = short.as_str().unwrap().to_owned();
    let ids = [server.hold(&ann, &["A-1-1"]).await, server.hold(&bob, &["A-1-2"]).await, short];
    let ids = ids.map(|id| ReservationId::new(&id).unwrap());
    for (id, who) in ids.iter().zip(["a_1", "a_2", "a_3"]) {
        let pin = Command::Pin { reservation: id.clone(), visitor: VisitorId::new(who).unwrap() };
        assert!(matches!(engine.apply(&event, pin).await, Ok(Outcome::Hold(_))));
    }
    ledger
        .book(Booking {
            reservation: ids[1].clone(),
            event: event.clone(),
            visitor: bob.id.clone(),
            jti: bob.jti,
            ordered: Ordered::Seats(vec![ticket_server::ids::SeatId::new("A-1-2").unwrap()]),
            tickets: Tickets::default(),
            total_minor: 5_000,
            currency: "EUR".into(),
            admitted_at: None,
            held_at: None,
            hold_end: now(),
            at: now(),
        })
        .await
        .unwrap();
    server.await_state("A-1-3", "FREE").await;
    server.await_state("A-1-2", "SOLD").await;
    server.act(&eve, ids[2].as_str(), "confirm").await.is(410, "HOLD_EXPIRED");
    // Unpinned: it could be given up, or booked after all.
    eventually("another try", async || {
        let extended = server.act(&ann, ids[0].as_str(), "extend").await;
        (extended.status == 200).then_some(())
    })
    .await;
    assert_eq!(server.act(&ann, ids[0].as_str(), "confirm").await.ok(200)["state"], "CONFIRMED");
    assert_eq!(server.act(&bob, ids[1].as_str(), "confirm").await.ok(200)["state"], "CONFIRMED");
}

/// The store was told that a sold seat is free: the ledger stops the second sale, and the store learns.
#[tokio::test]
async fn the_ledger_is_the_second_barrier() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &id, "confirm").await.ok(200);
    server.store.as_ref().unwrap().cli(&["SETBIT", "ticket:{hall}:seats", "0", "0"]);
    let second = server.hold(&bob, &["A-1-1", "A-1-2"]).await;
    let refused = server.act(&bob, &second, "confirm").await.is(409, "SEAT_TAKEN");
    assert_eq!(refused.json["details"]["seatIds"], json!(["A-1-1"]));
    assert_eq!((server.state_of("A-1-1").await, server.state_of("A-1-2").await), ("SOLD".into(), "FREE".into()));
    server.act(&bob, &second, "confirm").await.is(410, "HOLD_EXPIRED");
    let metrics = server.ops_get("/metrics").await;
    assert!(metrics.contains("usher_ticket_oversold_total 1"), "{metrics}");
}

/// Somebody else has the database locked: nothing is acknowledged, nothing is lost.
#[tokio::test]
async fn a_ledger_that_is_away_is_said_to_be() {
    use sqlx::{Connection as _, SqliteConnection};
    let server = TestServer::with_hall(Kind::Memory).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    let file = format!("sqlite:{}", server.folder.path().join("state/tickets.db").display());
    let mut other = SqliteConnection::connect(&file).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let refused = server.act(&ann, &id, "confirm").await.is(503, "LEDGER_UNAVAILABLE");
    assert!(refused.headers.contains_key("retry-after"));
    server.act(&ann, &id, "cancel").await.is(409, "RESERVATION_NOT_HELD");
    server.hold(&bob, &["A-1-2"]).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(server.act(&ann, &id, "confirm").await.ok(200)["state"], "CONFIRMED");
    assert_eq!(server.state_of("A-1-1").await, "SOLD");
}

/// Each of them could wait for the one before; all have their answer in time.
#[tokio::test]
async fn many_who_want_the_map_of_a_store_that_is_away_wait_no_longer_than_one() {
    let server = std::sync::Arc::new(TestServer::with_hall(Kind::Redis).await);
    server.get("/api/v1/seats/events/hall").await.ok(200);
    server.store.as_ref().unwrap().pause();
    let ask = |server: std::sync::Arc<TestServer>| async move {
        let asked = tokio::time::Instant::now();
        server.get("/api/v1/seats/events/hall").await.is(503, "STORE_UNAVAILABLE");
        asked.elapsed()
    };
    let asking: Vec<_> = (0..30).map(|_| tokio::spawn(ask(std::sync::Arc::clone(&server)))).collect();
    for waited in asking {
        let waited = waited.await.unwrap();
        assert!(waited < std::time::Duration::from_secs(2), "{waited:?}");
    }
    server.store.as_ref().unwrap().resume();
}

/// One server adds seats and holds one; the other, which has not looked since, confirms.
#[tokio::test]
async fn seats_that_another_server_added_are_booked() {
    let mut server = TestServer::with_hall(Kind::Redis).await;
    let (first_url, first_ops) = (server.url.clone(), server.ops.clone());
    let first = server.move_to_second().await;
    let second_url = std::mem::replace(&mut server.url, first_url);
    server.ops = first_ops;
    let mut larger = hall();
    larger["sections"][0]["rows"] = json!(3);
    server.put("hall", larger).await.ok(200);
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1", "A-3-1"]).await;
    server.url = second_url;
    let booked = server.act(&ann, &id, "confirm").await.ok(200);
    assert_eq!(booked["seatIds"], json!(["A-1-1", "A-3-1"]));
    assert_eq!(server.state_of("A-3-1").await, "SOLD");
    first.shut_down();
}

/// The store is full of holds that were given up: the oldest goes.
#[tokio::test]
async fn a_store_remembers_only_so_many_past_holds() {
    let server = TestServer::with_hall(Kind::Redis).await;
    let store = server.store.as_ref().unwrap();
    let fill = "local t = redis.call('TIME')[1] * 1000 + 600000 \
                for i = 1, 100000 do redis.call('ZADD', KEYS[1], t + i, 'r' .. i) redis.call('HSET', KEYS[2], 'r' .. i, '') end";
    store.cli(&["EVAL", fill, "2", "ticket:{hall}:past_until", "ticket:{hall}:past"]);
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &id, "cancel").await.ok(200);
    assert_eq!(server.get_as(&ann, &format!("/api/v1/reservations/{id}")).await.ok(200)["state"], "CANCELLED");
    assert_eq!(store.cli(&["ZCARD", "ticket:{hall}:past_until"]).trim(), "100000");
    assert_eq!(store.cli(&["HLEN", "ticket:{hall}:past"]).trim(), "100000");
    assert_eq!(store.cli(&["HEXISTS", "ticket:{hall}:past", "r1"]).trim(), "0");
}
