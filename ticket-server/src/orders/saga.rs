//! The saga of one order: a pure state machine. No I/O, no clock, no randomness.
//!
//! hold pinned → authorize → confirm in the ledger → capture; and on the way back: unbook, release, void, refund.
//! A [`Saga`] is kept in the ledger and changed there before the next step acts, so that whoever finds it after
//! a crash knows what may have been done. Every step can be done again: payments go by the order's own id, and
//! the ledger and the store meet their own rows.
//!
//! Two rules carry the rest. Nobody but the run that began an order begins its payment: whoever resumes asks what
//! became of it, and takes it back if it is not there. And an order that may have asked for money ends only when
//! the provider has said that it took it (and the booking stands) or that it did not.

use queue_core::ids::Millis;

use crate::payments::{PaymentStatus, Trouble};

/// What an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A reservation.
    Order,
    /// Stored value.
    Charge,
}

/// Where the saga stands: what is being done, or to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The hold is being pinned.
    Pinning,
    /// The provider is being asked for the money.
    Authorizing,
    /// The booking goes into the ledger.
    Confirming,
    /// The money is being taken.
    Capturing,
    /// Stored value is being added.
    Crediting,
    /// The booking is being taken back, since the money could not be taken.
    Unbooking,
    /// The hold is being let go.
    Releasing,
    /// The provider is being told that the money is not wanted.
    Voiding,
    /// The money is being given back.
    Refunding,
    /// Nothing is left to do.
    Done,
}

/// Why an order failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The hold was gone.
    HoldGone,
    /// The provider said no.
    Declined,
    /// Nobody knows what the provider says, or it cannot be asked.
    Unavailable,
    /// The ledger had sold a seat of it.
    SeatTaken,
    /// The ledger had not so many left.
    SoldOut,
    /// The reservation was booked by another way.
    NotHeld,
    /// The money could not be taken though it had been promised.
    CaptureRefused,
    /// The server ended before the payment began.
    Interrupted,
}

/// Where an order stands, as the buyer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// It is running.
    Pending,
    /// Money was promised or taken, and nothing is booked for it, yet or any more.
    Paid,
    /// Booked and paid.
    Confirmed,
    /// Nothing was booked, and no money is or will be taken.
    Failed,
    /// The booking was cancelled and the money given back.
    Refunded,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Pin the hold.
    Pin,
    /// Ask the provider for the money.
    Authorize,
    /// Ask the provider what became of the authorization.
    Lookup,
    /// Book in the ledger.
    Book,
    /// Take the money.
    Capture,
    /// Add stored value.
    Credit,
    /// Take the booking back in the ledger.
    Unbook,
    /// Let the hold go on as before.
    Unpin,
    /// Free the hold: it will never be booked.
    Abort,
    /// Tell the provider that the money is not wanted.
    Void,
    /// Give the money back.
    Refund,
}

impl Task {
    /// What the work is called in a trace.
    pub const fn span(self) -> &'static str {
        match self {
            Self::Pin => "order: pin",
            Self::Authorize => "order: authorize",
            Self::Lookup => "order: look up",
            Self::Book => "order: book",
            Self::Capture => "order: capture",
            Self::Credit => "order: credit",
            Self::Unbook => "order: unbook",
            Self::Unpin => "order: unpin",
            Self::Abort => "order: abort",
            Self::Void => "order: void",
            Self::Refund => "order: refund",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// There is no such hold any more.
    HoldGone,
    /// The ledger will not book it.
    NotBookable(Failure),
    /// What the provider says of the payment now.
    Payment(PaymentStatus),
    /// It is not known whether it was done.
    Trouble(Trouble),
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Another stage: it is written down before anything else is done.
    On,
    /// The same stage: try again later.
    Wait,
}

/// The saga of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saga {
    /// What it is for.
    pub kind: Kind,
    /// Where it stands.
    pub stage: Stage,
    /// Why it failed, once it did.
    pub failure: Option<Failure>,
    /// The booking was cancelled.
    pub cancelled: bool,
    /// The provider may have been asked for money.
    pub asked: bool,
    /// Until then an outcome of the authorization is waited for.
    pub deadline: Millis,
}

/// What only the run that began the order has: the buyer's means of payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// This run began the order.
    pub began: bool,
    /// It asked for the money and does not know what became of that.
    pub unsure: bool,
    /// Something may have been sent to the provider.
    pub sent: bool,
}

/// The ledger may have been away for so long after the deadline, and an authorized order is confirmed still; what
/// is found later is given up.
pub const CONFIRM_MS_MAX: u64 = 900_000;
/// An authorization on its way arrives within this time after the deadline, or never.
pub const ARRIVES_MS_MAX: u64 = 60_000;

