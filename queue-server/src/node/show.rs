//! Each waiter who has a socket here is shown what changed: near the head each tick, far back every few
//! seconds, spread over the tick.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use queue_core::{
    close::CloseCode,
    ids::{Millis, Rank},
    positions::Spot,
    wire::{EndReason, QueueStatus, ServerMessage},
};
use tokio::time::Instant;

use super::{
    LocalLine, Node, answer,
    frames::{Common, Own, PositionFrames},
    line::{VIEW_AGE_MS_MAX, View},
    lost,
    outlet::uptime_ms,
    push::{Inner, Phase, Shown, Slot, text},
};

/// Positions up to this one are shown at each change.
const NEAR: u64 = 1_000;
/// But at most once a tick, though the line may be looked at more often; a tick that comes a little early by
/// this part of it counts.
const NEAR_SLACK: u64 = 10;
/// Others are shown a change after at most this, and one tick.
const FAR_EVERY_MS: u64 = 8_000;
/// Sockets looked at in one go: some two milliseconds if all of them are written to.
const SLICE: usize = 256;
/// Sockets whose places are looked up in the store in one look, at most: those the bitmap no longer has.
const LOOKUPS_MAX: usize = 20_000;
/// So many ticks are spent on them in one look, about.
const LOOKUP_TICKS: u32 = 2;
/// Of these, so many are under way at a time.
const LOOKUPS_AT_ONCE: usize = 128;

/// Looks at every socket of the line once.
pub async fn positions(node: &Arc<Node>, line: &Arc<LocalLine>, view: &View) {
    let began = Instant::now();
    let (count, others) = {
        let slots = line.slots.lock();
        (slots.len() as u32, slots.others().to_vec())
    };
    let mut look = Look::new(node, line, view);
    let (mut missing, mut seen, mut next) = (Vec::new(), 0, Some(Rank(0)));
    while let Some(from) = next {
        let found;
        (found, next) = line.slots.lock().sweep(from, SLICE, &view.index);
        for slice in found.chunks(SLICE) {
            if seen > 0 {
                // Six tenths of the tick, so that the last slice is done before the next look.
                tokio::time::sleep_until(began + node.options.tick * 6 / 10 * seen.min(count) / count.max(1)).await;
            }
            seen += slice.len() as u32;
            let lag_ms = began.elapsed().as_millis() as u64;
            look.slice(slice, lag_ms, &mut missing);
        }
    }
    let others: Vec<_> = others.into_iter().map(|slot| (slot, NOWHERE)).collect();
    look.slice(&others, began.elapsed().as_millis() as u64, &mut missing);
    look_up(node, line, missing).await;
}

/// Asks the store about those that the line no longer has. After a clear these may be all. If the store is away or slow,
/// the next look finds the same: nothing else is done for the line meanwhile.
async fn look_up(node: &Arc<Node>, line: &Arc<LocalLine>, missing: Vec<Arc<Slot>>) {
    let until = Instant::now() + node.options.tick * LOOKUP_TICKS;
    let in_time = missing.into_iter().take_while(|_| Instant::now() < until);
    let one = async |slot: Arc<Slot>| lost::visitor(node, line, &slot).await;
    let mut told = stream::iter(in_time).map(one).buffer_unordered(LOOKUPS_AT_ONCE);
    while let Some(true) = told.next().await {}
}

/// The end of a session may have been missed: the next look asks about each that has a socket here.
pub fn doubt_sessions(line: &LocalLine) {
    for slot in line.all_slots() {
        slot.with(|inner| inner.doubt = inner.phase == Phase::Active);
    }
}

enum Seen {
    Nothing,
    Shown,
    /// It waits, but the bitmap no longer has it; or it is in, and may have missed its end.
    Missing,
}

/// A spot of no socket.
const NOWHERE: Spot = Spot { rank: Rank(u64::MAX), place: None };

/// One look at the sockets of a line, from one view.
struct Look<'l> {
    node: &'l Node,
    line: &'l LocalLine,
    view: &'l View,
    frames: PositionFrames,
    near_every_ms: u64,
    grace_ms: u64,
    /// By the store's clock, and by ours.
    now: Millis,
    now_ms: u64,
}

