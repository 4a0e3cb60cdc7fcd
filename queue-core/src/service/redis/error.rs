//! What can go wrong with the store, and whether the same call can succeed later.

/// Why a call to the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not connected, no answer in time, or the server cannot serve just now. The call may or may
    /// not have taken effect; every script is written so that repeating it is harmless.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// More calls are under way than [`super::Options::in_flight_max`].
    #[error("too many store calls are under way")]
    Overloaded,
    /// The server refused the call, or the script failed.
    #[error("{name} failed in the store: {message}")]
    Script {
        /// The script or command.
        name: &'static str,
        /// The server's words.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("unexpected reply from {name}: {problem}")]
    Reply {
        /// The script or command.
        name: &'static str,
        /// What was expected, and where.
        problem: String,
    },
}

impl StoreError {
    /// Whether the same call can succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Overloaded)
    }

    /// From an error that the server answered with.
    pub(super) fn from_server(name: &'static str, message: &str) -> Self {
        const PASSING: [&str; 13] = [
            "LOADING",
            "MASTERDOWN",
            "READONLY",
            "CLUSTERDOWN",
            "TRYAGAIN",
            "BUSY",
            "NOREPLICAS",
            "MISCONF",
            "OOM",
            "NOAUTH",
            "WRONGPASS",
            "UNKILLABLE",
            "EXECABORT",
        ];
        let code = message.split(' ').next().unwrap_or_default();
        if PASSING.contains(&code) {
            Self::Unavailable(message.to_owned())
        } else {
            Self::Script { name, message: message.to_owned() }
        }
    }
}

/// From the client's own errors. Those that carry a server's answer are rare: answers are read as
/// frames, and the client turns only connection troubles into errors.
impl From<fred::error::Error> for StoreError {
    fn from(error: fred::error::Error) -> Self {
        Self::Unavailable(format!("{}: {}", error.kind().to_str(), error.details()))
    }
}
