//! Every bound of a scenario, and what is wrong with one: all at once, each by its key.

use std::{collections::HashSet, fmt::Display, ops::RangeInclusive};

use queue_core::ids::is_valid_id;
use ticket_server::limits::{HOLD_LIFE_MS_MAX, HOLD_MS_MIN, PRICE_MINOR_MAX};

use super::{Crowd, Event, Fault, Ledger, Payments, Scenario, Servers, What};

/// A crowd is at most so large.
pub const VISITORS_MAX: u64 = 100_000;
const SEATS_MAX: u64 = 100_000;
const SECTIONS_MAX: usize = 50;
const AREAS_MAX: usize = 20;
const FAULTS_MAX: usize = 50;
const SERVERS_MAX: u64 = 16;
/// A run lasts at most so long.
const RUN_SECONDS_MAX: u64 = 3_600;
const FAULT_SECONDS_MAX: f64 = 120.0;
/// What the provider may be told to wait: the servers wait no longer for an answer.
const DELAY_MS_MAX: u64 = 60_000;
/// The name of a section begins each of its seats, so it has to leave room.
const NAME_CHARS_MAX: usize = 16;

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn say(&mut self, key: &str, what: impl Display) {
        self.0.push(format!("{key}: {what}"));
    }

    fn within<T: PartialOrd + Display>(&mut self, key: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            self.say(key, format!("must be between {} and {}, not {value}", range.start(), range.end()));
        }
    }

    fn span(&mut self, key: &str, [from, to]: [u64; 2], max: u64) {
        if from > to || to > max {
            self.say(key, format!("must be two numbers, the first not above the second, at most {max}"));
        }
    }
}

/// What is wrong with it.
pub fn problems(scenario: &Scenario) -> Vec<String> {
    let mut problems = Problems::default();
    event(&mut problems, &scenario.event);
    servers(&mut problems, &scenario.servers);
    payments(&mut problems, &scenario.payments);
    crowd(&mut problems, &scenario.crowd);
    if scenario.crowd.kinds.general > 0 && scenario.event.areas.is_empty() {
        problems.say("crowd.kinds.general", "needs an area of the event");
    }
    faults(&mut problems, scenario);
    problems.0
}

fn event(problems: &mut Problems, event: &Event) {
    if event.currency.len() != 3 || !event.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        problems.say("event.currency", "must be three capital letters");
    }
    problems.within("event.seats-per-visitor-max", event.seats_per_visitor_max, 1..=8);
    problems.within("event.capacity", event.capacity, 1..=1_000_000);
    if let Some(rate) = event.admit_per_minute {
        problems.within("event.admit-per-minute", rate, 1..=6_000_000);
    }
    problems.within("event.active-ttl-seconds", event.active_ttl_seconds, 10..=RUN_SECONDS_MAX);
    problems.within("event.claim-seconds", event.claim_seconds, 5..=event.active_ttl_seconds.max(5));
    problems.within("event.hold-seconds", event.hold_seconds, HOLD_MS_MIN / 1_000..=HOLD_LIFE_MS_MAX / 1_000);
    if event.sections.is_empty() || event.sections.len() > SECTIONS_MAX {
        problems.say("event.sections", format!("must be 1 to {SECTIONS_MAX}"));
    }
    if event.areas.len() > AREAS_MAX {
        problems.say("event.areas", format!("must be at most {AREAS_MAX}"));
    }
    let mut names = HashSet::new();
    let sections = event.sections.iter().map(|section| ("event.sections.name", &section.name));
    for (key, name) in sections.chain(event.areas.iter().map(|area| ("event.areas.name", &area.name))) {
        if !is_valid_id(name) || name.len() > NAME_CHARS_MAX {
            problems.say(key, format!("must be 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 . _ -, not {name:?}"));
        } else if !names.insert(name) {
            problems.say(key, format!("names {name} twice"));
        }
    }
    for section in &event.sections {
        problems.within("event.sections.rows", section.rows, 1..=1_000);
        problems.within("event.sections.seats-per-row", section.seats_per_row, 1..=1_000);
        problems.within("event.sections.price-minor", section.price_minor, 0..=PRICE_MINOR_MAX);
    }
    for area in &event.areas {
        problems.within("event.areas.quantity", area.quantity, 1..=1_000_000);
        problems.within("event.areas.price-minor", area.price_minor, 0..=PRICE_MINOR_MAX);
    }
    let seats = event.sections.iter().map(|section| section.rows.saturating_mul(section.seats_per_row));
    problems.within("event.sections", seats.fold(0, u64::saturating_add), 1..=SEATS_MAX);
    if event.payment_required && event.sections.iter().any(|section| section.price_minor == 0) {
        problems.say("event.sections.price-minor", "must not be 0 where payment is required");
    }
}

