//! Who changed what, when: on every node, newest first.

use queue_core::service::testing::TestRedis;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Ask as _, Server};

async fn log(server: &Server, query: &str) -> Value {
    let answer = server.operate(Method::GET, &format!("admin/audit{query}"), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

fn actions(log: &Value) -> Vec<&str> {
    log["items"].as_array().unwrap().iter().map(|item| item["action"].as_str().unwrap()).collect()
}

/// Everything that an operator can do, once.
async fn changes(server: &Server) {
    let put = async |body: Value| server.operate(Method::PUT, "admin/e", Some(body)).await;
    assert_eq!(put(json!({"capacity": 1})).await.status, 201);
    assert_eq!(put(json!({"capacity": 2, "graceSeconds": 60})).await.status, 200);
    assert_eq!(put(json!({"capacity": 0})).await.status, 422, "what is refused is no change");
    for verb in ["pause", "resume", "drain", "resume"] {
        assert_eq!(server.operate(Method::POST, &format!("admin/{verb}/e"), None).await.status, 200);
    }
    let joined = server.check("e").answer().await.json;
    assert_eq!(joined["status"], "ACTIVE");
    let active = joined["activeToken"].as_str().unwrap();
    let gate = server.get("/api/v1/queue/verify?event=e").bearer_auth(active).answer().await;
    let visitor = gate.headers["x-usher-visitor"].to_str().unwrap();
    let revoked = server.operate(Method::POST, &format!("admin/e/visitors/{visitor}/revoke"), None).await;
    assert_eq!(revoked.status, 204);
    let again = server.operate(Method::POST, &format!("admin/e/visitors/{visitor}/revoke"), None).await;
    assert_eq!(again.refusal(), (404, "VISITOR_NOT_FOUND"));
    server.check("e").answer().await;
    assert_eq!(server.operate(Method::DELETE, "admin/e", None).await.refusal(), (409, "QUEUE_NOT_EMPTY"));
    assert_eq!(server.operate(Method::POST, "admin/clear/e", Some(json!({"active": true}))).await.status, 200);
    assert_eq!(server.operate(Method::DELETE, "admin/e", None).await.status, 204);
}

const ALL: [&str; 9] =
    ["REMOVED", "CLEARED", "REVOKED", "RESUMED", "DRAINED", "RESUMED", "PAUSED", "CHANGED", "CREATED"];

fn expect_details(log: &Value) {
    let item = |action: &str| log["items"].as_array().unwrap().iter().find(|item| item["action"] == action).unwrap();
    let created = item("CREATED");
    assert_eq!((&created["before"], &created["after"]["capacity"]), (&Value::Null, &json!(1)));
    assert_eq!((&created["eventId"], &created["actor"]["role"]), (&json!("e"), &json!("operator")));
    assert_eq!(created["actor"]["address"], "127.0.0.1");
    assert_eq!(created["traceId"].as_str().unwrap().len(), 32);
    assert!(created["at"].as_str().unwrap().ends_with('Z'));
    let changed = item("CHANGED");
    assert_eq!((&changed["before"]["capacity"], &changed["after"]["capacity"]), (&json!(1), &json!(2)));
    assert_eq!(item("PAUSED")["before"], json!({"phase": "OPEN"}));
    assert_eq!(item("PAUSED")["after"], json!({"phase": "PAUSED"}));
    assert_eq!(item("DRAINED")["after"], json!({"phase": "DRAINING"}));
    assert_eq!(item("REVOKED")["before"], json!({"status": "ACTIVE"}));
    assert!(item("REVOKED")["visitorId"].as_str().unwrap().starts_with("a_"));
    assert_eq!((&item("CLEARED")["before"]["active"], &item("CLEARED")["after"]["active"]), (&json!(1), &json!(0)));
    assert_eq!((&item("REMOVED")["before"]["capacity"], &item("REMOVED")["after"]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn every_change_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(log(&server, "").await, json!({"items": [], "next": null}));
    changes(&server).await;
    let whole = log(&server, "").await;
    assert_eq!(actions(&whole), ALL);
    expect_details(&whole);
    paged(&server, &whole).await;
}

#[tokio::test]
async fn every_node_shows_the_same_log() {
    let redis = TestRedis::start();
    let folder = tempfile::tempdir().unwrap();
    let store = format!("--store={}", redis.url());
    let nodes = [Server::start(folder.path(), &[&store]), Server::start(folder.path(), &[&store])];
    changes(&nodes[0]).await;
    let whole = log(&nodes[1], "").await;
    assert_eq!(actions(&whole), ALL);
    expect_details(&whole);
    assert_eq!(log(&nodes[0], "").await, whole);
    paged(&nodes[1], &whole).await;
    // What somebody else has put there is passed over.
    redis.cli(&["XADD", "usher:audit", "*", "body", "junk"]);
    assert_eq!(actions(&log(&nodes[0], "").await), ALL);
}

async fn paged(server: &Server, whole: &Value) {
    let (mut items, mut query) = (Vec::new(), "?limit=4".to_owned());
    loop {
        let page = log(server, &query).await;
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=4&before={next}");
    }
    assert_eq!(&Value::Array(items), &whole["items"]);
    for bad in ["?limit=0", "?limit=201", "?limit=x", "?before=x", "?before=1", "?before=-1-2"] {
        let answer = server.operate(Method::GET, &format!("admin/audit{bad}"), None).await;
        assert_eq!(answer.refusal(), (422, "INVALID_REQUEST"), "{bad}");
    }
}
