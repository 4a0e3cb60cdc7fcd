//! Replies of scripts as outcomes.

use std::str::FromStr;

use queue_core::{
    ids::{Generation, Millis, Seq},
    limits::JOIN_BATCH_MAX,
    line::{
        Admitted, Command, Description, Joined, Outcome, Place, Refusal, SessionState, Standing, Stock, Summary,
        Totals, Was,
    },
    policy::Policy,
    service::redis::{Reply, StoreError},
    wire::EndReason,
};

use super::{messages, scripts::status};

/// A transition that took place.
#[derive(Debug)]
pub struct Done<O> {
    pub now: Millis,
    pub generation: Generation,
    pub outcome: O,
}

/// What a script answered.
#[derive(Debug)]
pub enum Answer<O> {
    Done(Done<O>),
    Refused {
        now: Millis,
        refusal: Refusal,
    },
    /// The caller was wrong about the current period or the grace.
    StalePeriod {
        now: Millis,
        grace_periods: u64,
    },
}

/// Reads a reply, with `outcome` what is behind the generation.
pub fn read<O>(
    reply: &mut Reply,
    outcome: impl FnOnce(&mut Reply) -> Result<O, StoreError>,
) -> Result<Answer<O>, StoreError> {
    let code = reply.u64()?;
    let now = Millis(reply.u64()?);
    match code {
        status::OK => {
            let generation: Generation = reply.parse()?;
            Ok(Answer::Done(Done { now, generation, outcome: outcome(reply)? }))
        }
        status::NO_EVENT => Ok(Answer::Refused { now, refusal: Refusal::NoSuchEvent }),
        status::STALE_GENERATION => Ok(Answer::Refused { now, refusal: Refusal::StaleGeneration(reply.parse()?) }),
        status::STALE_PERIOD => {
            reply.parse::<Generation>()?;
            Ok(Answer::StalePeriod { now, grace_periods: reply.u64()? })
        }
        _ => Err(reply.problem("an unknown status")),
    }
}

/// Reads the outcome of `command`.
pub fn outcome(command: &Command, reply: &mut Reply) -> Result<Outcome, StoreError> {
    Ok(match command {
        Command::Configure(_) => Outcome::Configured { created: flag(reply)? },
        Command::Join { .. } => Outcome::Joined(joined(reply)?),
        Command::Status(_) | Command::Lookup(_) => Outcome::Standing(standing(reply)?),
        Command::Session(_) => Outcome::Session(session(reply)?),
        Command::Leave(_) | Command::Revoke(_) => Outcome::Left(reply.optional_parse::<WasText>()?.map(|was| was.0)),
        Command::Release(_) => Outcome::Released(flags(reply)?),
        Command::Restore(_) => Outcome::Restored(flags(reply)?),
        Command::Admit { .. } => Outcome::Admitted(admitted(reply)?),
        Command::Expire => Outcome::Expired(count(reply)?),
        Command::Abandon { .. } => {
            Outcome::Abandoned((0..reply.remaining()).map(|_| reply.parse()).collect::<Result<_, _>>()?)
        }
        Command::ClearWaiting { .. } | Command::ClearActive => Outcome::Cleared(count(reply)?),
        Command::Seen { .. }
        | Command::Trim
        | Command::Pause
        | Command::Resume
        | Command::Drain
        | Command::Stock(_) => Outcome::Done,
        Command::Remove => Outcome::Removed(flag(reply)?),
        Command::Describe => {
            let text = reply.bytes()?;
            let policy: Policy =
                serde_json::from_slice(&text).map_err(|error| reply.problem(&format!("not a policy: {error}")))?;
            Outcome::Described(Box::new(Description { policy, summary: summary(reply)? }))
        }
        // Half of it comes from a command beside the script.
        Command::Snapshot => return Err(reply.problem("a look is read where it is made")),
    })
}

