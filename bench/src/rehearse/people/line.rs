//! Standing in line: on a socket or by polling, on any node, until let in, ended, or gone by one's own decision.

use std::{ops::ControlFlow, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use queue_core::wire::{EndReason, QueueState, QueueStatus, ServerMessage};
use serde::Deserialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{person::Person, sights};
use crate::{
    clock::now_ms,
    rehearse::record::{Admission, Departure, Kind, Leaving, Place, Sight, ToldEnded},
    socket::{Incoming, Socket},
};

/// Attempts in a row that led nowhere, after which a visitor goes home.
const ATTEMPTS_MAX: u64 = 60;
/// A join is answered within this.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// The tab that was taken over hears of it within this; else its visitor closes it.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(2);
const POLL_MS_MIN: u64 = 200;
const POLL_MS_MAX: u64 = 10_000;
/// Close codes after which a client does not come back.
const FINAL_CLOSE_CODES: [u16; 4] = [1000, 1008, 4001, 4004];

/// How a wait ended.
#[derive(Debug)]
pub enum Waited {
    /// Let in, with the active token.
    Admitted(String),
    /// The queue ended it.
    Ended(EndReason),
    /// The queue takes nobody: everything is sold.
    Closed,
    /// By their own decision.
    Gone,
    /// What did not work.
    Failed(String),
}

/// What an active token says. Whether it is genuine the ticket server judges.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    jti: String,
    exp: u64,
}

fn claims(token: &str) -> Option<Claims> {
    let body = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}

/// What a visitor has in mind to do while waiting, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whim {
    Leave,
    Abandon,
    Reload,
    SecondTab,
}

/// How a stretch on one socket ended.
enum Stretch {
    Over(Waited),
    /// Come back with the place, at once.
    Again,
    /// Come back after a pause, perhaps the one that the server asked for.
    Later(Option<Duration>),
}

impl Person {
    /// Waits in the way that is theirs.
    pub async fn wait(&mut self) -> Waited {
        let permit = if self.intent.polls { None } else { self.world.sockets.clone().try_acquire_owned().ok() };
        match permit {
            Some(permit) => self.wait_on_socket(permit).await,
            None => self.wait_polling().await,
        }
    }

    /// What comes next to their mind, and when.
    fn whim(&self) -> Option<(Instant, Whim)> {
        let after = |ms: u64, whim| Some((Instant::now() + Duration::from_millis(ms), whim));
        match self.intent.kind {
            Kind::Leaves => after(self.intent.patience_ms, Whim::Leave),
            Kind::Abandons => after(self.intent.patience_ms, Whim::Abandon),
            Kind::Reloads => after(*self.intent.reloads_ms.get(self.reloads)?, Whim::Reload),
            Kind::TwoTabs if !self.second_tab => after(self.intent.thinks_ms[0], Whim::SecondTab),
            _ => None,
        }
    }

    async fn wait_on_socket(&mut self, _permit: OwnedSemaphorePermit) -> Waited {
        let mut whim = None;
        let mut failures = 0;
        while failures < ATTEMPTS_MAX {
            match self.on_one_socket(&mut whim).await {
                Stretch::Over(waited) => return waited,
                Stretch::Again => failures = 0,
                Stretch::Later(advice) => {
                    failures += 1;
                    self.node += 1;
                    let pause = self.world.pause(&mut self.random, advice, failures);
                    sleep(pause).await;
                }
            }
        }
        Waited::Failed("SOCKET_LOST".into())
    }

    async fn on_one_socket(&mut self, whim: &mut Option<(Instant, Whim)>) -> Stretch {
        let mut socket = match self.join_on_socket().await {
            Ok((socket, ControlFlow::Continue(()))) => socket,
            Ok((socket, ControlFlow::Break(waited))) => {
                socket.abort();
                return Stretch::Over(waited);
            }
            Err(stretch) => return stretch,
        };
        if whim.is_none() {
            *whim = self.whim();
        }
        loop {
            let heard = match *whim {
                Some((when, _)) => timeout_at(when, socket.next()).await,
                None => Ok(socket.next().await),
            };
            let Ok(incoming) = heard else {
                let Some((_, what)) = whim.take() else { continue };
                match self.follow(what, &mut socket).await {
                    ControlFlow::Break(stretch) => {
                        socket.abort();
                        return stretch;
                    }
                    ControlFlow::Continue(()) => *whim = self.whim(),
                }
                continue;
            };
            if let Some(stretch) = self.hear(&socket, incoming) {
                socket.abort();
                return stretch;
            }
        }
    }

