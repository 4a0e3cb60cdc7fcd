//! The record of a run: everything that was promised to anybody, what the stores and the provider say of it, and
//! what was done to the servers meanwhile. It is saved as JSON beside the report.
//!
//! All times are milliseconds since the epoch by the clock of this machine, which the servers and stores have too,
//! unless a name says otherwise. Everything is bounded: what a visitor could do without end is cut off at the
//! constants below, and how much was left out is counted.

mod measures;
mod outside;
mod visitor;

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

pub use self::{
    measures::{Counts, Fault, Latency, Line, Route, Sample},
    outside::{Entry, Payment, Step},
    visitor::{
        Admission, Departure, End, Goods, Hold, HoldEnd, Kind, Leaving, Order, Place, Refusal, Repeat, Sight,
        ToldEnded, Trouble, Visitor,
    },
};

/// The shape below; a reader refuses another one.
pub const VERSION: u32 = 1;
/// Sights of a position that are kept of one visitor, at most: when there are more, every second one is dropped.
pub const SIGHTS_MAX: usize = 64;
/// Things of one kind (refusals, holds, orders, errors, …) that are kept of one visitor, at most.
pub const ITEMS_MAX: usize = 64;
/// Steps of the store that are kept, at most; a run that makes more is broken off.
pub const STEPS_MAX: usize = 2_000_000;

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The scenario as it was run: TOML, with what the flags changed.
    pub scenario: String,
    /// What made the crowd.
    pub seed: u64,
    pub rules: Rules,
    /// When the first visitor could come.
    pub started_at: u64,
    /// When the last one had gone and everything had settled, or was given up.
    pub ended_at: u64,
    /// Whether everything settled in time: nobody waiting or active, nothing held, no order running.
    pub settled: bool,
    pub machine: Machine,
    /// By number.
    pub visitors: Vec<Visitor>,
    /// The provider's own book, by payment.
    pub payments: Vec<Payment>,
    /// What the queue's store did to the line, in its own order.
    pub steps: Vec<Step>,
    /// Requests by route, sockets' joins among them.
    pub routes: BTreeMap<String, Route>,
    pub faults: Vec<Fault>,
    /// One a second.
    pub samples: Vec<Sample>,
    /// Things that were left out because of a bound: what, and how many.
    pub left_out: BTreeMap<String, u64>,
}

/// The rules of the event, as both servers were told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    pub event_id: String,
    pub currency: String,
    pub payment_required: bool,
    /// Sessions at a time.
    pub capacity: u64,
    pub admit_per_minute: Option<u64>,
    pub active_ttl_ms: u64,
    pub claim_ms: u64,
    pub grace_ms: u64,
    /// How long a hold lasts, as every visitor asks for.
    pub hold_ms: u64,
    pub seats_per_visitor_max: u64,
    /// Seats `SECTION-ROW-NUMBER`, rows and numbers from 1.
    pub sections: Vec<Section>,
    /// Types without seats.
    pub areas: Vec<Area>,
    /// `postgresql`, `mariadb` or `sqlite`.
    pub ledger: String,
    pub queue_nodes: u64,
    pub ticket_servers: u64,
}

/// A block of seats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    pub section: String,
    pub ticket_type_id: String,
    pub rows: u64,
    pub seats_per_row: u64,
    pub price_minor: u64,
}

/// General admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Area {
    pub ticket_type_id: String,
    pub quantity: u64,
    pub price_minor: u64,
}

/// What it ran on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub cores: u64,
    pub memory_bytes: u64,
    pub system: String,
    /// Of the servers: `debug`, `measure`, `release`, …: the folder they lie in.
    pub build: String,
    pub redis: String,
    pub ledger: String,
}

/// Where the auditor finds what the servers keep. They run until it is done.
#[derive(Clone)]
pub struct Sources {
    pub queue_redis: SocketAddr,
    pub ticket_redis: SocketAddr,
    /// As the ticket servers have it: `postgres://…`, `mysql://…`, `sqlite:…`.
    pub ledger: String,
    /// Public and operations address of each queue node: `http://…`.
    pub queue: Vec<(String, String)>,
    /// The same of each ticket server.
    pub tickets: Vec<(String, String)>,
    /// For the operations listeners. Never printed.
    pub operator_token: String,
}

/// What the auditor found of one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The invariant: "no seat sold twice".
    pub what: String,
    /// How many things were compared.
    pub checked: u64,
    /// How many broke it.
    pub broken: u64,
    /// Some of these, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether it was kept.
    pub const fn holds(&self) -> bool {
        self.broken == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record { version: VERSION, seed: 7, ..Record::default() };
        record.visitors.push(Visitor::new(0, Kind::TwoTabs));
        record.steps.push(Step::Admitted { at: 1, sessions: vec![(1, "a_x".into())], expires_at: 2, from_line: true });
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""kind":"two-tabs""#) && text.contains(r#""step":"admitted""#), "{text}");
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(read.steps, record.steps);
        assert_eq!(read.visitors[0].kind, Kind::TwoTabs);
    }
}
