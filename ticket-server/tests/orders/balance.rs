//! Stored value.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::{
    on_both,
    provider::{order, paid_server, served_by_provider},
    support::{Answer, Ask as _, Kind, TestServer, Visitor},
};

on_both! {
    value_is_charged_and_paid_with;
    a_balance_never_falls_below_zero;
}

async fn charge(server: &TestServer, visitor: &Visitor, key: &str, body: Value) -> Answer {
    let request = server.request(Method::POST, "/api/v1/balance/charge").bearer_auth(&visitor.token);
    request.header("idempotency-key", key).json(&body).answer().await
}

fn euros(amount: u64) -> Value {
    json!({"amountMinor": amount, "currency": "EUR", "payment": {"method": "card"}})
}

async fn amount(server: &TestServer, visitor: &Visitor) -> u64 {
    let balance = server.get_as(visitor, "/api/v1/balance").await.ok(200);
    let items = balance["items"].as_array().unwrap().clone();
    items.iter().find(|item| item["currency"] == "EUR").map_or(0, |item| item["amountMinor"].as_u64().unwrap())
}

async fn value_is_charged_and_paid_with(kind: Kind) {
    let server = paid_server(kind, &[]).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    assert_eq!(amount(&server, &ann).await, 0);
    let first = charge(&server, &ann, "c", euros(7_000)).await.ok(201);
    assert_eq!((&first["state"], &first["totalMinor"]), (&json!("CONFIRMED"), &json!(7_000)));
    assert_eq!(charge(&server, &ann, "c", euros(7_000)).await.ok(201), first);
    charge(&server, &ann, "c", euros(8_000)).await.is(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!((amount(&server, &ann).await, amount(&server, &bob).await), (7_000, 0));
    for (bad, field) in [
        (json!({"amountMinor": 0, "currency": "EUR", "payment": {"method": "card"}}), "amountMinor"),
        (json!({"amountMinor": -5, "currency": "EUR", "payment": {"method": "card"}}), "amountMinor"),
        (json!({"amountMinor": 1, "currency": "euro", "payment": {"method": "card"}}), "currency"),
        (json!({"amountMinor": 1, "currency": "EUR", "payment": {"method": "balance"}}), "payment.method"),
    ] {
        let answer = charge(&server, &ann, "d", bad.clone()).await.is(422, "INVALID_REQUEST");
        assert_eq!(answer.json["details"]["field"], field, "{bad}");
    }
    server.post_as(&ann, "/api/v1/balance/charge", euros(1)).await.is(400, "IDEMPOTENCY_KEY_REQUIRED");
    server.get("/api/v1/balance").await.is(401, "ACTIVE_TOKEN_REQUIRED");
    let (one, two) = (server.hold(&ann, &["A-1-1"]).await, server.hold(&ann, &["A-1-2"]).await);
    assert_eq!(order(&server, &ann, "k1", &one, "balance").await.ok(201)["state"], "CONFIRMED");
    assert_eq!(amount(&server, &ann).await, 2_000);
    order(&server, &ann, "k2", &two, "balance").await.is(402, "PAYMENT_DECLINED");
    assert_eq!(amount(&server, &ann).await, 2_000);
    let balance = server.get_as(&ann, "/api/v1/balance").await.ok(200);
    let entries: Vec<_> =
        balance["entries"].as_array().unwrap().iter().map(|entry| entry["deltaMinor"].clone()).collect();
    assert_eq!(entries, [json!(-5_000), json!(7_000)]);
}

async fn a_balance_never_falls_below_zero(kind: Kind) {
    let mut server = paid_server(kind, &[]).await;
    let mut larger = crate::provider::paid_hall();
    larger["maxSeatsPerVisitor"] = json!(10);
    server.put("hall", larger).await.ok(200);
    let ann = server.visitor(1);
    charge(&server, &ann, "c", euros(17_500)).await.ok(201);
    let mut ids = Vec::new();
    for seat in 1..=5 {
        ids.push(server.hold(&ann, &[&format!("A-1-{seat}")]).await);
    }
    // Two servers on one ledger, where the store is shared.
    let first_url = server.url.clone();
    let first = if kind == Kind::Redis { Some(server.move_to_second().await) } else { None };
    let second_url = std::mem::replace(&mut server.url, first_url.clone());
    let paying = ids.iter().enumerate().map(|(n, id)| {
        let url = if n % 2 == 0 { &first_url } else { &second_url };
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.post(format!("{url}/api/v1/orders")).bearer_auth(&ann.token);
        let body = json!({"reservationId": id, "payment": {"method": "balance"}});
        request.header("idempotency-key", format!("k{n}")).json(&body).answer()
    });
    let answers = join_all(paying).await;
    let paid = answers.iter().filter(|answer| answer.status == 201).count();
    let declined = answers.iter().filter(|answer| answer.code() == "PAYMENT_DECLINED").count();
    assert_eq!((paid, declined), (3, 2), "{answers:?}");
    assert_eq!(amount(&server, &ann).await, 2_500);
    if let Some(first) = first {
        first.shut_down();
    }
}

/// The provider takes the money and the answer is lost: it is credited once.
#[tokio::test]
async fn a_charge_whose_answers_are_lost_is_credited_once() {
    let (server, provider) = served_by_provider(Kind::Memory, &["--payment-timeout-ms=500"]).await;
    provider.behave(json!({"lost": 0.5})).await;
    let ann = server.visitor(1);
    for n in 0..4 {
        charge(&server, &ann, &format!("c{n}"), euros(1_000)).await.ok(201);
    }
    assert_eq!(amount(&server, &ann).await, 4_000);
    let payments = provider.payments();
    assert_eq!(payments.values().filter(|status| *status == "CAPTURED").count(), 4, "{payments:?}");
    provider.behave(json!({"lost": 0, "decline": 1})).await;
    charge(&server, &ann, "c9", euros(1_000)).await.is(402, "PAYMENT_DECLINED");
    assert_eq!(amount(&server, &ann).await, 4_000);
}
