//! What the two Redis keep of the event, read as it lies there.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use queue_core::{ids::EventId, keys::LineKeys};
use ticket_server::{
    ids::ReservationId,
    keys::Key,
    model::{SeatState, What, record::parse_hold},
};

use super::facts::{Goods, Hold, QueueStore, TicketStore};
use crate::scale::resp::{Connection, Reply};

/// Members of one key that are read, at most.
const MEMBERS_MAX: usize = 500_000;
/// Members of one reply.
const CHUNK: usize = 5_000;

/// Reads the queue's Redis.
pub async fn queue(address: SocketAddr, event: &EventId) -> Result<QueueStore> {
    let mut redis = Connection::open(address).await?;
    let keys = LineKeys::new(event);
    let meta = hash(&mut redis, &keys.meta).await?;
    let number = |field: &str| meta.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut ended = BTreeMap::new();
    for key in [&keys.ended_old, &keys.ended] {
        for (visitor, why) in hash(&mut redis, key).await?.into_iter().filter(|(name, _)| !name.starts_with('#')) {
            let (seq, reason) = why.split_once(':').with_context(|| format!("{key} says {why} of {visitor}"))?;
            ended.insert(visitor, (seq.parse()?, reason.to_owned()));
        }
    }
    let mut sessions = BTreeMap::new();
    for (visitor, session) in hash(&mut redis, &keys.sessions).await? {
        if let Some((seq, _)) = session.split_once(':').filter(|_| !visitor.starts_with('#')) {
            sessions.insert(visitor, seq.parse()?);
        }
    }
    Ok(QueueStore {
        generation: meta.get("generation").cloned().unwrap_or_default(),
        waiting: scored(&mut redis, &keys.waiting).await?.into_iter().map(|(visitor, rank)| (rank, visitor)).collect(),
        active: scored(&mut redis, &keys.active).await?.into_iter().collect(),
        sessions,
        ended,
        seq: number("seq"),
        admitted: number("admitted"),
    })
}

/// Reads the ticket server's Redis. `slots`: the names of all seat indexes, as the ledger has them.
pub async fn tickets(address: SocketAddr, event: &EventId, slots: &[String]) -> Result<TicketStore> {
    let mut redis = Connection::open(address).await?;
    let key = |key: Key| key.of(event);
    let mut store = TicketStore { now: now(&mut redis).await?, ..TicketStore::default() };
    let states = states(&mut redis, &key(Key::Seats), slots.len()).await?;
    for (name, state) in slots.iter().zip(states) {
        match state {
            SeatState::Held => drop(store.held.insert(name.clone())),
            SeatState::Sold => drop(store.sold.insert(name.clone())),
            SeatState::Free | SeatState::Blocked => {}
        }
    }
    for (id, text) in hash(&mut redis, &key(Key::Holds)).await? {
        store.holds.insert(id.clone(), hold(&id, &text, slots)?);
    }
    for (kind, tally) in hash(&mut redis, &key(Key::Tallies)).await? {
        let (held, sold) = tally.split_once(' ').with_context(|| format!("a tally: {tally}"))?;
        store.tallies.insert(kind, (held.parse()?, sold.parse()?));
    }
    store.ends = names(scored(&mut redis, &key(Key::Ends)).await?);
    store.pins = names(scored(&mut redis, &key(Key::Pins)).await?);
    for (_, items) in hash(&mut redis, &key(Key::Visitors)).await? {
        let held = items.split(' ').filter_map(|item| item.strip_prefix("h,")?.split(',').next());
        store.items_held.extend(held.map(str::to_owned));
    }
    Ok(store)
}

fn names<S: FromIterator<String>>(scored: Vec<(String, u64)>) -> S {
    scored.into_iter().map(|(name, _)| name).collect()
}

