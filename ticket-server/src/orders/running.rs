//! Runs one saga: does what it says, writes down what came of it, and goes on until nothing is left or it has to
//! wait.
//!
//! A run has a lease, which it renews while a step takes long. It is never relied on: every move names the
//! revision it knows, and a run that finds another one ends.

use std::{convert::Infallible, time::Duration};

use queue_core::{
    ids::Millis,
    service::{
        secret::Secret,
        spans::{self, Kind as SpanKind},
        trace::random_u64,
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    Failure, Kept, Kind, Order, OrderState, Orders, count, faults,
    saga::{Answer, Move, Run, Task},
};
use crate::{
    ledger::{Decision, Effect, KeyNow, Lease, LedgerError, Moved, Recorded},
    office::StoreAnswer,
    payments::Operation,
};

/// A lease lasts so long…
pub(super) const LEASE_MS: u64 = 6_000;
/// …and is renewed this often.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// Between two attempts of the run that began an order.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// When somebody looks again at what led nowhere: after so long, doubled each time, up to so long.
const AGAIN_MS_MIN: u64 = 500;
const AGAIN_MS_MAX: u64 = 60_000;
/// A run that began an order gives it to recovery so long after the deadline of the authorization.
const STAY_MS_MAX: u64 = 10_000;

const _: () = assert!(RENEW_EVERY.as_millis() as u64 * 3 < LEASE_MS, "a lease survives two lost renewals");

/// A name that no other run has.
pub(super) fn new_owner() -> String {
    format!("{:016x}{:016x}", random_u64(), random_u64())
}

/// One run of one saga.
pub(super) struct Runner {
    orders: Orders,
    order: Order,
    owner: String,
    run: Run,
    /// Who waits to hear that the order is settled.
    waiting: Option<oneshot::Sender<()>>,
}

/// What a task led to.
enum Did {
    /// An answer that the saga has to take in.
    Answered(Answer),
    /// The saga has moved already, together with what was done.
    Moved,
    /// Another run has it.
    Lost,
}

impl Runner {
    pub(super) fn new(orders: Orders, order: Order) -> Self {
        Self { orders, order, owner: new_owner(), run: Run::default(), waiting: None }
    }

    /// For a run of what was claimed under that name.
    pub(super) fn resumed(orders: Orders, order: Order, owner: String) -> Self {
        Self { orders, order, owner, run: Run::default(), waiting: None }
    }

    pub(super) fn lease(&self) -> Lease {
        Lease { owner: self.owner.clone(), until: self.now().plus(LEASE_MS) }
    }

    fn now(&self) -> Millis {
        self.orders.office.now()
    }

    /// Runs an order that has just begun, with the buyer's means of payment. Who waits hears as soon as it is settled;
    /// what is left then is between us and the provider.
    pub(super) async fn begin(mut self, token: Option<Secret>, waiting: oneshot::Sender<()>) {
        (self.run.began, self.waiting) = (true, Some(waiting));
        let mut pause = PAUSE_MIN;
        loop {
            if self.advance(token.as_ref()).await {
                return;
            }
            let patient = self.now() < self.order.saga.deadline.plus(STAY_MS_MAX);
            if !patient || self.order.saga.is_settled() {
                return self.put_off().await;
            }
            self.while_leased(sleep(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Runs an order that somebody else began, as far as it goes now.
    pub(super) async fn resume(mut self) -> Order {
        let now = self.now();
        if self.order.saga.resume(now) == Move::On && !self.write_down(Effect::None).await.is_done() {
            return self.order;
        }
        if !self.advance(None).await {
            self.put_off().await;
        }
        self.order
    }

    /// Goes on until the saga ends, another run has it (both: true), or it has to wait (false).
    async fn advance(&mut self, token: Option<&Secret>) -> bool {
        while let Some(task) = self.order.saga.task(self.run) {
            let stage = self.order.saga.stage;
            faults::point(stage, "before");
            let performing = async { Ok::<_, Infallible>(self.perform(task, token).await) };
            let Ok(did) = spans::step(SpanKind::Internal, task.span(), performing).await;
            faults::point(stage, "done");
            let answer = match did {
                Did::Answered(answer) => answer,
                Did::Moved => continue,
                Did::Lost => return true,
            };
            let (before, now) = (self.order.saga, self.now());
            if self.order.saga.advance(answer, &mut self.run, now) == Move::Wait {
                return false;
            }
            match self.write_down(Effect::None).await {
                Written::Done => faults::point(stage, "written"),
                Written::Lost => return true,
                Written::Refused(_) | Written::Unknown => {
                    // What is not written down did not happen; every step can be done again.
                    self.order.saga = before;
                    return false;
                }
            }
        }
        true
    }

    async fn perform(&mut self, task: Task, token: Option<&Secret>) -> Did {
        tracing::debug!(order = %self.order.id, ?task, "a step of an order");
        let operation = match task {
            Task::Authorize => Operation::Authorize,
            Task::Lookup => Operation::Lookup,
            Task::Capture => Operation::Capture,
            Task::Void => Operation::Void,
            Task::Refund => Operation::Refund,
            Task::Book => return self.book().await,
            Task::Unbook => return self.unbook().await,
            Task::Credit => return self.moving(Effect::Credit).await,
            Task::Pin | Task::Unpin | Task::Abort => return Did::Answered(self.ask_store(task).await),
        };
        let payment = self.order.payment(token);
        let (payments, method) = (self.orders.payments.clone(), self.order.method);
        let answer = match self.while_leased(payments.ask(method, operation, &payment)).await {
            Ok(status) => Answer::Payment(status),
            Err(error) => {
                let operation = operation.name();
                tracing::warn!(order = %self.order.id, operation, %error, "a payment is not clear");
                Answer::Trouble(error.trouble)
            }
        };
        Did::Answered(answer)
    }

    async fn ask_store(&self, task: Task) -> Answer {
        let Some(booking) = self.order.booking(self.now()) else { return Answer::Done };
        let office = &self.orders.office;
        let answer = match task {
            Task::Pin => office.pin(&booking).await,
            Task::Abort => office.free_hold(&booking).await,
            _ => office.unpin(&booking).await,
        };
        match answer {
            StoreAnswer::Done => Answer::Done,
            StoreAnswer::Gone => Answer::HoldGone,
            StoreAnswer::Away => Answer::Trouble(crate::payments::Trouble::Unknown),
        }
    }

    /// Booking and writing down are one.
    async fn book(&mut self) -> Did {
        let Some(booking) = self.order.booking(self.now()) else { return Did::Answered(Answer::Done) };
        let before = self.order.saga;
        self.order.saga.advance(Answer::Done, &mut self.run, booking.at);
        let failure = match self.write_down(Effect::Book(booking)).await {
            Written::Done => {
                metrics::counter!("usher_ticket_bookings_total").increment(1);
                return Did::Moved;
            }
            Written::Lost => return Did::Lost,
            Written::Unknown => {
                self.order.saga = before;
                return Did::Answered(Answer::Trouble(crate::payments::Trouble::Unknown));
            }
            Written::Refused(recorded) => self.refused(recorded).await,
        };
        self.order.saga = before;
        Did::Answered(Answer::NotBookable(failure))
    }

    async fn refused(&self, recorded: Recorded) -> Failure {
        let oversold = || {
            metrics::counter!("usher_ticket_oversold_total").increment(1);
            tracing::warn!(order = %self.order.id, "the store held what the ledger has sold");
        };
        match recorded {
            Recorded::Refused(Decision::SeatsSold(owners)) => {
                oversold();
                for owner in owners {
                    self.orders.office.mark_booked(owner).await;
                }
                Failure::SeatTaken
            }
            Recorded::Refused(Decision::SoldOut) => {
                oversold();
                Failure::SoldOut
            }
            Recorded::Decided(true) => Failure::NotHeld,
            _ => Failure::HoldGone,
        }
    }

    async fn unbook(&mut self) -> Did {
        let Some(item) = &self.order.item else { return Did::Answered(Answer::Done) };
        self.moving(Effect::Unbook(item.reservation.clone())).await
    }

    /// A step that is done by being written down.
    async fn moving(&mut self, effect: Effect) -> Did {
        let (before, now) = (self.order.saga, self.now());
        self.order.saga.advance(Answer::Done, &mut self.run, now);
        match self.write_down(effect).await {
            Written::Done => Did::Moved,
            Written::Lost => Did::Lost,
            Written::Refused(_) => {
                // There is nothing to take back: somebody did.
                self.order.saga = before;
                Did::Answered(Answer::Done)
            }
            Written::Unknown => {
                self.order.saga = before;
                Did::Answered(Answer::Trouble(crate::payments::Trouble::Unknown))
            }
        }
    }

    /// Writes down where the saga stands now.
    async fn write_down(&mut self, effect: Effect) -> Written {
        let now = self.now();
        let mut order = self.order.clone();
        order.rev += 1;
        order.enter(now);
        let was_settled = self.was_settled();
        let settles = order.saga.is_settled() && !was_settled;
        let notifies = settles && order.saga.kind == Kind::Order && order.saga.state() == OrderState::Confirmed
            || order.saga.state() == OrderState::Refunded;
        let moved = Moved {
            effect,
            closes: settles && order.saga.kind == Kind::Order,
            key: if settles { key_of(&order) } else { KeyNow::Same },
            notification: self
                .orders
                .notifier
                .as_ref()
                .filter(|_| notifies)
                .map(|notifier| notifier.message(&order, now)),
            next_at: order.saga.task(Run::default()).map(|_| now),
            order: order.clone(),
        };
        match self.orders.office.ledger.record(moved).await {
            Ok(Recorded::Done) => {
                self.order = order;
                self.moved(settles).await;
                Written::Done
            }
            Ok(Recorded::Lost) => self.check_lost(&order).await,
            Ok(refused) => Written::Refused(refused),
            Err(error) => {
                tracing::warn!(order = %self.order.id, %error, "a step of an order could not be written down");
                match error {
                    LedgerError::Unknown(_) => self.check_lost(&order).await,
                    _ => Written::Unknown,
                }
            }
        }
    }

    /// A write whose answer was lost may have been made: then the revision and the stage are ours.
    async fn check_lost(&mut self, order: &Order) -> Written {
        match self.orders.office.ledger.order(&order.id).await {
            Ok(Some(known)) if known.rev == order.rev && known.saga == order.saga => {
                let settles = order.saga.is_settled() && !self.was_settled();
                self.order = order.clone();
                self.moved(settles).await;
                Written::Done
            }
            Ok(Some(known)) if known.rev == self.order.rev => Written::Unknown,
            Ok(_) => Written::Lost,
            Err(_) => Written::Unknown,
        }
    }

    fn was_settled(&self) -> bool {
        // The stage that is written down, not the one that is about to be.
        let written = self.order.steps.last();
        written.is_some_and(|step| {
            let saga = super::Saga { stage: step.stage, failure: step.failure, ..self.order.saga };
            saga.is_settled()
        })
    }

    /// What follows from a move that was made. Whoever finds it undone after a crash does it again.
    async fn moved(&mut self, settled: bool) {
        let (order, saga) = (&self.order, &self.order.saga);
        if settled && saga.kind == Kind::Order && saga.failure.is_none() {
            // The hold is still pinned: until it is marked sold, its visitor's session does not close.
            if let Some(booking) = order.booking(self.now()) {
                self.orders.office.mark_booked(booking).await;
            }
        }
        if settled && let Some(waiting) = self.waiting.take() {
            // Whoever waited may have gone.
            let _ = waiting.send(());
        }
        let outcome = match (settled, saga.state(), saga.kind) {
            (true, OrderState::Confirmed, Kind::Charge) => "charged",
            (true, OrderState::Confirmed, Kind::Order) => "confirmed",
            (true, OrderState::Failed, _) => match saga.failure {
                Some(Failure::Declined | Failure::CaptureRefused) => "declined",
                Some(Failure::Unavailable | Failure::Interrupted) => "unavailable",
                _ => "failed",
            },
            (_, OrderState::Refunded, _) => "refunded",
            _ => return,
        };
        tracing::debug!(order = %order.id, reservation = ?order.item.as_ref().map(|item| &item.reservation), outcome, trace = %order.trace_id, "an order is settled");
        count(outcome);
    }

    /// Does something that may take long, and keeps the lease meanwhile.
    async fn while_leased<T>(&self, doing: impl Future<Output = T>) -> T {
        let mut ticks = interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset_at(Instant::now() + RENEW_EVERY);
        tokio::pin!(doing);
        loop {
            tokio::select! {
                biased;
                done = &mut doing => return done,
                _ = ticks.tick() => {
                    // A lease that is lost is found at the next move.
                    let _ = self.orders.office.ledger.renew(&self.order.id, self.lease()).await;
                }
            }
        }
    }

    async fn put_off(&mut self) {
        self.order.attempts += 1;
        let doubled = AGAIN_MS_MIN.saturating_mul(1 << self.order.attempts.min(10));
        let next = self.now().plus(doubled.min(AGAIN_MS_MAX));
        let Order { id, attempts, .. } = &self.order;
        // If that fails, the lease runs out.
        let _ = self.orders.office.ledger.put_off(id, &self.owner, *attempts, next).await;
    }
}

/// What the key of a settled order stands for. What failed before anybody was asked for money may be asked for again
/// under the same key, if another time it may go well.
fn key_of(order: &Order) -> KeyNow {
    if order.saga.may_be_asked_again() { KeyNow::Free } else { KeyNow::Answers(Kept::of(order)) }
}

/// Whether a move was written down.
enum Written {
    Done,
    Lost,
    Refused(Recorded),
    Unknown,
}

impl Written {
    const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}
