//! What the queue refuses: tried again, in order, and given up in the end, for an operator.

use queue_core::service::http::Method;
use serde_json::{Value, json};

use crate::support::{Kind, TestServer, Visitor, eventually, hall};

const LETTERS: &str = "/api/v1/admin/dead-letters";

async fn start(after: u32) -> TestServer {
    let flag = format!("--dead-letter-after={after}");
    let server = TestServer::start_with(Kind::Memory, |flags, _| flags.push(flag)).await;
    server.put("hall", hall()).await.ok(201);
    server
}

async fn book(server: &TestServer, visitor: &Visitor, seat: &str) -> String {
    let id = server.hold(visitor, &[seat]).await;
    server.act(visitor, &id, "confirm").await.ok(200);
    id
}

/// The reservations that the queue heard of.
fn told(server: &TestServer) -> Vec<Value> {
    server.queue.done().iter().map(|body| body["reservationId"].clone()).collect()
}

async fn metric(server: &TestServer, name: &str) -> String {
    let metrics = server.ops_get("/metrics").await;
    let found = metrics.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    found.unwrap_or_default()
}

#[tokio::test]
async fn later_messages_of_a_visitor_wait_for_one_that_is_refused() {
    let server = start(1_000).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    server.queue.refuse(Some("a_1"));
    let one = book(&server, &ann, "A-1-1").await;
    eventually("a refusal", async || {
        let count = metric(&server, "usher_ticket_sink_failures_total{sink=\"queue\",kind=\"refused\"}").await;
        (count != "0").then_some(())
    })
    .await;
    let two = book(&server, &server.again(&ann, 10), "A-1-2").await;
    let other = book(&server, &bob, "A-2-1").await;
    eventually("the other visitor", async || (told(&server) == [json!(other)]).then_some(())).await;
    eventually("an age", async || {
        let age: f64 = metric(&server, "usher_ticket_sink_oldest_seconds{sink=\"queue\"}").await.parse().ok()?;
        (age > 0.0).then_some(())
    })
    .await;
    server.queue.refuse(None);
    eventually("both messages", async || (told(&server).len() == 3).then_some(())).await;
    assert_eq!(told(&server)[1..], [json!(one), json!(two)], "in the order in which they were booked");
    assert_eq!(server.operate(Method::GET, LETTERS).await.ok(200), json!({"items": []}));
}

#[tokio::test]
async fn a_message_that_is_given_up_is_an_operators() {
    let server = start(2).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    server.queue.refuse(Some("a_1"));
    let (one, two) = (book(&server, &ann, "A-1-1").await, book(&server, &server.again(&ann, 10), "A-1-2").await);
    let other = book(&server, &bob, "A-2-1").await;
    let dead = async || server.operate(Method::GET, LETTERS).await.ok(200)["items"].as_array().unwrap().clone();
    let letters = eventually("both to be given up", async || Some(dead().await).filter(|all| all.len() == 2)).await;
    assert_eq!(told(&server), [json!(other)]);
    let letter = &letters[0];
    assert_eq!((&letter["sink"], &letter["messageId"]), (&json!("queue"), &json!(format!("{one}:done"))));
    assert_eq!((&letter["attempts"], &letter["retrying"]), (&json!(2), &json!(false)));
    assert_eq!((&letter["visitorId"], &letter["body"]["reservationId"]), (&json!("a_1"), &json!(one)));
    assert!(letter["reason"].as_str().unwrap().starts_with("422 "), "{letter}");
    assert_eq!(letters[1]["reservationId"], json!(two));
    assert_eq!(metric(&server, "usher_ticket_sink_given_up_total{sink=\"queue\"}").await, "2");
    eventually("the gauge", async || {
        (metric(&server, "usher_ticket_dead_letters{sink=\"queue\"}").await == "2").then_some(())
    })
    .await;

    // Pages, and what is no page.
    let page = server.operate(Method::GET, &format!("{LETTERS}?sink=queue&limit=1")).await.ok(200);
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]), (1, letter));
    let next = page["next"].as_str().unwrap();
    let page = server.operate(Method::GET, &format!("{LETTERS}?limit=10&after={next}")).await.ok(200);
    assert_eq!(page, json!({"items": [letters[1]]}));
    assert_eq!(server.operate(Method::GET, &format!("{LETTERS}?sink=kafka")).await.ok(200), json!({"items": []}));
    for bad in ["sink=nobody", "limit=0", "limit=501", "after=-1", "after=x", "after=9223372036854775808"] {
        server.operate(Method::GET, &format!("{LETTERS}?{bad}")).await.is(422, "INVALID_REQUEST");
    }
    for nobody in ["0", "x", "99999999999999999999"] {
        server.operate(Method::POST, &format!("{LETTERS}/{nobody}/retry")).await.is(404, "LETTER_NOT_FOUND");
        server.operate(Method::DELETE, &format!("{LETTERS}/{nobody}")).await.is(404, "LETTER_NOT_FOUND");
    }

    // Refused once more it stays; else it arrives.
    let retry = format!("{LETTERS}/{}/retry", letter["id"]);
    assert_eq!(server.operate(Method::POST, &retry).await.ok(202)["retrying"], json!(true));
    eventually("another refusal", async || (dead().await[0]["attempts"] == 3).then_some(())).await;
    assert_eq!(metric(&server, "usher_ticket_sink_given_up_total{sink=\"queue\"}").await, "2", "given up once");
    server.queue.refuse(None);
    server.operate(Method::POST, &retry).await.ok(202);
    eventually("its arrival", async || (told(&server) == [json!(other), json!(one)]).then_some(())).await;
    eventually("its end", async || (dead().await == letters[1..]).then_some(())).await;
    server.operate(Method::POST, &retry).await.is(404, "LETTER_NOT_FOUND");
    let answer = server.operate(Method::DELETE, &format!("{LETTERS}/{}", letters[1]["id"])).await;
    assert_eq!((answer.status, dead().await.len()), (204, 0));
    assert_eq!(told(&server).len(), 2, "thrown away is not sent");
}
