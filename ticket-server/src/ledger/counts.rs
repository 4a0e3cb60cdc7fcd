//! What others have counted, kept so that it outlives them: one row for each incarnation of a line or of a ticket
//! store, which says how far it has counted. Writing the same again, or something older, changes nothing.

use queue_core::ids::EventId;

use super::{
    Ledger, LedgerError, Tx, Verdict,
    sql::{number, sql, text},
};

/// How far one source has counted what happened in one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Names the incarnation of the line or of the store.
    pub source: String,
    /// People who were admitted.
    pub admitted: u64,
    /// Holds that were taken.
    pub taken: u64,
    /// Holds whose time was up, or that could not be booked.
    pub expired: u64,
    /// Holds that were given up.
    pub given_up: u64,
}

impl Counted {
    /// Takes the larger of each number: of one source the larger one is the newer one.
    pub fn raise(&mut self, other: &Self) {
        self.admitted = self.admitted.max(other.admitted);
        self.taken = self.taken.max(other.taken);
        self.expired = self.expired.max(other.expired);
        self.given_up = self.given_up.max(other.given_up);
    }
}

impl Ledger {
    /// Keeps how far was counted, for several events at once.
    pub async fn keep_counts(&self, counts: Vec<(EventId, Counted)>) -> Result<(), LedgerError> {
        let keeping = self.change(counts, |counts, tx| {
            Box::pin(async move {
                for (event, counted) in counts {
                    keep_in(tx, event, counted).await?;
                }
                Ok(Verdict::Keep(()))
            })
        });
        keeping.await
    }

    /// How far each source has counted.
    pub async fn counts(&self, event: &EventId) -> Result<Vec<Counted>, LedgerError> {
        let query = sql("SELECT * FROM event_counts WHERE event_id = ?").bind(event);
        let rows = self.fetch_all(query).await?;
        let read = |row| {
            Ok(Counted {
                source: text(row, "source")?,
                admitted: number(row, "admitted")?,
                taken: number(row, "taken")?,
                expired: number(row, "expired")?,
                given_up: number(row, "given_up")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

async fn keep_in(tx: &mut Tx, event: &EventId, counted: &Counted) -> Result<(), LedgerError> {
    let Counted { source, admitted, taken, expired, given_up } = counted;
    let now = tx.now();
    let query =
        sql("INSERT INTO event_counts (event_id, source, admitted, taken, expired, given_up, counted_at) VALUES ");
    let row = [
        event.into(),
        source.into(),
        (*admitted).into(),
        (*taken).into(),
        (*expired).into(),
        (*given_up).into(),
        now.into(),
    ];
    if tx.insert_new(query.rows([row]), 1).await? {
        return Ok(());
    }
    let mut query = sql("UPDATE event_counts SET counted_at = ?").bind(now);
    for (column, count) in [("admitted", admitted), ("taken", taken), ("expired", expired), ("given_up", given_up)] {
        let larger = format!(", {column} = CASE WHEN {column} < ? THEN ? ELSE {column} END");
        query = query.push(&larger).bind(*count).bind(*count);
    }
    tx.execute(query.push(" WHERE event_id = ? AND source = ?").bind(event).bind(source)).await.map(drop)
}
