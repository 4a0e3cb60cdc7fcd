//! Wishes for seats that are probably taken are refused here: in a rush most are, and a refusal must be cheap.
//!
//! What is probably taken is what this server has seen held or refused. That alone refuses nobody: the store is asked
//! what those seats are, and whether the sessions go on, after the wish has come. All that want to know go with one
//! question, which reads a few bytes and writes nothing. So whoever is refused was right to be at a moment between
//! question and answer, and a seat that was given back before the wish came is found free; that wish goes to the store
//! as any other.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use queue_core::ids::{EventId, Jti};
use tokio::sync::{mpsc, oneshot};

use super::{NoHold, SENT_WITHIN, broken, gather, too_late};
use crate::{
    engine::Engine,
    limits::HOLD_BATCH_MAX,
    model::{Command, Hall, Outcome, Refusal, SeatState},
};

/// A wish that waits to be refused, or not.
pub(super) struct Looking {
    pub(super) hall: Arc<Hall>,
    pub(super) jti: Jti,
    pub(super) seats: Vec<u32>,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<(), NoHold>>,
}

/// The seats of one event that were last seen taken, a bit each.
#[derive(Default)]
pub(super) struct Seen(Mutex<Vec<u64>>);

impl Seen {
    /// These were seen taken.
    pub(super) fn taken(&self, seats: impl Iterator<Item = u32>) {
        let mut bits = self.0.lock();
        for seat in seats {
            let word = seat as usize / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << (seat % 64);
        }
    }

    fn free(&self, seat: u32) {
        if let Some(word) = self.0.lock().get_mut(seat as usize / 64) {
            *word &= !(1 << (seat % 64));
        }
    }

    /// Whether any of these was.
    pub(super) fn any(&self, seats: &[u32]) -> bool {
        let bits = self.0.lock();
        seats.iter().any(|seat| bits.get(*seat as usize / 64).is_some_and(|word| word >> (seat % 64) & 1 == 1))
    }
}

/// Asks about what has gathered until nobody can ask any more.
pub(super) async fn serve(
    engine: Arc<dyn Engine>,
    event: EventId,
    seen: Arc<Seen>,
    mut looks: mpsc::Receiver<Looking>,
) {
    let mut waiting = Vec::with_capacity(HOLD_BATCH_MAX);
    while !waiting.is_empty() || looks.recv_many(&mut waiting, HOLD_BATCH_MAX).await > 0 {
        gather(&mut looks, &mut waiting).await;
        let now = Instant::now();
        waiting.retain(|look| !look.reply.is_closed());
        let (young, old): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|look| now - look.since < SENT_WITHIN);
        for look in old {
            look.answer(Err(too_late()));
        }
        waiting = ask(engine.as_ref(), &event, &seen, young).await;
    }
}

/// Asks for those that go by the same definition as the first; gives the others.
async fn ask(engine: &dyn Engine, event: &EventId, seen: &Seen, looks: Vec<Looking>) -> Vec<Looking> {
    let Some(revision) = looks.first().map(|look| look.hall.revision) else { return looks };
    let (looks, later): (Vec<_>, Vec<_>) = looks.into_iter().partition(|look| look.hall.revision == revision);
    let seats: Vec<u32> = looks.iter().flat_map(|look| &look.seats).copied().collect();
    let sessions = looks.iter().map(|look| look.jti).collect();
    let (count, command) = (seats.len(), Command::Look { revision, seats, sessions });
    match engine.apply(event, command).await {
        Ok(Outcome::Look { seats, ended }) if seats.len() == count && ended.len() == looks.len() => {
            let mut states = seats.into_iter();
            for (look, ended) in looks.into_iter().zip(ended) {
                let states: Vec<_> = look.seats.iter().copied().zip(states.by_ref()).collect();
                look.judge(seen, states, ended);
            }
        }
        other => {
            let why = match other {
                Ok(Outcome::Refused(refusal)) => NoHold::Refused(refusal),
                Ok(other) => broken(&other).into(),
                Err(error) => error.into(),
            };
            looks.into_iter().for_each(|look| look.answer(Err(why.clone())));
        }
    }
    later
}

impl Looking {
    fn judge(self, seen: &Seen, states: Vec<(u32, SeatState)>, ended: bool) {
        if ended {
            return self.answer(Err(NoHold::Refused(Refusal::SessionEnded)));
        }
        let (free, taken): (Vec<_>, Vec<_>) = states.into_iter().partition(|(_, state)| *state == SeatState::Free);
        free.into_iter().for_each(|(seat, _)| seen.free(seat));
        self.answer(if taken.is_empty() { Ok(()) } else { Err(NoHold::Refused(Refusal::Taken(taken))) });
    }

    fn answer(self, answer: Result<(), NoHold>) {
        // Who went away needs no answer.
        let _ = self.reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_remembered_apart() {
        let seen = Seen::default();
        seen.taken([0, 63, 64, 1_000].into_iter());
        assert!(seen.any(&[5, 64]) && seen.any(&[0]) && seen.any(&[1_000]) && !seen.any(&[1, 62, 65, 99_999]));
        seen.free(64);
        seen.free(123_456);
        assert!(!seen.any(&[64]) && seen.any(&[63]));
    }
}
