//! The auditor: reads what the servers keep after a run, and proves from the record that every promise was kept.
//!
//! What is read (`stores`, `ledger`, and the record) becomes [`Facts`], plain data; every invariant is a function over
//! them, which the tests break one by one. Nothing here believes a server: the line is played again from the steps of
//! its store, and every number that two know is compared.

mod check;
mod facts;
mod keys;
mod ledger;
mod line;
mod payments;
mod people;
mod positions;
mod rate;
mod replay;
#[cfg(test)]
mod sample;
mod seats;
mod slots;
mod stores;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, Result};
use queue_core::ids::EventId;
use tokio::time::{Instant, sleep};

pub use self::facts::Facts;
use self::replay::Replay;
use super::record::{Record, Sources, Verdict};

/// What is still under way has come to its end within this: an order whose provider is slow, a message on its way.
const QUIET_WAIT: Duration = Duration::from_secs(60);
const QUIET_POLL: Duration = Duration::from_millis(500);

/// Reads everything, once nothing happens any more or [`QUIET_WAIT`] is over, and says of each invariant whether it held.
pub async fn audit(record: &Record, sources: &Sources) -> Result<Vec<Verdict>> {
    let until = Instant::now() + QUIET_WAIT;
    loop {
        let facts = read(record, sources).await?;
        if facts.unfinished().is_empty() || Instant::now() >= until {
            return Ok(judge(&facts));
        }
        sleep(QUIET_POLL).await;
    }
}

/// Everything, as it is now.
pub async fn read(record: &Record, sources: &Sources) -> Result<Facts> {
    let event = EventId::new(&record.rules.event_id).context("the event of the record")?;
    let read = ledger::read(&sources.ledger, &event).await.context("reading the ledger")?;
    let queue = stores::queue(sources.queue_redis, &event).await.context("reading the queue's Redis")?;
    let tickets = stores::tickets(sources.ticket_redis, &event, &read.slots)
        .await
        .context("reading the ticket server's Redis")?;
    Ok(Facts { record: record.clone(), queue, tickets, ledger: read.ledger })
}

/// The verdict on each invariant.
pub fn judge(facts: &Facts) -> Vec<Verdict> {
    let replay = Replay::of(&facts.record.steps);
    vec![
        seats::sold_once(facts),
        seats::promises_kept(facts),
        line::capacity_kept(facts, &replay),
        rate::rate_kept(&facts.record.rules, &replay),
        line::order_kept(facts, &replay),
        line::positions_true(facts, &replay),
        people::nobody_forgotten(facts, &replay),
        slots::slots_returned(facts),
        payments::payments_matched(facts),
        keys::same_answer(facts),
        line::record_complete(facts, &replay),
    ]
}
