//! The policy of one event's queue: its fields, defaults and ranges, checked all at once.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ids::{Rank, Seq},
    limits::{GRACE_MS_MAX, GRACE_MS_MIN, SEEN_PERIOD_MS, SEEN_SETTLE_MS},
};

/// The longest session a policy may name.
pub const ACTIVE_TTL_SECONDS_MAX: u32 = 86_400;

/// How the line is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By arrival.
    #[default]
    Fifo,
}

impl Order {
    /// The rank of the place with this number.
    pub const fn rank(self, seq: Seq) -> Rank {
        match self {
            Self::Fifo => Rank(seq.0),
        }
    }

    /// The number of the place at this rank.
    pub const fn seq(self, rank: Rank) -> Seq {
        match self {
            Self::Fifo => Seq(rank.0),
        }
    }
}

/// What happens while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStoreFailure {
    /// Nobody is admitted until it is back.
    #[default]
    Hold,
}

/// What happens to a line whose event was sold out when something comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReturn {
    /// It stays closed until an operator resumes it.
    #[default]
    Close,
    /// It opens again.
    Reopen,
}

impl OnReturn {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The checked policy of one event.
///
/// `preQueueAt`, `opensAt` and `closesAt` are always `null` until schedules exist, and are written out so that
/// readers see the whole shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Sessions at a time.
    pub capacity: u32,
    /// Admissions a minute; `None` is unlimited.
    pub admit_per_minute: Option<u32>,
    /// How long a session lasts, counted from admission.
    pub active_ttl_seconds: u32,
    /// Who is not heard of for so long after admission loses the slot.
    pub claim_seconds: u32,
    /// How long a waiter that is not heard of keeps the place.
    pub grace_seconds: u32,
    /// People waiting at a time; `None` is unlimited.
    pub max_waiting: Option<u32>,
    /// How the line is ordered.
    pub order: Order,
    /// When the pre-queue opens.
    pub pre_queue_at: Option<crate::ids::Millis>,
    /// When admission starts.
    pub opens_at: Option<crate::ids::Millis>,
    /// When the queue closes.
    pub closes_at: Option<crate::ids::Millis>,
    /// What happens while the store is away.
    pub on_store_failure: OnStoreFailure,
    /// What happens when something comes back after the event was sold out.
    #[serde(default, skip_serializing_if = "OnReturn::is_default")]
    pub on_return: OnReturn,
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyProblem {
    /// The field, as the contract spells it.
    pub field: String,
    /// What was expected.
    pub problem: String,
    /// The value is in the contract, but not built yet.
    #[serde(skip)]
    pub not_supported: bool,
}

impl Policy {
    /// A policy with this capacity and every default.
    pub const fn with_capacity(capacity: u32) -> Self {
        Self {
            capacity,
            admit_per_minute: None,
            active_ttl_seconds: 300,
            claim_seconds: 60,
            grace_seconds: 120,
            max_waiting: None,
            order: Order::Fifo,
            pre_queue_at: None,
            opens_at: None,
            closes_at: None,
            on_store_failure: OnStoreFailure::Hold,
            on_return: OnReturn::Close,
        }
    }

    /// Reads a policy from a JSON body; every problem is named at once.
    pub fn from_json(body: &Value) -> Result<Self, Vec<PolicyProblem>> {
        let Some(fields) = body.as_object() else {
            return Err(vec![PolicyProblem {
                field: String::new(),
                problem: "must be an object".into(),
                not_supported: false,
            }]);
        };
        let mut reader = Reader { fields, problems: Vec::new() };
        let capacity = reader.number("capacity", 1..=1_000_000);
        if capacity.is_none() && fields.get("capacity").is_none_or(Value::is_null) {
            reader.problem("capacity", "is required: 1 to 1000000");
        }
        let admit_per_minute = reader.number("admitPerMinute", 1..=6_000_000);
        let active_ttl = reader.number("activeTtlSeconds", 10..=ACTIVE_TTL_SECONDS_MAX).unwrap_or(300);
        // The default claim bends to a short session; a claim that was asked for does not.
        let claim = reader.number("claimSeconds", 5..=active_ttl).unwrap_or(60.min(active_ttl));
        let grace = (GRACE_MS_MIN / 1000) as u32..=(GRACE_MS_MAX / 1000) as u32;
        let grace = reader.number("graceSeconds", grace).unwrap_or(120);
        let max_waiting = reader.number("maxWaiting", 1..=100_000_000);
        reader.choice("order", "fifo", &["lottery"]);
        let reopens = match fields.get("onReturn") {
            Some(Value::String(text)) if text == "reopen" => OnReturn::Reopen,
            _ => OnReturn::Close,
        };
        if reopens == OnReturn::Close {
            reader.choice("onReturn", "close", &[]);
        }
        reader.choice("onStoreFailure", "hold", &["admit", "refuse"]);
        for field in ["preQueueAt", "opensAt", "closesAt"] {
            reader.schedule(field);
        }
        reader.unknown_fields();
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        Ok(Self {
            admit_per_minute,
            active_ttl_seconds: active_ttl,
            claim_seconds: claim,
            grace_seconds: grace,
            max_waiting,
            on_return: reopens,
            ..Self::with_capacity(capacity.unwrap_or(1))
        })
    }

