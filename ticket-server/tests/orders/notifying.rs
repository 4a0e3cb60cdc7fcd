//! The buyers' system hears of orders, at least once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use queue_core::{
    codes::Code,
    service::{
        http::{ApiError, App, HttpOptions, Method, Request, Response, Router, bind, empty},
        secret::Secret,
    },
};
use serde_json::{Value, json};
use ticket_server::payments::signature::{SIGNATURE, Signer, TIMESTAMP};
use tokio_util::sync::CancellationToken;

use crate::{
    provider::{order, paid_hall, read},
    support::{Kind, TestServer, eventually, now},
};

const SECRET: &str = "the-shop-and-we-know-this-0123456789abc";

/// Takes messages, but not the first ones.
struct Shop {
    refuse: AtomicUsize,
    heard: Mutex<Vec<Value>>,
    router: Router<()>,
}

impl App for Shop {
    type Route = ();

    fn router(&self) -> &Router<()> {
        &self.router
    }

    async fn handle(&self, (): (), mut request: Request) -> Result<Response, ApiError> {
        let body = request.read_body(100_000).await?;
        let signer = Signer::new(&Secret::new(SECRET.to_owned()));
        let (timestamp, signature) = (request.header(TIMESTAMP), request.header(SIGNATURE));
        signer.check(timestamp, signature, &body, now()).map_err(ApiError::internal)?;
        let before = self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before.is_ok() {
            return Err(Code::Overloaded.into());
        }
        self.heard.lock().push(serde_json::from_slice(&body).unwrap());
        Ok(empty(http::StatusCode::NO_CONTENT))
    }
}

#[tokio::test]
async fn orders_are_told_until_they_are_heard() {
    let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("--notify-url=http://{}/orders", bound.address());
    let router = Router::new().route(Method::POST, "/orders", ());
    let shop = Arc::new(Shop { refuse: AtomicUsize::new(2), heard: Mutex::default(), router });
    let (draining, killed) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(bound.serve(Arc::clone(&shop), HttpOptions::new("test_shop_"), draining, killed));
    let server = TestServer::start_with(Kind::Memory, |flags, folder| {
        let file = folder.join("notify-secret");
        std::fs::write(&file, SECRET).unwrap();
        flags.extend([url, format!("--notify-secret-file={}", file.display())]);
    })
    .await;
    let mut body = paid_hall();
    body["cancellation"] = json!({"allowedUntil": "2035-01-01T00:00:00.000Z"});
    server.put("hall", body).await.ok(201);
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    let booked = order(&server, &ann, "k", &id, "card").await.ok(201);
    let heard = eventually("the message", async || shop.heard.lock().first().cloned()).await;
    assert_eq!((&heard["type"], &heard["visitorId"]), (&json!("order.confirmed"), &json!("a_1")));
    assert_eq!(heard["order"]["orderId"], booked["orderId"]);
    assert_eq!(shop.refuse.load(Ordering::SeqCst), 0, "it was refused twice");
    eventually("the step", async || {
        let shown = read(&server, &ann, &booked).await;
        let last = shown["steps"].as_array().unwrap().last().unwrap().clone();
        (last == json!({"step": "NOTIFY", "status": "DONE"})).then_some(())
    })
    .await;
    server.act(&ann, &id, "cancel").await.ok(200);
    let told = eventually("the refund", async || shop.heard.lock().get(1).cloned()).await;
    assert_eq!((&told["type"], &told["order"]["state"]), (&json!("order.refunded"), &json!("REFUNDED")));
    assert_ne!(told["id"], heard["id"]);
}