fn hold(id: &str, text: &str, slots: &[String]) -> Result<Hold> {
    let reservation = ReservationId::new(id).with_context(|| format!("a reservation: {id}"))?;
    let hold = parse_hold(reservation, text)?;
    let name = |index: &u32| slots.get(*index as usize).cloned().with_context(|| format!("{id} holds seat {index}"));
    let goods = match &hold.what {
        What::Seats(seats) => Goods { seats: seats.iter().map(name).collect::<Result<_>>()?, quantity: None },
        What::Quantity { kind, quantity } => {
            Goods { quantity: Some((kind.to_string(), *quantity)), ..Goods::default() }
        }
    };
    Ok(Hold { visitor: hold.visitor.to_string(), end: hold.end.0, pinned: hold.pinned.is_some(), goods })
}

async fn now(redis: &mut Connection) -> Result<u64> {
    let time = redis.command(&["TIME"]).await?;
    let [seconds, micros] = time.list() else { bail!("an odd time: {time:?}") };
    let part = |reply: &Reply| reply.number().context("an odd time");
    Ok(part(seconds)? * 1_000 + part(micros)? / 1_000)
}

/// The states of so many seats. Read by number, since the bytes are no text.
async fn states(redis: &mut Connection, key: &str, seats: usize) -> Result<Vec<SeatState>> {
    let mut states = Vec::with_capacity(seats);
    while states.len() < seats {
        let fields: Vec<String> = (states.len()..seats.min(states.len() + CHUNK)).map(|at| format!("#{at}")).collect();
        let reads = fields.iter().flat_map(|field| ["GET", "u2", field]);
        let words: Vec<&str> = ["BITFIELD_RO", key].into_iter().chain(reads).collect();
        let reply = redis.command(&words).await?;
        ensure!(reply.list().len() == fields.len(), "an odd number of seats");
        for bits in reply.list() {
            states.push(SeatState::from_bits(bits.number().context("an odd seat")? as u8));
        }
    }
    Ok(states)
}

/// All fields of a hash.
async fn hash(redis: &mut Connection, key: &str) -> Result<BTreeMap<String, String>> {
    Ok(scan(redis, "HSCAN", key).await?.into_iter().collect())
}

/// All members of a sorted set.
async fn scored(redis: &mut Connection, key: &str) -> Result<Vec<(String, u64)>> {
    let number = |(name, score): (String, String)| {
        let score: f64 = score.parse().with_context(|| format!("the score of {name}: {score}"))?;
        Ok((name, score as u64))
    };
    scan(redis, "ZSCAN", key).await?.into_iter().map(number).collect()
}

/// Pairs, in no order; one that changes meanwhile may come twice.
async fn scan(redis: &mut Connection, command: &str, key: &str) -> Result<Vec<(String, String)>> {
    let (mut cursor, count) = ("0".to_owned(), CHUNK.to_string());
    let mut pairs = Vec::new();
    loop {
        let reply = redis.command(&[command, key, &cursor, "COUNT", &count]).await?;
        let [next, found] = reply.list() else { bail!("an odd reply: {reply:?}") };
        let text = |reply: &Reply| reply.text().map(str::to_owned).context("not a text");
        for pair in found.list().chunks_exact(2) {
            pairs.push((text(&pair[0])?, text(&pair[1])?));
        }
        ensure!(pairs.len() <= MEMBERS_MAX, "{key} has more than {MEMBERS_MAX} members");
        cursor = text(next)?;
        if cursor == "0" {
            return Ok(pairs);
        }
    }
}

#[cfg(test)]
mod tests {
    use queue_core::service::testing::TestRedis;

    use super::*;

    fn event() -> EventId {
        EventId::new("e").unwrap()
    }

    fn start() -> (TestRedis, SocketAddr) {
        let redis = TestRedis::start();
        let address = SocketAddr::from(([127, 0, 0, 1], redis.port()));
        (redis, address)
    }

