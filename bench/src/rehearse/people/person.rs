//! One visitor: what is known on their side, and how their life goes.

use std::{sync::Arc, time::Duration};

use queue_core::wire::EndReason;
use tokio::time::{Instant, sleep, sleep_until};

use super::{line::Waited, sights::Every, world::World};
use crate::{
    clock::now_ms,
    random::Random,
    rehearse::{
        plan::{Intent, THOUGHTS},
        record::{Departure, End, Leaving, Visitor},
    },
};

/// One visitor.
pub struct Person {
    pub world: Arc<World>,
    pub intent: Intent,
    pub random: Random,
    /// Which node is asked next.
    pub node: usize,
    /// Which ticket server is asked next.
    pub shop: usize,
    pub place: Option<String>,
    /// `GENERATION.SEQ` of the place.
    pub place_name: String,
    /// Of the session.
    pub jti: String,
    pub reloads: usize,
    pub second_tab: bool,
    pub sights_every: Every,
    /// Orders so far.
    pub orders: u64,
    thoughts: usize,
}

impl Person {
    /// Somebody who has not come yet.
    pub fn new(world: Arc<World>, intent: Intent) -> Self {
        Self {
            random: Random::new(intent.luck, intent.number),
            node: intent.node,
            shop: intent.node,
            world,
            intent,
            place: None,
            place_name: String::new(),
            jti: String::new(),
            reloads: 0,
            second_tab: false,
            sights_every: Every::default(),
            orders: 0,
            thoughts: 0,
        }
    }

    /// Looks at or changes what is known of them.
    pub fn note<T>(&self, change: impl FnOnce(&mut Visitor) -> T) -> T {
        self.world.with(self.intent.number, change)
    }

    /// Adds to one of their lists.
    pub fn keep<T>(&self, what: &str, list: impl FnOnce(&mut Visitor) -> &mut Vec<T>, item: T) {
        self.world.keep(self.intent.number, what, list, item);
    }

    /// Looks for a while, as planned.
    pub async fn think(&mut self) {
        let ms = self.intent.thinks_ms[self.thoughts % THOUGHTS];
        self.thoughts += 1;
        sleep(Duration::from_millis(ms)).await;
    }

    /// Says that the session is not needed any more.
    pub async fn release(&mut self, active: &str) {
        let (world, asked_at) = (self.world.clone(), now_ms());
        let nodes = world.nodes.len();
        let send = |node: usize| world.nodes[node % nodes].release(active);
        let person = (self.intent.number, &mut self.random);
        let (answer, _) = world.persist(person, "release", &mut self.node, send).await;
        let at = if answer.is_ok() { now_ms() } else { 0 };
        let departure = Departure { what: Leaving::Release, of: self.jti.clone(), asked_at, at };
        self.keep("departures", |visitor| &mut visitor.departures, departure);
    }
}

/// Lives one life from its arrival, and writes down how it ended.
pub async fn live(world: Arc<World>, intent: Intent, started: Instant) {
    sleep_until(started + Duration::from_millis(intent.arrives_ms)).await;
    let mut person = Person::new(world.clone(), intent);
    person.note(|visitor| visitor.arrived_at = now_ms());
    world.gauges.arrived.add();
    let waited = {
        let _waiting = world.gauges.waiting.enter();
        person.wait().await
    };
    let (end, failure) = match waited {
        Waited::Admitted(active) => {
            let _active = world.gauges.active.enter();
            person.visit(&active).await
        }
        Waited::Ended(EndReason::SoldOut) | Waited::Closed => (End::SoldOut, None),
        Waited::Ended(reason) => (End::Ended, Some(reason.as_str().to_owned())),
        Waited::Gone => (End::GaveUp, None),
        Waited::Failed(code) => (End::Failed, Some(code)),
    };
    person.note(|visitor| (visitor.end, visitor.failure, visitor.gone_at) = (end, failure, now_ms()));
    world.gauges.gone.add();
}
