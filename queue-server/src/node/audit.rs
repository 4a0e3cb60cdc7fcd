//! Operators' changes: written down where all nodes see them, and read again.

use std::sync::Arc;

use queue_core::service::http::ApiError;

use super::{Node, api_error};
use crate::engine::audit::{AuditEntry, AuditId, AuditRecord};

impl Node {
    /// Writes down what was changed. The change has happened: if it cannot be written into the store, it stands
    /// in this node's log, where it stands in any case.
    pub async fn record(self: &Arc<Self>, entry: AuditEntry) {
        let said = serde_json::to_string(&entry).unwrap_or_default();
        tracing::info!(target: "usher::audit", event = %entry.event_id, trace_id = entry.trace_id, entry = said, "an operator changed something");
        if let Err(error) = self.engine.record(&entry).await {
            tracing::error!(target: "usher::audit", %error, trace_id = entry.trace_id, "a change could not be written into the audit log");
        }
    }

    /// What was changed, newest first: up to `count` entries older than `before`.
    pub async fn audit(&self, before: Option<AuditId>, count: usize) -> Result<Vec<AuditRecord>, ApiError> {
        self.engine.audit(before, count).await.map_err(api_error)
    }
}
