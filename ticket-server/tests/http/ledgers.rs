//! A ledger that is a server of its own, and goes away.

use std::time::Duration;

use queue_core::service::testing_sql::{TestMariaDb, TestPostgres};
use serde_json::json;

use crate::support::*;

/// With an event `hall` and the ledger at that address.
async fn start(ledger: String) -> TestServer {
    let server = TestServer::start_with(Kind::Redis, |flags, _| flags.push(format!("--ledger={ledger}"))).await;
    server.put("hall", hall()).await.ok(201);
    server
}

/// Confirms until it works; everything before was 503 `LEDGER_UNAVAILABLE`.
async fn confirms_again(server: &TestServer, visitor: &Visitor, id: &str) {
    eventually("a confirmation", async || {
        let answer = server.act(visitor, id, "confirm").await;
        if answer.status != 200 {
            answer.is(503, "LEDGER_UNAVAILABLE");
            return None;
        }
        Some(())
    })
    .await;
}

/// What the database has of it, by its own client: bookings, seats, messages.
fn rows(database: &TestPostgres) -> Vec<String> {
    let count = |table: &str| database.sql("tickets", &format!("SELECT count(*) FROM {table}"));
    vec![
        database.sql("tickets", "SELECT count(*) FROM bookings WHERE state = 'CONFIRMED'"),
        count("sold_seats"),
        count("outbox"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_while_visitors_confirm() {
    let mut database = TestPostgres::start();
    let server = std::sync::Arc::new(start(database.create_database("tickets")).await);
    let visitors: Vec<_> = (1..=9).map(|n| server.visitor(n)).collect();
    let seats = ["A-1-1", "A-1-2", "A-1-3", "A-1-4", "A-1-5", "A-2-1", "A-2-2", "A-2-3", "A-2-4"];
    let mut held = Vec::new();
    for (visitor, seat) in visitors.iter().zip(seats) {
        held.push(server.hold(visitor, &[seat]).await);
    }
    server.act(&visitors[0], &held[0], "confirm").await.ok(200);
    let confirming: Vec<_> = (1..8)
        .map(|n| {
            let (server, id) = (std::sync::Arc::clone(&server), held[n].clone());
            let visitor = server.visitor(n as u64 + 1);
            tokio::spawn(async move { (n, server.act(&visitor, &id, "confirm").await) })
        })
        .collect();
    database.kill();
    let mut confirmed = vec![0];
    for answer in confirming {
        let (n, answer) = answer.await.unwrap();
        match answer.status {
            200 => confirmed.push(n),
            _ => drop(answer.is(503, "LEDGER_UNAVAILABLE")),
        }
    }
    let away = server.act(&visitors[8], &held[8], "confirm").await.is(503, "LEDGER_UNAVAILABLE");
    assert!(away.headers.contains_key("retry-after"));
    for (n, seat) in seats.iter().enumerate() {
        let state = server.state_of(seat).await;
        assert!(state == "SOLD" || !confirmed.contains(&n) && state == "HELD", "{seat}: {state}");
    }
    // Holding needs no ledger.
    server.hold(&server.visitor(10), &["A-2-5"]).await;
    database.restart();
    for (visitor, id) in visitors.iter().zip(&held) {
        confirms_again(&server, visitor, id).await;
    }
    assert_eq!(rows(&database), ["9", "9", "9"], "each once");
    for seat in seats {
        assert_eq!(server.state_of(seat).await, "SOLD");
    }
    let mine = server.get_as(&visitors[3], "/api/v1/reservations/my").await.ok(200);
    assert_eq!(mine["items"][0]["seatIds"], json!([seats[3]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_that_says_nothing_is_not_waited_for() {
    let database = TestPostgres::start();
    let server = start(database.create_database("tickets")).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let ids = [server.hold(&ann, &["A-1-1"]).await, server.hold(&bob, &["A-1-2"]).await];
    server.act(&ann, &ids[0], "confirm").await.ok(200);
    database.pause();
    server.act(&bob, &ids[1], "confirm").await.is(503, "LEDGER_UNAVAILABLE");
    assert_eq!(server.state_of("A-1-2").await, "HELD");
    database.resume();
    confirms_again(&server, &bob, &ids[1]).await;
    assert_eq!(rows(&database), ["2", "2", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_at_its_start_for_mariadb_and_survives_its_restart() {
    let mut database = TestMariaDb::start();
    let url = database.create_database("tickets");
    database.kill();
    let restarting = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(500));
        database.restart();
        database
    });
    let server = start(url).await;
    let mut database = restarting.await.unwrap();
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let ids = [server.hold(&ann, &["A-1-1"]).await, server.hold(&bob, &["A-1-2"]).await];
    server.act(&ann, &ids[0], "confirm").await.ok(200);
    database.kill();
    server.act(&bob, &ids[1], "confirm").await.is(503, "LEDGER_UNAVAILABLE");
    database.restart();
    confirms_again(&server, &bob, &ids[1]).await;
    assert_eq!(database.sql("tickets", "SELECT count(*) FROM sold_seats"), "2");
}
