//! The record of a run: every admission and every end of a session, in the order in which the store carried them out.
//!
//! Both are published from within the transitions themselves, so the number of the Active is known after each step,
//! not only where somebody happened to look.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use queue_core::{keys::ADMITTED_CHANNEL, wire::SESSION_ENDED_CHANNEL};
use serde::Deserialize;

use super::resp::Connection;

/// Admissions that one record holds, at most.
const ADMISSIONS_MAX: usize = 50_000_000;

/// What `usher:admitted` says.
#[derive(Debug, Deserialize)]
struct AdmittedMessage {
    /// Milliseconds since the epoch: the admission and the length of a session.
    expires: u64,
    /// Visitor, number, when they joined.
    sessions: Vec<(String, u64, Option<u64>)>,
}

/// Visitors who were let in by one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When, in milliseconds since the epoch by the store's clock.
    pub at: u64,
    /// How many had been let in when it was done.
    pub admitted: usize,
}

/// Everything that was let in and ended, in order.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub batches: Vec<Batch>,
    /// Numbers of the admitted, and when, in the order of admission.
    pub admissions: Vec<(u64, u64)>,
    /// Admissions of somebody who stood behind an earlier one.
    pub out_of_order: u64,
    pub ended: u64,
    pub active: u64,
    pub active_max: u64,
}

impl Record {
    /// `ttl_ms`: the length of a session.
    fn admitted(&mut self, message: &AdmittedMessage, ttl_ms: u64) {
        let at = message.expires.saturating_sub(ttl_ms);
        for (_, seq, _) in &message.sessions {
            let late = self.admissions.last().is_some_and(|(last, _)| seq <= last);
            self.out_of_order += u64::from(late);
            self.admissions.push((*seq, at));
        }
        self.active += message.sessions.len() as u64;
        self.active_max = self.active_max.max(self.active);
        self.batches.push(Batch { at, admitted: self.admissions.len() });
    }

    fn session_ended(&mut self) {
        self.ended += 1;
        self.active = self.active.saturating_sub(1);
    }

    /// Takes in a message of one of the two channels.
    fn take(&mut self, channel: &str, said: &str, ttl_ms: u64) -> Result<()> {
        match channel {
            ADMITTED_CHANNEL => {
                let message = serde_json::from_str(said).with_context(|| format!("not an admission: {said}"))?;
                self.admitted(&message, ttl_ms);
            }
            SESSION_ENDED_CHANNEL => self.session_ended(),
            other => bail!("a message of {other}"),
        }
        Ok(())
    }
}

/// A record that grows while it is read.
pub type Shared = Arc<Mutex<Record>>;

/// Follows the channels of a store with one event; what it heard stands in `record`. Ends only by a fault.
pub async fn follow(mut connection: Connection, record: Shared, ttl_ms: u64) -> Result<()> {
    loop {
        let (channel, said) = connection.message().await?;
        let mut record = record.lock();
        record.take(&channel, &said, ttl_ms)?;
        if record.admissions.len() > ADMISSIONS_MAX {
            bail!("a record without bounds");
        }
    }
}

/// The channels that [`follow`] wants subscribed.
pub const CHANNELS: [&str; 2] = [ADMITTED_CHANNEL, SESSION_ENDED_CHANNEL];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_is_known_after_each_step() {
        let mut record = Record::default();
        let admitted = |seqs: &[u64], at: u64| {
            let sessions: Vec<_> = seqs.iter().map(|seq| (format!("a_{seq}"), *seq, None::<u64>)).collect();
            serde_json::json!({"event": "e", "generation": "1", "expires": at + 1_000, "sessions": sessions})
                .to_string()
        };
        record.take(ADMITTED_CHANNEL, &admitted(&[1, 2], 5), 1_000).unwrap();
        record.take(SESSION_ENDED_CHANNEL, "{}", 1_000).unwrap();
        record.take(ADMITTED_CHANNEL, &admitted(&[4], 6), 1_000).unwrap();
        assert_eq!((record.active, record.active_max, record.out_of_order), (2, 2, 0));
        assert_eq!(record.admissions, [(1, 5), (2, 5), (4, 6)]);
        assert_eq!(record.batches, [Batch { at: 5, admitted: 2 }, Batch { at: 6, admitted: 3 }]);
        record.take(ADMITTED_CHANNEL, &admitted(&[3], 7), 1_000).unwrap();
        assert_eq!((record.active_max, record.out_of_order), (3, 1));
        assert!(record.take(ADMITTED_CHANNEL, "{}", 1_000).is_err());
    }
}
