//! The payment provider of the tests: another process.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Answer, Ask as _, Kind, TestServer, Visitor, hall};

pub const SECRET: &str = "a-secret-of-both-long-enough-0123456789";

/// A running provider, killed at the end.
pub struct TestProvider {
    child: Child,
    pub url: String,
    log: PathBuf,
    client: reqwest::Client,
}

impl TestProvider {
    pub fn start(folder: &std::path::Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/orders/provider.py");
        let log = folder.join("provider.log");
        let mut command = Command::new("python3");
        command.arg(script).arg(SECRET).arg(&log).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is there");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the provider says its port");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), log, client }
    }

    pub async fn behave(&self, how: Value) {
        self.ask("behave", &how).await;
    }

    async fn ask(&self, what: &str, how: &Value) -> Value {
        let request = self.client.post(format!("{}/{what}", self.url)).json(how);
        Answer::of(request).await.unwrap().ok(200)
    }

    /// Decides a pending payment, and tells the server of it.
    pub async fn decide(&self, server: &TestServer, payment: &str, status: &str, event: &str) {
        let url = format!("{}/api/v1/payments/webhook", server.url);
        let how = json!({"paymentId": payment, "status": status, "url": url, "event": event});
        let told = self.ask("decide", &how).await;
        assert_eq!(told["told"], 204);
    }

    /// Where each payment stands, by the provider's own notes.
    pub fn payments(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| (text_of(&line, "payment"), text_of(&line, "status"))).collect()
    }

    /// The traces in which it was asked for what changed a payment.
    pub fn traces(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let id = |header: String| header.split('-').nth(1).unwrap_or_default().to_owned();
        lines.map(|line| id(text_of(&line, "trace"))).collect()
    }

    pub fn status_of(&self, payment: &str) -> String {
        self.payments().get(payment).cloned().unwrap_or_default()
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text_of(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

/// The flags of a server that is paid by the provider.
pub fn flags(provider: &TestProvider, folder: &std::path::Path) -> Vec<String> {
    let secret = folder.join("payment-secret");
    std::fs::write(&secret, SECRET).unwrap();
    vec![format!("--payments={}", provider.url), format!("--payment-secret-file={}", secret.display())]
}

/// A hall whose bookings have to be paid.
pub fn paid_hall() -> Value {
    let mut hall = hall();
    hall["payment"] = json!("required");
    hall
}

/// A server with such a hall.
pub async fn paid_server(kind: Kind, more: &[&str]) -> TestServer {
    let server =
        TestServer::start_with(kind, |flags, _| flags.extend(more.iter().map(|flag| (*flag).to_owned()))).await;
    server.put("hall", paid_hall()).await.ok(201);
    server
}

/// A server that is paid by a provider in another process.
pub async fn served_by_provider(kind: Kind, more: &[&str]) -> (TestServer, TestProvider) {
    let mut provider = None;
    let server = TestServer::start_with(kind, |own, folder| {
        let started = TestProvider::start(folder);
        own.extend(flags(&started, folder));
        own.extend(more.iter().map(|flag| (*flag).to_owned()));
        provider = Some(started);
    })
    .await;
    server.put("hall", paid_hall()).await.ok(201);
    (server, provider.unwrap())
}

/// Orders a reservation under a key.
pub async fn order(server: &TestServer, visitor: &Visitor, key: &str, reservation: &str, method: &str) -> Answer {
    order_with(server, visitor, key, json!({"reservationId": reservation, "payment": {"method": method}})).await
}

pub async fn order_with(server: &TestServer, visitor: &Visitor, key: &str, body: Value) -> Answer {
    let request = server.request(http::Method::POST, "/api/v1/orders").bearer_auth(&visitor.token);
    request.header("idempotency-key", key).json(&body).answer().await
}

pub async fn read(server: &TestServer, visitor: &Visitor, order: &Value) -> Value {
    let id = order["orderId"].as_str().unwrap();
    server.get_as(visitor, &format!("/api/v1/orders/{id}")).await.ok(200)
}

/// The names of the steps with their status.
pub fn steps(order: &Value) -> Vec<(String, String)> {
    let steps = order["steps"].as_array().unwrap();
    steps.iter().map(|step| (text_of(step, "step"), text_of(step, "status"))).collect()
}
