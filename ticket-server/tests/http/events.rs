//! Events: creating, changing, listing, and what is left of them.

use queue_core::service::http::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    support::{Ask as _, Kind, TestServer, hall},
};

on_both! {
    events_are_created_and_changed;
    what_is_held_or_sold_is_not_taken_away;
    seat_maps_have_a_version;
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = hall();
    change(&mut body);
    body
}

async fn events_are_created_and_changed(kind: Kind) {
    let server = TestServer::start(kind).await;
    server.get("/api/v1/events/hall").await.is(404, "EVENT_NOT_FOUND");
    let created = server.put("hall", hall()).await;
    assert_eq!(created.headers["location"], "/api/v1/admin/events/hall");
    let created = created.ok(201);
    assert_eq!((&created["eventId"], &created["seatCount"]), (&json!("hall"), &json!(10)));
    assert_eq!(server.put("hall", hall()).await.ok(200), created);
    let answer = server.get("/api/v1/events/hall").await;
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(answer.ok(200), created);
    let again = || server.request(Method::GET, "/api/v1/events/hall").header("if-none-match", &tag).answer();
    assert_eq!(again().await.status, 304);
    let changed = with(|body| {
        body["name"] = json!("Last night");
        body["sections"][0]["rows"] = json!(3);
        body["sections"]
            .as_array_mut()
            .unwrap()
            .push(json!({"section": "B", "ticketTypeId": "std", "rows": 1, "seatsPerRow": 2}));
        body["seats"] = json!([{"seatId": "Box-1", "section": "Box", "row": "L", "number": 1, "ticketTypeId": "std"}]);
    });
    assert_eq!(server.put("hall", changed).await.ok(200)["seatCount"], 18);
    assert_eq!(again().await.ok(200)["name"], "Last night");
    let map = server.get("/api/v1/seats/events/hall").await.ok(200);
    let shown = map["seats"].as_array().unwrap();
    assert_eq!(shown.len(), 18);
    let find = |id: &str| shown.iter().find(|seat| seat["seatId"] == id).unwrap().clone();
    let expected = json!({"seatId": "A-1-1", "section": "A", "row": 1, "number": 1, "ticketTypeId": "std",
        "priceMinor": 5000, "state": "FREE"});
    assert_eq!(find("A-1-1"), expected);
    assert_eq!(find("Box-1")["row"], "L");
    server.hold(&server.visitor(1), &["A-3-5", "B-1-2", "Box-1"]).await;
    let server = server.restart().await;
    assert_eq!(server.get("/api/v1/events/hall").await.ok(200)["name"], "Last night");
}

async fn what_is_held_or_sold_is_not_taken_away(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let ann = server.visitor(1);
    server.hold(&ann, &["A-2-5"]).await;
    let wish = json!({"eventId": "hall", "ticketTypeId": "standing", "quantity": 3});
    server.post_as(&ann, "/api/v1/reservations", wish).await.ok(201);
    for body in [
        with(|body| body["sections"][0]["rows"] = json!(1)),
        with(|body| body["sections"][0]["section"] = json!("B")),
        with(|body| body["ticketTypes"][1]["quantity"] = json!(2)),
        with(|body| drop(body["ticketTypes"].as_array_mut().unwrap().remove(1))),
    ] {
        server.put("hall", body).await.is(409, "SEATS_IN_USE");
    }
    assert_eq!(server.get("/api/v1/events/hall").await.ok(200)["seatCount"], 10);
    server.put("hall", with(|body| body["ticketTypes"][1]["quantity"] = json!(3))).await.ok(200);
    // Seats that are free go, and come back as they were.
    let fewer = with(|body| body["sections"][0]["seatsPerRow"] = json!(5));
    server
        .put(
            "hall",
            with(|body| {
                body["sections"][0]["rows"] = json!(2);
                body["sections"][0]["seatsPerRow"] = json!(6);
            }),
        )
        .await
        .ok(200);
    server.put("hall", fewer).await.ok(200);
    server.reserve(&server.visitor(2), &["A-1-6"]).await.is(404, "SEAT_NOT_FOUND");
    assert_eq!(server.state_of("A-2-5").await, "HELD");
    server.hold(&server.visitor(2), &["A-1-5"]).await;
}

