//! What this node knows of sessions, for two seconds: gates ask about the same ones again and again.

use std::time::Duration;

use dashmap::DashMap;
use queue_core::{
    ids::{EventId, Jti},
    line::SessionState,
    wire::EndReason,
};
use tokio::time::Instant;

/// How old what is told of a session may be.
const KEPT: Duration = Duration::from_millis(1_900);
/// Sessions remembered, at most; beyond, everything is asked anew.
const SESSIONS_MAX: usize = 200_000;

struct Known {
    event: EventId,
    asked: Instant,
    state: SessionState,
}

/// Sessions and when they were asked about.
#[derive(Default)]
pub struct SessionCache {
    /// The generation in a session's name tells events apart; the event is compared all the same.
    known: DashMap<Jti, Known, foldhash::quality::RandomState>,
}

impl SessionCache {
    /// What is known, if it is new enough.
    pub fn get(&self, event: &EventId, jti: Jti) -> Option<SessionState> {
        let known = self.known.get(&jti)?;
        (known.event == *event && known.asked.elapsed() < KEPT).then(|| known.state.clone())
    }

    /// Remembers an answer to what was asked at `asked`.
    pub fn put(&self, event: &EventId, jti: Jti, asked: Instant, state: SessionState) {
        if self.known.len() >= SESSIONS_MAX {
            self.known.clear();
        }
        self.known.insert(jti, Known { event: event.clone(), asked, state });
    }

    /// A session ended: whoever asks next is told.
    pub fn end(&self, event: &EventId, jti: Jti, reason: EndReason) {
        if let Some(mut known) = self.known.get_mut(&jti).filter(|known| known.event == *event) {
            known.asked = Instant::now();
            known.state = SessionState::Ended(reason);
        }
    }

    /// Drops what is too old to be told.
    pub fn prune(&self) {
        self.known.retain(|_, known| known.asked.elapsed() < KEPT);
    }
}
