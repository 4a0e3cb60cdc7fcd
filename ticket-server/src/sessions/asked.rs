//! Sessions of a queue that is asked over HTTP.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use futures_util::{StreamExt as _, stream};
use moka::future::Cache;
use queue_core::{
    ids::{EventId, Generation, Jti, Millis, VisitorId},
    service::context,
    wire::EndReason,
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::Standing;
use crate::{
    engine::Engine,
    limits::END_BATCH_MAX,
    model::{Command, Outcome},
    office::{Caller, Office},
    peer::Peer,
};

/// How long an answer is kept, and how often sessions that hold something are asked about. Together with the
/// asking itself, what is held by an ended session is let go within two seconds.
const KEPT: Duration = Duration::from_millis(800);
/// Answers kept, at most.
const ANSWERS_MAX: u64 = 100_000;
/// Sessions that hold something and are asked about, at most; the holds of others end by themselves.
const WATCHED_MAX: usize = 100_000;
/// Questions at the same time, at most.
const ASKING_MAX: usize = 64;

const _: () = assert!(2 * KEPT.as_millis() < 2_000, "an end is known within two seconds");

/// Asks the queue's operations listener.
pub struct Asked {
    peer: Peer,
    answers: Cache<(EventId, Jti), Standing>,
    watched: DashMap<(EventId, Jti), Watched>,
    /// Sessions whose visitors were seen.
    seen: moka::sync::Cache<(EventId, Jti), ()>,
}

#[derive(Clone)]
struct Watched {
    visitor: VisitorId,
    until: Millis,
}

#[derive(Deserialize)]
struct Gone {
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    reason: Option<EndReason>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    generation: Generation,
    admitted_total: u64,
}

impl Asked {
    /// Asks that peer.
    pub fn new(peer: Peer) -> Self {
        let answers = Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(KEPT).build();
        Self { peer, answers, watched: DashMap::new(), seen: moka::sync::Cache::new(ANSWERS_MAX) }
    }

    /// Where a session stands. Requests that come while the queue is asked wait for the same answer.
    pub async fn standing(&self, event: &EventId, jti: Jti) -> Standing {
        self.answers.get_with((event.clone(), jti), ask(&self.peer, event, jti)).await
    }

    /// A good token was shown: asking about its session is how the queue hears that the visitor came.
    pub fn seen(&self, caller: &Caller) {
        let key = (caller.event.clone(), caller.jti);
        if self.seen.contains_key(&key) {
            return;
        }
        self.seen.insert(key.clone(), ());
        let (peer, answers) = (self.peer.clone(), self.answers.clone());
        tokio::spawn(context::carried(async move {
            let (event, jti) = key.clone();
            answers.get_with(key, async move { ask(&peer, &event, jti).await }).await;
        }));
    }

    pub(super) async fn admitted(&self, event: &EventId) -> Result<Option<(Generation, u64)>, String> {
        let (status, body) = self.peer.get(&format!("/api/v1/queue/totals/{event}")).await?;
        match status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(format!("the queue answered {status}")),
        }
        let Totals { generation, admitted_total } = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(Some((generation, admitted_total)))
    }

    pub(super) fn watch(&self, event: &EventId, visitor: &VisitorId, jti: Jti, until: Millis) {
        let key = (event.clone(), jti);
        if self.watched.len() >= WATCHED_MAX && !self.watched.contains_key(&key) {
            return;
        }
        let mut watched = self.watched.entry(key).or_insert_with(|| Watched { visitor: visitor.clone(), until });
        watched.until = watched.until.max(until);
    }

    /// Holds that were taken before this process started.
    async fn watch_all(&self, events: &[EventId], engine: &dyn Engine) {
        for event in events {
            let mut skip = 0;
            while let Ok(Outcome::Holds(holds)) =
                engine.apply(event, Command::Holds { skip, batch: END_BATCH_MAX }).await
            {
                skip += holds.len();
                for hold in &holds {
                    self.watch(event, &hold.visitor, hold.jti, hold.end);
                }
                if holds.len() < END_BATCH_MAX {
                    break;
                }
            }
        }
    }

    /// Asks about sessions that hold something, until told to stop.
    pub async fn run(&self, office: Arc<Office>, stop: CancellationToken) {
        let mut all_watched = false;
        let mut ticks = tokio::time::interval(KEPT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if !all_watched && office.engine.is_up() {
                self.watch_all(&office.catalog.ids(), office.engine.as_ref()).await;
                all_watched = true;
            }
            let now = office.now();
            self.watched.retain(|_, watched| watched.until > now);
            let watched: Vec<_> =
                self.watched.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
            let look = |((event, jti), watched): ((EventId, Jti), Watched)| {
                let office = Arc::clone(&office);
                async move {
                    if let Standing::Ended(reason) = self.standing(&event, jti).await
                        && office.session_ended(&event, &watched.visitor, jti, reason).await
                    {
                        self.watched.remove(&(event, jti));
                    }
                }
            };
            stream::iter(watched).for_each_concurrent(ASKING_MAX, look).await;
        }
    }
}

async fn ask(peer: &Peer, event: &EventId, jti: Jti) -> Standing {
    match peer.get(&format!("/api/v1/queue/sessions/{event}/{jti}")).await {
        Ok((200, _)) => Standing::Live,
        Ok((410, body)) => {
            let gone: Option<Gone> = serde_json::from_slice(&body).ok();
            let reason = gone.and_then(|gone| gone.details).and_then(|details| details.reason);
            Standing::Ended(reason.unwrap_or(EndReason::Gone))
        }
        Ok((status, _)) => {
            peer.complain(&format!("the queue answered {status} when asked about a session"));
            Standing::Live
        }
        Err(error) => {
            peer.complain(&error);
            Standing::Live
        }
    }
}
