//! A look at a line: its state by script, and beside it, as of the same instant, the bytes of its bitmap.

use bytes::Bytes;
use queue_core::{
    ids::{EventId, Generation, Rank},
    limits::SNAPSHOT_ALIGN_BYTES,
    line::{Applied, Command, Outcome, Snapshot, Summary},
    service::redis::{Arg, Beside, Reply, StoreError},
};

use super::{
    AtHand, EngineError, RedisEngine, TRIES_MAX,
    call::{Call, Context},
    failed,
    reply::{self, Done},
};
use crate::engine::Engine as _;

/// Shorter stretches are copied: what is cut out of a buffer keeps the whole buffer.
const COPIED_BYTES_MAX: usize = 32_768;

/// What the script says of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The rank of the first bit.
    pub base: u64,
    /// The first and the last in line.
    pub ends: Option<(Rank, Rank)>,
    pub summary: Summary,
}

/// Reads what the script says behind the generation.
pub fn looked(reply: &mut Reply) -> Result<Looked, StoreError> {
    let base = reply.u64()?;
    let (head, tail) = (reply.optional_u64()?.map(Rank), reply.optional_u64()?.map(Rank));
    Ok(Looked { base, ends: head.zip(tail), summary: reply::summary(reply)? })
}

/// The byte with which a look at a line with this head begins.
const fn first_byte(head: Rank) -> u64 {
    head.0 / 8 / SNAPSHOT_ALIGN_BYTES * SNAPSHOT_ALIGN_BYTES
}

impl Looked {
    /// The byte of the store's string with which a look had better begin.
    fn wanted(&self) -> Option<u64> {
        self.ends.map(|(head, _)| first_byte(head).saturating_sub(self.base / 8))
    }

    /// The snapshot, if `bytes`, which are those of the store's string from byte `from` on, have the head of the line.
    pub fn snapshot(&self, from: u64, bytes: &Bytes) -> Option<Snapshot> {
        let summary = self.summary.clone();
        let Some((head, tail)) = self.ends else {
            return Some(Snapshot { summary, first_byte: 0, present: Bytes::new() });
        };
        let first_byte = first_byte(head);
        let skipped = first_byte.checked_sub((self.base / 8).checked_add(from)?)?;
        let at = |byte: u64| usize::try_from(byte).map_or(bytes.len(), |byte| byte.min(bytes.len()));
        let present = bytes.slice(at(skipped)..at(skipped + (tail.0 / 8 + 1).saturating_sub(first_byte)));
        let copied = present.len() <= COPIED_BYTES_MAX;
        let present = if copied { Bytes::copy_from_slice(&present) } else { present };
        Some(Snapshot { summary, first_byte, present })
    }
}

/// One reading of a line: what the script said, and the bytes of its bitmap.
type Reading = (Done<Looked>, Bytes);

/// A reading that is asked for.
struct Asked<'e> {
    engine: &'e RedisEngine,
    event: &'e EventId,
    context: Context,
    known: AtHand,
    /// The byte of the store's string with which it begins.
    from: u64,
}

impl RedisEngine {
    /// Reads the line. Where its head is, is known from the last look: the bytes are asked for from there on, and
    /// once more if somebody has come back before it.
    pub(super) async fn look(&self, event: &EventId, expected: Option<Generation>) -> Result<Applied, EngineError> {
        let known = self.at_hand(event);
        let context = Context { expected, period: self.now().period(), grace_periods: known.grace_periods };
        let mut asked = Asked { engine: self, event, context, from: known.look_from, known };
        for _ in 0..TRIES_MAX {
            let Some((Done { now, generation, outcome }, bytes)) = asked.read().await? else { continue };
            let wanted = outcome.wanted().unwrap_or(asked.from);
            if let Some(snapshot) = outcome.snapshot(asked.from, &bytes) {
                self.note(event, |known| known.look_from = wanted);
                return Ok(Applied { now, generation, outcome: Outcome::Snapshot(Box::new(snapshot)) });
            }
            asked.from = wanted;
        }
        Err(EngineError::Broken { what: "a look", problem: "the line changes faster than it can be read".to_owned() })
    }
}

