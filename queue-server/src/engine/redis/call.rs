//! Commands as calls: which script, with which keys and arguments.

use bytes::Bytes;
use queue_core::{
    ids::{EventId, Generation, Seq, VisitorId},
    keys::{self, LineKeys},
    limits::{CLOCK_PERIODS_MAX, GRACE_PERIODS_MAX},
    line::{Command, Configure},
    policy::OnReturn,
    service::redis::Arg,
    wire::EndReason,
};

use super::scripts::{Key, Transition};

/// The keys of one event, ready to be sent.
#[derive(Debug)]
pub struct EventKeys {
    event: EventId,
    name: Bytes,
    /// In the order of [`Key`].
    fixed: [Bytes; 12],
}

impl EventKeys {
    /// The keys of `event`.
    pub fn new(event: &EventId) -> Self {
        let keys = LineKeys::new(event);
        let fixed = [
            keys.meta,
            keys.waiting,
            keys.present,
            keys.active,
            keys.sessions,
            keys.ended,
            keys.ended_old,
            keys.joined,
            keys.session_ended,
            keys.scratch,
            keys.scratch2,
            keys::removed(event),
        ];
        Self { event: event.clone(), name: event.to_string().into(), fixed: fixed.map(Bytes::from) }
    }

    /// The presence bitmap.
    pub fn present(&self) -> Arg {
        Arg::from(&self.fixed[Key::Present as usize])
    }

    fn seen(&self, period: u64) -> Arg {
        keys::seen(&self.event, period).into()
    }
}

/// What the caller knows beside the command.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub expected: Option<Generation>,
    /// The current period, as well as the caller knows.
    pub period: u64,
    /// How many periods the event's grace covers, as well as the caller knows.
    pub grace_periods: u64,
}

/// A script with all it is given.
#[derive(Debug)]
pub struct Call {
    pub transition: Transition,
    pub keys: Vec<Arg>,
    pub args: Vec<Arg>,
}

impl Call {
    /// The call that carries out `command`.
    pub fn new(event: &EventKeys, context: Context, command: &Command) -> Self {
        let transition = transition(command);
        // The newest of the periods whose bitmaps are sent, and how many before it.
        let (newest, before) = match command {
            Command::Seen { period, .. } => (*period, 0),
            Command::Abandon { .. } => (context.period, context.grace_periods),
            // All bitmaps there are change together.
            Command::Trim => (context.period + CLOCK_PERIODS_MAX, GRACE_PERIODS_MAX + 1 + 2 * CLOCK_PERIODS_MAX),
            Command::Configure(_) | Command::Remove => (context.period, GRACE_PERIODS_MAX + 1),
            _ => (context.period, 0),
        };
        let mut keys = Vec::with_capacity(16);
        for key in transition.declaration().keys {
            match key {
                Key::Seen => keys.push(event.seen(newest)),
                Key::SeenMany => keys.extend((0..=before.min(newest)).map(|back| event.seen(newest - back))),
                fixed => keys.push(Arg::from(&event.fixed[*fixed as usize])),
            }
        }
        let mut args = Vec::with_capacity(16);
        args.push(context.expected.map_or_else(|| Arg::from(""), |generation| generation.to_string().into()));
        if transition.declaration().args.get(1) == Some(&"EVENT") {
            args.push(Arg::from(&event.name));
        }
        arguments(&mut args, context, command);
        Self { transition, keys, args }
    }
}

const fn transition(command: &Command) -> Transition {
    match command {
        Command::Configure(_) => Transition::Configure,
        Command::Join { .. } => Transition::Join,
        Command::Status(_) => Transition::Status,
        Command::Lookup(_) => Transition::Lookup,
        Command::Session(_) => Transition::Session,
        Command::Leave(_) | Command::Revoke(_) => Transition::Leave,
        Command::Release(_) => Transition::Release,
        Command::Admit { .. } => Transition::Admit,
        Command::Expire => Transition::Expire,
        Command::Seen { .. } => Transition::Seen,
        Command::Abandon { .. } => Transition::Abandon,
        Command::Restore(_) => Transition::Restore,
        Command::Pause | Command::Resume | Command::Drain => Transition::Phase,
        Command::ClearWaiting { .. } => Transition::ClearWaiting,
        Command::Stock(_) => Transition::Stock,
        Command::ClearActive => Transition::ClearActive,
        Command::Remove => Transition::Remove,
        Command::Describe => Transition::Describe,
        Command::Trim => Transition::Trim,
        Command::Snapshot => Transition::Snapshot,
    }
}

/// The arguments behind `EXPECTED` and `EVENT`.
fn arguments(args: &mut Vec<Arg>, context: Context, command: &Command) {
    match command {
        Command::Configure(configure) => configured(args, context, configure),
        Command::Join { visitors, floor } => {
            args.extend([context.period.into(), floor.0.into()]);
            args.extend(visitors.iter().map(visitor));
        }
        Command::Status(who) | Command::Lookup(who) => args.push(visitor(who)),
        Command::Session(seq) => args.push(seq.0.into()),
        Command::Leave(who) => args.extend([visitor(who), EndReason::Left.as_str().into()]),
        Command::Revoke(who) => args.extend([visitor(who), EndReason::Revoked.as_str().into()]),
        Command::Release(sessions) => pairs(args, sessions),
        Command::Restore(places) => {
            args.push(context.period.into());
            pairs(args, places);
        }
        Command::Admit { max } => args.push((*max).into()),
        Command::Seen { period, first_byte, bytes } => {
            args.extend([(*period).into(), (*first_byte).into(), bytes.as_slice().into()]);
        }
        Command::Abandon { first_byte, len } => {
            args.extend([context.period.into(), context.grace_periods.into(), (*first_byte).into(), (*len).into()]);
        }
        Command::Pause => args.extend([Arg::from(1_u32), "".into()]),
        Command::Resume => args.extend([Arg::from(0_u32), 0_u32.into()]),
        Command::Drain => args.extend([Arg::from(""), 1_u32.into()]),
        Command::ClearWaiting { upto, reason } => args.extend([upto.0.into(), reason.as_str().into()]),
        Command::Stock(stock) => args.extend([stock.left.into(), stock.held.into(), stock.at.0.into()]),
        Command::Remove | Command::Trim => args.push(context.period.into()),
        Command::Expire | Command::ClearActive | Command::Describe | Command::Snapshot => {}
    }
}

fn configured(args: &mut Vec<Arg>, context: Context, configure: &Configure) {
    let policy = &configure.policy;
    let optional = |number: Option<u32>| number.map_or_else(|| Arg::from(""), Arg::from);
    // A policy is plain data: turning it into JSON cannot fail.
    let json = serde_json::to_string(policy).unwrap_or_default();
    args.extend([
        context.period.into(),
        configure.generation.to_string().into(),
        configure.floor.0.into(),
        configure.closed_ms.into(),
        u32::from(configure.paused).into(),
        u32::from(configure.draining).into(),
        json.into(),
        policy.capacity.into(),
        optional(policy.admit_per_minute),
        policy.active_ttl_ms().into(),
        policy.claim_ms().into(),
        policy.grace_ms().into(),
        policy.grace_periods().into(),
        optional(policy.max_waiting),
        u32::from(policy.on_return == OnReturn::Reopen).into(),
    ]);
}

fn visitor(visitor: &VisitorId) -> Arg {
    visitor.as_str().into()
}

fn pairs(args: &mut Vec<Arg>, pairs: &[(VisitorId, Seq)]) {
    args.extend(pairs.iter().flat_map(|(who, seq)| [visitor(who), seq.0.into()]));
}
