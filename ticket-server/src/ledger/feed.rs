//! The feed: one row for each booking that was made or taken back, written with it and kept as long as it.
//!
//! Rows are *numbered* after their commit, by whoever has the feed's lease, in one transaction at a time (the row
//! `numbers` of `feed_marks` is locked): whoever sees a number sees every smaller one. So a follower may remember the
//! last number and ask for what is greater; with ids it would pass over those that were committed late. Numbers grow
//! strictly; some may be missing.

use queue_core::ids::Millis;

use super::{
    Booking, Ledger, LedgerError, Tx, Verdict, bookings,
    sql::{Row, Sql, number, parse, sql, text, text_or_null, unreadable},
};
use crate::ids::ReservationId;

/// The mark of whoever numbers: its place is the last number that was given.
pub const NUMBERS: &str = "numbers";
/// Rows numbered in one transaction, at most.
const NUMBERED_MAX: u32 = 512;

const COLUMNS: &str = "SELECT b.*, f.id AS entry_id, f.kind AS entry_kind, f.at AS entry_at, \
                       f.traceparent AS entry_trace, f.seq AS entry_seq \
                       FROM feed f JOIN bookings b ON b.reservation_id = f.reservation_id ";

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedKind {
    /// It was booked.
    Completed,
    /// The booking was taken back.
    Cancelled,
}

impl FeedKind {
    /// As it is kept.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl std::str::FromStr for FeedKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Completed, Self::Cancelled].into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// A row of the feed, with the booking that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its number in the table.
    pub id: u64,
    /// Its place in the feed.
    pub seq: u64,
    /// What happened.
    pub kind: FeedKind,
    /// When, by the clock of the server that did it.
    pub at: Millis,
    /// To what.
    pub booking: Booking,
    /// The trace in which it happened, where traces are recorded.
    pub traceparent: Option<String>,
}

/// Up to where a page in the order of time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPlace {
    /// The time of its last entry.
    pub at: Millis,
    /// Its id.
    pub id: u64,
}

/// How far somebody is, and who does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What is marked.
    pub name: String,
    /// The last number that is done.
    pub seq: u64,
    /// Names this feed among those of other ledgers.
    pub generation: String,
    /// Who does it.
    pub owner: String,
    /// Until when nobody else may.
    pub owned_until: Millis,
}

impl Ledger {
    /// Numbers rows that have none, in the order of their ids; how many there were, at most 512.
    pub async fn number_feed(&self) -> Result<u64, LedgerError> {
        // Most often there is nothing to do, which readers can say.
        if self.fetch_optional(unnumbered(1)).await?.is_none() {
            return Ok(0);
        }
        self.change((), |(), tx| Box::pin(number_in(tx))).await
    }

    /// Waits until there may be rows that have no number, written by this server. One waits at a time.
    pub async fn fed(&self) {
        self.fed.notified().await;
    }

    /// Entries after that number, in their order.
    pub async fn feed_after(&self, after: u64, limit: u32) -> Result<Vec<FeedEntry>, LedgerError> {
        let query = sql("").push(COLUMNS).push("WHERE f.seq IS NOT NULL AND f.seq > ? ORDER BY f.seq LIMIT ?");
        self.fetch_all(query.bind(after).bind(limit)).await?.iter().map(read_entry).collect()
    }

    /// Bookings that were made from one time to before another, in the order of time and then of ids, after a place.
    /// Those that have their number.
    pub async fn completed(
        &self,
        from: Millis,
        to: Millis,
        after: Option<FeedPlace>,
        limit: u32,
    ) -> Result<Vec<FeedEntry>, LedgerError> {
        let after = after.unwrap_or(FeedPlace { at: from, id: 0 });
        // The first bound is what the index is read from.
        let query = sql("").push(COLUMNS).push(
            "WHERE f.seq IS NOT NULL AND f.kind = 'COMPLETED' AND f.at >= ? AND f.at < ? AND (f.at > ? OR f.id > ?) \
             ORDER BY f.at, f.id LIMIT ?",
        );
        let query = query.bind(from.max(after.at)).bind(to).bind(after.at).bind(after.id).bind(limit);
        self.fetch_all(query).await?.iter().map(read_entry).collect()
    }

    /// How far that mark is, if there is one.
    pub async fn mark(&self, name: &str) -> Result<Option<Mark>, LedgerError> {
        let query = sql("SELECT * FROM feed_marks WHERE name = ?").bind(name);
        self.fetch_optional(query).await?.as_ref().map(read_mark).transpose()
    }

    /// Takes or keeps the marks that nobody else has now; which they are.
    pub async fn take_marks(
        &self,
        names: &[&'static str],
        owner: &str,
        until: Millis,
    ) -> Result<Vec<&'static str>, LedgerError> {
        let generation = format!("{:016x}", queue_core::service::trace::random_u64());
        let data = (names.to_vec(), owner.to_owned(), until, generation);
        let taking = self.change(data, |(names, owner, until, generation), tx| {
            Box::pin(async move {
                let mut taken = Vec::new();
                for &name in names {
                    if take_mark(tx, name, owner, *until, generation).await? {
                        taken.push(name);
                    }
                }
                Ok(Verdict::Keep(taken))
            })
        });
        taking.await
    }

