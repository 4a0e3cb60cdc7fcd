//! The read side: who completed when, and what was sold.

use http::Method;
use queue_core::{ids::EventId, keys::LineKeys};
use serde_json::{Value, json};

use crate::{on_both, support::*};

on_both! {
    completions_are_ranked_for_everybody;
    what_was_taken_back_is_in_no_ranking;
    statistics_add_up_and_outlive_store_and_server;
}

async fn book(server: &TestServer, visitor: &Visitor, seats: &[&str]) -> String {
    let id = server.hold(visitor, seats).await;
    server.act(visitor, &id, "confirm").await.ok(200);
    id
}

/// What was read a moment ago may be shown still.
async fn ranked(server: &TestServer, query: &str, total: u64) -> Answer {
    eventually("the ranking", async || {
        let answer = server.get(&format!("/api/v1/rankings/hall{query}")).await;
        (answer.json["total"] == total).then_some(answer)
    })
    .await
}

async fn completions_are_ranked_for_everybody(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let none = ranked(&server, "", 0).await;
    assert_eq!(none.headers["cache-control"], "no-cache");
    assert_eq!(none.ok(200), json!({"eventId": "hall", "items": [], "page": 1, "pageSize": 20, "total": 0}));
    let (ann, bob, cay) = (server.visitor(41), server.visitor(7), server.visitor(19));
    // Held first: a session that has booked and holds nothing more is over.
    let (first, last) = (server.hold(&bob, &["A-1-1", "A-1-2"]).await, server.hold(&bob, &["A-1-4"]).await);
    server.act(&bob, &first, "confirm").await.ok(200);
    book(&server, &ann, &["A-1-3"]).await;
    server.act(&bob, &last, "confirm").await.ok(200);
    let answer = ranked(&server, "", 3).await;
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    let ranking = answer.ok(200);
    let items = ranking["items"].as_array().unwrap();
    let shown: Vec<_> = items.iter().map(|item| json!([item["rank"], item["queuePlace"], item["seats"]])).collect();
    assert_eq!(shown, [json!([1, 8, 2]), json!([2, 42, 1]), json!([3, 8, 1])]);
    for item in items {
        // Tests' sessions were admitted ten minutes before.
        let ms = item["completionMs"].as_u64().unwrap();
        assert!((600_000..700_000).contains(&ms) && item["completedAt"].is_string(), "{item}");
        assert_eq!(item.as_object().unwrap().len(), 5, "nothing else is told: {item}");
    }
    let text = ranking.to_string();
    assert!(!text.contains(ann.id.as_str()) && !text.contains("r_"), "{text}");
    let tagged = server.request(Method::GET, "/api/v1/rankings/hall").header("if-none-match", &etag).answer().await;
    assert_eq!(tagged.status, 304);

    let second = ranked(&server, "?page=2&pageSize=2", 3).await.ok(200);
    assert_eq!((second["items"].as_array().unwrap().len(), &second["items"][0]["rank"]), (1, &json!(3)));
    let beyond = ranked(&server, "?page=1000000&pageSize=100", 3).await.ok(200);
    assert_eq!(beyond["items"], json!([]));
    for wrong in ["page=0", "pageSize=101", "page=x"] {
        server.get(&format!("/api/v1/rankings/hall?{wrong}")).await.is(422, "INVALID_REQUEST");
    }

    // Whoever took part finds their own.
    let own = server.get_as(&bob, "/api/v1/rankings/hall?page=1&pageSize=2").await;
    assert_eq!(own.headers["cache-control"], "no-store");
    let own = own.ok(200);
    let ranks = |items: &Value| items.as_array().unwrap().iter().map(|item| item["rank"].clone()).collect::<Vec<_>>();
    assert_eq!(ranks(&own["mine"]), [1, 3]);
    assert_eq!((&own["items"][0]["mine"], &own["items"][1]["mine"]), (&json!(true), &Value::Null));
    assert_eq!(server.get_as(&cay, "/api/v1/rankings/hall").await.ok(200)["mine"], json!([]));
    let stranger = server.visitor_of("other", 3, 300_000);
    assert_eq!(server.get_as(&stranger, "/api/v1/rankings/hall").await.ok(200)["mine"], Value::Null);
    let bad = server.request(Method::GET, "/api/v1/rankings/hall").bearer_auth("x.y.z").answer().await;
    bad.is(401, "ACTIVE_TOKEN_INVALID");
}

