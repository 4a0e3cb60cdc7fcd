//! What this server counts beside its requests: help texts, and counters that are there from the start, so
//! that an alert on the first oversold seat has something to compare with.

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use queue_core::{codes::Code, service::http::ApiError};

use crate::{payments::Operation, relay::SINKS};

/// What became of the wish for a hold.
pub const HOLD_OUTCOMES: [&str; 6] = ["held", "taken", "limit", "session", "unavailable", "invalid"];

/// Counts what became of wishes for holds. Each counter is looked up once.
pub struct Holds([Counter; HOLD_OUTCOMES.len()]);

impl Holds {
    /// The counters; to be made when the recorder is there.
    pub fn registered() -> Self {
        Self(std::array::from_fn(|n| counter!("usher_ticket_holds_total", "outcome" => HOLD_OUTCOMES[n])))
    }

    /// Counts one.
    pub fn count<T>(&self, result: &Result<T, ApiError>) {
        let outcome = match result {
            Ok(_) => 0,
            Err(error) => match error.code() {
                Code::SeatTaken | Code::SoldOut | Code::NotTogether => 1,
                Code::LimitExceeded => 2,
                Code::SessionEnded | Code::WrongEvent => 3,
                Code::StoreUnavailable | Code::Overloaded => 4,
                _ => 5,
            },
        };
        self.0[outcome].increment(1);
    }
}

/// What became of orders and charges.
pub const ORDER_OUTCOMES: &[&str] = &["confirmed", "charged", "declined", "unavailable", "failed", "refunded"];

/// Describes everything; call it once the recorder is there.
pub fn start() {
    describe_counter!("usher_ticket_holds_total", "Holds asked for, by outcome.");
    describe_counter!("usher_ticket_holds_expired_total", "Holds that ended unconfirmed.");
    describe_counter!("usher_ticket_bookings_total", "Bookings written to the ledger by this server.");
    describe_counter!("usher_ticket_orders_total", "Orders and charges that were settled, by outcome.");
    describe_gauge!(
        "usher_ticket_orders_due",
        "Orders that nobody runs and that were due at the last look, at most 256."
    );
    describe_histogram!(
        "usher_ticket_payment_seconds",
        Unit::Seconds,
        "Calls to the payment provider, by operation and by where the payment stood then."
    );
    describe_counter!("usher_ticket_payment_retries_total", "Calls to the payment provider that were made again.");
    describe_gauge!("usher_ticket_payment_breaker_open", "1 while the payment provider is not asked, else 0.");
    describe_counter!(
        "usher_ticket_payment_webhooks_total",
        "Messages of the payment provider, by whether the payment is ours."
    );
    describe_counter!(
        "usher_ticket_notifications_total",
        "Attempts to tell the buyers' system of an order, by outcome."
    );
    describe_counter!(
        "usher_ticket_oversold_total",
        "Times the store held what the ledger had sold already. Nothing is sold twice: the ledger refuses."
    );
    describe_histogram!("usher_ticket_ledger_batch_size", "Bookings written to the ledger in one transaction.");
    describe_histogram!(
        "usher_ticket_outbox_lag_seconds",
        Unit::Seconds,
        "Time from a booking's commit until the queue was told."
    );
    describe_counter!("usher_ticket_outbox_failures_total", "Attempts to tell the queue that failed.");
    describe_sinks();
    describe_counter!(
        "usher_ticket_messages_malformed_total",
        "Messages of the queue that could not be read, by where they stood."
    );
    describe_gauge!("usher_ticket_live_followers", "Streams and sockets that follow seats, by transport.");
    describe_counter!("usher_ticket_live_reads_total", "Times the store was asked for what followers are told.");
    describe_counter!("usher_ticket_live_dropped_total", "Followers dropped because they read too slowly.");
    describe_gauge!("usher_ticket_store_up", "1 while the store can be asked, else 0.");
    for outcome in HOLD_OUTCOMES {
        counter!("usher_ticket_holds_total", "outcome" => outcome).absolute(0);
    }
    for outcome in ORDER_OUTCOMES {
        counter!("usher_ticket_orders_total", "outcome" => *outcome).absolute(0);
    }
    for name in [
        "usher_ticket_holds_expired_total",
        "usher_ticket_bookings_total",
        "usher_ticket_oversold_total",
        "usher_ticket_outbox_failures_total",
        "usher_ticket_live_reads_total",
        "usher_ticket_live_dropped_total",
    ] {
        counter!(name).absolute(0);
    }
    for outcome in ["sent", "failed", "given_up"] {
        counter!("usher_ticket_notifications_total", "outcome" => outcome).absolute(0);
    }
    for outcome in ["known", "unknown"] {
        counter!("usher_ticket_payment_webhooks_total", "outcome" => outcome).absolute(0);
    }
    for operation in Operation::ALL.map(Operation::name) {
        counter!("usher_ticket_payment_retries_total", "operation" => operation).absolute(0);
    }
    for transport in ["sse", "ws"] {
        gauge!("usher_ticket_live_followers", "transport" => transport).set(0.0);
    }
    // So that the histograms are there before the first booking.
    let _ = (
        metrics::histogram!("usher_ticket_ledger_batch_size"),
        metrics::histogram!("usher_ticket_outbox_lag_seconds"),
        metrics::histogram!("usher_ticket_payment_seconds", "operation" => Operation::Authorize.name(), "outcome" => "AUTHORIZED"),
    );
}

