//! The Redis engine: each command is one script, sent once.
//!
//! Every script is harmless when it is sent again, since a lost reply does not tell whether it ran:
//! a hold with the same id is answered as it stands, a booking is counted once.

use async_trait::async_trait;
use queue_core::{
    ids::EventId,
    service::redis::{Arg, Reply, Store, StoreError},
};

use super::{
    Engine, EngineError, holding,
    looking::Look,
    script::{self, Transition},
};
use crate::{
    clock::Clock,
    ids::{Epoch, ReservationId, TicketTypeId},
    keys::Key,
    model::{
        Command, Counts, Dump, Hold, Outcome, PastState, Refusal, SeatBits, SeatState, Shape, Snapshot, Sold, Tally,
        Version,
        record::{BadRecord, parse_change, parse_hold, what_text},
    },
};

/// All sales in one Redis.
#[derive(Debug)]
pub struct RedisEngine {
    store: Store,
    /// The store's own unless a test says otherwise.
    clock: Clock,
}

impl RedisEngine {
    /// An engine that goes by the store's clock.
    pub fn new(store: Store) -> Self {
        Self { store, clock: Clock::Real }
    }

    /// An engine that goes by the test's clock.
    pub fn with_clock(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    async fn call(&self, event: &EventId, command: Command) -> Result<Outcome, StoreError> {
        match command {
            Command::Hold { revision, limit, wishes } => {
                let args = holding::encode(revision, limit, &wishes);
                holding::decode(&mut self.run(event, &script::TAKE, args).await?, wishes)
            }
            Command::Look { revision, seats, sessions } => {
                let (look, args) = Look::new(revision, seats, &sessions);
                look.decode(&mut self.run(event, &script::LOOK, args).await?)
            }
            command => {
                let (transition, args) = encode(command);
                decode(&mut self.run(event, transition, args).await?)
            }
        }
    }

    async fn run(&self, event: &EventId, transition: &Transition, mut args: Vec<Arg>) -> Result<Reply, StoreError> {
        let virtual_time = match &self.clock {
            Clock::Real => false,
            Clock::Virtual(_) => {
                args.push(self.clock.now().0.into());
                true
            }
        };
        let keys = transition.keys.iter().map(|key| key.of(event));
        self.store.run_list(transition.script(virtual_time), keys, args).await
    }

    /// The complete state of one event, for the tests.
    pub async fn dump(&self, event: &EventId) -> Result<Dump, StoreError> {
        let hash = |key: Key| async move {
            let mut reply = self.store.command("HGETALL", [key.of(event)]).await?.into_reply("HGETALL")?;
            let mut map = std::collections::BTreeMap::new();
            while !reply.is_empty() {
                map.insert(reply.text()?, reply.text()?);
            }
            Ok::<_, StoreError>(map)
        };
        let zset = |key: Key| async move {
            let args: [Arg; 4] = [key.of(event).into(), "0".into(), "-1".into(), "WITHSCORES".into()];
            let mut reply = self.store.command("ZRANGE", args).await?.into_reply("ZRANGE")?;
            let mut map = std::collections::BTreeMap::new();
            while !reply.is_empty() {
                map.insert(reply.text()?, reply.u64()?);
            }
            Ok::<_, StoreError>(map)
        };
        let seats = async {
            let value = self.store.command("GET", [Key::Seats.of(event)]).await?.into_option();
            Ok(value.map(|value| value.into_bytes("GET")).transpose()?.map(|bytes| bytes.to_vec()).unwrap_or_default())
        };
        let log = async {
            let args: [Arg; 3] = [Key::Log.of(event).into(), "0".into(), "-1".into()];
            let mut log = self.store.command("LRANGE", args).await?.into_reply("LRANGE")?;
            (0..log.remaining()).map(|_| log.text()).collect::<Result<Vec<_>, _>>()
        };
        // All at once: they are pipelined.
        let (meta, seats, holds, ends, pins, visitors, tallies, ended, past, past_until, log) = tokio::try_join!(
            hash(Key::Meta),
            seats,
            hash(Key::Holds),
            zset(Key::Ends),
            zset(Key::Pins),
            hash(Key::Visitors),
            hash(Key::Tallies),
            zset(Key::Ended),
            hash(Key::Past),
            zset(Key::PastUntil),
            log,
        )?;
        Ok(Dump { meta, seats, holds, ends, pins, visitors, tallies, ended, past, past_until, log })
    }
}

#[async_trait]
impl Engine for RedisEngine {
    async fn apply(&self, event: &EventId, command: Command) -> Result<Outcome, EngineError> {
        self.call(event, command).await.map_err(|error| match error {
            StoreError::Unavailable(reason) => EngineError::Unavailable(reason),
            StoreError::Overloaded => EngineError::Overloaded,
            other => EngineError::Broken(other.to_string()),
        })
    }

