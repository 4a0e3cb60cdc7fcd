//! Positions as they go over the wire: what is common to all waiters is written once per look at the line, and
//! only a person's own numbers are written for each.

use std::io::Write;

use queue_core::{
    ids::{EventId, Millis},
    wire::Eta,
};

use super::{answer::poll_after_ms, outlet::text_frame};

const MINUTE_MS: u64 = 60_000;

/// A waiter's own numbers.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub position: u64,
    pub eta: Option<Eta>,
    /// How long the place is kept if nothing more is heard.
    pub kept_until: Millis,
}

/// What is the same for all waiters of a line at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Common<'l> {
    pub event: &'l EventId,
    pub as_of: Millis,
    pub waiting: u64,
    pub paused: bool,
    pub tickets_left: Option<u64>,
}

/// Writes `queue-updated` frames of one view.
pub struct PositionFrames {
    /// Up to the position.
    head: String,
    /// Between position and wait.
    waiting: String,
    /// Between wait and the time until which the place is kept.
    paused: String,
    minutes: Minutes,
    json: Vec<u8>,
    frame: Vec<u8>,
}

impl PositionFrames {
    pub fn new(common: Common<'_>) -> Self {
        let Common { event, as_of, waiting, paused, tickets_left } = common;
        // Identifiers need no escaping.
        let head = format!(
            r#"{{"event":"queue-updated","data":{{"eventId":"{event}","asOf":"{as_of}","status":"WAITING","position":"#,
        );
        let left = tickets_left.map(|left| format!(r#","ticketsLeft":{left}"#)).unwrap_or_default();
        let waiting = format!(r#","waiting":{waiting}{left},"eta":"#);
        let paused = format!(r#","paused":{paused},"keptUntil":""#);
        Self { head, waiting, paused, minutes: Minutes::default(), json: Vec::new(), frame: Vec::new() }
    }

    /// The frame for one waiter; the same bytes as those of the message in the common way.
    pub fn frame(&mut self, own: Own) -> &[u8] {
        let Self { head, waiting, paused, minutes, json, frame } = self;
        json.clear();
        json.extend_from_slice(head.as_bytes());
        number(json, own.position);
        json.extend_from_slice(waiting.as_bytes());
        match own.eta {
            None => json.extend_from_slice(b"null"),
            Some(Eta { low_seconds, high_seconds }) => {
                json.extend_from_slice(br#"{"lowSeconds":"#);
                number(json, low_seconds);
                json.extend_from_slice(br#","highSeconds":"#);
                number(json, high_seconds);
                json.push(b'}');
            }
        }
        json.extend_from_slice(paused.as_bytes());
        minutes.write(json, own.kept_until);
        json.extend_from_slice(br#"","pollAfterMs":"#);
        number(json, poll_after_ms(own.position));
        json.extend_from_slice(b"}}");
        frame.clear();
        text_frame(json, frame);
        frame
    }
}

fn number(into: &mut Vec<u8>, number: u64) {
    // Writing to memory does not fail.
    let _ = write!(into, "{number}");
}

/// Times of a few minutes: the minute is written once, then only seconds are.
#[derive(Default)]
struct Minutes {
    /// A minute since the epoch, and a time in it up to its seconds; even and odd ones.
    known: [(u64, String); 2],
}

impl Minutes {
    fn write(&mut self, into: &mut Vec<u8>, time: Millis) {
        const SECONDS: usize = "00.000Z".len();
        let minute = time.0 / MINUTE_MS;
        let (known, text) = &mut self.known[(minute % 2) as usize];
        if text.is_empty() || *known != minute {
            *known = minute;
            *text = Millis(minute * MINUTE_MS).to_string();
            text.truncate(text.len().saturating_sub(SECONDS));
        }
        into.extend_from_slice(text.as_bytes());
        let ms = time.0 % MINUTE_MS;
        let digit = |n: u64| b'0' + (n % 10) as u8;
        into.extend([digit(ms / 10_000), digit(ms / 1_000), b'.', digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use queue_core::wire::{QueueState, QueueStatus, ServerMessage};

    use super::*;
    use crate::node::text;

    /// The common way.
    fn message(common: Common<'_>, own: Own) -> Vec<u8> {
        let mut status = QueueStatus::bare(common.event.clone(), common.as_of, QueueState::Waiting);
        status.position = Some(own.position);
        status.waiting = Some(common.waiting);
        status.tickets_left = common.tickets_left;
        status.eta = Some(own.eta);
        status.paused = Some(common.paused);
        status.kept_until = Some(own.kept_until);
        status.poll_after_ms = Some(poll_after_ms(own.position));
        let mut frame = Vec::new();
        text_frame(text(&ServerMessage::QueueUpdated(status)).as_bytes(), &mut frame);
        frame
    }

    proptest! {
        #[test]
        fn frames_are_those_of_the_message(
            waiting in 1u64..100_000_000,
            paused: bool,
            tickets_left: Option<u64>,
            own in proptest::collection::vec((1u64..100_000_000, proptest::option::of((0u64..1_000_000, 1u64..9_000_000)), 0u64..4_102_444_800_000), 1..20),
        ) {
            let event = EventId::new("faults-2027.A_b").unwrap();
            let common = Common { event: &event, as_of: Millis(1_700_000_000_007), waiting, paused, tickets_left };
            let mut frames = PositionFrames::new(common);
            for (position, eta, kept_until) in own {
                let eta = eta.map(|(low_seconds, high_seconds)| Eta { low_seconds, high_seconds });
                let own = Own { position, eta, kept_until: Millis(kept_until) };
                prop_assert_eq!(frames.frame(own), message(common, own));
            }
        }

        #[test]
        fn times_are_written_as_everywhere(
            times in proptest::collection::vec(0u64..4_102_444_800_000, 1..20),
            steps in proptest::collection::vec(0u64..90_000, 1..20),
        ) {
            let mut minutes = Minutes::default();
            for (time, step) in times.iter().flat_map(|time| steps.iter().map(move |step| (time, step))) {
                let mut text = Vec::new();
                let time = Millis(time + step);
                minutes.write(&mut text, time);
                prop_assert_eq!(String::from_utf8(text).unwrap(), time.to_string());
            }
        }
    }
}
