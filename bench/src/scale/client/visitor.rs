//! One visitor's life: join, wait, come back after a fall, be let in, stay a moment, release, go home.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    time::Duration,
};

use queue_core::{
    ids::Seq,
    wire::{ClientMessage, JoinQueue, QueueState, QueueStatus, ServerMessage},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    crowd::{Crowd, Whereabouts},
    socket::{Frame, Socket},
};
use crate::{
    clock::now_ms,
    scale::control::{Kind, Sight, trouble},
};

/// Whoever could not connect or lost the socket comes back after at least this, and at most three times as long.
const RETRY_MS: u64 = 300;
/// Each time that there is no answer doubles it, so often at most.
const RETRY_DOUBLINGS_MAX: u32 = 4;
/// A join or return is answered within this, or tried again.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// After the release the server closes the socket within this.
const GOODBYE_WAIT: Duration = Duration::from_secs(10);
/// How each pushed position begins; anything else is read in full.
const UPDATE: &[u8] = br#"{"event":"queue-updated""#;
/// Addresses of loopback that one process connects from: each has ports of its own.
const SOURCES: u64 = 4;

/// How a stretch on one socket ended.
enum Flow {
    /// Come back with the place.
    Again,
    /// There was no answer: come back later.
    Refused,
    /// Gone home.
    Home,
}

/// Lives a visitor's life from `due` to its end; aborted where the socket falls, and begun again.
pub async fn live(crowd: Rc<Crowd>, index: usize, due: Instant) {
    let (mut due, mut refused) = (due, 0);
    loop {
        match on_one_socket(&crowd, index, due).await {
            Flow::Again => refused = 0,
            Flow::Refused => refused += 1,
            Flow::Home => break,
        }
        crowd.moves(index, Whereabouts::Away);
        // A crowd that comes back at once to a server that has too much to do would keep it so.
        let pause_ms = RETRY_MS << refused.min(RETRY_DOUBLINGS_MAX);
        sleep(Duration::from_millis(pause_ms + crowd.draw(2 * pause_ms))).await;
        // Whoever has no place yet has been waiting for one since it was due.
        if crowd.with(index, |visitor| visitor.seq > 0) == Some(true) {
            due = Instant::now();
        }
    }
    crowd.remove(index);
}

async fn on_one_socket(crowd: &Crowd, index: usize, due: Instant) -> Flow {
    let Some(socket) = connect(crowd).await else { return Flow::Refused };
    let mut inbox = Inbox { crowd, index, socket, messages: VecDeque::new(), lost: false };
    let answered = timeout(ANSWER_WAIT, join(&mut inbox)).await;
    let Some(answer) = answered.ok().flatten() else {
        if crowd.with(index, |visitor| visitor.seq == 0) == Some(true) {
            crowd.trouble(trouble::JOIN_LOST);
        }
        return Flow::Refused;
    };
    note_place(crowd, index, &answer, due);
    let turn = match answer.status {
        QueueState::Active => answer,
        QueueState::Waiting | QueueState::Scheduled => match wait(&mut inbox).await {
            Some(turn) => turn,
            None => return Flow::Again,
        },
        QueueState::Ended => return ended(crowd),
    };
    if turn.status == QueueState::Ended {
        return ended(crowd);
    }
    visit(&mut inbox, &turn).await;
    Flow::Home
}

fn ended(crowd: &Crowd) -> Flow {
    crowd.trouble(trouble::PLACE_ENDED);
    Flow::Home
}

async fn connect(crowd: &Crowd) -> Option<Socket> {
    let turn = crowd.turn();
    let node = crowd.setup.nodes[(turn as usize + crowd.setup.index) % crowd.setup.nodes.len()];
    let process = (crowd.setup.index % 250) as u8 + 1;
    let source = Ipv4Addr::new(127, 0, process, (turn % SOURCES) as u8 + 1);
    match Socket::connect(node, IpAddr::V4(source), &crowd.scratch).await {
        Ok(socket) => Some(socket),
        Err(error) => {
            crowd.trouble(&format!("{}: {}", trouble::CONNECT, error.kind()));
            None
        }
    }
}

/// Joins or returns; what the first message says.
async fn join(inbox: &mut Inbox<'_>) -> Option<QueueStatus> {
    let (crowd, index) = (inbox.crowd, inbox.index);
    crowd.asks_now(index);
    let token = crowd.with(index, |visitor| visitor.token.clone())?;
    let place_token = (!token.is_empty()).then(|| token.into());
    let join = ClientMessage::JoinQueue(JoinQueue { event_id: crowd.setup.event.clone(), place_token });
    inbox.socket.send(&serde_json::to_string(&join).ok()?).await.ok()?;
    inbox.next(|_| true).await
}

/// A socket with what came over it and was not looked at yet: several messages may come at once.
struct Inbox<'c> {
    crowd: &'c Crowd,
    index: usize,
    socket: Socket,
    messages: VecDeque<QueueStatus>,
    lost: bool,
}