impl Saga {
    /// A new order.
    pub fn new(kind: Kind, deadline: Millis) -> Self {
        let stage = match kind {
            Kind::Order => Stage::Pinning,
            Kind::Charge => Stage::Authorizing,
        };
        Self { kind, stage, failure: None, cancelled: false, asked: kind == Kind::Charge, deadline }
    }

    /// Taken up by somebody who did not begin it; whether that alone changed it.
    pub fn resume(&mut self, now: Millis) -> Move {
        match self.stage {
            Stage::Pinning => self.fail(Failure::Interrupted),
            Stage::Confirming if now > self.deadline.plus(CONFIRM_MS_MAX) => self.fail(Failure::Unavailable),
            _ => Move::Wait,
        }
    }

    /// The booking was cancelled by its buyer: the money goes back. Only what is done can be cancelled.
    pub fn cancel(&mut self) -> bool {
        let may = self.kind == Kind::Order && self.state() == OrderState::Confirmed;
        if may {
            (self.stage, self.cancelled) = (Stage::Refunding, true);
        }
        may
    }

    /// What to do now; `None` when nothing is left.
    pub fn task(&self, run: Run) -> Option<Task> {
        Some(match self.stage {
            Stage::Pinning => Task::Pin,
            Stage::Authorizing if run.began && !run.unsure => Task::Authorize,
            Stage::Authorizing => Task::Lookup,
            Stage::Confirming => Task::Book,
            Stage::Capturing => Task::Capture,
            Stage::Crediting => Task::Credit,
            Stage::Unbooking => Task::Unbook,
            Stage::Releasing if self.hold_is_lost() => Task::Abort,
            Stage::Releasing => Task::Unpin,
            Stage::Voiding => Task::Void,
            Stage::Refunding => Task::Refund,
            Stage::Done => return None,
        })
    }

    /// A hold that can never be booked is freed; any other goes on, for another try.
    fn hold_is_lost(&self) -> bool {
        use Failure as F;
        matches!(self.failure, Some(F::HoldGone | F::SeatTaken | F::SoldOut | F::NotHeld | F::CaptureRefused))
    }

    /// Whether the reservation is taken by this order: no other order may begin, and its hold stays pinned.
    pub fn is_open(&self) -> bool {
        use Stage as S;
        let open = [S::Pinning, S::Authorizing, S::Confirming, S::Capturing, S::Unbooking, S::Releasing];
        self.kind == Kind::Order && open.contains(&self.stage)
    }

    /// Whether its buyer can be told how it ended. What is left then is between us and the provider.
    pub fn is_settled(&self) -> bool {
        match self.kind {
            Kind::Order => !self.is_open(),
            Kind::Charge => self.failure.is_some() || self.stage == Stage::Done,
        }
    }

    /// Whether it failed for a reason that passes, and nobody was asked for money: it is as if it had never begun.
    pub fn may_be_asked_again(&self) -> bool {
        matches!(self.failure, Some(Failure::Unavailable | Failure::Interrupted)) && !self.asked
    }

    /// Where it stands, as the buyer sees it.
    pub fn state(&self) -> OrderState {
        if self.failure.is_some() {
            return OrderState::Failed;
        }
        match self.stage {
            Stage::Pinning | Stage::Authorizing => OrderState::Pending,
            Stage::Done if self.cancelled => OrderState::Refunded,
            Stage::Done => OrderState::Confirmed,
            _ => OrderState::Paid,
        }
    }

    /// Takes in what came of the task.
    pub fn advance(&mut self, answer: Answer, run: &mut Run, now: Millis) -> Move {
        match self.stage {
            Stage::Pinning => self.pinned(answer, now),
            Stage::Authorizing => self.authorized(answer, run, now),
            Stage::Confirming => match answer {
                Answer::Done => self.go(Stage::Capturing),
                Answer::NotBookable(failure) => self.fail(failure),
                _ => Move::Wait,
            },
            Stage::Capturing => self.captured(answer),
            Stage::Crediting => self.when_done(answer, Stage::Done),
            Stage::Unbooking => self.when_done(answer, Stage::Releasing),
            Stage::Releasing => self.when_done(answer, if self.asked { Stage::Voiding } else { Stage::Done }),
            Stage::Voiding => self.voided(answer, now),
            Stage::Refunding => match answer {
                Answer::Payment(PaymentStatus::Refunded | PaymentStatus::Voided | PaymentStatus::Declined) => {
                    self.go(Stage::Done)
                }
                _ => Move::Wait,
            },
            Stage::Done => Move::Wait,
        }
    }

