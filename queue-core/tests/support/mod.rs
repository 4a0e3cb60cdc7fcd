//! A server on the plumbing, and raw connections to it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use queue_core::codes::Code;
use queue_core::service::http::{
    self as service, ApiError, App, Body, HttpOptions, Method, Origins, Request, Response, Router, SetCookie, Timeouts,
    TrustedProxies,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever a test waits for happens within this, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
pub enum Route {
    Item,
    Change,
    Json,
    Optional,
    NoBody,
    Panic,
    Who,
    Slow,
    Stream,
    Upgrade,
    Full,
    Internal,
    Page,
    Cookie,
    Protected,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    event_id: String,
    #[serde(default)]
    seats: Vec<u32>,
}

pub struct TestApp {
    router: Router<Route>,
    /// Lets a slow request end.
    pub go: Arc<Notify>,
    /// Told when a slow request began.
    pub began: Arc<Notify>,
    /// Told when an upgraded socket is there.
    pub upgraded: Arc<Notify>,
}

impl TestApp {
    pub fn new() -> Self {
        let router = Router::new()
            .route(Method::GET, "/items/{id}", Route::Item)
            .route(Method::DELETE, "/items/{id}", Route::Change)
            .route(Method::POST, "/json", Route::Json)
            .route(Method::POST, "/optional", Route::Optional)
            .route(Method::POST, "/no-body", Route::NoBody)
            .route(Method::GET, "/panic", Route::Panic)
            .route(Method::GET, "/who", Route::Who)
            .route(Method::GET, "/slow", Route::Slow)
            .route(Method::GET, "/stream", Route::Stream)
            .route(Method::GET, "/upgrade", Route::Upgrade)
            .route(Method::GET, "/full", Route::Full)
            .route(Method::GET, "/internal", Route::Internal)
            .route(Method::GET, "/page", Route::Page)
            .route(Method::GET, "/cookie", Route::Cookie)
            .route(Method::POST, "/protected", Route::Protected);
        Self { router, go: Arc::default(), began: Arc::default(), upgraded: Arc::default() }
    }

    fn upgrade(&self, request: &mut Request) -> Response {
        let upgrade = request.upgrade();
        let upgraded = self.upgraded.clone();
        tokio::spawn(async move {
            let mut socket = upgrade.complete().await.unwrap();
            upgraded.notify_one();
            socket.tcp.write_all(&socket.leading).await.unwrap();
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = socket.tcp.read(&mut buffer).await {
                socket.tcp.write_all(&buffer[..count]).await.unwrap();
            }
            drop(socket.guard);
        });
        let mut response = service::empty(StatusCode::SWITCHING_PROTOCOLS);
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response
    }
}

impl App for TestApp {
    type Route = Route;

    fn router(&self) -> &Router<Route> {
        &self.router
    }

    async fn handle(&self, route: Route, mut request: Request) -> Result<Response, ApiError> {
        match route {
            Route::Item => {
                let id = request.param("id").ok_or(Code::NotFound)?;
                Ok(service::json(StatusCode::OK, &serde_json::json!({"id": id, "q": request.query("q")})))
            }
            Route::Change => Ok(service::empty(StatusCode::NO_CONTENT)),
            Route::Json => {
                let order: Order = request.read_json(64).await?;
                Ok(service::json(StatusCode::OK, &order))
            }
            Route::Optional => {
                let order: Order = request.read_json_or_default(64).await?;
                Ok(service::json(StatusCode::OK, &order))
            }
            Route::NoBody => {
                request.expect_json_or_nothing()?;
                Ok(service::empty(StatusCode::NO_CONTENT))
            }
            Route::Panic => panic!("on purpose"),
            Route::Who => {
                let body = serde_json::json!({
                    "ip": request.client_ip(), "tls": request.tls(), "cookie": request.cookie("c"),
                    "bearer": request.bearer(), "host": request.host(),
                });
                Ok(service::json(StatusCode::OK, &body))
            }
            Route::Slow => {
                self.began.notify_one();
                self.go.notified().await;
                Ok(service::text(StatusCode::OK, "done"))
            }
            Route::Stream => {
                let size = request.query("size").and_then(|s| s.parse().ok()).unwrap_or(4);
                let draining = request.draining().clone();
                let chunks = futures_util::stream::unfold((), move |()| {
                    let draining = draining.clone();
                    async move {
                        tokio::select! {
                            () = draining.cancelled() => None,
                            () = tokio::time::sleep(Duration::from_millis(20)) => Some((bytes::Bytes::from(vec![b'x'; size]), ())),
                        }
                    }
                });
                Ok(Response::new(Body::stream(chunks)))
            }
            Route::Upgrade => Ok(self.upgrade(&mut request)),
            Route::Full => Err(ApiError::new(Code::QueueFull).retry_after_secs(30)),
            Route::Internal => Err(ApiError::internal("the database said: password wrong")),
            Route::Page => Ok(service::html("<p>", "default-src 'self'; frame-ancestors 'none'")),
            Route::Cookie => {
                let mut response = service::empty(StatusCode::NO_CONTENT);
                let secure = request.tls();
                SetCookie { name: "c", value: "v", max_age_secs: Some(9), secure }.append_to(response.headers_mut());
                Ok(response)
            }
            Route::Protected => {
                request.require_origin()?;
                Ok(service::empty(StatusCode::NO_CONTENT))
            }
        }
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub app: Arc<TestApp>,
    pub draining: CancellationToken,
    pub killed: CancellationToken,
    pub serving: JoinHandle<()>,
}

pub fn options() -> HttpOptions {
    HttpOptions {
        origins: Origins::new(vec!["https://shop.example".into()]),
        proxies: TrustedProxies::new(vec!["127.0.0.1/32".parse().unwrap()]),
        ..HttpOptions::new("usher_test_")
    }
}

/// Time-outs so short that a test can wait for them; the others stay as they are.
pub fn short(change: impl Fn(&mut Timeouts)) -> HttpOptions {
    let mut options = options();
    change(&mut options.timeouts);
    options
}

pub async fn serve(options: HttpOptions) -> Server {
    let bound = service::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = bound.address();
    let app = Arc::new(TestApp::new());
    let (draining, killed) = (CancellationToken::new(), CancellationToken::new());
    let serving = tokio::spawn(bound.serve(app.clone(), options, draining.clone(), killed.clone()));
    Server { address, app, draining, killed, serving }
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends raw text on a new connection and reads one answer.
    pub async fn ask(&self, text: &str) -> Answer {
        let mut raw = self.connect().await;
        raw.send(text).await;
        raw.answer().await
    }
}

pub struct Raw(pub TcpStream);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Raw {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one answer with a `content-length` or none.
    pub async fn answer(&mut self) -> Answer {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer in time").expect("an answer")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: String::new() };
        if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).await.ok()?;
            answer.body = String::from_utf8(body).unwrap();
        }
        Some(answer)
    }

    /// Reads until the peer closes, and gives what came.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match tokio::time::timeout(PATIENCE, self.0.read(&mut buffer)).await.expect("closed in time") {
                Ok(0) | Err(_) => return rest,
                Ok(count) => rest.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Whether the connection is still open after so long.
    pub async fn open_after(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.0.read_u8()).await.is_err()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// The error's code, after a look whether it is the contract's error body.
    #[track_caller]
    pub fn code(&self) -> String {
        let body = self.json();
        let trace = body["traceId"].as_str().unwrap();
        assert_eq!(self.header("x-trace-id"), Some(trace), "{self:?}");
        assert!(trace.len() == 32 && trace.bytes().all(|c| c.is_ascii_hexdigit()));
        assert!(body["message"].is_string() && body["retryable"].is_boolean(), "{self:?}");
        assert!(body.as_object().unwrap().len() == if body["details"].is_null() { 4 } else { 5 }, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("retry-after").is_some(), matches!(self.status, 429 | 503));
        body["code"].as_str().unwrap().to_owned()
    }
}