impl Inbox<'_> {
    /// The next message of those that `wanted` takes. `None`: the socket is of no use any more. Cancel-safe.
    async fn next(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) -> Option<QueueStatus> {
        loop {
            if let Some(status) = self.messages.pop_front() {
                return Some(status);
            }
            if self.lost {
                if self.crowd.with(self.index, |visitor| visitor.whereabouts) == Some(Whereabouts::Waiting) {
                    self.crowd.trouble(trouble::SOCKET_LOST);
                }
                return None;
            }
            let Self { crowd, socket, messages, lost, .. } = self;
            let read = socket.read(&crowd.scratch, |frame| match frame {
                Frame::Text(text) if wanted(text) => match status_of(text) {
                    Ok(status) => messages.push_back(status),
                    Err(what) => {
                        crowd.trouble(&what);
                        *lost = true;
                    }
                },
                Frame::Text(_) => {}
                Frame::Close(code) => {
                    if messages.is_empty() {
                        crowd.trouble(&format!("closed with {}", code.unwrap_or(0)));
                    }
                    *lost = true;
                }
            });
            if read.await.is_err() {
                self.lost = true;
            }
        }
    }
}

/// What a message says of the visitor, or what is wrong.
fn status_of(text: &[u8]) -> Result<QueueStatus, String> {
    match serde_json::from_slice(text) {
        Ok(
            ServerMessage::QueueUpdated(status)
            | ServerMessage::QueueEntryAllowed(status)
            | ServerMessage::QueueCleared(status),
        ) => Ok(status),
        Ok(ServerMessage::Error(error)) => Err(format!("error {}", error.code)),
        Err(_) => Err("unreadable message".to_owned()),
    }
}

/// Takes note of what a join or return was answered.
fn note_place(crowd: &Crowd, index: usize, status: &QueueStatus, due: Instant) {
    let took_ms = due.elapsed().as_millis() as u64;
    let token = status.place_token.clone().unwrap_or_default();
    let Ok(Seq(seq)) = crowd.keys.verify(&token).map(|claims| claims.seq) else {
        return crowd.trouble("join without a place token");
    };
    let before = crowd.with(index, |visitor| {
        visitor.token = token.into();
        std::mem::replace(&mut visitor.seq, seq)
    });
    match before {
        Some(0) => {
            crowd.note(|second| second.join_ms.push(took_ms));
            if !crowd.saw_seq(index, seq) {
                crowd.trouble(trouble::JOIN_ORDER);
            }
        }
        before => {
            crowd.note(|second| second.resume_ms.push(took_ms));
            if before != Some(seq) {
                crowd.trouble(trouble::PLACE_CHANGED);
            }
        }
    }
    if status.status == QueueState::Waiting {
        crowd.moves(index, Whereabouts::Waiting);
        note_position(crowd, index, Kind::Answer, status);
    }
}

fn note_position(crowd: &Crowd, index: usize, kind: Kind, status: &QueueStatus) {
    let (position, as_of) = (status.position.unwrap_or(0), status.as_of.0);
    let seen = crowd.with(index, |visitor| {
        (visitor.position, visitor.as_of) = (position, as_of);
        (visitor.sampled, visitor.seq)
    });
    if let Some((true, seq)) = seen {
        crowd.sight(Sight { seq, kind, as_of, position, seen: now_ms() });
    }
}

/// Waits for the turn. `None`: the socket is gone.
async fn wait(inbox: &mut Inbox<'_>) -> Option<QueueStatus> {
    let (crowd, index) = (inbox.crowd, inbox.index);
    let mut updates = 0;
    loop {
        let status = inbox.next(|text| {
            let update = text.starts_with(UPDATE);
            updates += u64::from(update);
            !update || crowd.reads(index)
        });
        let status = status.await;
        crowd.note(|second| second.updates += std::mem::take(&mut updates));
        match status {
            Some(status) if status.status == QueueState::Waiting => {
                note_position(crowd, index, Kind::Push, &status);
            }
            other => return other,
        }
    }
}

/// Let in: stays a moment, says that it is done, and waits for the goodbye.
async fn visit(inbox: &mut Inbox<'_>, turn: &QueueStatus) {
    let (crowd, index, now) = (inbox.crowd, inbox.index, now_ms());
    crowd.moves(index, Whereabouts::Active);
    let Some((seq, sampled)) = crowd.with(index, |visitor| (visitor.seq, visitor.sampled)) else { return };
    crowd.told(seq);
    let resumed = turn.place_token.is_some();
    if let Some(expires) = turn.expires_at.filter(|_| !resumed) {
        let admitted = expires.0.saturating_sub(crowd.setup.ttl_ms);
        crowd.note(|second| second.turn_ms.push(now.saturating_sub(admitted)));
        if sampled {
            crowd.sight(Sight { seq, kind: Kind::Turn, as_of: admitted, position: 0, seen: now });
        }
    }
    let stay = sleep_until(Instant::now() + Duration::from_millis(crowd.draw(crowd.setup.stay_ms_max + 1)));
    tokio::select! {
        () = stay => {}
        // Nothing comes but pings: whatever ends the socket, the session is released all the same.
        _ = inbox.next(|_| false) => {}
    }
    let queue = &crowd.queues[crowd.draw(crowd.queues.len() as u64) as usize];
    let token = turn.active_token.as_deref().unwrap_or_default();
    if let Err(error) = queue.release(token).await {
        crowd.trouble(&format!("{}: {}", trouble::RELEASE, error.code()));
        // It is not known whether it arrived: saying it twice is harmless.
        let _ = queue.release(token).await;
    }
    let goodbye = async { while inbox.socket.read(&crowd.scratch, |_| ()).await.is_ok() {} };
    if timeout(GOODBYE_WAIT, goodbye).await.is_err() {
        crowd.trouble("no goodbye after a release");
    }
}
