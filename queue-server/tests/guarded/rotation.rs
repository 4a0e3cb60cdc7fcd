//! Keys rotate while people come, ask and show their tokens on two nodes; nobody is refused.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use parking_lot::Mutex;
use queue_core::{
    service::testing::TestRedis,
    token::{active::ActiveVerifier, jwks, keys::SigningKey, place::PlaceKeys},
};
use queue_server::clock;
use serde_json::Value;

use super::support::{Answer, Ask as _, Server, eventually};

const EVENT: &str = "rotation";
/// People who come, ask and show tokens at the same time.
const CROWD: usize = 8;
/// Between two looks of the verifier at the published keys; less than the keys' lead.
const FETCH_EVERY: Duration = Duration::from_millis(500);

/// What everybody in the test shares.
struct World {
    nodes: [Server; 2],
    /// As a ticket server has it that never asks for an unknown key: it must meet each one before its first token.
    verifier: ArcSwap<ActiveVerifier>,
    /// Tokens of all times: place and active.
    tokens: Mutex<Vec<(String, String)>>,
    answers: AtomicUsize,
    stop: AtomicBool,
}

impl World {
    /// Sends alternately to the nodes.
    fn node(&self) -> &Server {
        &self.nodes[self.answers.fetch_add(1, Ordering::Relaxed) % 2]
    }

    async fn fetch(&self) {
        let keys = self.node().get("/.well-known/jwks.json").answer().await;
        let keys = jwks::from_json(keys.json.to_string().as_bytes()).unwrap();
        self.verifier.store(Arc::new(ActiveVerifier::new("usher", "tickets", &keys)));
    }

    async fn person(&self) {
        let answer = good(self.node().check(EVENT).answer().await);
        let place = text(&answer.json, "placeToken");
        self.show(&place, &text(&answer.json, "activeToken")).await;
        let answer = good(self.node().status(EVENT).header("x-usher-place", &place).answer().await);
        self.show(&place, &text(&answer.json, "activeToken")).await;
        self.tokens.lock().push((place, text(&answer.json, "activeToken")));
        // Somebody who came long ago.
        let old = {
            let tokens = self.tokens.lock();
            tokens[self.answers.load(Ordering::Relaxed) % tokens.len()].clone()
        };
        good(self.node().check(EVENT).header("x-usher-place", &old.0).answer().await);
        self.show(&old.0, &old.1).await;
    }

    /// Shows both tokens wherever they are looked at.
    async fn show(&self, place: &str, active: &str) {
        self.verifier.load_full().verify(active, clock::now()).unwrap();
        let gate = self.node().get(&format!("/api/v1/queue/verify?event={EVENT}")).bearer_auth(active);
        good(gate.answer().await);
        good(self.node().status(EVENT).header("x-usher-place", place).answer().await);
    }

    /// The key and the secret that sign new tokens, as both nodes agree.
    async fn signing(&self) -> Option<(String, Vec<u8>)> {
        let mut seen = Vec::new();
        for node in &self.nodes {
            let answer = good(node.check(EVENT).answer().await);
            let header = text(&answer.json, "activeToken");
            let header: Value = serde_json::from_slice(&B64.decode(header.split('.').next()?).ok()?).ok()?;
            let place = B64.decode(text(&answer.json, "placeToken")).ok()?;
            // Version, then the id of the secret.
            seen.push((text(&header, "kid"), place[1..5].to_vec()));
        }
        (seen[0] == seen[1]).then(|| seen.remove(0))
    }
}

