//! Messages that a receiver refused. One that is HELD is tried again, with growing pauses, and later ones of its
//! visitor wait behind it; one that was refused too often is DEAD, and the others go on without it. A dead letter is
//! kept until an operator has it tried again, with success, or throws it away.

use queue_core::ids::{EventId, Millis, VisitorId};

use super::{
    Ledger, LedgerError, Verdict,
    sql::{Row, Sql, number, number_or_null, parse, sql, text, text_or_null},
};
use crate::ids::ReservationId;

/// Letters tried in one look, at most.
pub const LETTERS_DUE_MAX: u32 = 64;
/// What a receiver said is kept up to so many characters.
const REASON_CHARS_MAX: usize = 500;

/// A message for a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its own id, by which the receiver knows it.
    pub id: String,
    /// Where it belongs among those of its visitor.
    pub place: u64,
    /// The event.
    pub event: EventId,
    /// The visitor.
    pub visitor: VisitorId,
    /// The reservation.
    pub reservation: ReservationId,
    /// What is said.
    pub body: String,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

/// A message that a receiver has refused, or that waits for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub id: u64,
    /// For whom.
    pub sink: String,
    /// What.
    pub message: Message,
    /// Whether nobody tries any more by themselves.
    pub dead: bool,
    /// What the receiver said last.
    pub reason: String,
    /// How often it was refused.
    pub attempts: u64,
    /// When it was put here.
    pub first_at: Millis,
    /// When it was refused last.
    pub last_at: Millis,
    /// When it is tried next.
    pub due_at: Option<Millis>,
}

/// What happens to a letter that was refused again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the receiver said.
    pub reason: String,
    /// When to try again; if nobody is to, it is dead.
    pub due_at: Option<Millis>,
}

impl Ledger {
    /// Keeps a message that was refused (with when to try again, if at all) or, without a refusal, waits for one that
    /// was. Whether it was not here yet.
    pub async fn hold_letter(
        &self,
        sink: &'static str,
        message: Message,
        refusal: Option<Refusal>,
    ) -> Result<bool, LedgerError> {
        let holding = self.change((sink, message, refusal), |(sink, message, refusal), tx| {
            Box::pin(async move {
                let now = tx.now();
                let (reason, attempts, due) = match refusal {
                    Some(Refusal { reason, due_at }) => (cut(reason), 1_u64, *due_at),
                    None => (String::new(), 0, Some(now)),
                };
                let state = if due.is_some() { "HELD" } else { "DEAD" };
                let row = [
                    (*sink).into(),
                    message.id.as_str().into(),
                    message.place.into(),
                    (&message.event).into(),
                    (&message.visitor).into(),
                    (&message.reservation).into(),
                    message.body.as_str().into(),
                    message.traceparent.as_deref().into(),
                    state.into(),
                    reason.into(),
                    attempts.into(),
                    now.into(),
                    now.into(),
                    due.into(),
                ];
                let query = sql("INSERT INTO letters (sink, message_id, place, event_id, visitor_id, reservation_id, \
                                 body, traceparent, state, reason, attempts, first_at, last_at, due_at) VALUES ");
                Ok(Verdict::Keep(tx.insert_new(query.rows([row]), 1).await?))
            })
        });
        holding.await
    }

    /// Visitors who have letters that are tried again, so many at most.
    pub async fn held_visitors(&self, sink: &str, limit: u32) -> Result<Vec<VisitorId>, LedgerError> {
        let query = sql("SELECT DISTINCT visitor_id FROM letters WHERE state = 'HELD' AND sink = ? LIMIT ?");
        self.fetch_all(query.bind(sink).bind(limit)).await?.iter().map(|row| parse(row, "visitor_id")).collect()
    }

    /// Letters that are to be tried now: of each visitor the first that is held, and dead ones that somebody wants
    /// tried.
    pub async fn due_letters(&self, sink: &str, now: Millis) -> Result<Vec<Letter>, LedgerError> {
        let query =
            sql("SELECT * FROM letters l WHERE l.sink = ? AND l.due_at <= ? AND (l.state = 'DEAD' OR NOT EXISTS \
                         (SELECT 1 FROM letters o WHERE o.sink = l.sink AND o.visitor_id = l.visitor_id \
                         AND o.state = 'HELD' AND o.place < l.place)) ORDER BY l.due_at, l.id LIMIT ?");
        let query = query.bind(sink).bind(now).bind(LETTERS_DUE_MAX);
        self.fetch_all(query).await?.iter().map(read_letter).collect()
    }

