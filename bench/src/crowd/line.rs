//! Standing in line: on a socket or by polling, until admitted, ended or out of patience.

use std::time::Duration;

use queue_core::{
    limits::WS_SILENT_MS,
    wire::{QueueState, QueueStatus, ServerMessage},
};
use tokio::time::{Instant, sleep, timeout};

use super::Crowd;
use crate::{
    api::ApiError,
    random::Random,
    socket::{Incoming, Socket},
};

/// Failed attempts in a row after which a visitor goes home.
const ATTEMPTS_MAX: u32 = 8;
/// Nobody waits longer than this.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
const POLL_MS_MIN: u64 = 200;
const POLL_MS_MAX: u64 = 60_000;
/// Close codes after which a client does not come back.
const FINAL_CLOSE_CODES: [u16; 4] = [1000, 1008, 4001, 4004];

/// How a wait ended.
#[derive(Debug)]
pub enum Waited {
    /// Admitted, with the place and the active token.
    Admitted { place: Option<String>, active: String },
    /// Out of patience, with the place token if there is one.
    Tired(Option<String>),
    /// The queue ended it.
    Ended,
    /// It cannot be done.
    Failed(String),
}

/// One visitor's wait.
pub struct Line<'a> {
    crowd: &'a Crowd,
    random: &'a mut Random,
    place: Option<String>,
    arrived: bool,
    until: Instant,
    /// Whether the end of `until` is the visitor's own decision.
    impatient: bool,
}

impl<'a> Line<'a> {
    /// For a visitor that leaves after `patience`, or waits to the end.
    pub fn new(crowd: &'a Crowd, random: &'a mut Random, patience: Option<Duration>) -> Self {
        let until = Instant::now() + patience.unwrap_or(WAIT_MAX);
        Self { crowd, random, place: None, arrived: false, until, impatient: patience.is_some() }
    }

    fn joined(&mut self) {
        if !std::mem::replace(&mut self.arrived, true) {
            self.crowd.tally.arrived.add();
        }
    }

    /// Takes a status in; `Some` if the wait is over.
    fn take(&mut self, status: QueueStatus) -> Option<Waited> {
        self.joined();
        self.place = status.place_token.or(self.place.take());
        match (status.status, status.active_token) {
            (QueueState::Active, Some(active)) => Some(Waited::Admitted { place: self.place.take(), active }),
            (QueueState::Active, None) => Some(Waited::Failed("ACTIVE_WITHOUT_TOKEN".into())),
            (QueueState::Ended, _) => Some(Waited::Ended),
            (QueueState::Waiting | QueueState::Scheduled, _) => None,
        }
    }

    fn tired(&mut self) -> Waited {
        if self.impatient { Waited::Tired(self.place.take()) } else { Waited::Failed("WAITED_TOO_LONG".into()) }
    }

    async fn back_off(&mut self, attempt: u32) {
        sleep(self.random.between_ms(100, 400) * 2u32.pow(attempt.min(5))).await;
    }

    /// Waits by asking every `pollAfterMs`.
    pub async fn poll(mut self) -> Waited {
        let mut failures = 0;
        while Instant::now() < self.until {
            let answer = match &self.place {
                None => self.crowd.queue.check(None).await,
                Some(place) => self.crowd.queue.status(place).await,
            };
            match answer {
                Ok(status) => {
                    failures = 0;
                    let after = status.poll_after_ms.unwrap_or(1_000).clamp(POLL_MS_MIN, POLL_MS_MAX);
                    if let Some(over) = self.take(status) {
                        return over;
                    }
                    let pause = self.random.between_ms(after * 9 / 10, after * 11 / 10);
                    sleep(pause.min(self.until.saturating_duration_since(Instant::now()))).await;
                }
                Err(error) if error.is_passing() && failures < ATTEMPTS_MAX => {
                    failures += 1;
                    self.back_off(failures).await;
                }
                Err(error) => return self.failed(&error),
            }
        }
        self.tired()
    }

    fn failed(&mut self, error: &ApiError) -> Waited {
        self.joined();
        Waited::Failed(error.code().to_owned())
    }

    /// Waits on a socket, reconnecting where it breaks.
    pub async fn on_socket(mut self) -> Waited {
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                self.back_off(attempt).await;
            }
            let Ok(mut socket) = Socket::connect(self.crowd.queue.url()).await else { continue };
            if socket.join(&self.crowd.event, self.place.as_deref()).await.is_err() {
                continue;
            }
            if let Some(over) = self.listen(&mut socket).await {
                socket.close().await;
                return over;
            }
        }
        self.joined();
        Waited::Failed("SOCKET_LOST".into())
    }

    /// Listens until the wait is over; `None` if the socket broke.
    async fn listen(&mut self, socket: &mut Socket) -> Option<Waited> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(self.tired());
            }
            let Ok(incoming) = timeout(left.min(Duration::from_millis(10 * WS_SILENT_MS)), socket.next()).await else {
                continue;
            };
            match incoming {
                Ok(Incoming::Message(message)) => match *message {
                    ServerMessage::QueueUpdated(status)
                    | ServerMessage::QueueEntryAllowed(status)
                    | ServerMessage::QueueCleared(status) => {
                        if let Some(over) = self.take(status) {
                            return Some(over);
                        }
                    }
                    ServerMessage::Error(error) if error.retryable => return None,
                    ServerMessage::Error(error) => {
                        self.joined();
                        return Some(Waited::Failed(error.code));
                    }
                },
                Ok(Incoming::Closed(Some(code))) if FINAL_CLOSE_CODES.contains(&code) => {
                    self.joined();
                    return Some(Waited::Failed(format!("CLOSED_{code}")));
                }
                Ok(Incoming::Closed(_)) => return None,
                Err(_) => {
                    self.joined();
                    return Some(Waited::Failed("UNREADABLE".into()));
                }
            }
        }
    }
}