fn good(answer: Answer) -> Answer {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// So that nobody reads half of it.
fn put(path: &Path, content: &str) {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, content).unwrap();
    std::fs::rename(&temporary, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_refused_while_keys_rotate_twice() {
    let redis = TestRedis::start();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("signing-keys");
    let place_file = folder.path().join("place-secret");
    std::fs::create_dir(&keys).unwrap();
    put(&keys.join("0001.pem"), &key(1).to_pem());
    let secret = |n: u8| format!("place-secret-number-{n}-of-this-test-of-rotation");
    put(&place_file, &secret(1));
    let store = format!("--store={}", redis.url());
    let flags = [store.as_str(), "--key-publish-seconds=5"];
    let nodes = [Server::start(folder.path(), &flags), Server::start(folder.path(), &flags)];
    nodes[0].event(EVENT, 100_000).await;
    // The other node learns of it by the message.
    eventually("the event on both nodes", async || (nodes[1].check(EVENT).answer().await.status == 200).then_some(()))
        .await;
    let world = Arc::new(World {
        nodes,
        verifier: ArcSwap::from_pointee(ActiveVerifier::new("usher", "tickets", [])),
        tokens: Mutex::default(),
        answers: 0.into(),
        stop: false.into(),
    });
    world.fetch().await;
    let fetching = tokio::spawn({
        let world = world.clone();
        async move {
            while !world.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(FETCH_EVERY).await;
                world.fetch().await;
            }
        }
    });
    let crowd = [(); CROWD].map(|()| {
        let world = world.clone();
        tokio::spawn(async move {
            while !world.stop.load(Ordering::Relaxed) {
                world.person().await;
            }
        })
    });

    let signs = async |n: u8| {
        let secret_id = signed_by(&secret(n));
        let wanted = (key(n).public().kid().to_owned(), secret_id);
        eventually("the new keys to sign", async || world.signing().await.filter(|now| *now == wanted)).await;
    };
    signs(1).await;
    // A key is put beside the old one; the old secret still stands behind the new one.
    put(&keys.join("0002.pem"), &key(2).to_pem());
    put(&place_file, &format!("{},{}", secret(2), secret(1)));
    signs(2).await;
    // Exchanged in one step, with nothing left of what signed until now. And told, instead of waited for.
    put(&keys.join("0003.pem"), &key(3).to_pem());
    std::fs::remove_file(keys.join("0001.pem")).unwrap();
    std::fs::remove_file(keys.join("0002.pem")).unwrap();
    put(&place_file, &secret(3));
    world.nodes.iter().for_each(|node| node.program.signal("-HUP"));
    signs(3).await;

    world.stop.store(true, Ordering::Relaxed);
    for person in crowd {
        person.await.unwrap();
    }
    fetching.await.unwrap();
    // The very first tokens, of keys that are in no file any more.
    let first = world.tokens.lock()[0].clone();
    world.show(&first.0, &first.1).await;
    let (people, answers) = (world.tokens.lock().len(), world.answers.load(Ordering::Relaxed));
    assert!(people > 50 && answers > 500, "too little was asked meanwhile: {people} people, {answers} answers");
    let published = world.nodes[0].get("/.well-known/jwks.json").answer().await;
    assert_eq!(published.json["keys"].as_array().unwrap().len(), 3, "retired keys are still published");
}

/// The id of a secret, as it stands in the tokens that it signs.
fn signed_by(secret: &str) -> Vec<u8> {
    use queue_core::{
        ids::{EventId, Generation, Seq, VisitorId},
        token::place::PlaceClaims,
    };
    let event = EventId::new("e").unwrap();
    let claims = PlaceClaims { event, visitor: VisitorId::anonymous([0; 16]), seq: Seq(1), generation: Generation(1) };
    let token = PlaceKeys::new(&[secret]).unwrap().sign(&claims);
    B64.decode(token).unwrap()[1..5].to_vec()
}

#[tokio::test]
async fn what_is_no_key_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--key-publish-seconds=0"]);
    server.event("e", 10).await;
    let before = server.get("/.well-known/jwks.json").answer().await.json;
    let keys = folder.path().join("signing-keys");
    std::fs::write(keys.join("0002.pem"), "half of a k").unwrap();
    std::fs::write(folder.path().join("place-secret"), "short").unwrap();
    server.program.signal("-HUP");
    for _ in 0..20 {
        assert_eq!(server.check("e").answer().await.status, 200);
        assert_eq!(server.get("/.well-known/jwks.json").answer().await.json, before);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Whole at last.
    put(&keys.join("0002.pem"), &key(2).to_pem());
    eventually("the new key", async || {
        let published = server.get("/.well-known/jwks.json").answer().await.json;
        (published["keys"].as_array()?.len() == 2).then_some(())
    })
    .await;
}
