//! Paying by a provider in another process, whatever it does.

use std::time::Duration;

use serde_json::json;

use crate::{
    provider::{SECRET, TestProvider, flags, order, order_with, paid_hall, read, served_by_provider, steps},
    support::{Ask as _, Kind, TestServer, eventually, now},
};

/// Short enough for a test, long enough for a busy machine.
const QUICK: &[&str] = &["--payment-timeout-ms=1000", "--payment-wait-seconds=8"];

#[tokio::test]
async fn the_money_is_taken_once() {
    let (server, provider) = served_by_provider(Kind::Memory, &[]).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let body = json!({"reservationId": id, "payment": {"method": "card", "token": "tok_1"}});
    let booked = order_with(&server, &ann, "k", body.clone()).await.ok(201);
    assert_eq!(order_with(&server, &ann, "k", body).await.ok(201), booked);
    let payments = provider.payments();
    assert_eq!(payments, [(booked["orderId"].as_str().unwrap().to_owned(), "CAPTURED".to_owned())].into());
    // Simulating is not to be had where money moves.
    let bob = server.visitor(2);
    let other = server.hold(&bob, &["A-1-2"]).await;
    order(&server, &bob, "k", &other, "simulated").await.is(422, "NOT_SUPPORTED");
}

/// Paid, but the answer got lost: at every operation, again and again.
#[tokio::test]
async fn lost_answers_are_asked_for_again() {
    let (server, provider) = served_by_provider(Kind::Memory, QUICK).await;
    provider.behave(json!({"lost": 0.4, "dropped": 0.2})).await;
    for n in 1..=5_u64 {
        let ann = server.visitor(n);
        let id = server.hold(&ann, &[&format!("A-1-{n}")]).await;
        // The breaker may have to open and close meanwhile.
        let mut tries = 0;
        let booked = eventually("the order", async || {
            tries += 1;
            let answer = order(&server, &ann, &format!("k{tries}"), &id, "card").await;
            if answer.code() == "ORDER_IN_PROGRESS" {
                tries -= 1;
            }
            // A reservation has only so many tries: not all of them while the breaker is open.
            if let Ok(seconds) = answer.header("retry-after").parse() {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            (answer.status == 201).then_some(answer.json)
        })
        .await;
        assert_eq!(provider.status_of(booked["orderId"].as_str().unwrap()), "CAPTURED");
    }
    // Whatever was promised beside those is called off.
    eventually("five payments taken, the rest called off", async || {
        let payments = provider.payments();
        let taken = payments.values().filter(|status| *status == "CAPTURED").count();
        let open = payments.values().filter(|status| matches!(status.as_str(), "AUTHORIZED" | "PENDING")).count();
        (taken == 5 && open == 0).then_some(())
    })
    .await;
}

/// It is promised, and then nobody can say so: the order ends, and the promise is called off when the provider is
/// back. Meanwhile the hold is there for another try.
#[tokio::test]
async fn what_is_not_clear_in_time_is_called_off() {
    let (server, provider) = served_by_provider(Kind::Memory, QUICK).await;
    provider.behave(json!({"lost": 1, "refuse": ["lookup", "void"]})).await;
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let failed = order(&server, &ann, "k", &id, "card").await.is(503, "PAYMENT_UNAVAILABLE");
    assert!(failed.headers.contains_key("retry-after"));
    let payment = failed.json["details"]["orderId"].as_str().unwrap().to_owned();
    assert_eq!(provider.status_of(&payment), "AUTHORIZED");
    assert_eq!(read(&server, &ann, &failed.json["details"]).await["state"], "FAILED");
    provider.behave(json!({"lost": 0, "refuse": []})).await;
    eventually("the void", async || (provider.status_of(&payment) == "VOIDED").then_some(())).await;
    let booked = eventually("another try", async || {
        // A reservation has only so many.
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let key = now().0.to_string();
        let answer = order(&server, &ann, &key, &id, "card").await;
        (answer.status == 201).then_some(answer.json)
    })
    .await;
    assert_eq!(provider.status_of(booked["orderId"].as_str().unwrap()), "CAPTURED");
}

/// A way to the provider that is not there yet.
struct Way {
    address: std::net::SocketAddr,
}

impl Way {
    fn planned() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { address: listener.local_addr().unwrap() }
    }

    async fn open(&self, provider: &str) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        let provider = provider.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let provider = provider.clone();
                tokio::spawn(async move {
                    let mut to = tokio::net::TcpStream::connect(&provider).await.unwrap();
                    // Whoever hangs up first ends it.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
    }
}

/// Nobody was asked for money: it is as if the order had never been.
#[tokio::test]
async fn a_key_whose_order_never_began_serves_again() {
    let way = Way::planned();
    let (address, mut provider) = (format!("http://{}", way.address), None);
    let server = TestServer::start_with(Kind::Memory, |own, folder| {
        let mut started = TestProvider::start(folder);
        let listens = std::mem::replace(&mut started.url, address);
        own.extend(flags(&started, folder));
        own.extend(QUICK.iter().map(|flag| (*flag).to_owned()));
        provider = Some((started, listens));
    })
    .await;
    server.put("hall", paid_hall()).await.ok(201);
    let (provider, listens) = provider.unwrap();
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let failed = order(&server, &ann, "k", &id, "card").await.is(503, "PAYMENT_UNAVAILABLE");
    assert!(failed.headers.contains_key("retry-after"));
    let again = order(&server, &ann, "k", &id, "card").await.is(503, "PAYMENT_UNAVAILABLE");
    assert_ne!(failed.json["details"]["orderId"], again.json["details"]["orderId"], "another try");
    way.open(&listens).await;
    let booked = eventually("the order", async || {
        let answer = order(&server, &ann, "k", &id, "card").await;
        if answer.status == 503 { None } else { Some(answer.ok(201)) }
    })
    .await;
    assert_eq!(order(&server, &ann, "k", &id, "card").await.ok(201), booked, "the first answer from now on");
    assert_eq!(provider.payments().len(), 1);
}

/// Nothing is promised, and the hold is let go within its time.
#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be() {
    let (server, provider) = served_by_provider(Kind::Memory, QUICK).await;
    provider.behave(json!({"refuse": ["authorize", "lookup", "void", "capture"]})).await;
    let ann = server.visitor(1);
    let held = server.post_as(
        &ann,
        "/api/v1/seats/reserve",
        json!({"eventId": "hall", "seatIds": ["A-1-1"], "holdSeconds": 10}),
    );
    let id = held.await.ok(201)["reservationId"].as_str().unwrap().to_owned();
    order(&server, &ann, "k", &id, "card").await.is(503, "PAYMENT_UNAVAILABLE");
    server.await_state("A-1-1", "FREE").await;
    let metrics = server.ops_get("/metrics").await;
    for name in [
        "usher_ticket_payment_seconds_count{operation=\"authorize\",outcome=\"UNKNOWN\"",
        "usher_ticket_payment_breaker_open",
        "usher_ticket_payment_retries_total",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

/// The provider decides later and says so.
#[tokio::test]
async fn a_pending_payment_is_decided_by_a_message() {
    let (server, provider) = served_by_provider(Kind::Memory, &[]).await;
    provider.behave(json!({"pending": 1})).await;
    for (n, status, code) in [(1_u64, "AUTHORIZED", 201), (2, "DECLINED", 402)] {
        let ann = server.visitor(n);
        let id = server.hold(&ann, &[&format!("A-1-{n}")]).await;
        let deciding = async {
            let payment = eventually("the payment", async || {
                let payments = provider.payments();
                payments.into_iter().find(|(_, status)| status == "PENDING").map(|(payment, _)| payment)
            })
            .await;
            order(&server, &ann, "k", &id, "card").await.is(409, "ORDER_IN_PROGRESS");
            let event = format!("evt_{n}");
            provider.decide(&server, &payment, status, &event).await;
            // Told twice, it is one.
            provider.decide(&server, &payment, status, &event).await;
        };
        let (answer, ()) = tokio::join!(order(&server, &ann, "k", &id, "card"), deciding);
        assert_eq!(answer.status, code, "{answer:?}");
    }
}

/// Only what the provider signed, and lately, is listened to.
#[tokio::test]
async fn forged_messages_are_refused() {
    use ticket_server::payments::signature::Signer;
    let (server, _provider) = served_by_provider(Kind::Memory, &[]).await;
    let body = json!({"id": "evt_1", "type": "x", "paymentId": "o_1"}).to_string();
    let good = Signer::new(&queue_core::service::secret::Secret::new(SECRET.to_owned()));
    let other = Signer::new(&queue_core::service::secret::Secret::new("another secret".to_owned()));
    let old = queue_core::ids::Millis(now().0 - 400_000);
    let send = async |server: &TestServer, headers: &[(&'static str, String)], body: &str| {
        let mut request = server.request(http::Method::POST, "/api/v1/payments/webhook");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.header("content-type", "application/json").body(body.to_owned()).answer().await
    };
    send(&server, &[], &body).await.is(401, "SIGNATURE_INVALID");
    send(&server, &other.sign(now(), body.as_bytes()), &body).await.is(401, "SIGNATURE_INVALID");
    send(&server, &good.sign(old, body.as_bytes()), &body).await.is(401, "SIGNATURE_INVALID");
    send(&server, &good.sign(now(), body.as_bytes()), &body.replace("o_1", "o_2")).await.is(401, "SIGNATURE_INVALID");
    assert_eq!(send(&server, &good.sign(now(), body.as_bytes()), &body).await.status, 204, "of no payment of ours");
    let bad = json!({"id": 1}).to_string();
    send(&server, &good.sign(now(), bad.as_bytes()), &bad).await.is(422, "INVALID_REQUEST");
    let long = "x".repeat(20_000);
    send(&server, &good.sign(now(), long.as_bytes()), &long).await.is(413, "BODY_TOO_LARGE");
    // Where nobody has a secret, nobody is believed.
    let unpaid = TestServer::with_hall(Kind::Memory).await;
    send(&unpaid, &good.sign(now(), body.as_bytes()), &body).await.is(401, "SIGNATURE_INVALID");
}

/// The store gave out a seat that the ledger has sold: what was promised for it is called off.
#[tokio::test]
async fn a_seat_that_is_sold_is_not_paid() {
    let (server, provider) = served_by_provider(Kind::Redis, &[]).await;
    let (ann, bob) = (server.visitor(1), server.visitor(2));
    let id = server.hold(&ann, &["A-1-1"]).await;
    order(&server, &ann, "k", &id, "card").await.ok(201);
    server.store.as_ref().unwrap().cli(&["SETBIT", "ticket:{hall}:seats", "0", "0"]);
    let second = server.hold(&bob, &["A-1-1", "A-1-2"]).await;
    let failed = order(&server, &bob, "k", &second, "card").await.is(409, "SEAT_TAKEN");
    let payment = failed.json["details"]["orderId"].as_str().unwrap().to_owned();
    eventually("the void", async || (provider.status_of(&payment) == "VOIDED").then_some(())).await;
    assert_eq!((server.state_of("A-1-1").await, server.state_of("A-1-2").await), ("SOLD".into(), "FREE".into()));
    let shown = read(&server, &bob, &failed.json["details"]).await;
    assert!(steps(&shown).contains(&("CONFIRM".to_owned(), "FAILED".to_owned())), "{shown}");
}