fn servers(problems: &mut Problems, servers: &Servers) {
    problems.within("servers.queue-nodes", servers.queue_nodes, 1..=SERVERS_MAX);
    problems.within("servers.ticket-servers", servers.ticket_servers, 1..=SERVERS_MAX);
    if servers.ledger == Ledger::Sqlite && servers.ticket_servers > 1 {
        problems.say("servers.ticket-servers", "must be 1 with sqlite, which is a file of one server");
    }
}

fn payments(problems: &mut Problems, payments: &Payments) {
    problems.span("payments.delay-ms", payments.delay_ms, DELAY_MS_MAX);
    problems.within("payments.lost", payments.lost, 0.0..=0.5);
}

fn crowd(problems: &mut Problems, crowd: &Crowd) {
    problems.within("crowd.visitors", crowd.visitors, 1..=VISITORS_MAX);
    problems.within("crowd.rush-share", crowd.rush_share, 0.0..=1.0);
    problems.within("crowd.rush-seconds", crowd.rush_seconds, 1..=RUN_SECONDS_MAX);
    problems.within("crowd.tail-seconds", crowd.tail_seconds, 0..=RUN_SECONDS_MAX);
    problems.within("crowd.poll-share", crowd.poll_share, 0.0..=1.0);
    problems.span("crowd.think-ms", crowd.think_ms, 600_000);
    problems.span("crowd.patience-seconds", crowd.patience_seconds, RUN_SECONDS_MAX);
    problems.within("crowd.bot-tries", crowd.bot_tries, 1..=10_000);
    problems.within("crowd.limit-seconds", crowd.limit_seconds, 5..=RUN_SECONDS_MAX);
    problems.within("crowd.settle-seconds", crowd.settle_seconds, 1..=RUN_SECONDS_MAX);
    let arrival = crowd.rush_seconds.saturating_add(crowd.tail_seconds);
    if arrival >= crowd.limit_seconds {
        problems.say("crowd.limit-seconds", "must be longer than rush and tail together");
    }
    let weights = crowd.kinds.weights();
    for (kind, weight) in weights {
        problems.within(&format!("crowd.kinds ({kind:?})"), weight, 0..=1_000_000);
    }
    if weights.iter().all(|(_, weight)| *weight == 0) {
        problems.say("crowd.kinds", "must name at least one kind with a weight above 0");
    }
}

