//! What all visitors share, and where everything that they were promised is written down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use queue_core::{ids::EventId, token::place::PlaceKeys};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::sights;
use crate::{
    api::{Answer, ApiError, Queue, Tickets},
    clock::now_ms,
    crowd::{seats::SeatPicker, tally::Gauge},
    random::Random,
    rehearse::{
        meter::{Meter, Outcome, Request},
        plan::Plan,
        record::{ITEMS_MAX, Refusal, Rules, Trouble, Visitor},
        scenario,
    },
};

/// The same request is sent at most so often, and for at most so long.
const TRIES_MAX: u64 = 60;
const PERSIST_WAIT: Duration = Duration::from_secs(90);
/// Nobody follows the advice to come back in an hour.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// What a server may say to a well-behaved visitor without being at fault.
const REFUSALS: [&str; 13] = [
    "SEAT_TAKEN",
    "SOLD_OUT",
    "NOT_TOGETHER",
    "LIMIT_EXCEEDED",
    "PAYMENT_DECLINED",
    "HOLD_EXPIRED",
    "RESERVATION_NOT_HELD",
    "RESERVATION_NOT_FOUND",
    "SESSION_ENDED",
    "ORDER_IN_PROGRESS",
    "QUEUE_CLOSED",
    "PLACE_TOKEN_REQUIRED",
    "RATE_LIMITED",
];

/// How many are where.
#[derive(Debug, Default)]
pub struct Gauges {
    pub arrived: Gauge,
    pub waiting: Gauge,
    pub active: Gauge,
    pub holding: Gauge,
    pub gone: Gauge,
    /// Seats and tickets.
    pub booked: Gauge,
}

/// What all visitors share.
pub struct World {
    pub event: EventId,
    pub nodes: Vec<Queue>,
    pub shops: Vec<Tickets>,
    pub keys: Arc<PlaceKeys>,
    pub rules: Rules,
    pub crowd: scenario::Crowd,
    pub picker: SeatPicker,
    pub meter: Meter,
    pub gauges: Gauges,
    /// Sockets that this process may have open yet. Who gets none polls.
    pub sockets: Arc<Semaphore>,
    /// Of one visitor.
    pub sights_max: usize,
    visitors: Vec<Mutex<Visitor>>,
    left_out: Mutex<BTreeMap<String, u64>>,
}

/// What a world is made of.
pub struct Setup {
    pub event: EventId,
    pub nodes: Vec<Queue>,
    pub shops: Vec<Tickets>,
    pub keys: Arc<PlaceKeys>,
    pub rules: Rules,
    pub crowd: scenario::Crowd,
    pub meter: Meter,
    pub sockets_max: usize,
}

impl World {
    /// A world whose visitors are still to come.
    pub fn new(setup: Setup, plan: &Plan) -> Self {
        let Setup { event, nodes, shops, keys, rules, crowd, meter, sockets_max } = setup;
        let visitors = plan.0.iter().map(|intent| Mutex::new(Visitor::new(intent.number, intent.kind)));
        Self {
            event,
            nodes,
            shops,
            keys,
            rules,
            crowd,
            picker: SeatPicker::default(),
            meter,
            gauges: Gauges::default(),
            sockets: Arc::new(Semaphore::new(sockets_max)),
            sights_max: sights::most(plan.0.len()),
            visitors: visitors.collect(),
            left_out: Mutex::default(),
        }
    }

    /// Looks at or changes what is known of a visitor.
    pub fn with<T>(&self, number: u64, change: impl FnOnce(&mut Visitor) -> T) -> T {
        change(&mut self.visitors[number as usize].lock())
    }

    /// Adds to one of a visitor's lists, which are bounded.
    pub fn keep<T>(&self, number: u64, what: &str, list: impl FnOnce(&mut Visitor) -> &mut Vec<T>, item: T) {
        let kept = self.with(number, |visitor| {
            let list = list(visitor);
            let room = list.len() < ITEMS_MAX;
            if room {
                list.push(item);
            }
            room
        });
        if !kept {
            *self.left_out.lock().entry(what.to_owned()).or_default() += 1;
        }
    }

    /// What was left out because of bounds.
    pub fn left_out(&self) -> BTreeMap<String, u64> {
        self.left_out.lock().clone()
    }

    /// Everything that is known of everybody.
    pub fn visitors(&self) -> Vec<Visitor> {
        self.visitors.iter().map(|visitor| visitor.lock().clone()).collect()
    }

    /// Sends a request of a visitor, and takes note of how it went.
    pub async fn ask<T>(&self, number: u64, route: &'static str, ask: impl Future<Output = Answer<T>>) -> Answer<T> {
        let (asked_at, began) = (now_ms(), Instant::now());
        let answer = ask.await;
        let (status, code) = match &answer {
            Ok(_) => (200, None),
            Err(error) => (error.status(), Some(error.code())),
        };
        self.answered(number, route, asked_at, began, status, code);
        answer
    }

    /// Takes note of an answer, or that there was none: `status` 0. `code`: of an error.
    pub fn answered(
        &self,
        number: u64,
        route: &'static str,
        asked_at: u64,
        began: Instant,
        status: u16,
        code: Option<&str>,
    ) {
        let outcome = match code {
            None => Outcome::Done,
            Some(code) if REFUSALS.contains(&code) => Outcome::Refused,
            Some(_) => Outcome::Failed,
        };
        let took_us = began.elapsed().as_micros() as u64;
        let in_fault = self.meter.note(&Request { route, asked_at, took_us, status, outcome });
        let Some(code) = code else { return };
        let (route, code) = (route.to_owned(), code.to_owned());
        if outcome == Outcome::Refused {
            let refusal = Refusal { route, code, at: now_ms() };
            self.keep(number, "refusals", |visitor| &mut visitor.refusals, refusal);
        } else {
            let trouble = Trouble { route, code, status, at: asked_at, in_fault };
            self.keep(number, "errors", |visitor| &mut visitor.errors, trouble);
        }
    }

    /// Sends a request that may be sent again until there is an answer for good: after the pause that the server
    /// asks for, and to the next server where one did not answer. How often it was sent.
    pub async fn persist<T, F: Future<Output = Answer<T>>>(
        &self,
        person: (u64, &mut Random),
        route: &'static str,
        server: &mut usize,
        send: impl Fn(usize) -> F,
    ) -> (Answer<T>, u64) {
        let (number, random) = person;
        let until = Instant::now() + PERSIST_WAIT;
        let mut tries = 0;
        loop {
            let answer = self.ask(number, route, send(*server)).await;
            tries += 1;
            let Err(error) = &answer else { return (answer, tries) };
            if !may_pass(error) || tries >= TRIES_MAX || Instant::now() > until {
                return (answer, tries);
            }
            if matches!(error, ApiError::Lost(_)) {
                *server += 1;
            }
            sleep(self.pause(random, error.retry_after(), tries)).await;
        }
    }

    /// How long to wait before the same again.
    pub fn pause(&self, random: &mut Random, advice: Option<Duration>, tries: u64) -> Duration {
        let own = random.between_ms(100, 300) * 2_u32.pow(tries.min(4) as u32 - 1);
        // Everybody at the same moment would be the next rush.
        let spread = random.between_ms(0, 200);
        advice.map_or(own, |advice| advice + spread).min(RETRY_WAIT_MAX)
    }
}

/// Whether the same request may get another answer. After `PAYMENT_UNAVAILABLE` only one with another key may.
fn may_pass(error: &ApiError) -> bool {
    error.code() == "ORDER_IN_PROGRESS" || error.is_passing() && error.code() != "PAYMENT_UNAVAILABLE"
}
