//! The same visitor, a thousand times at once.

use futures_util::future::join_all;
use serde_json::Value;

use super::{
    hostile::{Raw, Victim},
    store,
};

const CONNECTIONS: usize = 100;
const JOINS_EACH: usize = 10;

/// A thousand joins with one place token, a hundred at a time; all that was answered.
async fn thousand(victim: &Victim, event: &str, place: &str) -> Vec<Value> {
    let text = format!(
        "POST /api/v1/queue/check/{event} HTTP/1.1\r\nhost: {}\r\nx-usher-place: {place}\r\n\r\n",
        victim.public
    );
    let text = text.repeat(JOINS_EACH);
    let answers = join_all((0..CONNECTIONS).map(|_| async {
        let mut raw = Raw::say(victim.public, &text).await;
        let mut answers = Vec::new();
        for _ in 0..JOINS_EACH {
            let reply = raw.reply().await.expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
            answers.push(reply.json());
        }
        answers
    }));
    answers.await.into_iter().flatten().collect()
}

async fn leave(victim: &Victim, event: &str, place: &str) {
    let headers = format!("x-usher-place: {place}\r\n");
    let reply = victim.ask("POST", &format!("/api/v1/queue/leave/{event}"), &headers, "").await;
    assert_eq!(reply.status, 204, "{reply:?}");
}

#[tokio::test]
async fn one_visitor_has_one_place() {
    store::each(async |victim| {
        store::event(victim, "once", 1).await;
        store::join(victim, "once").await;
        let place = store::join(victim, "once").await["placeToken"].as_str().unwrap().to_owned();
        // Somebody who waits; then somebody who has left, so that each of them would be a new place.
        for _ in 0..3 {
            let answers = thousand(victim, "once", &place).await;
            assert_eq!(answers.len(), CONNECTIONS * JOINS_EACH);
            for answer in &answers {
                assert_eq!((&answer["status"], &answer["position"]), (&"WAITING".into(), &1.into()), "{answer}");
                assert_eq!(answer["placeToken"], answers[0]["placeToken"], "one place, one number");
            }
            let seen = store::overview(victim, "once").await;
            assert_eq!((&seen["waiting"], &seen["active"]), (&1.into(), &1.into()), "{seen}");
            leave(victim, "once", &place).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_visitor_has_one_session() {
    store::each(async |victim| {
        store::event(victim, "in", 50).await;
        let place = store::join(victim, "in").await["placeToken"].as_str().unwrap().to_owned();
        for round in 1..=3 {
            let answers = thousand(victim, "in", &place).await;
            for answer in &answers {
                assert_eq!(answer["status"], "ACTIVE", "{answer}");
                assert_eq!(answer["expiresAt"], answers[0]["expiresAt"], "one session, one end");
            }
            let seen = store::overview(victim, "in").await;
            assert_eq!((&seen["active"], &seen["admittedTotal"]), (&1.into(), &round.into()), "{seen}");
            leave(victim, "in", &place).await;
        }
    })
    .await;
}

/// A line that takes five, and a thousand who come at once, each somebody else.
#[tokio::test]
async fn a_crowd_gets_in_no_further_than_the_door() {
    store::each(async |victim| {
        store::event(victim, "door", 5).await;
        let text = format!("POST /api/v1/queue/check/door HTTP/1.1\r\nhost: {}\r\n\r\n", victim.public);
        let text = text.repeat(JOINS_EACH);
        let answers = join_all((0..CONNECTIONS).map(|_| async {
            let mut raw = Raw::say(victim.public, &text).await;
            let mut active = 0;
            for _ in 0..JOINS_EACH {
                let reply = raw.reply().await.expect("an answer");
                active += usize::from(reply.json()["status"] == "ACTIVE");
            }
            active
        }));
        assert_eq!(answers.await.into_iter().sum::<usize>(), 5);
        let seen = store::overview(victim, "door").await;
        assert_eq!((&seen["waiting"], &seen["active"]), (&995.into(), &5.into()), "{seen}");
    })
    .await;
}
