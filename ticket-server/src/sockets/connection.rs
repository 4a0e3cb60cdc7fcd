//! One socket from its first message to its end.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use queue_core::{
    close::CloseCode,
    codes::Code,
    ids::EventId,
    limits::{WS_FIRST_MESSAGE_MS, WS_MESSAGE_BYTES_MAX, WS_PING_MS, WS_SILENT_MS},
    service::{
        http::{ApiError, UpgradedSocket},
        trace::TraceId,
        websocket::{self, Window},
    },
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::CancellationToken;

use super::messages::{ClientMessage, JoinSeats, RoomInfo, Selected, parse};
use crate::{
    gate::Gate,
    live::{Admission, Follower, Frame, Heard, Selection, shown},
    office::{Caller, Office},
};

/// What is read at once: messages are small, and there are many sockets.
const READ_BUFFER_BYTES: usize = 512;
/// What may wait for a peer that does not read: more than any message of ours.
const WRITE_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// A peer that takes no frame for so long is dropped.
const SEND: Duration = Duration::from_secs(10);

/// Why a socket ends.
enum End {
    /// With a close frame of ours.
    Close(CloseCode),
    /// The peer closed it, or is gone.
    Gone,
}

type Flow = Result<(), End>;

enum Event {
    Frame(Option<Result<Message, tungstenite::Error>>),
    Heard(Heard),
    Draining,
    Alarm,
}

/// What a socket is served with.
pub struct Setup {
    pub office: Arc<Office>,
    pub gate: Arc<Gate>,
    /// Whom the handshake showed.
    pub callers: Vec<Arc<Caller>>,
    pub trace: TraceId,
    pub draining: CancellationToken,
}

struct Connection {
    setup: Setup,
    ws: WebSocketStream<TcpStream>,
    window: Window,
    follower: Option<Follower>,
    /// Whether seats are told, not only what is left of each type.
    seats: bool,
    selection: Option<Selection>,
    /// When it has to have said something, or is pinged.
    alarm: Pin<Box<Sleep>>,
    heard: Instant,
}