async fn seat_maps_have_a_version(kind: Kind) {
    let server = TestServer::with_hall(kind).await;
    let first = server.get("/api/v1/seats/events/hall").await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let map = first.ok(200);
    assert_eq!(map["eventId"], "hall");
    let again = || server.request(Method::GET, "/api/v1/seats/events/hall").header("if-none-match", &tag).answer();
    assert_eq!(again().await.status, 304);
    let id = server.hold(&server.visitor(1), &["A-1-1"]).await;
    let second = again().await.ok(200);
    assert!(second["version"].as_u64() > map["version"].as_u64());
    server.act(&server.visitor(1), &id, "confirm").await.ok(200);
    let types = server.get("/api/v1/tickets/event/hall").await.ok(200);
    assert_eq!(types["items"][0]["ticketTypeId"], "std");
    assert_eq!((&types["items"][0]["sold"], &types["items"][0]["available"]), (&json!(1), &json!(9)));
    let left = server.get("/api/v1/tickets/availability/std?eventId=hall").await.ok(200);
    assert_eq!(
        left,
        json!({"eventId": "hall", "ticketTypeId": "std", "total": 10, "held": 0, "sold": 1, "available": 9})
    );
}

#[tokio::test]
async fn all_problems_of_an_event_are_named() {
    let server = TestServer::start(Kind::Memory).await;
    let bad = json!({
        "name": "", "startsAt": "tomorrow", "currency": "euro", "payment": "later", "maxSeatsPerVisitor": 0,
        "ticketTypes": [{"ticketTypeId": "a b", "name": "x", "priceMinor": -1}], "sections": [{"section": "A"}], "colour": "red",
    });
    let answer = server.put("hall", bad).await.is(422, "INVALID_REQUEST");
    let problems = answer.json["details"]["problems"].as_array().unwrap();
    let fields: Vec<_> = problems.iter().map(|problem| problem["field"].as_str().unwrap()).collect();
    for field in [
        "name",
        "startsAt",
        "currency",
        "payment",
        "maxSeatsPerVisitor",
        "ticketTypes[0].ticketTypeId",
        "ticketTypes[0].priceMinor",
        "sections[0].ticketTypeId",
        "sections[0].rows",
        "sections[0].seatsPerRow",
        "colour",
    ] {
        assert!(fields.contains(&field), "{field} in {fields:?}");
    }
    for (body, field) in [
        (with(|body| body["sections"][0]["ticketTypeId"] = json!("vip")), "sections[0].ticketTypeId"),
        (with(|body| body["sections"][0]["ticketTypeId"] = json!("standing")), "sections[0].ticketTypeId"),
        (with(|body| body["sections"][0]["rows"] = json!(40_001)), "sections"),
        (
            with(|body| {
                body["seats"] =
                    json!([{"seatId": "A-1-1", "section": "A", "row": 1, "number": 1, "ticketTypeId": "std"}])
            }),
            "seats[0].seatId",
        ),
        (with(|body| body["ticketTypes"][1]["ticketTypeId"] = json!("std")), "ticketTypes[1].ticketTypeId"),
        (
            with(|body| {
                body["sections"] = json!([]);
                body["ticketTypes"].as_array_mut().unwrap().truncate(1);
            }),
            "sections",
        ),
    ] {
        let answer = server.put("hall", body).await.is(422, "INVALID_REQUEST");
        assert_eq!(answer.json["details"]["field"], field);
    }
    server.put("a%20b", hall()).await.is(422, "INVALID_REQUEST");
    server.get("/api/v1/events/hall").await.is(404, "EVENT_NOT_FOUND");
}