    fn gathers(&self) -> bool {
        true
    }

    fn is_up(&self) -> bool {
        self.store.is_connected()
    }

    fn history(&self) -> u64 {
        let health = self.store.health();
        let server = &health.borrow().server;
        let names = [server.run_id.as_bytes(), b" ", server.replication_id.as_bytes()].concat();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &names);
        hash.as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

fn encode(command: Command) -> (&'static Transition, Vec<Arg>) {
    match command {
        Command::Configure { expected, shape } => {
            let quantities: Vec<_> = shape.quantities.iter().map(|(kind, n)| format!("{kind}={n}")).collect();
            let mut args = vec![expected.into()];
            args.extend(shape_args(&shape));
            args.push(quantities.join(",").into());
            (&script::CONFIGURE, args)
        }
        Command::Restore { shape } => (&script::RESTORE, shape_args(&shape)),
        Command::Open => (&script::OPEN, vec![]),
        Command::Hold { revision, limit, wishes } => (&script::TAKE, holding::encode(revision, limit, &wishes)),
        Command::Look { revision, seats, sessions } => (&script::LOOK, Look::new(revision, seats, &sessions).1),
        Command::Extend { reservation, visitor, add_ms, at_least_ms } => {
            let args = vec![reservation.as_str().into(), visitor.as_str().into(), add_ms.into(), at_least_ms.into()];
            (&script::EXTEND, args)
        }
        Command::Cancel { reservation, visitor } => {
            (&script::CANCEL, vec![reservation.as_str().into(), visitor.as_str().into()])
        }
        Command::Pin { reservation, visitor } => {
            (&script::PIN, vec![reservation.as_str().into(), visitor.as_str().into()])
        }
        Command::Unpin { reservation } => (&script::UNPIN, vec![reservation.as_str().into()]),
        Command::Book { bookings } => (&script::BOOK, vec![bookings.iter().map(sold_line).collect::<String>().into()]),
        Command::Unbook { booking } => {
            let what = what_text(&booking.what);
            let mut args = vec![booking.reservation.as_str().into(), booking.visitor.as_str().into()];
            args.extend(what.split(' ').map(Arg::from));
            (&script::UNBOOK, args)
        }
        Command::Abort { reservation } => (&script::ABORT, vec![reservation.as_str().into()]),
        Command::Expire { batch } => (&script::EXPIRE, vec![batch.into()]),
        Command::Forget { batch } => (&script::FORGET, vec![batch.into()]),
        Command::EndSession { visitor, jti, let_go } => {
            let args = vec![visitor.as_str().into(), jti.to_string().into(), u32::from(let_go).into()];
            (&script::END_SESSION, args)
        }
        Command::Close { visitor, jti } => (&script::CLOSE, vec![visitor.as_str().into(), jti.to_string().into()]),
        Command::Find { reservation } => (&script::FIND, vec![reservation.as_str().into()]),
        Command::HoldsOf { visitor } => (&script::HOLDS_OF, vec![visitor.as_str().into()]),
        Command::Holds { skip, batch } => (&script::HOLDS, vec![skip.into(), batch.into()]),
        Command::Pinned { for_ms, batch } => (&script::PINNED, vec![for_ms.into(), batch.into()]),
        Command::Version => (&script::VERSION, vec![]),
        Command::Snapshot => (&script::SNAPSHOT, vec![]),
        Command::Changes { after, batch } => (&script::CHANGES, vec![after.into(), batch.into()]),
    }
}

fn shape_args(shape: &Shape) -> Vec<Arg> {
    let mut blocked = SeatBits::default();
    for &seat in shape.blocked.iter() {
        blocked.grow(seat as usize + 1);
        blocked.set(seat, SeatState::Blocked);
    }
    vec![
        shape.revision.into(),
        shape.epoch.to_string().into(),
        shape.seats.into(),
        shape.blocked.len().into(),
        blocked.as_bytes().to_vec().into(),
    ]
}

fn sold_line(sold: &Sold) -> String {
    format!("{} {} {} {}\n", sold.reservation, sold.visitor, sold.jti, what_text(&sold.what))
}

/// Reads what a script answered.
pub fn decode(reply: &mut Reply) -> Result<Outcome, StoreError> {
    let status = reply.text()?;
    Ok(match status.as_str() {
        "DONE" => Outcome::Done,
        "HOLD" => Outcome::Hold(hold(reply)?),
        "PAST" => {
            let state = reply.text()?;
            let state = PastState::from_name(&state).ok_or_else(|| reply.problem("an unknown state"))?;
            Outcome::Past(state, hold(reply)?)
        }
        "FREED" => {
            let more = reply.u64()? == 1;
            let holds = (0..reply.remaining()).map(|_| reply.parse()).collect::<Result<_, _>>()?;
            Outcome::Freed { holds, more }
        }
        "EXPIRED" if !reply.is_empty() => {
            let (more, next_ms, counts) = (reply.u64()? == 1, reply.optional_u64()?, counts(reply)?);
            let holds = (0..reply.remaining()).map(|_| reply.parse()).collect::<Result<_, _>>()?;
            Outcome::Expired { holds, more, next_ms, counts }
        }
        "CLOSED" => Outcome::Closed,
        "NOT_DONE" => Outcome::NotDone,
        "HOLDS" => {
            let mut holds = Vec::new();
            while !reply.is_empty() {
                holds.push(hold(reply)?);
            }
            Outcome::Holds(holds)
        }
        "VERSION" => Outcome::Version(version(reply)?),
        "SNAPSHOT" => Outcome::Snapshot(snapshot(reply)?),
        "CHANGES" => {
            let epoch: Epoch = reply.parse()?;
            let mut changes = Vec::with_capacity(reply.remaining());
            while !reply.is_empty() {
                let entry = reply.text()?;
                changes.push(parse_change(&entry).map_err(|error| bad(reply, &error))?);
            }
            Outcome::Changes(epoch, Some(changes))
        }
        "TRUNCATED" => Outcome::Changes(reply.parse()?, None),
        "EXTENSION_LIMIT" => {
            Outcome::Refused(Refusal::ExtensionLimit { extensions: reply.u64()?, left_ms: reply.u64()? })
        }
        other => Outcome::Refused(refusal(other).ok_or_else(|| reply.problem("an unknown status"))?),
    })
}

fn counts(reply: &mut Reply) -> Result<Counts, StoreError> {
    Ok(Counts { origin: reply.optional_parse()?, taken: reply.u64()?, expired: reply.u64()?, given_up: reply.u64()? })
}

pub(super) fn refusal(status: &str) -> Option<Refusal> {
    Some(match status {
        "NO_EVENT" => Refusal::NoEvent,
        "STALE" => Refusal::Stale,
        "NOT_OPEN" => Refusal::NotOpen,
        "SESSION_ENDED" => Refusal::SessionEnded,
        "NOT_FOUND" => Refusal::NotFound,
        "NOT_HELD" => Refusal::NotHeld,
        "EXPIRED" => Refusal::Expired,
        "IN_USE" => Refusal::InUse,
        _ => return None,
    })
}

fn hold(reply: &mut Reply) -> Result<Hold, StoreError> {
    let reservation: ReservationId = reply.parse()?;
    let text = reply.text()?;
    parse_hold(reservation, &text).map_err(|error| bad(reply, &error))
}

fn bad(reply: &Reply, error: &BadRecord) -> StoreError {
    reply.problem(&error.to_string())
}

fn version(reply: &mut Reply) -> Result<Version, StoreError> {
    Ok(Version { revision: reply.u64()?, epoch: reply.parse()?, version: reply.u64()?, open: reply.u64()? == 1 })
}

fn snapshot(reply: &mut Reply) -> Result<Snapshot, StoreError> {
    let version = version(reply)?;
    let seats = SeatBits::from_bytes(reply.bytes()?.to_vec());
    let mut tallies = std::collections::BTreeMap::new();
    while !reply.is_empty() {
        let kind: TicketTypeId = reply.parse()?;
        let text = reply.text()?;
        let tally = text
            .split_once(' ')
            .and_then(|(held, sold)| Some(Tally { held: held.parse().ok()?, sold: sold.parse().ok()? }));
        tallies.insert(kind, tally.ok_or_else(|| reply.problem("an unreadable tally"))?);
    }
    Ok(Snapshot { version, seats, tallies })
}
