//! What operators changed: entries that all nodes of a store share, newest first.

use std::net::IpAddr;

use queue_core::ids::{EventId, Millis, VisitorId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Entries that a store keeps, about.
pub const AUDIT_MAX: usize = 10_000;
/// Entries that are read at once, at most.
pub const AUDIT_PAGE_MAX: usize = 200;

/// What an operator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditAction {
    Created,
    Changed,
    Paused,
    Resumed,
    Drained,
    Cleared,
    Removed,
    Revoked,
}

/// Who did it: whoever held the token, from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditActor {
    /// Which token it was.
    pub role: String,
    /// The client's address.
    pub address: IpAddr,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    pub at: Millis,
    pub action: AuditAction,
    pub event_id: EventId,
    /// Whom it was done to, if to one person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor_id: Option<VisitorId>,
    pub actor: AuditActor,
    /// The request, as logs and traces name it.
    pub trace_id: String,
    /// What was there before, as far as it was changed; `null`: nothing.
    pub before: Value,
    /// What is there now; `null`: nothing.
    pub after: Value,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRecord {
    pub id: AuditId,
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Names an entry; a later one is greater. `milliseconds-number`, as Redis names the entries of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditId(pub u64, pub u64);

impl std::fmt::Display for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl std::str::FromStr for AuditId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        let parts = text.split_once('-').and_then(|(ms, n)| Some(Self(number(ms)?, number(n)?)));
        parts.ok_or("must be the id of an entry")
    }
}

impl Serialize for AuditId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