    /// A letter arrived: it is forgotten.
    pub async fn drop_letter(&self, id: u64) -> Result<(), LedgerError> {
        let dropping = self.change(id, |id, tx| {
            Box::pin(async move {
                tx.execute(sql("DELETE FROM letters WHERE id = ?").bind(*id)).await?;
                Ok(Verdict::Keep(()))
            })
        });
        dropping.await
    }

    /// A letter was refused again. Whether that is news: of two servers that tried it, one counts.
    pub async fn refuse_letter(&self, letter: &Letter, refusal: Refusal) -> Result<bool, LedgerError> {
        let refusing = self.change((letter.id, letter.attempts, refusal), |(id, attempts, refusal), tx| {
            Box::pin(async move {
                let state = if refusal.due_at.is_some() { "HELD" } else { "DEAD" };
                let query = sql("UPDATE letters SET attempts = attempts + 1, state = ?, reason = ?, last_at = ?, \
                                 due_at = ? WHERE id = ? AND attempts = ?");
                let query = query.bind(state).bind(cut(&refusal.reason)).bind(tx.now()).bind(refusal.due_at);
                Ok(Verdict::Keep(tx.execute(query.bind(*id).bind(*attempts)).await? == 1))
            })
        });
        refusing.await
    }

    /// Dead letters after that number, of one receiver or of all.
    pub async fn dead_letters(&self, sink: Option<&str>, after: u64, limit: u32) -> Result<Vec<Letter>, LedgerError> {
        let query = sql("SELECT * FROM letters WHERE state = 'DEAD' AND id > ?").bind(after);
        let query = match sink {
            Some(sink) => query.push(" AND sink = ?").bind(sink),
            None => query,
        };
        let query = query.push(" ORDER BY id LIMIT ?").bind(limit);
        self.fetch_all(query).await?.iter().map(read_letter).collect()
    }

    /// How many letters of a receiver are dead.
    pub async fn count_dead(&self, sink: &str) -> Result<u64, LedgerError> {
        let query = sql("SELECT COUNT(*) AS n FROM letters WHERE state = 'DEAD' AND sink = ?").bind(sink);
        self.fetch_optional(query).await?.map_or(Ok(0), |row| number(&row, "n"))
    }

    /// When the oldest letter that is tried again was put here.
    pub async fn oldest_held(&self, sink: &str) -> Result<Option<Millis>, LedgerError> {
        let query = sql("SELECT MIN(first_at) AS oldest FROM letters WHERE state = 'HELD' AND sink = ?").bind(sink);
        let row = self.fetch_optional(query).await?;
        row.map_or(Ok(None), |row| Ok(number_or_null(&row, "oldest")?.map(Millis)))
    }

    /// Has a dead letter tried again. The letter, if there is one.
    pub async fn retry_letter(&self, id: u64) -> Result<Option<Letter>, LedgerError> {
        self.of_dead(id, |id, now| {
            sql("UPDATE letters SET due_at = ? WHERE id = ? AND state = 'DEAD'").bind(now).bind(id)
        })
        .await
    }

    /// Throws a dead letter away. What it was, if there was one.
    pub async fn discard_letter(&self, id: u64) -> Result<Option<Letter>, LedgerError> {
        self.of_dead(id, |id, _| sql("DELETE FROM letters WHERE id = ? AND state = 'DEAD'").bind(id)).await
    }

    async fn of_dead(&self, id: u64, what: fn(u64, Millis) -> Sql) -> Result<Option<Letter>, LedgerError> {
        let doing = self.change((id, what), |(id, what), tx| {
            Box::pin(async move {
                let row = tx.fetch_optional(sql("SELECT * FROM letters WHERE id = ?").bind(*id)).await?;
                let now = tx.now();
                let done = tx.execute(what(*id, now)).await? == 1;
                let letter = row.filter(|_| done).as_ref().map(read_letter).transpose()?;
                Ok(Verdict::Keep(letter))
            })
        });
        doing.await
    }
}

fn cut(reason: &str) -> String {
    reason.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect()
}

fn read_letter(row: &Row) -> Result<Letter, LedgerError> {
    Ok(Letter {
        id: number(row, "id")?,
        sink: text(row, "sink")?,
        message: Message {
            id: text(row, "message_id")?,
            place: number(row, "place")?,
            event: parse(row, "event_id")?,
            visitor: parse(row, "visitor_id")?,
            reservation: parse(row, "reservation_id")?,
            body: text(row, "body")?,
            traceparent: text_or_null(row, "traceparent")?,
        },
        dead: text(row, "state")? == "DEAD",
        reason: text(row, "reason")?,
        attempts: number(row, "attempts")?,
        first_at: Millis(number(row, "first_at")?),
        last_at: Millis(number(row, "last_at")?),
        due_at: number_or_null(row, "due_at")?.map(Millis),
    })
}
