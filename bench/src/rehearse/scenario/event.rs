//! What a scenario means to the servers: the bodies of the event and the policy, and the rules in the record.

use serde_json::{Value, json};

use super::Scenario;
use crate::rehearse::record::{Area, Rules, Section};

/// The event of a run.
pub const EVENT: &str = "rehearsal";
/// Whoever is not heard of for so long loses the place: the shortest that the queue takes.
const GRACE_SECONDS: u64 = 60;

impl Scenario {
    /// The rules, as the record has them.
    pub fn rules(&self) -> Rules {
        let event = &self.event;
        let sections = event.sections.iter().map(|section| Section {
            section: section.name.clone(),
            ticket_type_id: format!("type-{}", section.name),
            rows: section.rows,
            seats_per_row: section.seats_per_row,
            price_minor: section.price_minor,
        });
        let areas = event.areas.iter().map(|area| Area {
            ticket_type_id: area.name.clone(),
            quantity: area.quantity,
            price_minor: area.price_minor,
        });
        Rules {
            event_id: EVENT.into(),
            currency: event.currency.clone(),
            payment_required: event.payment_required,
            capacity: event.capacity,
            admit_per_minute: event.admit_per_minute,
            active_ttl_ms: event.active_ttl_seconds * 1_000,
            claim_ms: event.claim_seconds * 1_000,
            grace_ms: GRACE_SECONDS * 1_000,
            hold_ms: event.hold_seconds * 1_000,
            seats_per_visitor_max: event.seats_per_visitor_max,
            sections: sections.collect(),
            areas: areas.collect(),
            ledger: self.servers.ledger.name().into(),
            queue_nodes: self.servers.queue_nodes,
            ticket_servers: self.servers.ticket_servers,
        }
    }

    /// What the ticket servers are told.
    pub fn event_body(&self) -> Value {
        let rules = self.rules();
        let seated = rules.sections.iter().map(|section| {
            json!({"ticketTypeId": section.ticket_type_id, "name": format!("Section {}", section.section),
                "priceMinor": section.price_minor})
        });
        let areas = rules.areas.iter().map(|area| {
            json!({"ticketTypeId": area.ticket_type_id, "name": area.ticket_type_id, "priceMinor": area.price_minor,
                "quantity": area.quantity})
        });
        let sections = rules.sections.iter().map(|section| {
            json!({"section": section.section, "ticketTypeId": section.ticket_type_id, "rows": section.rows,
                "seatsPerRow": section.seats_per_row})
        });
        json!({
            "name": "Rehearsal", "startsAt": "2035-06-01T20:00:00.000Z", "currency": rules.currency,
            "payment": if rules.payment_required { "required" } else { "none" },
            "maxSeatsPerVisitor": rules.seats_per_visitor_max,
            "ticketTypes": seated.chain(areas).collect::<Vec<_>>(), "sections": sections.collect::<Vec<_>>(),
        })
    }

    /// What the queue is told.
    pub fn policy(&self) -> Value {
        json!({
            "capacity": self.event.capacity, "admitPerMinute": self.event.admit_per_minute,
            "activeTtlSeconds": self.event.active_ttl_seconds, "claimSeconds": self.event.claim_seconds,
            "graceSeconds": GRACE_SECONDS,
        })
    }
}