fn faults(problems: &mut Problems, scenario: &Scenario) {
    if scenario.faults.len() > FAULTS_MAX {
        problems.say("faults", format!("must be at most {FAULTS_MAX}"));
    }
    for (index, fault) in scenario.faults.iter().enumerate() {
        let key = |name: &str| format!("faults[{index}].{name}");
        problems.within(&key("at"), fault.at, 0.0..=RUN_SECONDS_MAX as f64);
        problems.within(&key("seconds"), fault.seconds, 0.1..=FAULT_SECONDS_MAX);
        let there = match fault.what {
            What::NodeKilled => scenario.servers.queue_nodes,
            What::TicketServerKilled => scenario.servers.ticket_servers,
            _ => 1,
        };
        problems.within(&key("number"), fault.number, 1..=there);
        let slow = fault.what == What::PaymentSlow;
        match fault.delay_ms {
            Some(delay) if slow => problems.within(&key("delay-ms"), delay, 1..=DELAY_MS_MAX),
            Some(_) => problems.say(&key("delay-ms"), "belongs to payment-slow alone"),
            None if slow => problems.say(&key("delay-ms"), "is needed with payment-slow"),
            None => {}
        }
        if matches!(fault.what, What::LedgerPaused | What::LedgerKilled) && scenario.servers.ledger == Ledger::Sqlite {
            problems.say(&key("what"), "needs a ledger that is a server of its own, not sqlite");
        }
        if scenario.faults[..index].iter().any(|other| meets(other, fault)) {
            problems.say(&key("at"), "must not begin while an earlier one of the same thing lasts");
        }
    }
}

/// Whether two faults of the same thing overlap, or nearly do.
fn meets(one: &Fault, other: &Fault) -> bool {
    let target = |fault: &Fault| match fault.what {
        What::LedgerKilled => (What::LedgerPaused.name(), 1),
        What::TicketRedisKilled => (What::TicketRedisPaused.name(), 1),
        what => (what.name(), fault.number),
    };
    let apart = one.at + one.seconds + 1.0 <= other.at || other.at + other.seconds + 1.0 <= one.at;
    target(one) == target(other) && !apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::scenario::Changes;

    const SMALL: &str = include_str!("../../../scenarios/small.toml");

    fn said(text: &str) -> String {
        match Scenario::parse(text, Changes::default()) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn our_own_scenarios_can_be_used() {
        let small = Scenario::parse(SMALL, Changes { visitors: Some(7), seed: Some(9) }).unwrap();
        assert_eq!((small.crowd.visitors, small.seed), (7, 9));
        assert_eq!(Scenario::parse(&small.to_toml().unwrap(), Changes::default()).unwrap(), small);
        assert_eq!(said(include_str!("../../../scenarios/large.toml")), "");
    }

    #[test]
    fn each_bad_value_is_named() {
        for (from, to, named) in [
            ("capacity = 40", "capacity = 0", "event.capacity: must be between 1 and 1000000, not 0"),
            ("hold-seconds = 10", "hold-seconds = 9", "event.hold-seconds"),
            ("currency = \"EUR\"", "currency = \"eur\"", "event.currency"),
            ("queue-nodes = 2", "queue-nodes = 0", "servers.queue-nodes"),
            ("ledger = \"postgresql\"", "ledger = \"sqlite\"", "servers.ticket-servers"),
            ("ledger = \"postgresql\"", "ledger = \"oracle\"", "oracle"),
            ("visitors = 300", "visitors = 0", "crowd.visitors"),
            ("visitors = 300", "visitors = -1", "visitors"),
            ("rush-share = ", "rush-share = 1", "crowd.rush-share"),
            ("what = \"payment-slow\"", "what = \"ledger-paused\"", "delay-ms: belongs"),
            ("name = \"B\"", "name = \"A\"", "event.sections.name: names A twice"),
            ("lost = ", "gone = ", "gone"),
        ] {
            assert!(SMALL.contains(from), "{from}");
            let said = said(&SMALL.replacen(from, to, 1));
            assert!(said.contains(named), "{to}: {said}");
        }
        let both = SMALL.replacen("capacity = 40", "capacity = 0", 1).replacen("visitors = 300", "visitors = 0", 1);
        assert!(said(&both).contains("event.capacity") && said(&both).contains("crowd.visitors"), "{}", said(&both));
    }

    #[test]
    fn faults_of_one_thing_do_not_meet() {
        let twice = format!("{SMALL}\n[[faults]]\nwhat = \"ledger-killed\"\nat = 0.5\nseconds = 100\n");
        assert!(said(&twice).contains("must not begin while"), "{}", said(&twice));
    }
}