#[tokio::test]
async fn the_largest_hall_fits() {
    let server = TestServer::start(Kind::Redis).await;
    let body = with(|body| {
        body["sections"] = json!([{"section": "A", "ticketTypeId": "std", "rows": 400, "seatsPerRow": 500}]);
    });
    assert_eq!(server.put("hall", body).await.ok(201)["seatCount"], 200_000);
    server.hold(&server.visitor(1), &["A-400-500", "A-1-1"]).await;
    let left = server.get("/api/v1/tickets/availability/std?eventId=hall").await.ok(200);
    assert_eq!((&left["total"], &left["held"]), (&json!(200_000), &json!(2)));
}

#[tokio::test]
async fn events_are_listed_in_pages() {
    let server = TestServer::start(Kind::Memory).await;
    for n in 1..=5 {
        let body = with(|body| {
            body["name"] = json!(format!("Night {n}"));
            body["startsAt"] = json!(format!("2030-06-0{n}T20:00:00.000Z"));
            body["production"] = json!(if n % 2 == 0 { "even" } else { "odd" });
        });
        server.put(&format!("n{n}"), body).await.ok(201);
    }
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["eventId"].as_str().unwrap().to_owned()).collect()
    };
    let page = server.get("/api/v1/events?page=2&pageSize=2").await.ok(200);
    assert_eq!((&page["page"], &page["pageSize"], &page["total"]), (&json!(2), &json!(2), &json!(5)));
    assert_eq!(ids(&page), ["n3", "n4"]);
    for (query, expected) in [
        ("q=NIGHT%202", vec!["n2"]),
        ("q=even", vec!["n2", "n4"]),
        ("from=2030-06-04T00:00:00Z", vec!["n4", "n5"]),
        ("to=2030-06-02T20:00:00Z", vec!["n1"]),
        ("page=9", vec![]),
    ] {
        assert_eq!(ids(&server.get(&format!("/api/v1/events?{query}")).await.ok(200)), expected, "{query}");
    }
    for query in ["page=0", "pageSize=101", "from=now", "page=x"] {
        server.get(&format!("/api/v1/events?{query}")).await.is(422, "INVALID_REQUEST");
    }
    let layouts = server.get("/api/v1/seats/layouts?eventId=n1").await.ok(200);
    assert_eq!(layouts["items"][0]["sections"][0]["rows"], 2);
    assert_eq!(server.get("/api/v1/seats/layouts").await.ok(200)["items"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn only_operators_change_events() {
    let server = TestServer::start(Kind::Memory).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let put = |token: Option<&str>| {
        let request = client.put(format!("{}/api/v1/admin/events/hall", server.ops)).json(&hall());
        token.map(|token| request.try_clone().unwrap().bearer_auth(token)).unwrap_or(request)
    };
    put(None).answer().await.is(401, "OPERATOR_TOKEN_REQUIRED");
    put(Some(&"x".repeat(40))).answer().await.is(403, "OPERATOR_TOKEN_INVALID");
    let public = server.request(Method::PUT, "/api/v1/admin/events/hall").bearer_auth(&server.operator).json(&hall());
    public.answer().await.is(404, "NOT_FOUND");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be() {
    let server = TestServer::with_hall(Kind::Memory).await;
    for path in ["rankings/other", "stats/other"] {
        let answer = server.get(&format!("/api/v1/{path}")).await.is(404, "EVENT_NOT_FOUND");
        assert_eq!(answer.json["traceId"], answer.headers["x-trace-id"].to_str().unwrap());
    }
    server.get("/nowhere").await.is(404, "NOT_FOUND");
    server.get("/api/v1/seats/reserve").await.is(405, "METHOD_NOT_ALLOWED");
    server.get("/api/v1/tickets/availability/std").await.is(422, "INVALID_REQUEST");
    server.get("/api/v1/tickets/availability/vip?eventId=hall").await.is(404, "TICKET_TYPE_NOT_FOUND");
    server.get("/api/v1/tickets/availability/std?eventId=other").await.is(404, "EVENT_NOT_FOUND");
    assert_eq!(server.get("/health").await.ok(200)["status"], "ok");
    let page = server.get("/tickets/hall").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("data-event-id=\"hall\""));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert_eq!(server.get("/assets/tickets.js").await.status, 200);
    server.get("/assets/nothing.js").await.is(404, "NOT_FOUND");
    server.get("/tickets/a%20b").await.is(404, "EVENT_NOT_FOUND");
    let described = server.get("/openapi.json").await.ok(200);
    assert!(described["paths"].is_object());
}

/// Search in words, whatever their case and accents, with synonyms; productions and their dates; pages.
#[tokio::test]
async fn events_are_found() {
    let synonyms = |flags: &mut Vec<String>, folder: &std::path::Path| {
        let file = folder.join("synonyms.txt");
        std::fs::write(&file, "# what means the same\nconcert, gig, 콘서트\n").unwrap();
        flags.push(format!("--synonyms={}", file.display()));
    };
    let server = TestServer::start_with(Kind::Memory, synonyms).await;
    let events = [
        ("seoul-1", "서울 봄 콘서트", "2031-04-01T10:00:00.000Z", Some("spring")),
        ("seoul-2", "서울 봄 콘서트", "2031-04-02T10:00:00.000Z", Some("spring")),
        ("cafe", "Béyond Café: a small concert", "2031-03-01T10:00:00.000Z", None),
        ("opera", "Die Zauberflöte", "2031-05-01T10:00:00.000Z", Some("flute")),
    ];
    for (id, name, starts, production) in events {
        let body = with(|body| {
            (body["name"], body["startsAt"]) = (json!(name), json!(starts));
            body["production"] = json!(production);
        });
        server.put(id, body).await.ok(201);
    }
    let find = async |query: &str| {
        let page = server.get(&format!("/api/v1/events?{query}")).await.ok(200);
        let ids = page["items"].as_array().unwrap().iter().map(|item| item["eventId"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["total"].as_u64().unwrap())
    };
    for (query, wanted) in [
        ("q=GIG", vec!["cafe", "seoul-1", "seoul-2"]),
        ("q=beyond+CAFE", vec!["cafe"]),
        ("q=zauberflote", vec!["opera"]),
        ("q=%EB%B4%84", vec!["seoul-1", "seoul-2"]),
        ("q=concert&production=spring&from=2031-04-02T00:00:00Z", vec!["seoul-2"]),
        ("q=nothing", vec![]),
        ("production=flute", vec!["opera"]),
    ] {
        assert_eq!(find(query).await.0, wanted, "{query}");
    }
    assert_eq!(find("q=gig&page=2&pageSize=2").await, (vec!["seoul-2".to_owned()], 3));
    let productions = server.get("/api/v1/productions").await.ok(200);
    assert_eq!(
        productions["items"][0],
        json!({"production": "spring", "name": "서울 봄 콘서트", "eventCount": 2,
            "firstStartsAt": "2031-04-01T10:00:00.000Z", "lastStartsAt": "2031-04-02T10:00:00.000Z"})
    );
    let long = "a+".repeat(13);
    server.get(&format!("/api/v1/events?q={long}&page=0")).await.is(422, "INVALID_REQUEST");
}

#[tokio::test]
async fn layouts_show_rows_and_areas() {
    let server = TestServer::start(Kind::Memory).await;
    let body = with(|body| {
        body["seats"] = json!([
            {"seatId": "Box-1", "section": "Box", "row": "L", "number": 1, "ticketTypeId": "std"},
            {"seatId": "Box-2", "section": "Box", "row": "L", "number": 2, "ticketTypeId": "std"},
            {"seatId": "Box-3", "section": "Box", "row": "R", "number": 1, "ticketTypeId": "std"},
        ]);
    });
    server.put("hall", body).await.ok(201);
    let answer = server.get("/api/v1/seats/layouts?eventId=hall").await;
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    let layout = answer.ok(200)["items"][0].clone();
    assert_eq!(layout["generalAdmission"], json!([{"ticketTypeId": "standing", "name": "Standing", "quantity": 10}]));
    let rows = &layout["otherSections"][0]["rows"];
    assert_eq!((&rows[0]["row"], rows[0]["seats"].as_array().unwrap().len()), (&json!("L"), 2));
    assert_eq!(rows[1]["seats"][0], json!({"seatId": "Box-3", "number": 1, "ticketTypeId": "std"}));
    let again = server.request(Method::GET, "/api/v1/seats/layouts?eventId=hall").header("if-none-match", tag);
    assert_eq!(again.answer().await.status, 304);
    let all = server.get("/api/v1/seats/layouts?pageSize=1").await.ok(200);
    assert_eq!((&all["total"], &all["items"][0]["otherSeats"]), (&json!(1), &json!(3)));
}

/// One server makes events and changes them; the other, on the same store and ledger, shows them at once.
#[tokio::test]
async fn servers_tell_each_other_of_events() {
    let mut server = TestServer::with_hall(Kind::Redis).await;
    let first = (server.url.clone(), server.ops.clone());
    let first_life = server.move_to_second().await;
    let second = std::mem::replace(&mut server.url, first.0.clone());
    let second_ops = std::mem::replace(&mut server.ops, first.1.clone());
    server.put("new", hall()).await.ok(201);
    server.put("hall", with(|body| body["name"] = json!("Last night"))).await.ok(200);
    (server.url, server.ops) = (second, second_ops);
    // Asked for, it is looked up; changed, it is told of.
    assert_eq!(server.get("/api/v1/events/new").await.ok(200)["eventId"], "new");
    crate::support::eventually("the new name", async || {
        (server.get("/api/v1/events/hall").await.ok(200)["name"] == "Last night").then_some(())
    })
    .await;
    let ann = server.visitor_of("new", 1, 300_000);
    let wish = json!({"eventId": "new", "seatIds": ["A-1-1"]});
    server.post_as(&ann, "/api/v1/seats/reserve", wish).await.ok(201);
    server.get("/api/v1/events/nowhere").await.is(404, "EVENT_NOT_FOUND");
    first_life.shut_down();
}

#[tokio::test]
async fn problems_have_paths_and_codes() {
    let server = TestServer::start(Kind::Memory).await;
    let body = with(|body| {
        body["ticketTypes"][1]["ticketTypeId"] = json!("std");
        body["sections"][0]["ticketTypeId"] = json!("none");
        body["seats"] = json!([
            {"seatId": "A-1-1", "section": "A", "row": 1, "number": 1, "ticketTypeId": "std"},
            {"seatId": "B", "section": "A", "row": 1, "number": 1, "ticketTypeId": "std", "x": 1},
        ]);
    });
    let problems = server.put("hall", body).await.is(422, "INVALID_REQUEST").json["details"]["problems"].clone();
    assert_eq!(problems[0]["field"], "seats[1].x");
    assert_eq!(problems[0]["code"], "UNKNOWN_FIELD");
    let body = with(|body| {
        body["ticketTypes"][1] = json!({"ticketTypeId": "std", "name": "x", "priceMinor": 1});
        body["sections"][0]["ticketTypeId"] = json!("none");
        body["seats"] = json!([{"seatId": "A-1-1", "section": "A", "row": 1, "number": 1, "ticketTypeId": "std"}]);
    });
    let problems = server.put("hall", body).await.is(422, "INVALID_REQUEST").json["details"]["problems"].clone();
    let found: Vec<_> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["field"].as_str().unwrap(), problem["code"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("ticketTypes[1].ticketTypeId", "DUPLICATE"),
        ("sections[0].ticketTypeId", "UNKNOWN_TICKET_TYPE"),
        ("seats[0].seatId", "DUPLICATE"),
    ];
    assert_eq!(found, wanted);
    // Nothing of it was done, and the list is bounded.
    server.get("/api/v1/events/hall").await.is(404, "EVENT_NOT_FOUND");
    let many = with(|body| body["seats"] = json!(vec![json!({}); 1_000]));
    let problems = server.put("hall", many).await.is(422, "INVALID_REQUEST").json["details"]["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 100);
}
