//! Processes that are killed at every step of an order, and at any moment: afterwards no seat is sold twice, no
//! money is taken without a booking, and no slot has leaked.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::testing::{Program, TestRedis, signal},
    token::{
        active::{ActiveGrant, ActiveSigner},
        jwks,
        keys::SigningKey,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use ticket_server::{
    clock::Clock,
    ledger::{Ledger, LedgerUrl, Ordered},
};

use crate::{
    provider::{TestProvider, flags, paid_hall},
    support::{Answer, Ask as _, eventually, now},
};

/// The trace of every buyer.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A ticket server as a process of its own, which can be killed and started again.
struct Shop {
    process: Option<Program>,
    args: Vec<String>,
    operator: String,
    redis: TestRedis,
    provider: TestProvider,
    folder: TempDir,
    signer: ActiveSigner,
    client: reqwest::Client,
}

struct Buyer {
    id: VisitorId,
    token: String,
}

impl Shop {
    /// `crash` is where the first process ends.
    async fn start(crash: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (redis, provider) = (TestRedis::start(), TestProvider::start(folder.path()));
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let keys = folder.path().join("jwks.json");
        std::fs::write(&keys, jwks::to_json([key.public()])).unwrap();
        let operator = "an-operator-of-ours-long-enough-012345".to_owned();
        let token = folder.path().join("operator");
        std::fs::write(&token, &operator).unwrap();
        let mut args = vec![
            format!("--state-dir={}", folder.path().join("state").display()),
            format!("--jwks={}", keys.display()),
            format!("--operator-token-file={}", token.display()),
            format!("--store={}", redis.url()),
            // Nobody is there: signatures decide.
            "--queue=http://127.0.0.1:1".to_owned(),
            "--payment-timeout-ms=2000".to_owned(),
            "--payment-wait-seconds=10".to_owned(),
        ];
        args.extend(flags(&provider, folder.path()));
        let signer = ActiveSigner::new("usher", "tickets", key);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(40)).build().unwrap();
        let mut shop = Self { process: None, args, operator, redis, provider, folder, signer, client };
        shop.run(crash).await;
        let mut hall = paid_hall();
        hall["maxSeatsPerVisitor"] = json!(8);
        hall["sections"][0]["rows"] = json!(6);
        hall["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
        let put = shop
            .client
            .put(format!("{}/api/v1/admin/events/hall", shop.process().ops_url()))
            .bearer_auth(&shop.operator);
        put.json(&hall).answer().await.ok(201);
        shop
    }

    async fn run(&mut self, crash: Option<&str>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticket-server"));
        command.args(&self.args).env_clear();
        if let Some(point) = crash {
            command.env("TICKET_CRASH_AT", point);
        }
        self.process = Some(Program::start(&mut command));
        eventually("readiness", async || {
            let ready = self.client.get(format!("{}/readyz", self.process().ops_url())).send().await.ok()?;
            (ready.status() == 200).then_some(())
        })
        .await;
    }

    fn process(&self) -> &Program {
        self.process.as_ref().expect("it was started")
    }

    /// Kills the process, if it has not ended by itself.
    fn kill(&mut self) {
        self.process = None;
    }

    async fn await_crash(&mut self) {
        self.process.take().unwrap().ended().await;
    }

    fn buyer(&self, n: u64) -> Buyer {
        let id = VisitorId::new(&format!("a_{n}")).unwrap();
        let grant = ActiveGrant {
            visitor: id.clone(),
            event: EventId::new("hall").unwrap(),
            jti: Jti { generation: Generation(1), seq: Seq(n + 1) },
            issued_at: Millis(now().0 - 60_000),
            expires_at: Millis(now().0 + 3_600_000),
        };
        Buyer { token: self.signer.sign(&grant), id }
    }

    /// `None` when the process ended before it had answered.
    async fn post(&self, buyer: &Buyer, path: &str, key: &str, body: &Value) -> Option<Answer> {
        let request = self.client.post(format!("{}{path}", self.process().url())).bearer_auth(&buyer.token);
        let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
        Answer::of(request.header("idempotency-key", key).json(body)).await.ok()
    }

    async fn hold(&self, buyer: &Buyer, seats: &[String], seconds: u64) -> Option<Answer> {
        let body = json!({"eventId": "hall", "seatIds": seats, "holdSeconds": seconds});
        self.post(buyer, "/api/v1/seats/reserve", "-", &body).await
    }

    async fn order(&self, buyer: &Buyer, key: &str, reservation: &str) -> Option<Answer> {
        let body = json!({"reservationId": reservation, "payment": {"method": "card", "token": "tok"}});
        self.post(buyer, "/api/v1/orders", key, &body).await
    }

    /// The same again until it is answered for good.
    async fn settled(&self, buyer: &Buyer, key: &str, reservation: &str) -> Answer {
        eventually("an answer for good", async || {
            let answer = self.order(buyer, key, reservation).await?;
            let passes =
                answer.code() == "ORDER_IN_PROGRESS" || answer.status == 503 && answer.code() != "PAYMENT_UNAVAILABLE";
            (!passes).then_some(answer)
        })
        .await
    }

    async fn states(&self) -> BTreeMap<String, String> {
        let map = self.client.get(format!("{}/api/v1/seats/events/hall", self.process().url())).answer().await.ok(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        map["seats"].as_array().unwrap().iter().map(|seat| (text(&seat["seatId"]), text(&seat["state"]))).collect()
    }

    /// Waits until nothing is left to do, and compares ledger, provider, store and what was promised: reservations
    /// whose orders were acknowledged.
    async fn audit(&self, acknowledged: &BTreeSet<String>) {
        eventually("the provider has nothing open", async || {
            let payments = self.provider.payments();
            let open = payments.values().any(|status| matches!(status.as_str(), "AUTHORIZED" | "PENDING"));
            (!open).then_some(())
        })
        .await;
        let file = self.folder.path().join("state/tickets.db");
        let ledger = Ledger::open(&LedgerUrl::file(file), Clock::Real).await.unwrap();
        eventually("every order is done", async || {
            let due = ledger.due_orders(Millis(now().0 + 3_600_000), 512).await.unwrap();
            due.is_empty().then_some(())
        })
        .await;
        let pins = async || self.redis.cli(&["ZCARD", "ticket:{hall}:pins"]);
        eventually("no hold is pinned", async || (pins().await.trim() == "0").then_some(())).await;
        let event = EventId::new("hall").unwrap();
        let bookings = ledger.bookings(&event, None, 512).await.unwrap();
        let mut sold = BTreeSet::new();
        let mut paid = BTreeSet::new();
        for booking in &bookings {
            let Ordered::Seats(seats) = &booking.ordered else { panic!("{booking:?}") };
            for seat in seats {
                assert!(sold.insert(seat.to_string()), "{seat} is sold twice");
            }
            let orders = ledger.orders_of(&booking.reservation).await.unwrap();
            let payments: Vec<_> = orders.iter().map(|order| self.provider.status_of(order.id.as_str())).collect();
            let taken = payments.iter().filter(|status| *status == "CAPTURED").count();
            assert_eq!(taken, 1, "{booking:?} is paid once: {payments:?} of {orders:?}");
            paid.extend(orders.iter().map(|order| order.id.to_string()));
        }
        for (payment, status) in self.provider.payments() {
            assert!(status != "CAPTURED" || paid.contains(&payment), "{payment} was taken for nothing");
        }
        let booked: BTreeSet<_> = bookings.iter().map(|booking| booking.reservation.to_string()).collect();
        assert!(acknowledged.is_subset(&booked), "acknowledged and not in the ledger: {acknowledged:?} {booked:?}");
        eventually("the map", async || {
            let states = self.states().await;
            let shown: BTreeSet<_> =
                states.iter().filter(|(_, state)| *state == "SOLD").map(|(seat, _)| seat.clone()).collect();
            let held = states.values().any(|state| state == "HELD");
            (shown == sold && !held).then_some(())
        })
        .await;
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One buyer, and a process that ends at that point; another one goes on.
async fn crash_at(point: &str, behaviour: Value, cancels: bool) {
    let mut shop = Shop::start(Some(point)).await;
    shop.provider.behave(behaviour).await;
    let ann = shop.buyer(1);
    let held = shop.hold(&ann, &["A-1-1".to_owned(), "A-1-2".to_owned()], 12).await.unwrap().ok(201);
    let id = held["reservationId"].as_str().unwrap().to_owned();
    let first = shop.order(&ann, "k", &id).await;
    if cancels {
        first.unwrap().ok(201);
        let path = format!("/api/v1/reservations/{id}/cancel");
        // It may be answered before its money is returned.
        let _ = shop.post(&ann, &path, "-", &json!({})).await;
    }
    shop.await_crash().await;
    shop.run(None).await;
    let answer = shop.settled(&ann, "k", &id).await;
    let mut acknowledged = BTreeSet::new();
    if answer.status == 201 && !cancels {
        acknowledged.insert(id.clone());
    }
    shop.audit(&acknowledged).await;
    // Whichever process went on with the order, it did so in the trace of the one that began it.
    let traces = shop.provider.traces();
    assert!(traces.iter().all(|trace| trace == TRACE), "{point}: {traces:?}");
    // The seats can be had by the next one, unless they are booked.
    let bob = shop.buyer(2);
    let taken = shop.hold(&bob, &["A-1-1".to_owned()], 10).await.unwrap();
    assert_eq!(taken.status, if acknowledged.is_empty() { 201 } else { 409 }, "{point}: {answer:?} {taken:?}");
    assert_eq!(ann.id.as_str(), "a_1");
}

macro_rules! crashes {
    ($($name:ident: $stage:literal, $behaviour:expr, $cancels:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            for at in ["before", "done", "written"] {
                crash_at(&format!("{}:{at}", $stage), $behaviour, $cancels).await;
            }
        }
    )*};
}

crashes! {
    killed_while_pinning: "PIN", json!({}), false;
    killed_while_authorizing: "AUTHORIZE", json!({}), false;
    killed_while_capturing: "CAPTURE", json!({}), false;
    killed_while_releasing: "RELEASE", json!({"decline": 1}), false;
    killed_while_voiding: "VOID", json!({"pending": 1}), false;
    killed_while_refunding: "REFUND", json!({}), true;
}

/// Booking is written down in the same step.
#[tokio::test]
async fn killed_while_confirming() {
    for at in ["before", "done"] {
        crash_at(&format!("CONFIRM:{at}"), json!({}), false).await;
    }
}

/// Many buyers who want the same seats, a slow and forgetful provider, and a process that is killed again and again.
#[tokio::test]
async fn killed_at_any_moment_in_a_loop() {
    const ROUNDS: u64 = 6;
    const BUYERS: u64 = 8;
    let mut shop = Shop::start(None).await;
    shop.provider.behave(json!({"delay": [0.01, 0.25], "lost": 0.05, "decline": 0.1})).await;
    let mut open: Vec<(Buyer, String, String)> = Vec::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let buyers: Vec<_> = (0..BUYERS).map(|n| shop.buyer(round * BUYERS + n)).collect();
        let buying = buyers.iter().enumerate().map(|(n, buyer)| {
            let shop = &shop;
            async move {
                // Two of them want the same one.
                let seat = format!("A-{}-{}", round % 6 + 1, n % 5 + 1);
                let held = shop.hold(buyer, &[seat], 15).await.filter(|answer| answer.status == 201)?;
                let id = held.json["reservationId"].as_str()?.to_owned();
                let answer = shop.order(buyer, "k", &id).await;
                Some((id, answer))
            }
        });
        let pid = shop.process().pid();
        let kill_after = Duration::from_millis(150 + 1_137 * round % 900);
        let killing = async {
            tokio::time::sleep(kill_after).await;
            signal(pid, "-KILL");
        };
        let (bought, ()) = tokio::join!(futures_util::future::join_all(buying), killing);
        shop.kill();
        shop.run(None).await;
        for (buyer, bought) in buyers.into_iter().zip(bought) {
            match bought {
                Some((id, Some(answer))) if answer.status == 201 => drop(acknowledged.insert(id)),
                Some((id, _)) => open.push((buyer, "k".to_owned(), id)),
                None => {}
            }
        }
    }
    for (buyer, key, id) in &open {
        let answer = shop.settled(buyer, key, id).await;
        if answer.status == 201 {
            acknowledged.insert(id.clone());
        }
    }
    assert!(!acknowledged.is_empty(), "somebody got through");
    shop.audit(&acknowledged).await;
}
