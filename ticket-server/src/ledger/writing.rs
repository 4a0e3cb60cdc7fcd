//! How a batch is written: all at once if nothing in it is refused, else in parts that shrink around what is.

use queue_core::ids::Millis;

use super::{
    LedgerError, Ordered, arrays,
    batch::book_all,
    change::{Job, Traced},
    dialect::Dialect,
    tx::Tx,
    writer::Batch,
};

/// A part of so many is not tried together any more after the whole was refused.
const APART_MAX: usize = 3;

/// Whether one statement writes and commits it: bookings of seats and nothing else, on PostgreSQL.
pub(super) fn is_one_statement(dialect: Dialect, batch: &Batch) -> bool {
    dialect == Dialect::Postgres && batch.iter().all(|job| books_seats(job.as_ref()))
}

/// Whether it is in nobody's way who books other seats.
pub(super) fn books_seats(job: &dyn Job) -> bool {
    job.booking().is_some_and(|(booking, _)| matches!(booking.ordered, Ordered::Seats(_)))
}

/// Writes and commits such a batch; `false` when the writer's number is not to be written any more. What is to be
/// answered is noted before: whether it was committed may be found out later.
pub(super) async fn commit_all(tx: &mut Tx, batch: &mut Batch, writer: &str, number: u64) -> Result<bool, LedgerError> {
    tx.recover();
    batch.iter_mut().for_each(|job| job.booked());
    arrays::commit(tx, &bookings_of(batch), writer, number).await
}

/// All but the commit; `false` when it has to be done again, carefully.
pub(super) async fn write_all(tx: &mut Tx, batch: &mut Batch, careful: bool, now: Millis) -> Result<bool, LedgerError> {
    tx.begin(now).await?;
    if careful { write_in_parts(tx, batch).await.map(|()| true) } else { write_together(tx, batch).await }
}

fn bookings_of(batch: &[Box<dyn Job>]) -> Vec<Traced<'_>> {
    batch.iter().filter_map(|job| job.booking()).collect()
}

/// All but the commit, as if nothing were refused: the bookings in a few statements for all. `false` when something
/// is, and then everything has to be undone.
async fn write_together(tx: &mut Tx, batch: &mut [Box<dyn Job>]) -> Result<bool, LedgerError> {
    let bookings = bookings_of(batch);
    let together = bookings.len() > 1;
    if together {
        match book_all(tx, &bookings).await {
            Ok(true) => {}
            Ok(false) | Err(LedgerError::Broken(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    for job in batch {
        if together && job.booking().is_some() {
            job.booked();
            continue;
        }
        match job.run(tx).await {
            Ok(true) => {}
            Ok(false) | Err(LedgerError::Broken(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// All but the commit, when something in it is refused: each half in a savepoint of its own, and of a half that is
/// refused its halves, until what is refused is by itself.
async fn write_in_parts(tx: &mut Tx, batch: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
    let mut parts = vec![batch];
    let mut whole = true;
    while let Some(part) = parts.pop() {
        if part.len() <= APART_MAX {
            write_apart(tx, part).await?;
            continue;
        }
        // That the whole is refused is known.
        if !std::mem::take(&mut whole) && write_kept(tx, part).await? {
            continue;
        }
        let (first, second) = part.split_at_mut(part.len() / 2);
        parts.extend([second, first]);
    }
    Ok(())
}

/// Together in a savepoint, which is kept if nothing is refused.
async fn write_kept(tx: &mut Tx, part: &mut [Box<dyn Job>]) -> Result<bool, LedgerError> {
    savepoint(tx).await?;
    let keep = write_together(tx, part).await?;
    tx.recover();
    end_savepoint(tx, keep).await?;
    Ok(keep)
}

/// Each change in a savepoint of its own.
async fn write_apart(tx: &mut Tx, part: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
    for job in part {
        savepoint(tx).await?;
        let keep = match job.run(tx).await {
            Ok(keep) => keep,
            Err(error @ LedgerError::Broken(_)) => {
                job.refuse(error);
                tx.recover();
                false
            }
            Err(error) => return Err(error),
        };
        end_savepoint(tx, keep).await?;
    }
    Ok(())
}

async fn savepoint(tx: &mut Tx) -> Result<(), LedgerError> {
    tx.raw("SAVEPOINT one").await.map_err(LedgerError::from_sqlx)
}

async fn end_savepoint(tx: &mut Tx, keep: bool) -> Result<(), LedgerError> {
    let end = if keep { "RELEASE SAVEPOINT one" } else { "ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one" };
    tx.raw(end).await.map_err(LedgerError::from_sqlx)
}