/// What is told to the queue and to those who follow the feed.
fn describe_sinks() {
    describe_histogram!(
        "usher_ticket_sink_lag_seconds",
        Unit::Seconds,
        "Time from what happened to a booking until a sink of the feed had it, by sink."
    );
    describe_counter!("usher_ticket_sink_messages_total", "Messages of the feed that arrived, by sink.");
    describe_counter!(
        "usher_ticket_sink_failures_total",
        "Messages that did not arrive: refused one by one, or because the sink was away, by sink."
    );
    describe_gauge!(
        "usher_ticket_sink_oldest_seconds",
        "Age of the oldest message that failed to arrive and is tried again, by sink; 0 if there is none."
    );
    describe_counter!("usher_ticket_sink_given_up_total", "Messages that this server gave up, by sink.");
    describe_gauge!("usher_ticket_dead_letters", "Messages that were given up and wait for an operator, by sink.");
    // So that all of them are there before the first message.
    for sink in SINKS {
        counter!("usher_ticket_sink_given_up_total", "sink" => sink).absolute(0);
        counter!("usher_ticket_sink_messages_total", "sink" => sink).absolute(0);
        let _ = metrics::histogram!("usher_ticket_sink_lag_seconds", "sink" => sink);
        sink_stands(sink, 0, 0);
        for kind in ["away", "refused"] {
            counter!("usher_ticket_sink_failures_total", "sink" => sink, "kind" => kind).absolute(0);
        }
    }
}

/// A sink of the feed has a message, so late.
pub fn sink_took(sink: &'static str, lag_ms: u64) {
    metrics::histogram!("usher_ticket_sink_lag_seconds", "sink" => sink).record(lag_ms as f64 / 1000.0);
    counter!("usher_ticket_sink_messages_total", "sink" => sink).increment(1);
}

/// A message did not arrive.
pub fn sink_failed(sink: &'static str, kind: &'static str) {
    counter!("usher_ticket_sink_failures_total", "sink" => sink, "kind" => kind).increment(1);
}

/// How many messages for a sink are dead, and how old the oldest is that did not arrive yet.
pub fn sink_stands(sink: &'static str, dead: u64, oldest_ms: u64) {
    gauge!("usher_ticket_dead_letters", "sink" => sink).set(dead as f64);
    gauge!("usher_ticket_sink_oldest_seconds", "sink" => sink).set(oldest_ms as f64 / 1000.0);
}

/// Whether the store can be asked.
pub fn store_up(up: bool) {
    gauge!("usher_ticket_store_up").set(f64::from(u8::from(up)));
}
