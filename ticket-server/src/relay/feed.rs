//! Tells sinks of every booking, at least once and in order for each visitor. Each sink has its own progress and its
//! own task: one that is away holds up neither the others nor the queue.
//!
//! Of several servers one does each task, for as long as it renews its mark in the ledger. Should two of them believe
//! that it is theirs, something is sent twice, and the mark is moved by one of them.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use queue_core::ids::{Millis, VisitorId};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    letters::Letters,
    shown::message,
    sink::{Position, Sink, SinkError},
};
use crate::{
    ledger::{FeedEntry, LedgerError, Mark, Message, NUMBERS},
    meters,
    office::Office,
};

/// Marks are renewed this often, and are somebody else's after so long without.
const RENEW_EVERY: Duration = Duration::from_millis(2_500);
const OWNED_MS: u64 = 10_000;
/// What other servers have booked is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks, so that a rush becomes few of them: what they write goes with the bookings of that moment.
const LOOK_GAP: Duration = Duration::from_millis(100);
/// After a sink was away.
const BACK_OFF: Duration = Duration::from_secs(1);
/// A sink that has nothing to take is asked this often whether it has lost anything.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Entries sent in one batch.
const BATCH_MAX: u32 = 128;
/// What is left is told at the end of the process for so long.
const LAST_PASS: Duration = Duration::from_secs(3);

const _: () = assert!(OWNED_MS > 3 * RENEW_EVERY.as_millis() as u64, "one renewal that fails changes nothing");

/// The feed of one server.
pub struct Feed {
    office: Arc<Office>,
    /// This server's name among all.
    owner: String,
    letters: Letters,
    sinks: Vec<Arc<dyn Sink>>,
    /// Changes when entries have got their numbers.
    numbered: watch::Sender<()>,
}

/// Why a pass ended early.
enum Stopped {
    /// The ledger cannot be asked.
    Ledger(LedgerError),
    /// The sink cannot be told.
    Sink(SinkError),
    /// Another server does it now.
    Lost,
}

impl From<LedgerError> for Stopped {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Feed {
    /// Tells those sinks what the office books.
    pub fn new(office: Arc<Office>, letters: Letters, sinks: Vec<Arc<dyn Sink>>) -> Self {
        let owner = format!("{:016x}", queue_core::service::trace::random_u64());
        Self { office, owner, letters, sinks, numbered: watch::Sender::new(()) }
    }

    /// Tells until told to stop, and then once more what the last requests booked.
    pub async fn run(self, stop: CancellationToken) {
        let telling = join_all(self.sinks.iter().map(|sink| self.tell(sink.as_ref(), &stop)));
        tokio::join!(self.keep_marks(&stop), self.number(&stop), telling);
        let last = async {
            self.number_all().await;
            let feed = &self;
            join_all(self.sinks.iter().map(|sink| async move { feed.pass(sink.as_ref(), &mut None).await })).await;
        };
        // What does not go now goes when a server starts again.
        let _ = timeout(LAST_PASS, last).await;
        if let Err(error) = self.office.ledger.leave_marks(&self.owner).await {
            tracing::info!(%error, "another server takes the feed over a little later");
        }
    }

    /// Takes the marks that nobody has, and keeps those that are this server's.
    async fn keep_marks(&self, stop: &CancellationToken) {
        let names: Vec<_> = std::iter::once(NUMBERS).chain(self.sinks.iter().map(|sink| sink.name())).collect();
        loop {
            if let Err(error) = self.take_marks(&names).await {
                tracing::warn!(%error, "the feed's marks could not be renewed");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RENEW_EVERY) => {}
            }
        }
    }

    async fn take_marks(&self, names: &[&'static str]) -> Result<(), LedgerError> {
        let now = self.office.now();
        let mut wanted = Vec::new();
        for &name in names {
            let mark = self.office.ledger.mark(name).await?;
            // Whoever has no chance does not disturb those who write.
            if mark.is_none_or(|mark| mark.owner == self.owner || mark.owned_until <= now) {
                wanted.push(name);
            }
        }
        if !wanted.is_empty() {
            let taken = self.office.ledger.take_marks(&wanted, &self.owner, now.plus(OWNED_MS)).await?;
            if !taken.is_empty() {
                self.numbered.send_replace(());
            }
        }
        Ok(())
    }

    /// The mark, if it is this server's now.
    async fn own(&self, name: &str) -> Result<Option<Mark>, LedgerError> {
        let mark = self.office.ledger.mark(name).await?;
        Ok(mark.filter(|mark| mark.owner == self.owner && mark.owned_until > self.office.now()))
    }

    /// Gives entries their numbers, woken by a commit of this server and by a timer for those of others.
    async fn number(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.number_all().await;
            let woken = async {
                sleep(LOOK_GAP).await;
                let _ = timeout(LOOK_EVERY, self.office.ledger.fed()).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
            }
        }
    }