/// Follows a socket to its end. Without an admission there are too many of them.
pub async fn serve(setup: Setup, socket: UpgradedSocket, admission: Option<Admission>) {
    let UpgradedSocket { tcp, leading, guard } = socket;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
    let ws = WebSocketStream::from_partially_read(tcp, leading.to_vec(), Role::Server, Some(config)).await;
    let mut connection = Connection {
        setup,
        ws,
        window: Window::default(),
        follower: None,
        seats: false,
        selection: None,
        alarm: Box::pin(sleep(Duration::from_millis(WS_FIRST_MESSAGE_MS))),
        heard: Instant::now(),
    };
    let end = if admission.is_some() { connection.run().await } else { End::Close(CloseCode::Overloaded) };
    // Nothing is told to a socket that ends, and nobody is told what it looks at.
    connection.selection = None;
    connection.follower = None;
    if let End::Close(code) = end {
        websocket::close(&mut connection.ws, code).await;
    }
    drop(guard);
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            let flow = match self.next().await {
                Event::Frame(Some(Ok(message))) => self.frame(message).await,
                Event::Frame(Some(Err(error))) => Err(websocket::broken(&error).map_or(End::Gone, End::Close)),
                Event::Frame(None) => Err(End::Gone),
                Event::Heard(heard) => self.tell(heard).await,
                Event::Draining => Err(End::Close(CloseCode::Restart)),
                Event::Alarm => self.alarm().await,
            };
            if let Err(end) = flow {
                return end;
            }
        }
    }

    /// Whatever comes first. What is to be told goes before what the peer says.
    async fn next(&mut self) -> Event {
        let follower = &mut self.follower;
        let hear = async {
            match follower {
                Some(follower) => follower.hear().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.setup.draining.cancelled() => Event::Draining,
            heard = hear => Event::Heard(heard),
            () = self.alarm.as_mut() => Event::Alarm,
            frame = self.ws.next() => Event::Frame(frame),
        }
    }

    async fn alarm(&mut self) -> Flow {
        if self.follower.is_none() {
            return Err(End::Close(CloseCode::NothingAsked));
        }
        if self.heard.elapsed() >= Duration::from_millis(WS_SILENT_MS) {
            return Err(End::Gone);
        }
        self.alarm.as_mut().reset(Instant::now() + Duration::from_millis(WS_PING_MS));
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn frame(&mut self, message: Message) -> Flow {
        if !message.is_close() && !self.window.allow() {
            return Err(End::Close(CloseCode::Policy));
        }
        self.heard = Instant::now();
        match message {
            Message::Text(text) => self.text(&text).await,
            Message::Binary(_) => Err(End::Close(CloseCode::Unsupported)),
            // The library answers pings and close frames while it is read.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn text(&mut self, text: &str) -> Flow {
        if self.follower.is_none() {
            // It has said something: it may be silent for as long as any socket.
            self.alarm.as_mut().reset(Instant::now() + Duration::from_millis(WS_SILENT_MS));
        }
        let answers = match parse(text) {
            Ok(ClientMessage::JoinEvent(join)) => self.join(&join.event_id).await,
            Ok(ClientMessage::JoinSeatSelection(join)) => self.join_seats(&join).await,
            Ok(ClientMessage::SeatSelectionChanged(selected)) => self.select(&selected).await,
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => self.send_all(&answers).await,
            Err(error) => {
                let unknown = error.code() == Code::EventNotFound;
                self.error(&error).await?;
                if unknown { Err(End::Close(CloseCode::NoSuchEvent)) } else { Ok(()) }
            }
        }
    }

    /// What is to be told of a followed event.
    async fn tell(&mut self, heard: Heard) -> Flow {
        match heard {
            Heard::First(told) if self.seats => self.send_all(&told.texts().seats).await,
            Heard::First(_) => Ok(()),
            Heard::Frame(frame) => {
                if let Frame::Selected(text) = &*frame
                    && self.seats
                {
                    self.send(Message::Text(text.clone())).await?;
                }
                let Some(told) = frame.told() else { return Ok(()) };
                if self.seats {
                    self.send_all(&told.texts().seats).await?;
                }
                self.send_all(&told.texts().tickets).await
            }
            Heard::Lagged => Err(End::Close(CloseCode::Overloaded)),
            Heard::Ended => Err(End::Close(CloseCode::Restart)),
        }
    }

    /// One event per socket, and one that there is.
    async fn check(&self, event: &EventId) -> Result<(), ApiError> {
        if self.follower.as_ref().is_some_and(|follower| follower.event() != event) {
            return Err(ApiError::invalid("data.eventId", "one event per socket"));
        }
        self.setup.office.hall(event.as_str()).await.map(drop)
    }

    async fn join(&mut self, event: &EventId) -> Result<Vec<Utf8Bytes>, ApiError> {
        self.check(event).await?;
        if self.follower.is_none() {
            let follower = self.setup.office.follow_from_now(event).await?;
            self.follow(follower);
        }
        Ok(self.room_info().into_iter().collect())
    }

    async fn join_seats(&mut self, join: &JoinSeats) -> Result<Vec<Utf8Bytes>, ApiError> {
        self.check(&join.event_id).await?;
        let follower = self.setup.office.follow(&join.event_id, join.after()).await?;
        let looked_at = follower.selected();
        self.follow(follower);
        self.seats = true;
        // What the seats are comes next, by the follower.
        Ok(self.room_info().into_iter().chain(looked_at).collect())
    }

    fn follow(&mut self, follower: Follower) {
        if self.follower.is_none() {
            self.heard = Instant::now();
            self.alarm.as_mut().reset(Instant::now() + Duration::from_millis(WS_PING_MS));
        }
        self.follower = Some(follower);
    }

    fn room_info(&self) -> Option<Utf8Bytes> {
        let follower = self.follower.as_ref()?;
        let (place, availability) = follower.with_state(|state| (state.place, state.left().to_vec()))?;
        let data = RoomInfo {
            event_id: follower.event(),
            epoch: place.epoch.to_string(),
            version: place.version,
            subscribers: follower.followers(),
            availability,
        };
        Some(shown::message("room-info", data))
    }

    /// Others are told how many look at a seat, never who: but only those may be counted whose turn it is.
    async fn select(&mut self, selected: &Selected) -> Result<Vec<Utf8Bytes>, ApiError> {
        let event = &selected.event_id;
        let seats = selected.seats()?;
        self.check(event).await?;
        let Some(follower) = self.follower.as_ref().filter(|_| self.seats) else {
            return Err(ApiError::invalid("event", "join-seat-selection comes first"));
        };
        let office = &self.setup.office;
        let caller = match &selected.active_token {
            Some(token) => self.setup.gate.caller(token, office.now()).await?,
            None => {
                let of_event = self.setup.callers.iter().find(|caller| caller.event == *event);
                Arc::clone(of_event.ok_or(Code::ActiveTokenRequired)?)
            }
        };
        office.may_take(&caller, event).await?;
        let hall = office.hall(event.as_str()).await?;
        let slots: Option<Vec<u32>> = seats.iter().map(|seat| hall.index_of(seat.as_str())).collect();
        let slots = slots.ok_or(Code::SeatNotFound)?;
        self.selection.get_or_insert_with(|| follower.selection()).set(slots);
        Ok(Vec::new())
    }

    async fn error(&mut self, error: &ApiError) -> Flow {
        let (code, internal) = (error.info().name, error.internal_message().unwrap_or_default());
        // Whatever clients do wrong must not fill the log; overload and an absent store are told by metrics.
        if error.code() == Code::Internal {
            tracing::error!(code, internal, "a message failed");
        } else {
            tracing::debug!(code, internal, "a message refused");
        }
        let text = shown::message("error", error.body(self.setup.trace));
        self.send(Message::Text(text)).await
    }

    async fn send_all(&mut self, texts: &[Utf8Bytes]) -> Flow {
        for text in texts {
            self.send(Message::Text(text.clone())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Flow {
        match tokio::time::timeout(SEND, self.ws.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // It does not read, or is gone.
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