    /// Connects and joins, or comes back; the first answer is taken in. `Break`: the wait is over with it.
    async fn join_on_socket(&mut self) -> Result<(Socket, ControlFlow<Waited>), Stretch> {
        let world = self.world.clone();
        let route = if self.place.is_some() { "resume (socket)" } else { "join (socket)" };
        let (asked_at, began) = (now_ms(), Instant::now());
        let node = self.node % world.nodes.len();
        let join = async {
            let mut socket = Socket::connect(world.nodes[node].url()).await.ok()?;
            socket.join(&world.event, self.place.as_deref()).await.ok()?;
            let first = socket.next().await.ok()?;
            Some((socket, first))
        };
        let joined = timeout(ANSWER_WAIT, join).await;
        let told =
            |status, code: Option<&str>| world.answered(self.intent.number, route, asked_at, began, status, code);
        let Ok(Some((socket, first))) = joined else {
            told(0, Some(if joined.is_err() { "TIMEOUT" } else { "NO_CONNECTION" }));
            return Err(Stretch::Later(None));
        };
        match first {
            Incoming::Message(message) => match *message {
                ServerMessage::QueueUpdated(status)
                | ServerMessage::QueueEntryAllowed(status)
                | ServerMessage::QueueCleared(status) => {
                    told(200, None);
                    let over = self.take(status, asked_at, node);
                    Ok((socket, over.map_or(ControlFlow::Continue(()), ControlFlow::Break)))
                }
                ServerMessage::Error(error) => {
                    told(if error.retryable { 503 } else { 400 }, Some(&error.code));
                    socket.abort();
                    let seconds = error.details.as_ref().and_then(|details| details["retryAfterSeconds"].as_u64());
                    match error.code.as_str() {
                        "QUEUE_CLOSED" => Err(Stretch::Over(Waited::Closed)),
                        _ if error.retryable => Err(Stretch::Later(seconds.map(Duration::from_secs))),
                        code => Err(Stretch::Over(Waited::Failed(code.to_owned()))),
                    }
                }
            },
            Incoming::Closed(code) => {
                let name = code.map_or("LOST".to_owned(), |code| format!("CLOSED_{code}"));
                told(0, Some(&name));
                Err(Stretch::Later(socket.retry_after()))
            }
        }
    }

    /// Takes in what came over a socket; `Some` if the stretch is over.
    fn hear(&mut self, socket: &Socket, incoming: anyhow::Result<Incoming>) -> Option<Stretch> {
        match incoming {
            Ok(Incoming::Message(message)) => match *message {
                ServerMessage::QueueUpdated(status)
                | ServerMessage::QueueEntryAllowed(status)
                | ServerMessage::QueueCleared(status) => {
                    self.take(status, 0, self.node % self.world.nodes.len()).map(Stretch::Over)
                }
                // Somebody who stands in line already stays.
                ServerMessage::Error(error) if error.retryable => None,
                ServerMessage::Error(error) => Some(Stretch::Over(Waited::Failed(error.code))),
            },
            Ok(Incoming::Closed(Some(code))) if FINAL_CLOSE_CODES.contains(&code) => {
                Some(Stretch::Over(Waited::Failed(format!("CLOSED_{code}"))))
            }
            Ok(Incoming::Closed(_)) => {
                self.note(|visitor| visitor.sockets_lost += 1);
                Some(Stretch::Later(socket.retry_after()))
            }
            Err(_) => Some(Stretch::Over(Waited::Failed("UNREADABLE".into()))),
        }
    }

    /// Does what came to their mind. `Break`: the socket is not wanted any more.
    async fn follow(&mut self, whim: Whim, socket: &mut Socket) -> ControlFlow<Stretch> {
        match whim {
            Whim::Abandon => {
                self.abandon();
                ControlFlow::Break(Stretch::Over(Waited::Gone))
            }
            Whim::Leave => {
                self.leave().await;
                ControlFlow::Break(Stretch::Over(Waited::Gone))
            }
            Whim::Reload => {
                self.reloads += 1;
                self.node += 1;
                ControlFlow::Break(Stretch::Again)
            }
            Whim::SecondTab => {
                self.second_tab = true;
                self.node += 1;
                match self.join_on_socket().await {
                    Ok((second, ControlFlow::Continue(()))) => {
                        let first = std::mem::replace(socket, second);
                        close_old(first).await;
                        ControlFlow::Continue(())
                    }
                    Ok((second, ControlFlow::Break(waited))) => {
                        second.abort();
                        ControlFlow::Break(Stretch::Over(waited))
                    }
                    Err(stretch) => ControlFlow::Break(stretch),
                }
            }
        }
    }