    async fn number_all(&self) {
        let numbering = async {
            let mut any = false;
            while self.own(NUMBERS).await?.is_some() && self.office.ledger.number_feed().await? > 0 {
                any = true;
            }
            Ok::<_, LedgerError>(any)
        };
        match numbering.await {
            Ok(true) => {
                self.numbered.send_replace(());
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the feed could not be numbered"),
        }
    }

    async fn tell(&self, sink: &dyn Sink, stop: &CancellationToken) {
        let (mut numbered, mut checked) = (self.numbered.subscribe(), None);
        while !stop.is_cancelled() {
            let pause = if self.pass(sink, &mut checked).await { LOOK_GAP } else { BACK_OFF };
            let woken = async {
                sleep(pause).await;
                let _ = timeout(LOOK_EVERY, numbered.changed()).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
            }
        }
    }

    /// Sends what was not sent yet. Whether ledger and sink were there.
    async fn pass(&self, sink: &dyn Sink, checked: &mut Option<Instant>) -> bool {
        let name = sink.name();
        let mut oldest = None;
        let stopped = match self.send(sink, checked, &mut oldest).await {
            Ok(()) => return true,
            Err(Stopped::Lost) => {
                meters::sink_stands(name, 0, 0);
                return true;
            }
            Err(stopped) => stopped,
        };
        match stopped {
            Stopped::Ledger(error) => tracing::warn!(%error, sink = name, "the feed cannot be read or marked"),
            Stopped::Sink(error) => {
                meters::sink_failed(name, "away");
                tracing::warn!(%error, sink = name, "a sink of the feed was not told");
            }
            Stopped::Lost => {}
        }
        self.letters.show(name, oldest).await;
        false
    }

    async fn send(
        &self,
        sink: &dyn Sink,
        checked: &mut Option<Instant>,
        oldest: &mut Option<Millis>,
    ) -> Result<(), Stopped> {
        let ledger = &self.office.ledger;
        let Some(mark) = self.own(sink.name()).await? else { return Err(Stopped::Lost) };
        let Some(numbers) = ledger.mark(NUMBERS).await? else { return Err(Stopped::Lost) };
        let mut position = Position { generation: numbers.generation, after: mark.seq, newest: numbers.seq };
        if !self.letters.round(sink).await {
            return Err(Stopped::Sink(SinkError::Away("it did not take what it had refused".into())));
        }
        let mut from = mark.seq;
        loop {
            let entries = ledger.feed_after(from, BATCH_MAX).await?;
            *oldest = entries.first().map(|entry| entry.at);
            let Some(last) = entries.last().map(|entry| entry.seq) else { break };
            match self.send_batch(sink, &position, &entries).await {
                Ok(()) => from = last,
                Err(Stopped::Sink(SinkError::Behind(last))) => {
                    // What it has to have is what it has; what it would not keep anyway is not sent again.
                    from = self.go_back(sink, from, last).await?;
                    position.after = last;
                    self.moved(sink, from).await?;
                    continue;
                }
                Err(other) => return Err(other),
            }
            position.after = last;
            self.moved(sink, last).await?;
            *checked = Some(Instant::now());
            if entries.len() < BATCH_MAX as usize {
                break;
            }
        }
        if checked.is_none_or(|at| at.elapsed() >= CHECK_EVERY) {
            self.check(sink, &position).await?;
            *checked = Some(Instant::now());
            self.letters.show(sink.name(), None).await;
        }
        Ok(())
    }

    /// Asks a sink that has everything whether it still has.
    async fn check(&self, sink: &dyn Sink, position: &Position) -> Result<(), Stopped> {
        match sink.take_all(position, &[]).await {
            Ok(_) => Ok(()),
            Err(SinkError::Behind(last)) => {
                let from = self.go_back(sink, position.after, last).await?;
                self.moved(sink, from).await?;
                self.numbered.send_replace(());
                Ok(())
            }
            Err(error) => Err(Stopped::Sink(error)),
        }
    }

    /// From where on a sink is told again that has lost what came after an entry.
    async fn go_back(&self, sink: &dyn Sink, from: u64, last: u64) -> Result<u64, LedgerError> {
        let newest = self.office.ledger.mark(NUMBERS).await?.map_or(0, |mark| mark.seq);
        let kept = sink.length().map_or(0, |length| newest.saturating_sub(length));
        let back = last.max(kept).min(from);
        tracing::warn!(sink = sink.name(), last, from = back, "a sink has lost entries of the feed and is told again");
        Ok(back)
    }

    async fn moved(&self, sink: &dyn Sink, seq: u64) -> Result<(), Stopped> {
        let still = self.office.ledger.move_mark(sink.name(), &self.owner, seq).await?;
        if still { Ok(()) } else { Err(Stopped::Lost) }
    }

    /// Sends a batch, in parts if the sink does not keep the order of one.
    async fn send_batch(&self, sink: &dyn Sink, position: &Position, entries: &[FeedEntry]) -> Result<(), Stopped> {
        let mut held = self.letters.held(sink.name()).await?;
        let mut rest = entries;
        while !rest.is_empty() {
            let many = if sink.keeps_order() { rest.len() } else { distinct(rest) };
            let (part, later) = rest.split_at(many);
            self.send_part(sink, position, part, &mut held).await?;
            rest = later;
        }
        Ok(())
    }

    async fn send_part(
        &self,
        sink: &dyn Sink,
        position: &Position,
        entries: &[FeedEntry],
        held: &mut HashSet<VisitorId>,
    ) -> Result<(), Stopped> {
        let name = sink.name();
        let (mut times, mut messages) = (Vec::new(), Vec::<Message>::new());
        for entry in entries {
            if held.contains(&entry.booking.visitor) {
                self.letters.wait(name, message(entry)).await?;
            } else {
                times.push(entry.at);
                messages.push(message(entry));
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        let refusals = sink.take_all(position, &messages).await.map_err(Stopped::Sink)?;
        let now = self.office.now();
        for ((message, at), refusal) in messages.into_iter().zip(times).zip(refusals) {
            match refusal {
                None => meters::sink_took(name, now.since(at)),
                Some(reason) => {
                    meters::sink_failed(name, "refused");
                    held.insert(message.visitor.clone());
                    self.letters.refused(name, message, reason).await?;
                }
            }
        }
        Ok(())
    }
}

/// How many entries there are before a visitor comes for the second time.
fn distinct(entries: &[FeedEntry]) -> usize {
    let mut seen = HashSet::new();
    entries.iter().take_while(|entry| seen.insert(&entry.booking.visitor)).count()
}
