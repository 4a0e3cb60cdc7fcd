//! The audit log: what each change of an operator is written down with, and how it is read.

use std::sync::Arc;

use queue_core::{
    ids::{EventId, VisitorId},
    service::http::{ApiError, Request},
    service::trace::TraceId,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    engine::audit::{AUDIT_PAGE_MAX, AuditAction, AuditActor, AuditEntry, AuditId, AuditRecord},
    node::Node,
};

/// Entries in an answer, unless asked for another number.
const PAGE_DEFAULT: usize = 50;
/// Who holds the operator token.
const OPERATOR: &str = "operator";

/// A page of the log.
#[derive(Serialize)]
pub struct Page {
    items: Vec<AuditRecord>,
    /// What `before` has to be for the page after this one; `null` on the last.
    next: Option<AuditId>,
}

/// Who asks for a change.
pub struct By {
    actor: AuditActor,
    trace: TraceId,
}

impl By {
    /// Whoever sent the request, which has shown the operator token.
    pub fn of(request: &Request) -> Self {
        let actor = AuditActor { role: OPERATOR.to_owned(), address: request.client_ip() };
        Self { actor, trace: request.trace_id() }
    }

    /// Writes a change of an event down.
    pub async fn did(self, node: &Arc<Node>, action: AuditAction, event: &EventId, before: Value, after: Value) {
        self.did_to(node, action, event, None, before, after).await;
    }

    /// Writes down what was done to one person.
    pub async fn did_to(
        self,
        node: &Arc<Node>,
        action: AuditAction,
        event: &EventId,
        visitor: Option<VisitorId>,
        before: Value,
        after: Value,
    ) {
        let entry = AuditEntry {
            at: node.now(),
            action,
            event_id: event.clone(),
            visitor_id: visitor,
            actor: self.actor,
            trace_id: self.trace.to_string(),
            before,
            after,
        };
        node.record(entry).await;
    }
}

/// Reads a page: `limit` entries older than the one that `before` names.
pub async fn page(node: &Arc<Node>, request: &Request) -> Result<Page, ApiError> {
    let limit = match request.query("limit") {
        None => PAGE_DEFAULT,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if (1..=AUDIT_PAGE_MAX).contains(&limit) => limit,
            _ => return Err(ApiError::invalid("limit", format!("must be a whole number from 1 to {AUDIT_PAGE_MAX}"))),
        },
    };
    let before = request.query("before").map(|text| text.parse::<AuditId>()).transpose();
    let before = before.map_err(|problem| ApiError::invalid("before", problem))?;
    let items = node.audit(before, limit).await?;
    let next = items.last().map(|record| record.id).filter(|_| items.len() == limit);
    Ok(Page { items, next })
}
