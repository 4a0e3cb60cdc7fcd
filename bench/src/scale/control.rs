//! What the bench and its client processes say to each other: lines of JSON over a connection on loopback.
//!
//! A client whose connection ends ends too, so none outlives the bench.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use queue_core::ids::EventId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

/// A line is at most so long: the last report of one client has everybody it ever was.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// What the bench asks of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// First of all.
    Setup(Setup),
    /// Have so many waiters, as fast as they can be had.
    Fill { waiters: usize },
    /// Join, drop and reconnect on a fixed schedule.
    Go { joins_per_second: f64, drops_per_second: f64 },
    /// Join and drop no more; bring back who is away.
    Settle,
    /// From now on read every position, not only those of the sample.
    ReadAll,
    /// Count who has been shown a position as of this time, in milliseconds since the epoch, or later.
    CountSince(u64),
    /// Say what became of everybody.
    Report,
}

/// What a client must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub index: usize,
    pub nodes: Vec<SocketAddr>,
    pub event: EventId,
    /// What place tokens are signed with: a client reads its number from its token.
    pub place_secret: String,
    /// Length of a session: when it began is its end less this.
    pub ttl_ms: u64,
    /// An admitted visitor stays at most so long.
    pub stay_ms_max: u64,
    /// Waiters of which every message is read, per thousand.
    pub sampled_per_mille: u64,
    /// Sockets this client has open, at most.
    pub sockets_max: usize,
    pub seed: u64,
}

/// What a client says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Said {
    Hello { index: usize },
    Second(Box<Second>),
    Report(Report),
}

/// What a sampled waiter saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The answer to a join or a return: what was missed before is nobody's fault.
    Answer,
    /// A push.
    Push,
    /// It was told that it is its turn.
    Turn,
    /// The client let the socket fall.
    Fall,
}

/// One message to a sampled waiter. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub seq: u64,
    pub kind: Kind,
    pub as_of: u64,
    /// 0 if it has none any more.
    pub position: u64,
    /// When the client read it.
    pub seen: u64,
}

/// What happened within a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Sockets now.
    pub waiting: usize,
    /// Between two sockets, or joining.
    pub away: usize,
    /// Admitted and not yet gone.
    pub active: usize,
    /// From when a join was due to its answer.
    pub join_ms: Vec<u64>,
    /// From the start of a reconnect to its answer.
    pub resume_ms: Vec<u64>,
    /// From admission to the message about it.
    pub turn_ms: Vec<u64>,
    pub sights: Vec<Sight>,
    /// Positions that came, read or not.
    pub updates: u64,
    /// Waiters that have been shown a position as of the time of [`Order::CountSince`] or later.
    pub shown: usize,
    /// Things that went wrong since the start, by name.
    pub troubles: BTreeMap<String, u64>,
}

/// What became of everybody.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Who waits: number, last position since [`Order::ReadAll`] (0: none came), and as of when.
    pub waiting: Vec<(u64, u64, u64)>,
    /// Numbers of all who were told that it is their turn.
    pub told: Vec<u64>,
    pub troubles: BTreeMap<String, u64>,
}

/// Names of things that go wrong.
pub mod trouble {
    /// A join got no place; the store may have given one all the same, which nobody holds.
    pub const JOIN_LOST: &str = "join without an answer";
    /// The server ended a socket of somebody who waited.
    pub const SOCKET_LOST: &str = "socket ended by the server";
    /// Whoever came back had another place than before.
    pub const PLACE_CHANGED: &str = "another place after a reconnect";
    /// A later join was given a smaller number.
    pub const JOIN_ORDER: &str = "a later join got an earlier place";
    /// A place ended without a turn.
    pub const PLACE_ENDED: &str = "place ended";
    /// A connection could not be made.
    pub const CONNECT: &str = "connection failed";
    /// A release was refused.
    pub const RELEASE: &str = "release failed";
    /// A join was due and the client had no room.
    pub const JOIN_SKIPPED: &str = "join left out";
}

/// The sending half.
#[derive(Debug)]
pub struct Sender(pub OwnedWriteHalf);

impl Sender {
    /// Sends one line.
    pub async fn send<T: Serialize>(&mut self, said: &T) -> Result<()> {
        let mut line = serde_json::to_vec(said)?;
        line.push(b'\n');
        Ok(self.0.write_all(&line).await?)
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver(BufReader<OwnedReadHalf>);

impl Receiver {
    /// Of a connection's reading half.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self(BufReader::new(half))
    }

    /// The next line; `None` when the other side has ended. Not cancel-safe.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut line = Vec::new();
        if (&mut self.0).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        ensure!(line.ends_with(b"\n"), "a line was cut off");
        serde_json::from_slice(&line).map(Some).context("not a line of the bench")
    }
}
