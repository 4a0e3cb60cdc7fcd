//! The same on every database: orders, stored value, refunds.

use queue_core::service::testing_sql::{TestMariaDb, TestPostgres};
use serde_json::json;

use crate::{
    provider::{order, paid_hall},
    support::{Ask as _, Kind, TestServer, eventually},
};

async fn all_of_it(ledger: String) {
    let flag = format!("--ledger={ledger}");
    let server = TestServer::start_with(Kind::Memory, |flags, _| flags.push(flag)).await;
    let mut body = paid_hall();
    body["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
    server.put("hall", body).await.ok(201);
    let ann = server.visitor(1);
    let charge = server.request(http::Method::POST, "/api/v1/balance/charge").bearer_auth(&ann.token);
    let charge = charge.header("idempotency-key", "Charge");
    let charge = charge.json(&json!({"amountMinor": 12_000, "currency": "EUR", "payment": {"method": "card"}}));
    charge.answer().await.ok(201);
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    let three = server.hold(&ann, &["A-1-3"]).await;
    let booked = order(&server, &ann, "k1", &one, "balance").await.ok(201);
    assert_eq!(order(&server, &ann, "k1", &one, "balance").await.ok(201), booked);
    order(&server, &ann, "k1", &two, "balance").await.is(422, "IDEMPOTENCY_KEY_REUSED");
    // Keys are compared byte for byte.
    order(&server, &ann, "K1", &two, "balance").await.ok(201);
    order(&server, &ann, "k3", &three, "balance").await.is(402, "PAYMENT_DECLINED");
    order(&server, &ann, "k4", &three, "card").await.ok(201);
    assert_eq!(server.act(&ann, &one, "cancel").await.ok(200)["state"], "CANCELLED");
    server.await_state("A-1-1", "FREE").await;
    eventually("the refund", async || {
        let balance = server.get_as(&ann, "/api/v1/balance").await.ok(200);
        (balance["items"] == json!([{"currency": "EUR", "amountMinor": 7_000}])).then_some(())
    })
    .await;
    let path = format!("/api/v1/orders/{}", booked["orderId"].as_str().unwrap());
    eventually("the order's end", async || {
        let order = server.get_as(&ann, &path).await.ok(200);
        (order["state"] == "REFUNDED").then_some(())
    })
    .await;
    let history = server.get_as(&ann, &format!("/api/v1/reservations/{one}/history")).await.ok(200);
    assert_eq!(history["items"].as_array().unwrap().last().unwrap()["type"], "REFUNDED");
    let bob = server.visitor(2);
    let again = server.hold(&bob, &["A-1-1"]).await;
    crate::provider::order(&server, &bob, "k1", &again, "card").await.ok(201);
}

#[tokio::test]
async fn on_postgresql() {
    let database = TestPostgres::start();
    all_of_it(database.create_database("orders")).await;
}

#[tokio::test]
async fn on_mariadb() {
    let database = TestMariaDb::start();
    all_of_it(database.create_database("orders")).await;
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    all_of_it(format!("sqlite:{}", folder.path().join("orders.db").display())).await;
}
