//! The published keys: fetched when they are needed, and at most once in ten seconds for names that are unknown.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, Seq, VisitorId},
    service::http::{ApiError, App, HttpOptions, Method, Request, Response, Router, bind, text},
    token::{
        active::{ActiveGrant, ActiveSigner},
        jwks,
        keys::{PublicKey, SigningKey},
    },
};
use tokio_util::sync::CancellationToken;

use crate::support::{Ask as _, Kind, TestServer, Visitor, eventually, hall, now};

/// Publishes keys, and counts who asks.
struct Publisher {
    keys: Mutex<Vec<PublicKey>>,
    asked: AtomicUsize,
    router: Router<()>,
}

impl App for Publisher {
    type Route = ();

    fn router(&self) -> &Router<()> {
        &self.router
    }

    async fn handle(&self, (): (), _: Request) -> Result<Response, ApiError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(text(http::StatusCode::OK, jwks::to_json(self.keys.lock().iter())))
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn visitor(seed: u8, n: u64) -> Visitor {
    let (id, event) = (VisitorId::new(&format!("a_{n}")).unwrap(), EventId::new("hall").unwrap());
    let jti = Jti { generation: Generation(1), seq: Seq(n) };
    let (issued_at, expires_at) = (Millis(now().0 - 1_000), Millis(now().0 + 60_000));
    let grant = ActiveGrant { visitor: id.clone(), event: event.clone(), jti, issued_at, expires_at };
    Visitor { id, event, jti, token: ActiveSigner::new("usher", "tickets", key(seed)).sign(&grant) }
}

#[tokio::test]
async fn unknown_keys_are_asked_for_at_most_once_in_ten_seconds() {
    let router = Router::new().route(Method::GET, "/keys", ());
    let publisher = Arc::new(Publisher { keys: Mutex::new(vec![key(1).public().clone()]), asked: 0.into(), router });
    let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let source = format!("--jwks=http://{}/keys", bound.address());
    let stop = CancellationToken::new();
    tokio::spawn(bound.serve(publisher.clone(), HttpOptions::new("test_keys_"), stop.clone(), stop.clone()));
    let server = TestServer::start_with(Kind::Memory, |flags, _| {
        flags.retain(|flag| !flag.starts_with("--jwks="));
        flags.push(source);
    })
    .await;
    server.put("hall", hall()).await.ok(201);
    let asked = || publisher.asked.load(Ordering::SeqCst);
    assert_eq!(asked(), 0, "nobody has come yet");
    let began = Instant::now();
    server.hold(&visitor(1, 1), &["A-1-1"]).await;
    assert_eq!(asked(), 1);

    // A crowd with tokens of keys that nobody has, each its own.
    for round in 0..4 {
        let crowd = (10..60).map(|seed| {
            let forged = visitor(seed, 2);
            let request = server.request(Method::GET, &format!("/api/v1/reservations/my?round={round}"));
            request.bearer_auth(forged.token).answer()
        });
        for answer in futures_util::future::join_all(crowd).await {
            answer.is(401, "ACTIVE_TOKEN_INVALID");
        }
    }
    let allowed = || 2 + began.elapsed().as_secs() as usize / 10;
    assert!(asked() <= allowed(), "asked {} times", asked());
    server.hold(&visitor(1, 3), &["A-1-2"]).await;

    // A key that signs before it was published is accepted with the next look.
    publisher.keys.lock().push(key(2).public().clone());
    let rotated = visitor(2, 4);
    eventually("the new key", async || {
        let answer = server.reserve(&rotated, &["A-1-3"]).await;
        (answer.status == 201).then_some(())
    })
    .await;
    assert!(asked() <= allowed(), "asked {} times", asked());
    server.hold(&visitor(1, 5), &["A-1-4"]).await;
    stop.cancel();
}