    #[tokio::test]
    async fn the_queues_store_is_read() {
        let (redis, address) = start();
        let keys = LineKeys::new(&event());
        redis.cli(&["HSET", &keys.meta, "generation", "00ff", "seq", "12000", "admitted", "3"]);
        for first in (1..=12_000).step_by(500) {
            let pairs: Vec<String> =
                (first..first + 500).flat_map(|rank| [rank.to_string(), format!("a_{rank}")]).collect();
            let words: Vec<&str> =
                ["ZADD", &keys.waiting].into_iter().chain(pairs.iter().map(String::as_str)).collect();
            redis.cli(&words);
        }
        redis.cli(&["ZADD", &keys.active, "1795174549474", "a_x"]);
        redis.cli(&["HSET", &keys.sessions, "a_x", "3:1795174549474", "#3", "a_x"]);
        redis.cli(&["HSET", &keys.ended_old, "a_y", "1:LEFT", "a_z", "2:LEFT"]);
        redis.cli(&["HSET", &keys.ended, "a_y", "4:RELEASED", "#4", "RELEASED"]);
        let store = queue(address, &event()).await.unwrap();
        assert_eq!((store.waiting.len(), store.waiting[&12_000].as_str()), (12_000, "a_12000"));
        assert_eq!((store.generation.as_str(), store.seq, store.admitted), ("00ff", 12_000, 3));
        assert_eq!(store.active, BTreeMap::from([("a_x".to_owned(), 1_795_174_549_474)]));
        assert_eq!(store.sessions, BTreeMap::from([("a_x".to_owned(), 3)]));
        assert_eq!(store.ended["a_y"], (4, "RELEASED".to_owned()));
        assert_eq!(store.ended["a_z"], (2, "LEFT".to_owned()));
        redis.cli(&["HSET", &keys.ended, "a_q", "odd"]);
        assert!(queue(address, &event()).await.is_err());
    }

    #[tokio::test]
    async fn the_ticket_servers_store_is_read() {
        let (redis, address) = start();
        let key = |key: Key| key.of(&event());
        let seats: Vec<String> = (0..6_001).map(|number| format!("A-1-{number}")).collect();
        redis.cli(&["BITFIELD", &key(Key::Seats), "SET", "u2", "#2", "1", "SET", "u2", "#6000", "2"]);
        let jti = "00000000000000ff.7";
        redis.cli(&["HSET", &key(Key::Holds), "r_1", &format!("a_x {jti} 5 9 0 0 100 S 2 1")]);
        redis.cli(&["HSET", &key(Key::Holds), "r_2", &format!("a_x {jti} 5 9 0 8 100 G floor 2 2")]);
        redis.cli(&["ZADD", &key(Key::Ends), "9", "r_1"]);
        redis.cli(&["ZADD", &key(Key::Pins), "8", "r_2"]);
        redis.cli(&["HSET", &key(Key::Tallies), "floor", "2 5"]);
        redis.cli(&["HSET", &key(Key::Visitors), "a_x", &format!("h,r_1,1,{jti} s,r_0,1,{jti} h,r_2,2,{jti}")]);
        let store = tickets(address, &event(), &seats).await.unwrap();
        let one = |name: &str| [name.to_owned()].into_iter().collect();
        assert_eq!((store.held, store.sold), (one("A-1-2"), one("A-1-6000")));
        let hold = &store.holds["r_1"];
        assert_eq!((hold.visitor.as_str(), hold.end, hold.pinned), ("a_x", 9, false));
        assert_eq!(hold.goods, Goods { seats: one("A-1-2"), quantity: None });
        assert!(store.holds["r_2"].pinned);
        assert_eq!(store.holds["r_2"].goods.quantity, Some(("floor".to_owned(), 2)));
        assert_eq!((store.ends, store.pins), (one("r_1"), one("r_2")));
        assert_eq!(store.items_held, ["r_1", "r_2"].map(str::to_owned).into());
        assert_eq!(store.tallies, BTreeMap::from([("floor".to_owned(), (2, 5))]));
        assert!(store.now > 1_500_000_000_000);
        redis.cli(&["HSET", &key(Key::Holds), "r_3", &format!("a_x {jti} 5 9 0 0 100 S 9999 1")]);
        assert!(tickets(address, &event(), &seats).await.is_err());
    }
}