    /// Gives marks up, so that another server need not wait.
    pub async fn leave_marks(&self, owner: &str) -> Result<(), LedgerError> {
        let leaving = self.change(owner.to_owned(), |owner, tx| {
            Box::pin(async move {
                tx.execute(sql("UPDATE feed_marks SET owned_until = 0 WHERE owner = ?").bind(owner)).await?;
                Ok(Verdict::Keep(()))
            })
        });
        leaving.await
    }

    /// Moves a mark, if it is still that owner's.
    pub async fn move_mark(&self, name: &'static str, owner: &str, seq: u64) -> Result<bool, LedgerError> {
        let moving = self.change((name, owner.to_owned(), seq), |(name, owner, seq), tx| {
            Box::pin(async move {
                let query = sql("UPDATE feed_marks SET seq = ? WHERE name = ? AND owner = ?");
                Ok(Verdict::Keep(tx.execute(query.bind(*seq).bind(*name).bind(owner)).await? == 1))
            })
        });
        moving.await
    }
}

/// Writes a row within the change that it tells of.
pub(super) async fn tell_in(
    tx: &mut Tx,
    kind: FeedKind,
    reservation: &ReservationId,
    at: Millis,
) -> Result<(), LedgerError> {
    let query = sql("INSERT INTO feed (kind, reservation_id, at, traceparent) VALUES (?, ?, ?, ?)");
    let query = query.bind(kind.name()).bind(reservation).bind(at).bind(tx.trace.as_deref());
    tx.fed = true;
    tx.execute(query).await.map(drop)
}

fn unnumbered(limit: u32) -> Sql {
    sql("SELECT id FROM feed WHERE seq IS NULL ORDER BY id LIMIT ?").bind(limit)
}

async fn number_in(tx: &mut Tx) -> Result<Verdict<u64>, LedgerError> {
    let query = format!("SELECT seq FROM feed_marks WHERE name = ?{}", tx.dialect().for_update());
    let mark = tx.fetch_optional(sql("").push(&query).bind(NUMBERS)).await?;
    let last = number(&mark.ok_or_else(|| unreadable("name"))?, "seq")?;
    let rows = tx.fetch_all(unnumbered(NUMBERED_MAX)).await?;
    let (Some(first), Some(end)) = (rows.first(), rows.last()) else { return Ok(Verdict::Keep(0)) };
    let (first, end) = (number(first, "id")?, number(end, "id")?);
    // Ids keep their order and their distances; they are moved up where greater ones were numbered before.
    let up = (last + 1).saturating_sub(first);
    let query = sql("UPDATE feed SET seq = id + ? WHERE seq IS NULL AND id >= ? AND id <= ?");
    let many = tx.execute(query.bind(up).bind(first).bind(end)).await?;
    let query = sql("UPDATE feed_marks SET seq = ? WHERE name = ?");
    tx.execute(query.bind(end + up).bind(NUMBERS)).await?;
    Ok(Verdict::Keep(many))
}

async fn take_mark(tx: &mut Tx, name: &str, owner: &str, until: Millis, generation: &str) -> Result<bool, LedgerError> {
    let now = tx.now();
    let query =
        sql("UPDATE feed_marks SET owner = ?, owned_until = ? WHERE name = ? AND (owner = ? OR owned_until <= ?)");
    let query = query.bind(owner).bind(until).bind(name).bind(owner).bind(now);
    if tx.execute(query).await? == 0 {
        let query = sql("INSERT INTO feed_marks (name, seq, generation, owner, owned_until) VALUES ");
        let row = [name.into(), 0_u64.into(), "".into(), owner.into(), until.into()];
        if !tx.insert_new(query.rows([row]), 1).await? {
            return Ok(false);
        }
    }
    let query = sql("UPDATE feed_marks SET generation = ? WHERE name = ? AND generation = ''");
    tx.execute(query.bind(generation).bind(name)).await?;
    Ok(true)
}

fn read_mark(row: &Row) -> Result<Mark, LedgerError> {
    Ok(Mark {
        name: text(row, "name")?,
        seq: number(row, "seq")?,
        generation: text(row, "generation")?,
        owner: text(row, "owner")?,
        owned_until: Millis(number(row, "owned_until")?),
    })
}

fn read_entry(row: &Row) -> Result<FeedEntry, LedgerError> {
    Ok(FeedEntry {
        id: number(row, "entry_id")?,
        seq: number(row, "entry_seq")?,
        kind: parse(row, "entry_kind")?,
        at: Millis(number(row, "entry_at")?),
        booking: bookings::read_booking(row)?,
        traceparent: text_or_null(row, "entry_trace")?,
    })
}