    fn pinned(&mut self, answer: Answer, now: Millis) -> Move {
        match answer {
            Answer::Done => {
                self.asked = true;
                self.go(Stage::Authorizing)
            }
            Answer::HoldGone => {
                self.failure = Some(Failure::HoldGone);
                self.go(Stage::Done)
            }
            _ if now >= self.deadline => self.fail(Failure::Unavailable),
            _ => Move::Wait,
        }
    }

    fn authorized(&mut self, answer: Answer, run: &mut Run, now: Millis) -> Move {
        use PaymentStatus as P;
        match answer {
            Answer::Payment(P::Authorized | P::Captured) => self.go(match self.kind {
                Kind::Order => Stage::Confirming,
                Kind::Charge => Stage::Capturing,
            }),
            Answer::Payment(P::Declined) => {
                self.asked = false;
                self.fail(Failure::Declined)
            }
            // It never arrived: whoever has the means of payment asks again, anybody else sees to it that it never
            // will.
            Answer::Payment(P::NotKnown) if run.began && now < self.deadline => {
                run.unsure = false;
                Move::Wait
            }
            Answer::Payment(P::NotKnown) => self.fail(Failure::Interrupted),
            Answer::Payment(P::Voided | P::Refunded) => self.fail(Failure::Unavailable),
            // Nothing was sent at all, neither now nor before.
            Answer::Trouble(Trouble::NotSent) if run.began && !run.sent => {
                self.asked = false;
                self.fail(Failure::Unavailable)
            }
            _ if now >= self.deadline => self.fail(Failure::Unavailable),
            _ => {
                (run.unsure, run.sent) = (true, true);
                Move::Wait
            }
        }
    }

    fn captured(&mut self, answer: Answer) -> Move {
        use PaymentStatus as P;
        match (answer, self.kind) {
            (Answer::Payment(P::Captured), Kind::Order) => self.go(Stage::Done),
            (Answer::Payment(P::Captured), Kind::Charge) => self.go(Stage::Crediting),
            (Answer::Payment(P::NotKnown | P::Declined | P::Voided | P::Refunded), kind) => {
                self.failure = Some(Failure::CaptureRefused);
                self.go(if kind == Kind::Order { Stage::Unbooking } else { Stage::Voiding })
            }
            _ => Move::Wait,
        }
    }

    fn voided(&mut self, answer: Answer, now: Millis) -> Move {
        use PaymentStatus as P;
        match answer {
            Answer::Payment(P::Voided | P::Refunded | P::Declined) => self.go(Stage::Done),
            Answer::Payment(P::Captured) => self.go(Stage::Refunding),
            // A provider that keeps no note of what it is not to take: by now nothing is on its way any more.
            Answer::Payment(P::NotKnown) if now >= self.deadline.plus(ARRIVES_MS_MAX) => self.go(Stage::Done),
            _ => Move::Wait,
        }
    }

    fn when_done(&mut self, answer: Answer, next: Stage) -> Move {
        if answer == Answer::Done { self.go(next) } else { Move::Wait }
    }

    fn fail(&mut self, failure: Failure) -> Move {
        self.failure = Some(failure);
        self.go(match self.kind {
            Kind::Order => Stage::Releasing,
            Kind::Charge if self.asked => Stage::Voiding,
            Kind::Charge => Stage::Done,
        })
    }

    fn go(&mut self, stage: Stage) -> Move {
        self.stage = stage;
        Move::On
    }
}

macro_rules! names {
    ($type:ident { $($variant:ident = $name:literal,)* }) => {
        impl $type {
            /// The name in the ledger and on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl std::str::FromStr for $type {
            type Err = queue_core::ids::InvalidId;
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name { $($name => Ok(Self::$variant),)* _ => Err(queue_core::ids::InvalidId) }
            }
        }
    };
}

names! { Kind { Order = "ORDER", Charge = "CHARGE", } }
names! { Stage {
    Pinning = "PIN", Authorizing = "AUTHORIZE", Confirming = "CONFIRM", Capturing = "CAPTURE", Crediting = "CREDIT",
    Unbooking = "UNBOOK", Releasing = "RELEASE", Voiding = "VOID", Refunding = "REFUND", Done = "DONE",
} }
names! { Failure {
    HoldGone = "HOLD_GONE", Declined = "DECLINED", Unavailable = "UNAVAILABLE", SeatTaken = "SEAT_TAKEN",
    SoldOut = "SOLD_OUT", NotHeld = "NOT_HELD", CaptureRefused = "CAPTURE_REFUSED", Interrupted = "INTERRUPTED",
} }
names! { OrderState {
    Pending = "PENDING", Paid = "PAID", Confirmed = "CONFIRMED", Failed = "FAILED", Refunded = "REFUNDED",
} }
