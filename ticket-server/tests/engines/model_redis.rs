//! The scripts are held to the model: random commands run against both on the same virtual time,
//! and reply and complete state are compared after every step.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::steps::{START, Step, World, patient, sequence};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestRunner},
};
use queue_core::{
    ids::EventId,
    service::{
        redis::{Store, StoreUrl},
        testing::TestRedis,
    },
};
use ticket_server::{
    clock::Clock,
    engine::{Engine as _, RedisEngine},
};

/// How many random sequences are compared.
fn cases() -> u32 {
    std::env::var("USHER_MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

async fn run(engine: &RedisEngine, time: &AtomicU64, event: &EventId, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::default();
    let fail = |reason: String| TestCaseError::fail(reason);
    let begin = world.begin();
    let mut commands: Vec<_> = begin.into_iter().map(Ok).collect();
    commands.extend(steps.into_iter().map(Err));
    for command in commands {
        let command = match command {
            Ok(command) => command,
            Err(step) => match world.resolve(step) {
                Some(command) => command,
                None => continue,
            },
        };
        time.store(world.now.0, Ordering::SeqCst);
        let expected = world.model.apply(command.clone(), world.now);
        let got = engine.apply(event, command.clone()).await.map_err(|error| fail(format!("{command:?}: {error}")))?;
        prop_assert_eq!(got, expected, "reply to {:?}", command);
        let state = engine.dump(event).await.map_err(|error| fail(error.to_string()))?;
        prop_assert_eq!(state, world.model.dump(), "state after {:?}", command);
    }
    Ok(())
}

#[test]
fn redis_does_what_the_model_does() {
    let redis = TestRedis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let time = Arc::new(AtomicU64::new(START));
    let engine = runtime.block_on(async {
        let store = Store::connect(&StoreUrl::parse(&redis.url()).unwrap(), patient());
        store.wait_ready(std::time::Duration::from_secs(5)).await.unwrap();
        RedisEngine::with_clock(store, Clock::Virtual(Arc::clone(&time)))
    });
    let count = AtomicUsize::new(0);
    // A sequence that fails is kept, and tried first from then on.
    let kept = FileFailurePersistence::Direct("tests/engines/model_redis.proptest-regressions");
    let config = ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::with_cases(cases()) };
    let result = TestRunner::new(config).run(&sequence(), |steps| {
        let event = EventId::new(&format!("e{}", count.fetch_add(1, Ordering::SeqCst))).unwrap();
        let result = runtime.block_on(run(&engine, &time, &event, steps));
        redis_flush(&runtime, &engine);
        result
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

fn redis_flush(runtime: &tokio::runtime::Runtime, engine: &RedisEngine) {
    const NO_ARGS: [&str; 0] = [];
    runtime.block_on(engine.store().command("FLUSHALL", NO_ARGS)).unwrap();
}
