//! A follower as a stream of server-sent events.

use bytes::Bytes;
use futures_util::{Stream, stream};

use super::{Admission, Follower, Heard, feed::RETRY};

struct Sent {
    follower: Follower,
    /// What goes first: when to come back after the end.
    retry: Option<Bytes>,
    _admission: Admission,
}

/// The body of an answer: what comes first, then every change. It ends when the server does, and when its reader is
/// too slow; whoever comes back with the last id goes on where it was.
pub fn body(follower: Follower, admission: Admission) -> impl Stream<Item = Bytes> + Send + 'static {
    let sent = Sent { follower, retry: Some(RETRY), _admission: admission };
    stream::unfold(sent, |mut sent| async move {
        if let Some(retry) = sent.retry.take() {
            return Some((retry, sent));
        }
        loop {
            let chunk = match sent.follower.hear().await {
                Heard::First(told) => Some(told.sse()),
                Heard::Frame(frame) => frame.sse(),
                Heard::Lagged | Heard::Ended => return None,
            };
            if let Some(chunk) = chunk {
                return Some((chunk, sent));
            }
        }
    })
}