impl Asked<'_> {
    /// One reading; `None` if there was no instant that it is of.
    async fn read(&self) -> Result<Option<Reading>, EngineError> {
        let call = self.call();
        let script = self.engine.scripts.get(call.transition);
        let beside = Beside { name: "GETRANGE", args: self.range() };
        match self.engine.store.run_list_beside(script, call.keys, call.args, beside).await {
            Ok((mut reply, bytes)) => Ok(Some((self.told(&mut reply)?, bytes.into_bytes("GETRANGE").map_err(failed)?))),
            // A full store takes no transaction, but answers what changes nothing.
            Err(StoreError::Unavailable(why)) if why.starts_with("OOM") => self.read_apart().await,
            Err(error) => Err(failed(error)),
        }
    }

    /// A reading without a transaction: the bytes are of an instant at which all was as the script said, if it says
    /// the same before and after, for its totals only rise, and if as many wait by the bytes.
    async fn read_apart(&self) -> Result<Option<Reading>, EngineError> {
        let before = self.ask_script().await?;
        let bytes = self.engine.store.command("GETRANGE", self.range()).await.map_err(failed)?;
        let bytes = bytes.into_bytes("GETRANGE").map_err(failed)?;
        let after = self.ask_script().await?;
        let same = before.generation == after.generation && before.outcome == after.outcome;
        // If they begin behind the head, that is found out again.
        let whole = after.outcome.snapshot(self.from, &bytes).is_none_or(|snapshot| {
            let waiting: u64 = snapshot.present.iter().map(|byte| u64::from(byte.count_ones())).sum();
            waiting == snapshot.summary.waiting
        });
        Ok((same && whole).then_some((after, bytes)))
    }

    async fn ask_script(&self) -> Result<Done<Looked>, EngineError> {
        let call = self.call();
        let script = self.engine.scripts.get(call.transition);
        let mut reply = self.engine.store.run_list(script, call.keys, call.args).await.map_err(failed)?;
        self.told(&mut reply)
    }

    fn call(&self) -> Call {
        self.engine.call(&self.known.keys, self.context, &Command::Snapshot)
    }

    fn range(&self) -> Vec<Arg> {
        vec![self.known.keys.present(), self.from.into(), (-1_i64).into()]
    }

    fn told(&self, reply: &mut Reply) -> Result<Done<Looked>, EngineError> {
        let answer = self.engine.heard(self.event, reply::read(reply, looked))?;
        answer.map_err(|_| EngineError::Broken { what: "a look", problem: "a period was refused".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(base: u64, ends: Option<(u64, u64)>) -> Looked {
        let ends = ends.map(|(head, tail)| (Rank(head), Rank(tail)));
        Looked { base, ends, summary: Summary::default() }
    }

    #[test]
    fn the_stretch_is_cut_out_of_what_was_read() {
        let bytes = Bytes::from((0..100).collect::<Vec<u8>>());
        // The head is in byte 1,030 of all: 1,024 is the word's first; the string begins with byte 1,000.
        let looked = line(8_000, Some((8_243, 8_400)));
        assert_eq!(looked.wanted(), Some(24));
        let snapshot = looked.snapshot(0, &bytes).unwrap();
        assert_eq!((snapshot.first_byte, &snapshot.present[..]), (1_024, &bytes[24..51]));
        let snapshot = line(8_000, Some((8_243, 8_400))).snapshot(24, &bytes).unwrap();
        assert_eq!((snapshot.first_byte, &snapshot.present[..]), (1_024, &bytes[..27]));
        assert!(line(8_000, Some((8_243, 8_400))).snapshot(25, &bytes).is_none(), "begins behind the head");
    }

    #[test]
    fn an_empty_line_and_a_short_string_are_no_trouble() {
        let snapshot = line(8_000, None).snapshot(77, &Bytes::from_static(b"xyz")).unwrap();
        assert_eq!((snapshot.first_byte, snapshot.present.len()), (0, 0));
        let snapshot = line(0, Some((100, 5_000))).snapshot(0, &Bytes::from_static(b"123456789")).unwrap();
        assert_eq!((snapshot.first_byte, &snapshot.present[..]), (8, &b"9"[..]));
        assert_eq!(line(0, Some((100, 90))).snapshot(8, &Bytes::new()).unwrap().present.len(), 0);
    }
}
