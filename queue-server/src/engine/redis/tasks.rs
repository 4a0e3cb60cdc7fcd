//! What an engine does by itself: it listens to the channels, reads the log of BOOKING_DONE and watches the
//! connection. None of it holds the engine: the tasks end with it.

use std::{sync::Arc, time::Duration};

use queue_core::{
    ids::Millis,
    service::redis::{Event, Health as StoreHealth, Store, StoreError},
    wire::{BOOKING_DONE_LOG, MESSAGE_FIELD},
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use super::{
    super::Health,
    clock::StoreClock,
    messages::{CHANNELS, Inbox},
};

/// The log is looked at this often: a message that was lost costs a slot no longer.
const LOG_POLL: Duration = Duration::from_secs(1);
/// Entries of the log read at a time.
const LOG_PAGE: usize = 500;
/// Listeners that are behind get so long to catch up before the log is read on.
const LISTENERS_CATCH_UP: Duration = Duration::from_millis(10);
/// After a reconnection the log is read again from so long before where it had been read to, since what was
/// signalled while the store was away may not have been acted on.
const LOG_REWIND_MS: u64 = 60_000;

/// The tasks of one engine.
#[derive(Debug)]
pub struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Tasks {
    /// Starts them.
    pub fn start(
        store: &Store,
        inbox: &Arc<Inbox>,
        clock: &Arc<StoreClock>,
        health: watch::Sender<Health>,
        resync: &Arc<Notify>,
    ) -> Self {
        let tasks = [
            tokio::spawn(listen(store.clone(), Arc::clone(inbox), Arc::clone(resync))),
            tokio::spawn(read_log(store.clone(), Arc::clone(inbox), Arc::clone(resync))),
            tokio::spawn(watch_health(store.clone(), Arc::clone(inbox), Arc::clone(clock), health, Arc::clone(resync))),
        ];
        Self(tasks.iter().map(|task| task.abort_handle()).collect())
    }
}

async fn listen(store: Store, inbox: Arc<Inbox>, resync: Arc<Notify>) {
    let mut subscription = store.subscribe(CHANNELS);
    drop(store);
    loop {
        match subscription.recv().await {
            Event::Message(message) => inbox.message(&message.channel, &message.payload),
            Event::Resync => {
                inbox.resync();
                resync.notify_one();
            }
        }
    }
}

async fn read_log(store: Store, inbox: Arc<Inbox>, resync: Arc<Notify>) {
    let mut server = None;
    let mut cursor = "0".to_owned();
    let mut timer = tokio::time::interval(LOG_POLL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let again = tokio::select! {
            _ = timer.tick() => false,
            () = resync.notified() => true,
        };
        let current = Some(store.health().borrow().server.clone());
        if current != server {
            // Another server may number its entries differently.
            server = current;
            "0".clone_into(&mut cursor);
        } else if again {
            cursor = rewound(&cursor);
        }
        // What cannot be read now is read at the next tick.
        let _ = read_on(&store, &inbox, &mut cursor).await;
    }
}

async fn read_on(store: &Store, inbox: &Inbox, cursor: &mut String) -> Result<(), StoreError> {
    loop {
        let page = store.read_stream(BOOKING_DONE_LOG, cursor, LOG_PAGE).await?;
        let full = page.len() == LOG_PAGE;
        for entry in page {
            // A long log is read no faster than it is acted on.
            while inbox.is_behind() {
                tokio::time::sleep(LISTENERS_CATCH_UP).await;
            }
            inbox.logged(entry.field(MESSAGE_FIELD).map(|body| &**body));
            *cursor = entry.id;
        }
        if !full {
            return Ok(());
        }
    }
}

fn rewound(cursor: &str) -> String {
    let ms: u64 = cursor.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    ms.saturating_sub(LOG_REWIND_MS).to_string()
}

async fn watch_health(
    store: Store,
    inbox: Arc<Inbox>,
    clock: Arc<StoreClock>,
    health: watch::Sender<Health>,
    resync: Arc<Notify>,
) {
    let mut watched = store.health();
    let mut last = StoreHealth::default();
    loop {
        let current = watched.borrow_and_update().clone();
        if current.up && current.epoch != last.epoch {
            // The time first, so that who acts on the signal knows it.
            if let Ok(now) = store_time(&store).await {
                clock.heard(now);
            }
            if last.epoch > 0 {
                inbox.resync();
                resync.notify_one();
            }
            last = current.clone();
        }
        let told = if current.up { Health::Up } else { Health::Down(format!("not connected to {}", store.url())) };
        health.send_if_modified(|health| {
            let changed = *health != told;
            *health = told;
            changed
        });
        if watched.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the store for its time.
pub async fn store_time(store: &Store) -> Result<Millis, StoreError> {
    let no_args: [&str; 0] = [];
    let mut reply = store.command("TIME", no_args).await?.into_reply("TIME")?;
    Ok(Millis(reply.u64()? * 1000 + reply.u64()? / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_read_again_from_a_minute_before() {
        assert_eq!(rewound("1700000000000-5"), "1699999940000");
        assert_eq!(rewound("0"), "0");
    }
}
