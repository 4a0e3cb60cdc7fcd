//! The scenario: what is sold, on how many servers, to what crowd, and what goes wrong meanwhile. `docs/rehearsal.md`
//! says what each key means.
//!
//! A scenario that exists is checked: every number is within its bounds, and whatever is not known is refused.

mod check;
mod event;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use self::event::EVENT;
use super::record::Kind;

/// A scenario file is at most so long.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// The same seed gives the same crowd.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
    pub event: Event,
    #[serde(default)]
    pub servers: Servers,
    #[serde(default)]
    pub payments: Payments,
    pub crowd: Crowd,
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// What is sold, and how the line is let in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    #[serde(default = "defaults::currency")]
    pub currency: String,
    #[serde(default = "defaults::yes")]
    pub payment_required: bool,
    #[serde(default = "defaults::seats_per_visitor")]
    pub seats_per_visitor_max: u64,
    pub capacity: u64,
    pub admit_per_minute: Option<u64>,
    pub active_ttl_seconds: u64,
    pub claim_seconds: u64,
    pub hold_seconds: u64,
    pub sections: Vec<Section>,
    #[serde(default)]
    pub areas: Vec<Area>,
}

/// Seats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Section {
    pub name: String,
    pub rows: u64,
    pub seats_per_row: u64,
    pub price_minor: u64,
}

/// General admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Area {
    pub name: String,
    pub quantity: u64,
    pub price_minor: u64,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Servers {
    pub ledger: Ledger,
    pub queue_nodes: u64,
    pub ticket_servers: u64,
}

/// The ledger's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ledger {
    Postgresql,
    Mariadb,
    Sqlite,
}

/// How the payment provider behaves when nothing is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Payments {
    /// An answer takes between these.
    pub delay_ms: [u64; 2],
    /// The share of operations that are done and never answered.
    pub lost: f64,
}

/// Who comes, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Crowd {
    pub visitors: u64,
    /// The share that comes in the first seconds.
    pub rush_share: f64,
    pub rush_seconds: u64,
    /// The others come within so long after the rush.
    pub tail_seconds: u64,
    /// The share that polls; the others wait on a WebSocket.
    #[serde(default)]
    pub poll_share: f64,
    /// How long somebody looks before the next step.
    pub think_ms: [u64; 2],
    /// Who waits no longer than this gives up.
    pub patience_seconds: [u64; 2],
    /// A bot tries so often, at most.
    #[serde(default = "defaults::bot_tries")]
    pub bot_tries: u64,
    /// Who is still there after so long is cut off.
    pub limit_seconds: u64,
    /// Everything must have settled within so long after the last one went.
    #[serde(default = "defaults::settle_seconds")]
    pub settle_seconds: u64,
    pub kinds: Kinds,
}

/// Shares of the kinds, by weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Kinds {
    pub buyer: u64,
    pub best_available: u64,
    pub general: u64,
    pub abandons: u64,
    pub leaves: u64,
    pub reloads: u64,
    pub two_tabs: u64,
    pub dawdles: u64,
    pub hesitates: u64,
    pub fails_to_pay: u64,
    pub bot: u64,
}

impl Kinds {
    /// Each kind with its weight.
    pub const fn weights(&self) -> [(Kind, u64); 11] {
        [
            (Kind::Buyer, self.buyer),
            (Kind::BestAvailable, self.best_available),
            (Kind::General, self.general),
            (Kind::Abandons, self.abandons),
            (Kind::Leaves, self.leaves),
            (Kind::Reloads, self.reloads),
            (Kind::TwoTabs, self.two_tabs),
            (Kind::Dawdles, self.dawdles),
            (Kind::Hesitates, self.hesitates),
            (Kind::FailsToPay, self.fails_to_pay),
            (Kind::Bot, self.bot),
        ]
    }
}

/// Something that is done to the servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fault {
    pub what: What,
    /// Seconds after the first visitor could come.
    pub at: f64,
    /// For so many seconds.
    pub seconds: f64,
    /// Which of them, from 1, where there are several.
    #[serde(default = "defaults::first")]
    pub number: u64,
    /// How long an answer of the provider takes, for `payment-slow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// What can be done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A queue node is killed, and started again afterwards.
    NodeKilled,
    /// A ticket server is killed while it waits for the payment of an order, and started again afterwards.
    TicketServerKilled,
    /// The queue's Redis stops, and goes on afterwards.
    QueueRedisPaused,
    /// The ticket store's Redis stops, and goes on afterwards.
    TicketRedisPaused,
    /// The ticket store's Redis is killed, and started again empty.
    TicketRedisKilled,
    /// The ledger's database stops answering, and goes on afterwards.
    LedgerPaused,
    /// The ledger's database is killed, and started again afterwards.
    LedgerKilled,
    /// The provider takes its time.
    PaymentSlow,
}

impl What {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodeKilled => "node-killed",
            Self::TicketServerKilled => "ticket-server-killed",
            Self::QueueRedisPaused => "queue-redis-paused",
            Self::TicketRedisPaused => "ticket-redis-paused",
            Self::TicketRedisKilled => "ticket-redis-killed",
            Self::LedgerPaused => "ledger-paused",
            Self::LedgerKilled => "ledger-killed",
            Self::PaymentSlow => "payment-slow",
        }
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self { ledger: Ledger::Postgresql, queue_nodes: 2, ticket_servers: 2 }
    }
}

impl Default for Payments {
    fn default() -> Self {
        Self { delay_ms: [5, 40], lost: 0.0 }
    }
}

impl Ledger {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Mariadb => "mariadb",
            Self::Sqlite => "sqlite",
        }
    }
}

mod defaults {
    pub(super) const fn seed() -> u64 {
        1
    }
    pub(super) fn currency() -> String {
        "EUR".into()
    }
    pub(super) const fn yes() -> bool {
        true
    }
    pub(super) const fn seats_per_visitor() -> u64 {
        4
    }
    pub(super) const fn bot_tries() -> u64 {
        30
    }
    pub(super) const fn settle_seconds() -> u64 {
        120
    }
    pub(super) const fn first() -> u64 {
        1
    }
}

/// What the command line changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    pub visitors: Option<u64>,
    pub seed: Option<u64>,
}

impl Scenario {
    /// Reads, changes and checks a file.
    pub fn load(file: &Path, changes: Changes) -> Result<Self> {
        let name = file.display();
        let size = std::fs::metadata(file).with_context(|| format!("reading {name}"))?.len();
        if size > FILE_BYTES_MAX {
            bail!("{name} is larger than {FILE_BYTES_MAX} bytes");
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {name}"))?;
        Self::parse(&text, changes).with_context(|| format!("{name} cannot be used"))
    }

    /// The same from a text.
    pub fn parse(text: &str, changes: Changes) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        scenario.crowd.visitors = changes.visitors.unwrap_or(scenario.crowd.visitors);
        scenario.seed = changes.seed.unwrap_or(scenario.seed);
        let problems = check::problems(&scenario);
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        Ok(scenario)
    }

    /// As a file.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }
}
