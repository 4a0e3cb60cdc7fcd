//! What a data platform reads over HTTP, on every database.

use queue_core::{
    ids::Millis,
    service::{
        http::Method,
        testing::Ask as _,
        testing_sql::{TestMariaDb, TestPostgres},
    },
};
use serde_json::{Value, json};

use crate::support::{Kind, TestServer, eventually, hall, now};

const COMPLETED: &str = "/api/v1/admin/reservations/completed";

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["reservationId"].as_str().unwrap()).collect()
}

async fn all_of_it(ledger: String) {
    let flag = format!("--ledger={ledger}");
    let server = TestServer::start_with(Kind::Memory, |flags, _| flags.push(flag)).await;
    let mut body = hall();
    body["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
    server.put("hall", body).await.ok(201);
    let read = async |query: &str| server.operate(Method::GET, &format!("{COMPLETED}?{query}")).await.ok(200);
    assert_eq!(read("").await, json!({"items": []}));
    let before = Millis(now().0 - 1);
    let mut booked = Vec::new();
    for (n, seat) in (1..).zip(["A-1-1", "A-1-2", "A-1-3", "A-1-4", "A-1-5"]) {
        let visitor = server.visitor(n);
        let id = server.hold(&visitor, &[seat]).await;
        server.act(&visitor, &id, "confirm").await.ok(200);
        booked.push(id);
    }
    server.act(&server.visitor(3), &booked[2], "cancel").await.ok(200);
    let all = eventually("numbers", async || {
        let page = read(&format!("from={before}")).await;
        (ids(&page).len() == 5).then_some(page)
    })
    .await;
    assert_eq!(ids(&all), booked, "what was booked, taken back or not");
    assert_eq!(
        (&all["items"][0]["type"], &all["items"][0]["totalMinor"]),
        (&json!("reservation.completed"), &json!(5_000))
    );
    // Pages that together are the whole.
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = read(&format!("limit=2{after}")).await;
        paged.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, booked);
    let second = all["items"][1]["at"].as_str().unwrap();
    let from_second = read(&format!("from={second}")).await;
    assert!(ids(&from_second).ends_with(&[&booked[1], &booked[2], &booked[3], &booked[4]]), "{from_second}");
    assert!(!ids(&read(&format!("to={second}")).await).contains(&booked[1].as_str()), "the end is not in it");
    assert_eq!(read(&format!("to={before}")).await, json!({"items": []}));
    // By number, with what was taken back.
    let feed = eventually("numbers", async || {
        let page = server.operate(Method::GET, "/api/v1/admin/feed").await.ok(200);
        (page["items"].as_array().unwrap().len() == 6).then_some(page)
    })
    .await;
    assert_eq!(ids(&feed)[..5], booked);
    assert_eq!(feed["items"][5]["id"], json!(format!("{}:cancelled", booked[2])));
    let third = &feed["items"][2]["sequence"];
    let rest = server.operate(Method::GET, &format!("/api/v1/admin/feed?after={third}&limit=2")).await.ok(200);
    assert_eq!(
        (ids(&rest), &rest["next"]),
        (vec![booked[3].as_str(), &booked[4]], &json!(feed["items"][4]["sequence"].to_string()))
    );
}

#[tokio::test]
async fn on_postgresql() {
    let database = TestPostgres::start();
    all_of_it(database.create_database("feed")).await;
}

#[tokio::test]
async fn on_mariadb() {
    let database = TestMariaDb::start();
    all_of_it(database.create_database("feed")).await;
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    all_of_it(format!("sqlite:{}", folder.path().join("feed.db").display())).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_strangers_are_sent_away() {
    let server = TestServer::start(Kind::Memory).await;
    for bad in [
        "from=yesterday",
        "to=1",
        "from=2030-01-02T00:00:00.000Z&to=2030-01-01T00:00:00.000Z",
        "limit=0",
        "limit=501",
        "limit=x",
        "after=x",
        "after=1",
        "after=1-",
        "after=1-9223372036854775808",
        "after=999999999999999-1",
    ] {
        server.operate(Method::GET, &format!("{COMPLETED}?{bad}")).await.is(422, "INVALID_REQUEST");
    }
    for bad in ["after=x", "limit=501"] {
        server.operate(Method::GET, &format!("/api/v1/admin/feed?{bad}")).await.is(422, "INVALID_REQUEST");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in [COMPLETED, "/api/v1/admin/feed", "/api/v1/admin/dead-letters"] {
        client.get(format!("{}{path}", server.ops)).answer().await.is(401, "OPERATOR_TOKEN_REQUIRED");
        server.get(path).await.is(404, "NOT_FOUND");
    }
}