impl<'l> Look<'l> {
    fn new(node: &'l Node, line: &'l LocalLine, view: &'l View) -> Self {
        let common = Common {
            event: &line.event,
            as_of: view.as_of,
            waiting: view.index.waiting(),
            paused: view.summary.paused,
            tickets_left: view.summary.stock.map(|stock| stock.left),
        };
        let tick_ms = Duration::as_millis(&node.options.tick) as u64;
        Self {
            node,
            line,
            view,
            frames: PositionFrames::new(common),
            near_every_ms: tick_ms - tick_ms / NEAR_SLACK,
            grace_ms: line.known.load().policy.grace_ms(),
            now: node.now(),
            now_ms: uptime_ms(),
        }
    }

    /// Looks at some sockets, so long after the view was read. Notes those that the line no longer has.
    fn slice(&mut self, slots: &[(Arc<Slot>, Spot)], lag_ms: u64, missing: &mut Vec<Arc<Slot>>) {
        (self.now, self.now_ms) = (self.node.now(), uptime_ms());
        let mut shown = 0;
        for (slot, spot) in slots {
            match slot.with(|inner| self.at(inner, *spot)) {
                Seen::Shown => shown += 1,
                Seen::Missing if missing.len() < LOOKUPS_MAX => missing.push(slot.clone()),
                Seen::Missing | Seen::Nothing => {}
            }
        }
        if shown > 0 {
            self.node.metrics.pushed(shown, lag_ms);
        }
    }

    fn at(&mut self, inner: &mut Inner, spot: Spot) -> Seen {
        let Self { line, view, .. } = *self;
        if inner.phase == Phase::Over {
            return Seen::Nothing;
        }
        if inner.generation != view.generation {
            // A view older than the place says nothing about it.
            if inner.generation != line.generation() {
                ended(inner, answer::ended(line, view.as_of, EndReason::QueueReset));
            }
            return Seen::Nothing;
        }
        if inner.doubt && inner.phase == Phase::Active {
            return Seen::Missing;
        }
        if inner.phase != Phase::Waiting {
            return Seen::Nothing;
        }
        if inner.seq > view.summary.seq {
            // Newer than the view: the next one has it. If that takes long, the store is older than it was, and has
            // never heard of this place.
            let long = self.now_ms.saturating_sub(inner.shown_ms) > VIEW_AGE_MS_MAX;
            return if long { Seen::Missing } else { Seen::Nothing };
        }
        let rank = line.rank(inner.seq);
        // It may follow another place since the sweep.
        let place = if rank == spot.rank { spot.place } else { view.index.place(rank) };
        let Some(position) = place else { return Seen::Missing };
        let every_ms = if position <= NEAR { self.near_every_ms } else { FAR_EVERY_MS };
        if self.now_ms.saturating_sub(inner.shown_ms) < every_ms {
            return Seen::Nothing;
        }
        self.show(inner, position)
    }

    /// Shows a position that may be shown now, if the person would see another one than before.
    fn show(&mut self, inner: &mut Inner, position: u64) -> Seen {
        let paused = self.view.summary.paused;
        let eta = self.line.eta(position, paused);
        let shown = Shown { position, waiting: self.view.index.waiting(), paused, eta: eta.into() };
        if inner.shown == Some(shown) {
            return Seen::Nothing;
        }
        (inner.shown, inner.shown_ms) = (Some(shown), self.now_ms);
        let silent_ms = self.now_ms.saturating_sub(inner.heard_ms());
        let kept_until = Millis(self.now.0.saturating_sub(silent_ms)).plus(self.grace_ms);
        inner.show(self.frames.frame(Own { position, eta, kept_until }));
        Seen::Shown
    }
}

/// Tells a socket that its visitor is in.
pub fn admitted(inner: &mut Inner, status: QueueStatus) {
    inner.phase = Phase::Active;
    inner.say(&ServerMessage::QueueEntryAllowed(status));
    // The answer claims the admission.
    inner.ping();
}

/// Tells a socket that the place or session is over.
pub fn ended(inner: &mut Inner, status: QueueStatus) {
    inner.finish(Some(text(&ServerMessage::QueueCleared(status))), CloseCode::Done);
}