fn joined(reply: &mut Reply) -> Result<Joined, StoreError> {
    let (waiting, paused) = (reply.u64()?, flag(reply)?);
    let mut places = Vec::with_capacity(JOIN_BATCH_MAX);
    while !reply.is_empty() {
        let (place, seq, at, count) = (reply.u64()?, reply.u64()?, reply.u64()?, reply.u64()?);
        if count > (JOIN_BATCH_MAX - places.len()) as u64 {
            return Err(reply.problem("more places than visitors"));
        }
        for i in 0..count {
            places.push(match place {
                0 | 1 => Place::Waiting {
                    seq: Seq(seq.saturating_add(i)),
                    position: at.saturating_add(i),
                    fresh: place == 0,
                },
                2 | 3 => Place::Active { seq: Seq(seq.saturating_add(i)), expires: Millis(at), fresh: place == 2 },
                4 => Place::Closed,
                5 => Place::Full,
                _ => return Err(reply.problem("an unknown place")),
            });
        }
    }
    Ok(Joined { places, waiting, paused })
}

fn standing(reply: &mut Reply) -> Result<Standing, StoreError> {
    Ok(match &*reply.bytes()? {
        b"WAITING" => Standing::Waiting { seq: Seq(reply.u64()?), position: reply.u64()?, waiting: reply.u64()? },
        b"ACTIVE" => Standing::Active { seq: Seq(reply.u64()?), expires: Millis(reply.u64()?) },
        b"ENDED" => Standing::Ended { seq: Seq(reply.u64()?), reason: reason(reply)? },
        b"UNKNOWN" => Standing::Unknown,
        _ => return Err(reply.problem("an unknown standing")),
    })
}

fn session(reply: &mut Reply) -> Result<SessionState, StoreError> {
    Ok(match &*reply.bytes()? {
        b"LIVE" => SessionState::Live { visitor: reply.parse()?, expires: Millis(reply.u64()?) },
        b"ENDED" => SessionState::Ended(reason(reply)?),
        b"UNKNOWN" => SessionState::Unknown,
        _ => return Err(reply.problem("an unknown state of a session")),
    })
}

fn admitted(reply: &mut Reply) -> Result<Admitted, StoreError> {
    let rate_opens = reply.optional_u64()?.map(Millis);
    let sessions = match reply.value()?.into_option() {
        None => Vec::new(),
        Some(message) => {
            let message = messages::admitted(&message.into_bytes("admit")?);
            message.map_err(|problem| reply.problem(&problem))?.sessions
        }
    };
    Ok(Admitted { sessions, rate_opens })
}

/// Reads the state of the line.
pub fn summary(reply: &mut Reply) -> Result<Summary, StoreError> {
    let version = reply.u64()?;
    let (paused, draining) = (flag(reply)?, flag(reply)?);
    let seq = Seq(reply.u64()?);
    let totals =
        Totals { admitted: reply.u64()?, abandoned: reply.u64()?, released: reply.u64()?, expired: reply.u64()? };
    let admit_not_before = Millis(reply.u64()?);
    let sold_out = flag(reply)?;
    let (left, held, at) = (reply.optional_u64()?, reply.optional_u64()?, reply.optional_u64()?.map(Millis));
    let stock = left.zip(held).zip(at).map(|((left, held), at)| Stock { left, held, at });
    let (waiting, active) = (reply.u64()?, reply.u64()?);
    let next_end = reply.optional_u64()?.map(Millis);
    let oldest_joined = reply.optional_u64()?.map(Millis);
    Ok(Summary {
        version,
        paused,
        draining,
        sold_out,
        stock,
        seq,
        waiting,
        active,
        totals,
        next_end,
        admit_not_before,
        oldest_joined,
    })
}

fn flag(reply: &mut Reply) -> Result<bool, StoreError> {
    Ok(reply.u64()? != 0)
}

fn flags(reply: &mut Reply) -> Result<Vec<bool>, StoreError> {
    (0..reply.remaining()).map(|_| flag(reply)).collect()
}

fn count(reply: &mut Reply) -> Result<usize, StoreError> {
    let count = reply.u64()?;
    usize::try_from(count).map_err(|_| reply.problem("too large a count"))
}

fn reason(reply: &mut Reply) -> Result<EndReason, StoreError> {
    let text = reply.text()?;
    EndReason::from_wire(&text).ok_or_else(|| reply.problem("an unknown reason"))
}

struct WasText(Was);

impl FromStr for WasText {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "WAITING" => Ok(Self(Was::Waiting)),
            "ACTIVE" => Ok(Self(Was::Active)),
            _ => Err(()),
        }
    }
}