async fn what_was_taken_back_is_in_no_ranking(kind: Kind) {
    let server = TestServer::start(kind).await;
    let mut body = hall();
    body["cancellation"] = json!({"allowedUntil": "2029-01-01T00:00:00.000Z"});
    server.put("hall", body).await.ok(201);
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let given_back = book(&server, &ann, &["A-1-1"]).await;
    book(&server, &bob, &["A-1-2"]).await;
    ranked(&server, "", 2).await;
    server.act(&ann, &given_back, "cancel").await.ok(200);
    let ranking = ranked(&server, "", 1).await.ok(200);
    assert_eq!((&ranking["items"][0]["rank"], &ranking["items"][0]["queuePlace"]), (&json!(1), &json!(3)));
    assert_eq!(server.get_as(&ann, "/api/v1/rankings/hall").await.ok(200)["mine"], json!([]));
}

/// As the queue keeps it, or tells it.
fn admits(server: &TestServer, generation: u64, admitted: u64) {
    match &server.queue_store {
        Some(redis) => {
            let (line, generation) = (LineKeys::new(&EventId::new("hall").unwrap()), format!("{generation:016x}"));
            redis.cli(&["HSET", &line.meta, "generation", &generation, "admitted", &admitted.to_string()]);
        }
        None => server.queue.has_admitted(generation, admitted),
    }
}

/// Asks until it says so: what was read a moment ago may be shown still.
async fn stats_with(server: &TestServer, conversion: Value, holds: Value) -> Value {
    eventually("the statistics", async || {
        let stats = server.get("/api/v1/stats/hall").await.ok(200);
        (stats["conversion"] == conversion && stats["holds"] == holds).then_some(stats)
    })
    .await
}

async fn statistics_add_up_and_outlive_store_and_server(kind: Kind) {
    let mut server = TestServer::with_hall(kind).await;
    admits(&server, 1, 3);
    let (ann, bob, cay) = (server.visitor(1), server.visitor(2), server.visitor(3));
    let seats = server.hold(&ann, &["A-1-1", "A-1-2"]).await;
    let standing = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 2});
    let held = server.post_as(&ann, "/api/v1/reservations", standing).await.ok(201);
    for id in [&seats, held["reservationId"].as_str().unwrap()] {
        server.act(&ann, id, "confirm").await.ok(200);
    }
    let given_up = server.hold(&bob, &["A-1-3"]).await;
    server.act(&bob, &given_up, "cancel").await.ok(200);
    let short = json!({"eventId": "hall", "seatIds": ["A-1-4"], "holdSeconds": 10});
    server.post_as(&cay, "/api/v1/seats/reserve", short).await.ok(201);
    server.await_state("A-1-4", "FREE").await;

    let conversion = json!({"admitted": 3, "booked": 1, "rate": 0.3333});
    let holds = json!({"taken": 4, "expired": 1, "givenUp": 1, "expiryRate": 0.25});
    let stats = stats_with(&server, conversion.clone(), holds.clone()).await;
    assert_eq!(stats["sold"], json!({"bookings": 2, "tickets": 4}));
    let types = json!([{"ticketTypeId": "standing", "sold": 2}, {"ticketTypeId": "std", "sold": 2}]);
    assert_eq!(stats["byType"], types);
    let minutes = stats["byMinute"].as_array().unwrap();
    assert_eq!(minutes.iter().map(|minute| minute["sold"].as_u64().unwrap()).sum::<u64>(), 4);
    let first = minutes[0]["minute"].as_str().unwrap();
    assert!(first.ends_with(":00.000Z"), "{first}");
    let before = server.get(&format!("/api/v1/stats/hall?before={first}")).await.ok(200);
    assert_eq!((&before["byMinute"], &before["byType"]), (&json!([]), &types));
    server.get("/api/v1/stats/hall?before=yesterday").await.is(422, "INVALID_REQUEST");

    // Line and store are lost, and the server ends: what they had counted is in the ledger, and counting goes on.
    server.stop().await;
    for redis in server.store.iter().chain(&server.queue_store) {
        redis.cli(&["FLUSHALL"]);
    }
    server.start_again().await;
    stats_with(&server, conversion, holds).await;
    admits(&server, 2, 5);
    server.hold(&bob, &["A-2-1"]).await;
    let conversion = json!({"admitted": 8, "booked": 1, "rate": 0.125});
    stats_with(&server, conversion, json!({"taken": 5, "expired": 1, "givenUp": 1, "expiryRate": 0.2})).await;
}
