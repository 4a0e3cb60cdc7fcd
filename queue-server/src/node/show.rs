//! Each waiter who has a socket here is shown what changed: near the head each tick, far back every few
//! seconds, spread over the tick.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use queue_core::{
    close::CloseCode,
    ids::Millis,
    limits::{WS_PING_MS, WS_SILENT_MS},
    wire::{EndReason, QueueStatus, ServerMessage},
};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    LocalLine, Node, answer,
    line::View,
    lost,
    push::{Inner, Phase, Push, Shown, Slot},
};

/// Positions up to this one are shown at each change.
const NEAR: u64 = 1_000;
/// But at most once a tick, though the line may be looked at more often; a tick that comes a little early by
/// this part of it counts.
const NEAR_SLACK: u32 = 10;
/// Others are shown a change after at most this, and one tick.
const FAR_EVERY: Duration = Duration::from_secs(8);
/// Sockets looked at in one go.
const SLICE: usize = 1_024;
/// Sockets whose places are looked up in the store in one tick, at most: those the bitmap no longer has.
const LOOKUPS_MAX: usize = 2_000;
/// Of these, so many are under way at a time.
const LOOKUPS_AT_ONCE: usize = 32;

/// A message as a text frame.
pub fn text(message: &ServerMessage) -> Utf8Bytes {
    // Wire types have string keys only: they always serialize.
    serde_json::to_string(message).unwrap_or_default().into()
}

/// Looks at every socket of the line once.
pub async fn positions(node: &Arc<Node>, line: &Arc<LocalLine>, view: &View) {
    let began = Instant::now();
    let slots = line.all_slots();
    let slices = slots.len().div_ceil(SLICE).max(1) as u32;
    let mut missing = Vec::new();
    let near_every = node.options.tick - node.options.tick / NEAR_SLACK;
    for (number, slice) in slots.chunks(SLICE).enumerate() {
        if number > 0 {
            // Six tenths of the tick, so that the last slice is done before the next look.
            tokio::time::sleep_until(began + node.options.tick * 6 / 10 * number as u32 / slices).await;
        }
        let lag_ms = began.elapsed().as_millis() as u64;
        let now = node.now();
        for slot in slice {
            match slot.with(|inner| look_at(line, view, slot, inner, now, near_every)) {
                Seen::Shown => node.metrics.push_lag(lag_ms),
                Seen::Missing if missing.len() < LOOKUPS_MAX => missing.push(slot.clone()),
                Seen::Missing | Seen::Nothing => {}
            }
        }
    }
    for some in missing.chunks(LOOKUPS_AT_ONCE) {
        let told = join_all(some.iter().map(|slot| lost::visitor(node, line, slot))).await;
        if told.contains(&false) {
            // The store is away: the next look finds the same.
            return;
        }
    }
}

/// Pings the sockets of a line that cannot be read, and drops those whose peers are gone.
pub fn keep_alive(line: &LocalLine) {
    for slot in line.all_slots() {
        slot.with(|inner| is_there(&slot, inner));
    }
}

/// The end of a session may have been missed: the next look asks about each that has a socket here.
pub fn doubt_sessions(line: &LocalLine) {
    for slot in line.all_slots() {
        slot.with(|inner| inner.doubt = inner.phase == Phase::Active);
    }
}

/// Asks the peer for a sign of life in time; whether there was one lately.
fn is_there(slot: &Slot, inner: &mut Inner) -> bool {
    if slot.silent_ms() >= WS_SILENT_MS {
        inner.say(Push::Drop);
        return false;
    }
    if inner.pinged_at.elapsed() >= Duration::from_millis(WS_PING_MS) {
        inner.ping();
    }
    true
}

enum Seen {
    Nothing,
    Shown,
    /// It waits, but the bitmap no longer has it; or it is in, and may have missed its end.
    Missing,
}

fn look_at(line: &LocalLine, view: &View, slot: &Slot, inner: &mut Inner, now: Millis, near_every: Duration) -> Seen {
    if !is_there(slot, inner) || inner.phase == Phase::Over {
        return Seen::Nothing;
    }
    if inner.generation != view.generation {
        // A view older than the place says nothing about it.
        if inner.generation == line.generation() {
            return Seen::Nothing;
        }
        let status = answer::ended(line, view.as_of, EndReason::QueueReset);
        inner.finish(Some(text(&ServerMessage::QueueCleared(status))), CloseCode::Done);
        return Seen::Nothing;
    }
    if inner.doubt && inner.phase == Phase::Active {
        return Seen::Missing;
    }
    // Newer than the view: the next one has it.
    if inner.phase != Phase::Waiting || inner.seq > view.summary.seq {
        return Seen::Nothing;
    }
    let rank = line.rank(inner.seq);
    if !view.index.contains(rank) {
        return Seen::Missing;
    }
    let position = view.index.position(rank);
    let paused = view.summary.paused;
    let eta = line.eta(position, paused);
    let shown = Shown { position, waiting: view.index.waiting(), paused, eta };
    let due = inner.shown_at.elapsed() >= if position <= NEAR { near_every } else { FAR_EVERY };
    if inner.shown == Some(shown) || !due {
        return Seen::Nothing;
    }
    inner.shown = Some(shown);
    inner.shown_at = Instant::now();
    let heard = Millis(now.0.saturating_sub(slot.silent_ms()));
    let status = answer::from_view(line, view, rank, heard);
    inner.say(Push::Text(text(&ServerMessage::QueueUpdated(status))));
    Seen::Shown
}

/// Tells a socket that its visitor is in.
pub fn admitted(inner: &mut Inner, status: QueueStatus) {
    inner.phase = Phase::Active;
    inner.say(Push::Text(text(&ServerMessage::QueueEntryAllowed(status))));
    // The answer claims the admission.
    inner.ping();
}

/// Tells a socket that the place or session is over.
pub fn ended(inner: &mut Inner, status: QueueStatus) {
    inner.finish(Some(text(&ServerMessage::QueueCleared(status))), CloseCode::Done);
}
