//! The operations listener: probes for everybody, the operator's routes behind name and token.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use queue_core::service::http::{self as service, ApiError, App, HttpOptions, Request, Response, Router};
use queue_core::service::metrics;
use queue_core::service::ops::{Access, Guard, GuardedApp, OpsApp, OpsHost, Readiness};
use queue_core::service::secret::SecretDigest;
use support::{Answer, Raw};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const OPERATOR: &str = "operator-operator-operator-operator";
const PEER: &str = "peer-peer-peer-peer-peer-peer-peer-peer";

struct Operator(Router<Access>);

impl App for Operator {
    type Route = Access;

    fn router(&self) -> &Router<Access> {
        &self.0
    }

    async fn handle(&self, _: Access, _: Request) -> Result<Response, ApiError> {
        Ok(service::empty(StatusCode::NO_CONTENT))
    }
}

impl GuardedApp for Operator {
    fn access(&self, route: Access) -> Access {
        route
    }
}

struct Ops {
    address: SocketAddr,
    readiness: Readiness,
}

impl Ops {
    async fn start(peer: Option<SecretDigest>) -> Self {
        let bound = service::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.address();
        let hosts = vec![OpsHost::parse("ops.example").unwrap()];
        let guard = Guard { address, hosts, operator: SecretDigest::new(OPERATOR), peer };
        let router = Router::new()
            .route(Method::GET, "/operator", Access::Operator)
            .route(Method::GET, "/peer", Access::Peer)
            .route(Method::GET, "/open", Access::Open);
        let readiness = Readiness::new();
        let app = Arc::new(OpsApp::new(Operator(router), guard, readiness.clone(), metrics::install()));
        let never = CancellationToken::new();
        tokio::spawn(bound.serve(app, HttpOptions::new("usher_ops_test_"), never.clone(), never));
        Self { address, readiness }
    }

    async fn get(&self, path: &str, host: &str, token: Option<&str>) -> Answer {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let mut raw = Raw(TcpStream::connect(self.address).await.unwrap());
        raw.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{token}\r\n")).await;
        raw.answer().await
    }

    fn own(&self) -> String {
        self.address.to_string()
    }
}

#[tokio::test]
async fn tokens_are_asked_for() {
    let ops = Ops::start(Some(SecretDigest::new(PEER))).await;
    for (path, right, wrong) in [("/operator", OPERATOR, PEER), ("/peer", PEER, OPERATOR)] {
        assert_eq!(ops.get(path, &ops.own(), Some(right)).await.status, 204);
        let answer = ops.get(path, &ops.own(), Some(wrong)).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "OPERATOR_TOKEN_INVALID"));
        let answer = ops.get(path, &ops.own(), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "OPERATOR_TOKEN_REQUIRED"));
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    assert_eq!(ops.get("/open", &ops.own(), None).await.status, 204);
}

#[tokio::test]
async fn without_a_peer_token_nobody_is_a_peer() {
    let ops = Ops::start(None).await;
    assert_eq!(ops.get("/peer", &ops.own(), None).await.status, 401);
    for token in [PEER, OPERATOR, "x"] {
        assert_eq!(ops.get("/peer", &ops.own(), Some(token)).await.status, 403);
    }
}

#[tokio::test]
async fn foreign_names_are_misdirected() {
    let ops = Ops::start(None).await;
    let port = ops.address.port();
    for host in [ops.own(), format!("localhost:{port}"), "ops.example".into(), "OPS.example:1234".into()] {
        assert_eq!(ops.get("/operator", &host, Some(OPERATOR)).await.status, 204, "{host}");
    }
    for host in ["evil.example", "localhost", "localhost:1", "", "127.0.0.1"] {
        // Even for who has the token, and for addresses that lead nowhere.
        for path in ["/operator", "/open", "/nowhere"] {
            let answer = ops.get(path, host, Some(OPERATOR)).await;
            assert_eq!((answer.status, answer.code().as_str()), (421, "MISDIRECTED_REQUEST"), "{host} {path}");
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(ops.get(path, host, None).await.status, 200, "{host} {path}");
        }
    }
    let mut raw = Raw(TcpStream::connect(ops.address).await.unwrap());
    raw.send("GET /open HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 421, "no host at all");
}

#[tokio::test]
async fn readiness_tells_the_reasons() {
    let ops = Ops::start(None).await;
    let answer = ops.get("/readyz", "x", None).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    ops.readiness.fail("store");
    ops.readiness.fail("draining");
    let answer = ops.get("/readyz", "x", None).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["reasons"], serde_json::json!(["draining", "store"]));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(ops.get("/livez", "x", None).await.status, 200, "it lives all the same");
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let ops = Ops::start(None).await;
    ops.get("/livez", "x", None).await;
    let answer = ops.get("/metrics", "x", None).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.contains(r#"usher_ops_test_http_requests_total{route="/livez",status="200"} 1"#));
}
