//! A change of the ledger: what is to be done in a transaction, and who waits for the answer.

use futures_util::future::BoxFuture;
use queue_core::service::spans;
use tokio::sync::oneshot;

use super::{Booking, Decision, LedgerError, bookings::book_in, tx::Tx};

/// What became of a change, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It is done, if the transaction is committed.
    Keep(T),
    /// Nothing is to be left of it.
    Undo(T),
}

/// What a change does, as a future.
pub type Doing<'t, T> = BoxFuture<'t, Result<Verdict<T>, LedgerError>>;

/// A booking, and the trace in which it was made, where traces are recorded.
pub(super) type Traced<'b> = (&'b Booking, Option<&'b str>);

/// A change in a batch.
pub(super) trait Job: Send {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// What it books and in which trace, if that is all it does: then it can be written together with others.
    fn booking(&self) -> Option<Traced<'_>> {
        None
    }
    /// What it books was written as new.
    fn booked(&mut self) {}
    /// Makes the change; whether to keep it. May be called again after what it did was undone.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<bool, LedgerError>>;
    /// This change cannot be made; nothing is left of it.
    fn refuse(&mut self, error: LedgerError);
    /// The transaction is committed.
    fn tell(self: Box<Self>);
    /// It is not, or nobody knows.
    fn fail(self: Box<Self>, error: LedgerError);
}

pub(super) struct Change<D, F, T> {
    data: D,
    work: F,
    trace: Option<String>,
    made: Option<Result<T, LedgerError>>,
    reply: oneshot::Sender<Result<T, LedgerError>>,
}

impl<D, F, T> Change<D, F, T>
where
    D: Send + Sync + 'static,
    F: for<'t> Fn(&'t D, &'t mut Tx) -> Doing<'t, T> + Send + Sync + 'static,
    T: Send + 'static,
{
    /// The change, and where its answer comes.
    pub(super) fn boxed(data: D, work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, LedgerError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { data, work, trace: spans::recorded(), made: None, reply }), answer)
    }
}

impl<D, F, T> Job for Change<D, F, T>
where
    D: Send + Sync + 'static,
    F: for<'t> Fn(&'t D, &'t mut Tx) -> Doing<'t, T> + Send + Sync + 'static,
    T: Send + 'static,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<bool, LedgerError>> {
        Box::pin(async move {
            tx.trace.clone_from(&self.trace);
            let (keep, made) = match (self.work)(&self.data, tx).await? {
                Verdict::Keep(made) => (true, made),
                Verdict::Undo(made) => (false, made),
            };
            // A change that went on after a failure has changed nothing that lasts.
            if let Some(error) = tx.failure() {
                return Err(error.clone());
            }
            self.made = Some(Ok(made));
            Ok(keep)
        })
    }

    fn refuse(&mut self, error: LedgerError) {
        self.made = Some(Err(error));
    }

    fn tell(self: Box<Self>) {
        // Whoever asked may have gone; nobody else is to be told.
        let _ = self.reply.send(self.made.unwrap_or_else(not_run));
    }

    fn fail(self: Box<Self>, error: LedgerError) {
        let _ = self.reply.send(Err(error));
    }
}

/// A booking and nothing else.
pub(super) struct Confirming {
    booking: Booking,
    trace: Option<String>,
    made: Option<Result<Decision, LedgerError>>,
    reply: oneshot::Sender<Result<Decision, LedgerError>>,
}

impl Confirming {
    /// The change, and where its answer comes.
    pub(super) fn boxed(booking: Booking) -> (Box<dyn Job>, oneshot::Receiver<Result<Decision, LedgerError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { booking, trace: spans::recorded(), made: None, reply }), answer)
    }
}

impl Job for Confirming {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn booking(&self) -> Option<Traced<'_>> {
        Some((&self.booking, self.trace.as_deref()))
    }

    fn booked(&mut self) {
        self.made = Some(Ok(Decision::Confirmed(Box::new(self.booking.clone()))));
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<bool, LedgerError>> {
        Box::pin(async move {
            tx.trace.clone_from(&self.trace);
            let (keep, made) = match book_in(tx, &self.booking).await? {
                Verdict::Keep(made) => (true, made),
                Verdict::Undo(made) => (false, made),
            };
            self.made = Some(Ok(made));
            Ok(keep)
        })
    }

    fn refuse(&mut self, error: LedgerError) {
        self.made = Some(Err(error));
    }

    fn tell(self: Box<Self>) {
        let _ = self.reply.send(self.made.unwrap_or_else(not_run));
    }

    fn fail(self: Box<Self>, error: LedgerError) {
        let _ = self.reply.send(Err(error));
    }
}

fn not_run<T>() -> Result<T, LedgerError> {
    Err(LedgerError::Unavailable("it was not run".into()))
}