    /// The grace in milliseconds.
    pub const fn grace_ms(&self) -> u64 {
        self.grace_seconds as u64 * 1000
    }
    /// How many periods before the current one a sweep may have to look at: those that the grace covers, less
    /// what the sweep waits for the nodes, rounded up; and one more while that wait began in the period before.
    pub const fn grace_periods(&self) -> u64 {
        (self.grace_ms() - SEEN_SETTLE_MS).div_ceil(SEEN_PERIOD_MS) + 1
    }
    /// The length of a session in milliseconds.
    pub const fn active_ttl_ms(&self) -> u64 {
        self.active_ttl_seconds as u64 * 1000
    }
    /// The time to claim an admission in milliseconds.
    pub const fn claim_ms(&self) -> u64 {
        self.claim_seconds as u64 * 1000
    }
}

const KNOWN: &[&str] = &[
    "capacity",
    "admitPerMinute",
    "activeTtlSeconds",
    "claimSeconds",
    "graceSeconds",
    "maxWaiting",
    "order",
    "preQueueAt",
    "opensAt",
    "closesAt",
    "onStoreFailure",
    "onReturn",
];

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    problems: Vec<PolicyProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, field: &str, problem: impl Into<String>) {
        self.problems.push(PolicyProblem { field: field.into(), problem: problem.into(), not_supported: false });
    }

    fn not_supported(&mut self, field: &str) {
        let problem = "is not supported yet".into();
        self.problems.push(PolicyProblem { field: field.into(), problem, not_supported: true });
    }

    fn number(&mut self, field: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.fields.get(field).filter(|v| !v.is_null())?;
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            self.problem(field, format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    fn choice(&mut self, field: &str, built: &str, later: &[&str]) {
        match self.fields.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(s)) if s == built => {}
            Some(Value::String(s)) if later.contains(&s.as_str()) => self.not_supported(field),
            Some(_) if field == "onReturn" => self.problem(field, "must be close or reopen"),
            Some(_) => self.problem(field, format!("must be one of {built}, {}", later.join(", "))),
        }
    }

    fn schedule(&mut self, field: &str) {
        match self.fields.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(s)) if s.parse::<crate::ids::Millis>().is_ok() => self.not_supported(field),
            Some(_) => self.problem(field, "must be a time in RFC 3339, or null"),
        }
    }

    fn unknown_fields(&mut self) {
        let unknown: Vec<_> = self.fields.keys().filter(|k| !KNOWN.contains(&k.as_str())).cloned().collect();
        for field in unknown.iter().take(16) {
            self.problem(&field.chars().take(64).collect::<String>(), "is not a field of the policy");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        assert_eq!(Policy::from_json(&json!({"capacity": 50})), Ok(Policy::with_capacity(50)));
        let short = Policy::from_json(&json!({"capacity": 1, "activeTtlSeconds": 10})).unwrap();
        assert_eq!(short.claim_seconds, 10);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let body = json!({"capacity": 0, "admitPerMinute": 1.5, "graceSeconds": 59, "claimSeconds": 4,
            "maxWaiting": "9", "speed": 1, "order": "random", "opensAt": "soon"});
        let problems = Policy::from_json(&body).unwrap_err();
        let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
        for field in
            ["capacity", "admitPerMinute", "claimSeconds", "graceSeconds", "maxWaiting", "order", "opensAt", "speed"]
        {
            assert!(fields.contains(&field), "{field} in {fields:?}");
        }
        assert!(problems.iter().all(|p| !p.not_supported));
    }

    #[test]
    fn what_is_not_built_is_said_to_be() {
        for (field, value) in [
            ("order", json!("lottery")),
            ("onStoreFailure", json!("admit")),
            ("opensAt", json!("2026-11-20T10:00:00.000Z")),
        ] {
            let problems = Policy::from_json(&json!({"capacity": 1, field: value})).unwrap_err();
            assert!(problems.len() == 1 && problems[0].not_supported && problems[0].field == field);
        }
    }

    #[test]
    fn a_policy_survives_json() {
        let policy = Policy { admit_per_minute: Some(600), ..Policy::with_capacity(9) };
        let text = serde_json::to_value(&policy).unwrap();
        assert_eq!(text["admitPerMinute"], 600);
        assert_eq!(text["opensAt"], Value::Null);
        assert_eq!(Policy::from_json(&text), Ok(policy.clone()));
        assert_eq!(serde_json::from_value::<Policy>(text).unwrap(), policy);
    }
}
