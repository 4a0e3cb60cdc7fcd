//! WebSocket close codes: the one table.

/// Why the server closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The place or session is over; nothing more will come.
    Done = 1000,
    /// Frames that break RFC 6455.
    Protocol = 1002,
    /// A binary frame: only text is understood.
    Unsupported = 1003,
    /// A text frame that is not UTF-8.
    InvalidUtf8 = 1007,
    /// Too many messages, or a bad token.
    Policy = 1008,
    /// A message larger than [`crate::limits::WS_MESSAGE_BYTES_MAX`].
    TooBig = 1009,
    /// The server is going away: reconnect with the place token after `retryAfterMs`.
    Restart = 1012,
    /// The server has too many sockets: reconnect elsewhere after `retryAfterMs`.
    Overloaded = 1013,
    /// Another tab took over: do not reconnect.
    TakenOver = 4001,
    /// There is no such event.
    NoSuchEvent = 4004,
    /// Nothing was asked for in time.
    NothingAsked = 4008,
}

impl CloseCode {
    /// All codes.
    pub const ALL: &'static [CloseCode] = &[
        CloseCode::Done,
        CloseCode::Protocol,
        CloseCode::Unsupported,
        CloseCode::InvalidUtf8,
        CloseCode::Policy,
        CloseCode::TooBig,
        CloseCode::Restart,
        CloseCode::Overloaded,
        CloseCode::TakenOver,
        CloseCode::NoSuchEvent,
        CloseCode::NothingAsked,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a client should come back with its place token.
    pub const fn reconnect(self) -> bool {
        matches!(self, CloseCode::Restart | CloseCode::Overloaded)
    }
}
