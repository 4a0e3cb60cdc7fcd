//! Group commit: changes gather while others are committed, and go as one. Nobody is answered before the commit.
//!
//! There are as many writers as the database gains from: while one batch is on its way to the disk, the next is
//! written. A second batch goes as soon as it is half as large as what is under way, so that both stay large. No
//! timer: when nothing is under way, nothing is delayed.
//!
//! Two batches at the same time are in each other's way only if they are for the same seat or reservation, which no
//! two should be. What may touch other rows, in whatever order, goes in one batch at a time.

use std::collections::HashMap;

use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};

use super::{
    WRITE_BATCH_MAX,
    change::Job,
    writer::{Batch, Writer},
    writing::books_seats,
};

/// Hands out what is to be written.
pub(super) struct Writers<F> {
    make: F,
    idle: Vec<Writer>,
    busy: JoinSet<Writer>,
    under_way: HashMap<Id, UnderWay>,
    /// What came and is not under way.
    waiting: Batch,
}

/// A batch under way.
#[derive(Clone, Copy)]
struct UnderWay {
    jobs: usize,
    /// Whether it is nothing but bookings of seats.
    seats: bool,
}

impl<F: Fn() -> Writer> Writers<F> {
    /// So many, as `make` makes them.
    pub(super) fn new(count: usize, make: F) -> Self {
        let idle = (0..count).map(|_| make()).collect();
        Self { make, idle, busy: JoinSet::new(), under_way: HashMap::new(), waiting: Vec::new() }
    }

    /// Writes until nobody can ask any more.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut open = true;
        while open || !self.waiting.is_empty() {
            let room = WRITE_BATCH_MAX - self.waiting.len();
            tokio::select! {
                count = jobs.recv_many(&mut self.waiting, room), if open && room > 0 => open = count > 0,
                Some(done) = self.busy.join_next_with_id() => self.take_back(done),
            }
            // Those who were answered just now ask again before the next batch goes.
            tokio::task::yield_now().await;
            while self.waiting.len() < WRITE_BATCH_MAX
                && let Ok(job) = jobs.try_recv()
            {
                self.waiting.push(job);
            }
            self.send(!open);
        }
        while let Some(done) = self.busy.join_next_with_id().await {
            self.take_back(done);
        }
        for writer in self.idle {
            writer.leave().await;
        }
    }

    fn take_back(&mut self, done: Result<(Id, Writer), tokio::task::JoinError>) {
        let (id, writer) = done.unwrap_or_else(|error| {
            // Who waited for that batch was told that nobody knows.
            tracing::error!(%error, "a batch was not written");
            (error.id(), (self.make)())
        });
        self.under_way.remove(&id);
        self.idle.push(writer);
    }

    /// Sends what waits, if there is a writer for it and enough of it.
    fn send(&mut self, all: bool) {
        if self.idle.is_empty() {
            return;
        }
        // Who has given up was told that nobody knows; it is better not to be done than to be done late.
        self.waiting.retain(|job| !job.is_abandoned());
        let others = self.under_way.values().any(|batch| !batch.seats);
        let mut batch = std::mem::take(&mut self.waiting);
        if others {
            (batch, self.waiting) = batch.into_iter().partition(|job| books_seats(job.as_ref()));
        }
        let under_way: usize = self.under_way.values().map(|batch| batch.jobs).sum();
        if batch.is_empty() || (!all && batch.len() < under_way / 2) {
            self.waiting.append(&mut batch);
            return;
        }
        let Some(mut writer) = self.idle.pop() else { return };
        metrics::histogram!("usher_ticket_ledger_batch_size").record(batch.len() as f64);
        let jobs = batch.len();
        let seats = batch.iter().all(|job| books_seats(job.as_ref()));
        let task = self.busy.spawn(async move {
            writer.serve(batch).await;
            writer
        });
        self.under_way.insert(task.id(), UnderWay { jobs, seats });
    }
}
