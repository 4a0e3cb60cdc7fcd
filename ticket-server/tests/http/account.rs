//! The account of `deploy/redis/ticket-server.acl` on the queue's Redis: enough to work with, and for nothing else.

use std::{process::Command, time::Duration};

use queue_core::{
    keys::session_ended_log,
    service::testing::TestRedis,
    wire::{EndReason, Message, SessionEnded},
};

use crate::support::{Kind, TestServer, Visitor, eventually, hall, now};

const ACCOUNT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redis/ticket-server.acl");
const PASSWORD: &str = "change-this-password-before-use";

/// The queue's Redis, with the account as the file has it.
fn queue_redis() -> TestRedis {
    TestRedis::start_with(&["--aclfile", ACCOUNT])
}

async fn start(redis: &TestRedis) -> TestServer {
    let url = redis.url().replace("redis://", &format!("redis://usher-ticket:{PASSWORD}@"));
    let server = TestServer::start_with(Kind::Memory, |flags, _| {
        flags.retain(|flag| !flag.starts_with("--queue="));
        flags.push(format!("--queue={url}"));
    })
    .await;
    server.put("hall", hall()).await.ok(201);
    server
}

/// Ends a session as the queue does: in the log, then on the channel.
fn end(redis: &TestRedis, visitor: &Visitor, told: bool) {
    let ended = SessionEnded {
        event_id: visitor.event.clone(),
        visitor_id: visitor.id.clone(),
        jti: visitor.jti,
        reason: EndReason::Revoked,
        at: now(),
    };
    let body = serde_json::to_string(&Message::SessionEnded(ended)).unwrap();
    redis.cli(&["XADD", &session_ended_log(&visitor.event), "*", "body", &body]);
    if told {
        assert_eq!(redis.cli(&["PUBLISH", "usher:session-ended", &body]), "1", "the server listens");
    }
}

#[tokio::test]
async fn the_ticket_server_works_with_it() {
    let redis = queue_redis();
    let mut server = start(&redis).await;
    // BOOKING_DONE, in the log and on the channel.
    let ann = server.visitor(1);
    let id = server.hold(&ann, &["A-1-1"]).await;
    server.act(&ann, &id, "confirm").await.ok(200);
    eventually("BOOKING_DONE", async || (redis.cli(&["XLEN", "usher:booking-done:log"]) == "1").then_some(())).await;

    // SESSION_ENDED over the channel: known within two seconds.
    let bob = server.visitor(2);
    server.hold(&bob, &["A-1-2"]).await;
    eventually("the subscription", async || {
        redis.cli(&["PUBSUB", "NUMSUB", "usher:session-ended"]).ends_with('1').then_some(())
    })
    .await;
    end(&redis, &bob, true);
    let known = tokio::time::timeout(
        Duration::from_secs(2),
        eventually("the refusal", async || (server.reserve(&bob, &["A-1-3"]).await.status == 403).then_some(())),
    );
    known.await.expect("it is known within two seconds");

    // What ended while the server was away is in the log.
    server.stop().await;
    let cay = server.visitor(3);
    end(&redis, &cay, false);
    server.start_again().await;
    eventually("the refusal", async || (server.reserve(&cay, &["A-1-4"]).await.status == 403).then_some(())).await;
    // An empty list.
    assert_eq!(redis.cli(&["ACL", "LOG"]), "", "something that the server wanted was denied");
}

#[test]
fn it_can_do_nothing_else() {
    let redis = queue_redis();
    redis.cli(&["SET", "usher:{hall}:meta", "x"]);
    let try_it = |args: &[&str]| {
        let port = redis.port().to_string();
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port, "--user", "usher-ticket", "--pass", PASSWORD, "--no-auth-warning"])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for allowed in [
        vec!["PING"],
        vec!["XRANGE", "usher:{hall}:session-ended", "-", "+"],
        vec!["XADD", "usher:booking-done:log", "MAXLEN", "~", "10", "*", "body", "{}"],
        vec!["PUBLISH", "usher:booking-done", "{}"],
        vec!["PUBLISH", "usher:session-seen", "{}"],
        vec!["HMGET", "usher:{hall}:meta", "admitted"],
    ] {
        let said = try_it(&allowed);
        assert!(!said.contains("NOPERM"), "{allowed:?}: {said}");
    }
    for denied in [
        vec!["GET", "usher:{hall}:meta"],
        vec!["HGETALL", "usher:{hall}:sessions"],
        vec!["ZRANGE", "usher:{hall}:waiting", "0", "-1"],
        vec!["DEL", "usher:{hall}:meta"],
        vec!["SET", "anything", "1"],
        vec!["XADD", "usher:{hall}:session-ended", "*", "body", "{}"],
        vec!["XADD", "usher:audit", "*", "body", "{}"],
        vec!["XRANGE", "usher:booking-done:log", "-", "+"],
        vec!["XRANGE", "usher:audit", "-", "+"],
        vec!["XDEL", "usher:booking-done:log", "0-1"],
        vec!["PUBLISH", "usher:session-ended", "{}"],
        vec!["PUBLISH", "usher:admitted", "{}"],
        vec!["SUBSCRIBE", "usher:admitted"],
        vec!["PSUBSCRIBE", "*"],
        vec!["EVAL", "return 1", "0"],
        vec!["EVAL", "return redis.call('GET', KEYS[1])", "1", "usher:{hall}:meta"],
        vec!["SCRIPT", "FLUSH"],
        vec!["KEYS", "*"],
        vec!["SCAN", "0"],
        vec!["FLUSHALL"],
        vec!["CONFIG", "GET", "*"],
        vec!["ACL", "LIST"],
        vec!["ACL", "SETUSER", "usher-ticket", "+@all"],
        vec!["CLIENT", "LIST"],
        vec!["MONITOR"],
        vec!["SHUTDOWN", "NOSAVE"],
        vec!["REPLICAOF", "127.0.0.1", "1"],
    ] {
        let said = try_it(&denied);
        assert!(said.contains("NOPERM"), "{denied:?}: {said}");
    }
    assert_eq!(redis.cli(&["GET", "usher:{hall}:meta"]), "x");
}
