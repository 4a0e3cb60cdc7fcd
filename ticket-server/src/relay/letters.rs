//! What happens to messages that a receiver refuses: each is tried again with growing pauses, later ones of its
//! visitor wait behind it, and when it was refused too often it is put with the dead letters and the visitor's others
//! go on. Order is kept among what arrives; a dead letter that an operator has tried again arrives late.

use std::{collections::HashSet, sync::Arc};

use queue_core::ids::VisitorId;

use super::{SendError, sink::Receiver};
use crate::{
    ledger::{LedgerError, Letter, Message, Refusal},
    meters,
    office::Office,
};

/// Visitors whose messages wait for one that was refused, for one receiver, at most: a receiver that refuses more is
/// in trouble, and is sent nothing new.
pub const HELD_VISITORS_MAX: u32 = 10_000;
/// The pause after the first refusal, which doubles, and the longest.
const PAUSE_MS_MIN: u64 = 500;
const PAUSE_MS_MAX: u64 = 60_000;
/// Looks at due letters in one round.
const LOOKS_MAX: usize = 64;

/// The letters of one server.
#[derive(Clone)]
pub struct Letters {
    office: Arc<Office>,
    refusals_max: u64,
}

impl Letters {
    /// A message that was refused so often is dead.
    pub fn new(office: Arc<Office>, refusals_max: u64) -> Self {
        Self { office, refusals_max }
    }

    /// Whose messages have to wait.
    pub async fn held(&self, sink: &str) -> Result<HashSet<VisitorId>, LedgerError> {
        let held = self.office.ledger.held_visitors(sink, HELD_VISITORS_MAX).await?;
        if held.len() == HELD_VISITORS_MAX as usize {
            return Err(LedgerError::Unavailable(format!("too many messages were refused by {sink}")));
        }
        Ok(held.into_iter().collect())
    }

    /// Keeps a message that waits for another of its visitor.
    pub async fn wait(&self, sink: &'static str, message: Message) -> Result<(), LedgerError> {
        self.office.ledger.hold_letter(sink, message, None).await.map(drop)
    }

    /// Keeps a message that was refused for the first time.
    pub async fn refused(&self, sink: &'static str, message: Message, reason: String) -> Result<(), LedgerError> {
        let refusal = self.refusal(0, reason);
        tracing::warn!(sink, message = message.id, reason = refusal.reason, "a message was refused");
        let (dead, id, reason) = (refusal.due_at.is_none(), message.id.clone(), refusal.reason.clone());
        if self.office.ledger.hold_letter(sink, message, Some(refusal)).await? && dead {
            gave_up(sink, &id, &reason);
        }
        Ok(())
    }

    /// Tries what is due. Whether ledger and receiver were there.
    pub async fn round(&self, receiver: &dyn Receiver) -> bool {
        for _ in 0..LOOKS_MAX {
            let due = self.office.ledger.due_letters(receiver.name(), self.office.now()).await;
            let letters = match due {
                Ok(letters) if letters.is_empty() => return true,
                Ok(letters) => letters,
                Err(error) => {
                    tracing::warn!(%error, sink = receiver.name(), "refused messages cannot be read");
                    return false;
                }
            };
            for letter in letters {
                if !self.retry(receiver, letter).await {
                    return false;
                }
            }
        }
        true
    }

    async fn retry(&self, receiver: &dyn Receiver, letter: Letter) -> bool {
        let (sink, ledger) = (receiver.name(), &self.office.ledger);
        let kept = match receiver.take(&letter.message).await {
            Ok(()) => {
                tracing::info!(sink, message = letter.message.id, "a message that was refused has arrived");
                ledger.drop_letter(letter.id).await
            }
            Err(SendError::Away(reason)) => {
                meters::sink_failed(sink, "away");
                tracing::warn!(sink, reason, "a receiver is away");
                return false;
            }
            Err(SendError::Refused(reason)) => {
                meters::sink_failed(sink, "refused");
                let refusal = self.refusal(letter.attempts, reason);
                let (dies, reason) = (refusal.due_at.is_none() && !letter.dead, refusal.reason.clone());
                let counted = ledger.refuse_letter(&letter, refusal).await;
                if counted == Ok(true) && dies {
                    gave_up(sink, &letter.message.id, &reason);
                }
                counted.map(drop)
            }
        };
        if let Err(error) = &kept {
            tracing::warn!(%error, sink, "what became of a refused message could not be written down");
        }
        kept.is_ok()
    }

    /// What is to be done about a refusal after so many others.
    fn refusal(&self, before: u64, reason: String) -> Refusal {
        let pause = (PAUSE_MS_MIN << before.min(20)).min(PAUSE_MS_MAX);
        let due_at = (before + 1 < self.refusals_max).then(|| self.office.now().plus(pause));
        Refusal { reason, due_at }
    }

    /// Shows how many letters are dead, and since when the oldest message that did not arrive waits: `oldest` is
    /// that of those that were not refused.
    pub async fn show(&self, sink: &'static str, oldest: Option<queue_core::ids::Millis>) {
        let ledger = &self.office.ledger;
        let (Ok(dead), Ok(held)) = (ledger.count_dead(sink).await, ledger.oldest_held(sink).await) else { return };
        let oldest = [oldest, held].into_iter().flatten().min();
        meters::sink_stands(sink, dead, oldest.map_or(0, |at| self.office.now().since(at)));
    }
}

fn gave_up(sink: &'static str, id: &str, reason: &str) {
    tracing::error!(sink, message = id, reason, "a message was refused too often and is a dead letter now");
    metrics::counter!("usher_ticket_sink_given_up_total", "sink" => sink).increment(1);
}
