//! All open sockets of this node, and what becomes of them with time: one look at a few of them now and then in
//! place of a timer for each. Whom nobody hears is pinged, then dropped; who asks for nothing is closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use queue_core::{
    close::CloseCode,
    limits::{WS_PING_MS, WS_SILENT_MS},
};

use super::{
    Node,
    outlet::{Outlet, uptime_ms},
};

/// The register is in so many parts, which are looked at one after the other.
const SHARDS: usize = 8;
/// A part grows by at least so many sockets.
const GROW_MIN: usize = 16;
/// Each part is looked at this often: nothing is later than that.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The register of open sockets.
#[derive(Debug, Default)]
pub struct Outlets {
    shards: [Mutex<Vec<Entry>>; SHARDS],
    next: AtomicUsize,
    count: AtomicUsize,
    draining: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    /// When it is to be looked at.
    due_ms: u64,
    /// When it is to be pinged.
    ping_ms: u64,
    outlet: Arc<Outlet>,
}

impl Outlets {
    /// One more open socket; says how many there are now. Goes on until [`Outlets::remove`].
    pub fn add(&self, outlet: &Arc<Outlet>) -> usize {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let shard = number % SHARDS;
        // The first ping comes early, so that sockets that came together are not pinged together for ever.
        let early_ms = (number / SHARDS) as u64 * 997 % (WS_PING_MS / 2);
        let ping_ms = uptime_ms() + WS_PING_MS - early_ms;
        let due_ms = outlet.deadline_ms().map_or(ping_ms, |deadline| deadline.min(ping_ms));
        let mut entries = self.shards[shard].lock();
        let held = entries.len();
        if held == entries.capacity() {
            // By an eighth and not twofold: what is kept free counts for each socket.
            entries.reserve_exact((held / 8).max(GROW_MIN));
        }
        outlet.place.store(held * SHARDS + shard, Ordering::Relaxed);
        entries.push(Entry { due_ms, ping_ms, outlet: outlet.clone() });
        drop(entries);
        // Read after it is in: either the drain finds it there, or it finds the drain here.
        if self.draining.load(Ordering::SeqCst) {
            outlet.finish(None, CloseCode::Restart);
        }
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A socket that has ended.
    pub fn remove(&self, outlet: &Outlet) {
        let shard = outlet.place.load(Ordering::Relaxed) % SHARDS;
        let mut entries = self.shards[shard].lock();
        // Only under the lock does it stay where it is.
        let at = outlet.place.load(Ordering::Relaxed) / SHARDS;
        entries.swap_remove(at);
        if let Some(moved) = entries.get(at) {
            moved.outlet.place.store(at * SHARDS + shard, Ordering::Relaxed);
        }
        if entries.len() < entries.capacity() / 4 {
            entries.shrink_to_fit();
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells all sockets, and those that still come, that the server is going away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            let all: Vec<_> = shard.lock().iter().map(|entry| entry.outlet.clone()).collect();
            all.iter().for_each(|outlet| outlet.finish(None, CloseCode::Restart));
        }
    }

    /// Looks at those sockets of a part that are due.
    fn look(&self, shard: usize, now_ms: u64) {
        let mut pinged = Vec::new();
        let mut ended = Vec::new();
        for entry in self.shards[shard].lock().iter_mut().filter(|entry| entry.due_ms <= now_ms) {
            match entry.look(now_ms) {
                Due::Nothing => {}
                Due::Ping => pinged.push(entry.outlet.clone()),
                Due::End(code) => ended.push((entry.outlet.clone(), code)),
            }
        }
        // Without the lock: each is a call to the system.
        pinged.iter().for_each(|outlet| outlet.ping());
        for (outlet, code) in ended {
            match code {
                Some(code) => outlet.finish(None, code),
                None => outlet.give_up(),
            }
        }
    }
}

enum Due {
    Nothing,
    Ping,
    /// With a close code; without one the peer is gone.
    End(Option<CloseCode>),
}

impl Entry {
    fn look(&mut self, now_ms: u64) -> Due {
        let deadline = self.outlet.deadline_ms();
        let silent_at = self.outlet.heard_ms() + WS_SILENT_MS;
        let due = if silent_at <= now_ms && deadline.is_none() {
            Due::End(None)
        } else if deadline.is_some_and(|deadline| deadline <= now_ms) {
            Due::End(Some(CloseCode::NothingAsked))
        } else if self.ping_ms <= now_ms {
            self.ping_ms = now_ms + WS_PING_MS;
            Due::Ping
        } else {
            Due::Nothing
        };
        self.due_ms = self.ping_ms.min(deadline.unwrap_or(silent_at)).max(now_ms + 1);
        due
    }
}

/// Looks at all open sockets, a few at a time, until the node stops.
pub async fn keep(node: Arc<Node>) {
    let mut interval = tokio::time::interval(LOOK_EVERY / SHARDS as u32);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for shard in (0..SHARDS).cycle() {
        interval.tick().await;
        node.outlets.look(shard, uptime_ms());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn outlet() -> Arc<Outlet> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Arc::new(Outlet::new(stream.into_split().1))
    }

    #[tokio::test]
    async fn whoever_leaves_is_found_whatever_moved() {
        let outlets = Outlets::default();
        let mut open = Vec::new();
        for n in 1..=100 {
            open.push(outlet().await);
            assert_eq!(outlets.add(&open[n - 1]), n);
        }
        // Out of order: every third first.
        for step in [3, 2, 1] {
            let gone = open.extract_if(.., |outlet| outlet.place.load(Ordering::Relaxed) % step == 0);
            let gone: Vec<_> = gone.collect();
            gone.iter().for_each(|outlet| outlets.remove(outlet));
            let kept: usize = outlets.shards.iter().map(|shard| shard.lock().len()).sum();
            assert_eq!(kept, open.len());
            for (n, shard) in outlets.shards.iter().enumerate() {
                for (at, entry) in shard.lock().iter().enumerate() {
                    assert_eq!(entry.outlet.place.load(Ordering::Relaxed), at * SHARDS + n);
                }
            }
        }
        assert!(open.is_empty());
        assert_eq!(outlets.count.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn pings_come_in_time_and_silence_ends() {
        let outlet = outlet().await;
        let now = uptime_ms();
        outlet.set_deadline(None);
        let mut entry = Entry { due_ms: now, ping_ms: now + WS_PING_MS, outlet: outlet.clone() };
        assert!(matches!(entry.look(now), Due::Nothing));
        assert_eq!(entry.due_ms, now + WS_PING_MS);
        assert!(matches!(entry.look(now + WS_PING_MS), Due::Ping));
        assert!(matches!(entry.look(now + 2 * WS_PING_MS), Due::Ping));
        let silent_at = outlet.heard_ms() + WS_SILENT_MS;
        assert_eq!(entry.due_ms, silent_at);
        assert!(matches!(entry.look(silent_at), Due::End(None)));

        outlet.set_deadline(Some(now + 10_000));
        assert!(matches!(entry.look(now), Due::Nothing));
        assert_eq!(entry.due_ms, now + 10_000);
        assert!(matches!(entry.look(now + 10_000), Due::End(Some(CloseCode::NothingAsked))));
    }
}