    async fn wait_polling(&mut self) -> Waited {
        let mut whim = None;
        let mut failures = 0;
        while failures < ATTEMPTS_MAX {
            let (world, number, asked_at) = (self.world.clone(), self.intent.number, now_ms());
            let node = self.node % world.nodes.len();
            let answer = match &self.place {
                None => world.ask(number, "join", world.nodes[node].check(None)).await,
                Some(place) => world.ask(number, "status", world.nodes[node].status(place)).await,
            };
            let pause = match answer {
                Ok(status) => {
                    failures = 0;
                    let after = status.poll_after_ms.unwrap_or(1_000).clamp(POLL_MS_MIN, POLL_MS_MAX);
                    if let Some(waited) = self.take(status, asked_at, node) {
                        return waited;
                    }
                    self.random.between_ms(after * 9 / 10, after * 11 / 10)
                }
                Err(error) if error.code() == "QUEUE_CLOSED" => return Waited::Closed,
                Err(error) if error.is_passing() => {
                    failures += 1;
                    self.node += 1;
                    world.pause(&mut self.random, error.retry_after(), failures)
                }
                Err(error) => return Waited::Failed(error.code().to_owned()),
            };
            if whim.is_none() && self.place.is_some() {
                // Where there is no socket, none is reloaded or opened twice.
                whim = self.whim().filter(|(_, what)| matches!(what, Whim::Leave | Whim::Abandon));
            }
            let next = Instant::now() + pause;
            match whim {
                Some((when, what)) if when <= next => {
                    sleep(when.saturating_duration_since(Instant::now())).await;
                    match what {
                        Whim::Leave => self.leave().await,
                        _ => self.abandon(),
                    }
                    return Waited::Gone;
                }
                _ => sleep(pause).await,
            }
        }
        Waited::Failed("NO_ANSWER".into())
    }

    /// Takes a status in; `Some` if the wait is over. `asked_at`: 0 for what was pushed.
    fn take(&mut self, status: QueueStatus, asked_at: u64, node: usize) -> Option<Waited> {
        let at = now_ms();
        if let Some(token) = status.place_token.clone() {
            self.note_place(&token, &status, asked_at, node);
            self.place = Some(token);
        }
        match status.status {
            QueueState::Active => {
                match status.active_token.as_deref().and_then(|token| Some((token, claims(token)?))) {
                    Some((token, claims)) => {
                        let Claims { sub: visitor_id, jti, exp } = claims;
                        let admission = Admission { jti: jti.clone(), visitor_id, expires_at: exp * 1_000, at };
                        self.keep("admissions", |visitor| &mut visitor.admissions, admission);
                        self.jti = jti;
                        Some(Waited::Admitted(token.to_owned()))
                    }
                    None => Some(Waited::Failed("ACTIVE_WITHOUT_TOKEN".into())),
                }
            }
            QueueState::Ended => {
                let reason = status.reason.unwrap_or(EndReason::Gone);
                let told = ToldEnded { reason: reason.as_str().to_owned(), at };
                self.keep("ends", |visitor| &mut visitor.told_ended, told);
                Some(Waited::Ended(reason))
            }
            QueueState::Waiting | QueueState::Scheduled => {
                if let Some(position) = status.position {
                    let (as_of, waiting) = (status.as_of.0, status.waiting.unwrap_or(0));
                    let sight = Sight { as_of, at, position, waiting };
                    let (every, most) = (&mut self.sights_every, self.world.sights_max);
                    self.world.with(self.intent.number, |visitor| sights::add(&mut visitor.sights, every, most, sight));
                }
                None
            }
        }
    }

    fn note_place(&mut self, token: &str, status: &QueueStatus, asked_at: u64, node: usize) {
        let Ok(claims) = self.world.keys.verify(token) else {
            return self.world.answered(
                self.intent.number,
                "place token",
                asked_at,
                Instant::now(),
                0,
                Some("PLACE_TOKEN_UNREADABLE"),
            );
        };
        self.world.meter.joined();
        let place = Place {
            generation: claims.generation.to_string(),
            seq: claims.seq.0,
            visitor_id: claims.visitor.to_string(),
            asked_at,
            at: now_ms(),
            as_of: status.as_of.0,
            returned: self.place.is_some(),
            node: node as u64,
        };
        self.place_name = format!("{}.{}", place.generation, place.seq);
        self.keep("places", |visitor| &mut visitor.places, place);
    }

    /// Is gone, and never heard of again.
    pub fn abandon(&mut self) {
        let departure = Departure { what: Leaving::Abandon, of: self.place_name.clone(), asked_at: now_ms(), at: 0 };
        self.keep("departures", |visitor| &mut visitor.departures, departure);
    }

    /// Says that the place, or the session, is given up.
    pub async fn leave(&mut self) {
        let Some(place) = self.place.clone() else { return self.abandon() };
        let (world, number, asked_at) = (self.world.clone(), self.intent.number, now_ms());
        let nodes = world.nodes.len();
        let send = |node: usize| world.nodes[node % nodes].leave(&place);
        let (answer, _) = world.persist((number, &mut self.random), "leave", &mut self.node, send).await;
        let at = if answer.is_ok() { now_ms() } else { 0 };
        let departure = Departure { what: Leaving::Leave, of: self.place_name.clone(), asked_at, at };
        self.keep("departures", |visitor| &mut visitor.departures, departure);
    }
}

/// The other tab is told that it was taken over; if not, it is closed all the same.
async fn close_old(mut first: Socket) {
    let told = async { while let Ok(Incoming::Message(_)) = first.next().await {} };
    let _ = timeout(TAKE_OVER_WAIT, told).await;
    first.abort();
}
