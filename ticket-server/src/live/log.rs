//! The last changes of one event as they are told: what every follower reads at its own pace.
//!
//! Invariants: frames are contiguous, each change begins where the one before it ended, but for a whole map, which
//! begins anew; so who was told a frame and is then told the next one has missed nothing and heard nothing twice.
//! What is kept is bounded: a follower that falls behind the oldest frame is too slow.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    Place,
    shown::{ShownLeft, Told, last_states},
};
use crate::{
    model::{Change, Hall, SeatBits, SeatState, Snapshot, Tally},
    office::Availability,
};

/// Frames that are kept, at most.
pub const FRAMES_MAX: usize = 256;
/// A whole map is given to new followers until so many frames have come after it.
const WHOLE_AGE_FRAMES_MAX: u64 = 16;
/// Bytes of frames that are kept, at most, give or take the newest.
const FRAMES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What followers are told at one time.
#[derive(Debug)]
pub enum Frame {
    /// What has changed since a version.
    Changes {
        /// That version.
        after: u64,
        /// What changed, one by one, for those who join in the middle.
        changes: Vec<Change>,
        /// As it is told.
        told: Told,
    },
    /// All seats: the log does not reach back, or these are other seats.
    Whole(Told),
    /// What people look at, for those on WebSockets.
    Selected(Utf8Bytes),
    /// Nothing, so that proxies and clients see that the connection lives.
    Comment,
}

/// A comment of server-sent events.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

impl Frame {
    /// As server-sent events, if there is anything to be said by them.
    pub fn sse(&self) -> Option<Bytes> {
        match self {
            Self::Changes { told, .. } | Self::Whole(told) => Some(told.sse()),
            Self::Comment => Some(COMMENT),
            Self::Selected(_) => None,
        }
    }

    /// What is told, if it is anything.
    pub fn told(&self) -> Option<&Told> {
        match self {
            Self::Changes { told, .. } | Self::Whole(told) => Some(told),
            Self::Selected(_) | Self::Comment => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Selected(text) => text.len(),
            frame => frame.told().map_or(0, Told::bytes),
        }
    }
}

/// The seats as they were last read.
#[derive(Clone, Debug)]
pub struct State {
    /// As of when.
    pub place: Place,
    /// The definition that the seats are named by.
    pub hall: Arc<Hall>,
    seats: SeatBits,
    kinds: Kinds,
}

/// What is left of each type.
#[derive(Clone, Debug)]
struct Kinds {
    /// The type of each slot; slots without a seat have one that no type has.
    of_slot: Arc<[u16]>,
    left: Vec<ShownLeft>,
}

/// What a follower starts with.
#[derive(Debug)]
pub enum Start {
    /// It has missed nothing: the next frame of that number.
    At(u64),
    /// It has missed a part of a frame: that part, then the next frame.
    Part(Told, u64),
    /// It has missed more than is kept here; what is kept ends at that place, and goes on with that frame.
    Behind(Place, u64),
    /// It knows more than was read here.
    Ahead,
    /// It needs the whole map.
    Whole,
}

/// What a follower reads next.
#[derive(Debug)]
pub enum Next {
    /// This.
    Frame(Arc<Frame>),
    /// Nothing yet.
    Wait,
    /// It was too slow: what it would need is gone.
    Lagged,
    /// The server ends.
    Ended,
}

/// The last frames, and what they have led to.
#[derive(Debug, Default)]
pub struct Log {
    state: Option<State>,
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The number of the oldest frame.
    first: u64,
    ended: bool,
    /// The whole map as it was told last, and the frame that follows it.
    whole: Option<(u64, Arc<Told>)>,
}

impl Kinds {
    fn new(hall: &Hall, snapshot: &Snapshot) -> Self {
        let types = &hall.body.ticket_types;
        let place: std::collections::HashMap<_, _> = types.iter().map(|kind| &kind.ticket_type_id).zip(0..).collect();
        let mut left: Vec<_> = types
            .iter()
            .map(|kind| ShownLeft { ticket_type_id: kind.ticket_type_id.clone(), left: Availability::default() })
            .collect();
        let mut of_slot = Vec::new();
        for (slot, seat, _) in hall.seats() {
            let Some(&kind) = place.get(&seat.ticket_type_id) else { continue };
            of_slot.resize(of_slot.len().max(slot as usize + 1), u16::MAX);
            of_slot[slot as usize] = kind;
            let left = &mut left[usize::from(kind)].left;
            left.total += 1;
            match snapshot.seats.get(slot) {
                SeatState::Held => left.held += 1,
                SeatState::Sold => left.sold += 1,
                SeatState::Free => left.available += 1,
                SeatState::Blocked => {}
            }
        }
        let mut kinds = Self { of_slot: of_slot.into(), left };
        kinds.count(hall, snapshot);
        kinds
    }

    /// Types without seats, as the store counts them.
    fn count(&mut self, hall: &Hall, snapshot: &Snapshot) {
        for (kind, shown) in hall.body.ticket_types.iter().zip(&mut self.left) {
            if let Some(total) = kind.quantity {
                let tally = snapshot.tallies.get(&kind.ticket_type_id).copied().unwrap_or_default();
                shown.left = Availability::of(total, tally);
            }
        }
    }

    fn moved(&mut self, slot: u32, from: SeatState, to: SeatState) {
        let Some(shown) = self.of_slot.get(slot as usize).and_then(|&kind| self.left.get_mut(usize::from(kind))) else {
            return;
        };
        let mut counter = |state, by: fn(u64, u64) -> u64| match state {
            SeatState::Held => shown.left.held = by(shown.left.held, 1),
            SeatState::Sold => shown.left.sold = by(shown.left.sold, 1),
            SeatState::Free => shown.left.available = by(shown.left.available, 1),
            SeatState::Blocked => {}
        };
        counter(from, u64::saturating_sub);
        counter(to, u64::saturating_add);
    }
}

impl Availability {
    /// Of so many, with these held and sold.
    pub fn of(total: u64, tally: Tally) -> Self {
        let available = total.saturating_sub(tally.held + tally.sold);
        Self { total, held: tally.held, sold: tally.sold, available }
    }
}

impl State {
    /// As it was read.
    pub fn new(place: Place, hall: Arc<Hall>, snapshot: Snapshot) -> Self {
        let kinds = Kinds::new(&hall, &snapshot);
        Self { place, hall, seats: snapshot.seats, kinds }
    }

    /// All seats as they are told: takes milliseconds where there are many.
    pub fn whole(&self) -> Told {
        let seats = self.hall.seats().map(|(slot, ..)| (slot, self.seats.get(slot))).collect();
        Told::new(&self.hall, self.place, true, seats, self.kinds.left.clone())
    }

    /// What is left of each type.
    pub fn left(&self) -> &[ShownLeft] {
        &self.kinds.left
    }

    /// Takes changes in; which types have another number now.
    fn apply(&mut self, changes: &[Change], counted: Option<&Snapshot>) -> Vec<ShownLeft> {
        let before = self.kinds.left.clone();
        for change in changes {
            self.place.version = change.version;
            for &slot in &change.seats {
                self.seats.grow(slot as usize + 1);
                let was = self.seats.get(slot);
                self.kinds.moved(slot, was, change.state);
                self.seats.set(slot, change.state);
            }
        }
        if let Some(snapshot) = counted {
            self.kinds.count(&self.hall, snapshot);
        }
        self.kinds.left.iter().zip(&before).filter(|(now, was)| now != was).map(|(now, _)| now.clone()).collect()
    }
}

impl Log {
    /// What is known; `None` before the first read.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The number that the next frame will have.
    pub fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Begins anew with what was read: everybody who follows is told the whole map.
    pub fn begin(&mut self, state: State, whole: Told) {
        self.state = Some(state);
        self.whole = None;
        self.push(Frame::Whole(whole));
    }

    /// Goes on with changes, the first of which follows the last version that is known. `counted`: what was read
    /// when types without seats are among them.
    pub fn extend(&mut self, changes: Vec<Change>, counted: Option<&Snapshot>) {
        let Some(state) = &mut self.state else { return };
        let after = state.place.version;
        let left = state.apply(&changes, counted);
        let told = Told::new(&state.hall, state.place, false, last_states(&changes), left);
        self.push(Frame::Changes { after, changes, told });
    }

    /// Says that it lives.
    pub fn comment(&mut self) {
        self.push(Frame::Comment);
    }

    /// What people look at.
    pub fn selected(&mut self, text: Utf8Bytes) {
        self.push(Frame::Selected(text));
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes();
        self.frames.push_back(Arc::new(frame));
        while self.frames.len() > FRAMES_MAX || (self.bytes > FRAMES_BYTES_MAX && self.frames.len() > 1) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.first += 1;
        }
    }

    /// The frame of that number.
    pub fn next(&self, number: u64) -> Next {
        if self.ended {
            return Next::Ended;
        }
        let Some(index) = number.checked_sub(self.first) else { return Next::Lagged };
        let frame = usize::try_from(index).ok().and_then(|index| self.frames.get(index));
        frame.map_or(Next::Wait, |frame| Next::Frame(Arc::clone(frame)))
    }

    /// Where somebody starts who was told everything up to `after`.
    pub fn start(&self, after: Option<Place>) -> Option<Start> {
        let state = self.state.as_ref()?;
        let Some(after) = after.filter(|after| after.epoch == state.place.epoch) else { return Some(Start::Whole) };
        if after.version == state.place.version {
            return Some(Start::At(self.end()));
        }
        if after.version > state.place.version {
            return Some(Start::Ahead);
        }
        for (number, frame) in (self.first..self.end()).rev().zip(self.frames.iter().rev()) {
            match &**frame {
                Frame::Changes { after: begin, .. } if *begin == after.version => return Some(Start::At(number)),
                Frame::Changes { after: begin, changes, told } if *begin < after.version => {
                    let missed = changes.iter().filter(|change| change.version > after.version);
                    let place = told.place();
                    let part = Told::new(&state.hall, place, false, last_states(missed), told.left().to_vec());
                    return Some(Start::Part(part, number + 1));
                }
                // What was before it is not kept here; the store may know.
                Frame::Whole(_) => break,
                Frame::Changes { .. } | Frame::Selected(_) | Frame::Comment => {}
            }
        }
        Some(Start::Behind(state.place, self.end()))
    }

    /// The whole map as it was told not long ago, and the frame that follows it.
    pub fn known_whole(&self) -> Option<(u64, Arc<Told>)> {
        // What has happened since is told frame by frame: not too many, and all of them are still there.
        self.whole
            .clone()
            .filter(|(next, _)| *next >= self.first && self.end().saturating_sub(*next) <= WHOLE_AGE_FRAMES_MAX)
    }

    /// Keeps the whole map for those who come next.
    pub fn keep_whole(&mut self, next: u64, told: Arc<Told>) {
        self.whole = Some((next, told));
    }
}

#[cfg(test)]
mod tests {
    use queue_core::ids::EventId;
    use serde_json::json;

    use super::*;
    use crate::{
        ids::Epoch,
        model::{EventBody, Version},
    };

    const EPOCH: Epoch = Epoch(7);

    fn state(version: u64) -> State {
        let body = json!({
            "name": "e", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "payment": "none",
            "maxSeatsPerVisitor": 4, "ticketTypes": [{"ticketTypeId": "std", "name": "Seat", "priceMinor": 1}],
            "sections": [{"section": "A", "ticketTypeId": "std", "rows": 1, "seatsPerRow": 8}],
        });
        let hall = Hall::new(EventId::new("e").unwrap(), EventBody::from_json(body).unwrap()).unwrap();
        let snapshot = Snapshot {
            version: Version { revision: 1, epoch: EPOCH, version, open: true },
            seats: SeatBits::new(8),
            tallies: Default::default(),
        };
        State::new(Place { epoch: EPOCH, version }, Arc::new(hall), snapshot)
    }

    fn log() -> Log {
        let mut log = Log::default();
        let state = state(10);
        let whole = state.whole();
        log.begin(state, whole);
        log
    }

    fn change(version: u64, state: SeatState, seat: u32) -> Change {
        Change { version, state, seats: vec![seat] }
    }

    fn at(version: u64) -> Option<Place> {
        Some(Place { epoch: EPOCH, version })
    }

    fn text(told: &Told) -> String {
        String::from_utf8(told.sse().to_vec()).unwrap()
    }

    #[test]
    fn who_comes_back_starts_where_it_was() {
        let mut log = log();
        log.extend(vec![change(11, SeatState::Held, 0), change(12, SeatState::Held, 1)], None);
        log.comment();
        log.extend(vec![change(13, SeatState::Free, 0)], None);
        assert_eq!(log.end(), 4);
        assert!(matches!(log.start(at(13)), Some(Start::At(4))));
        assert!(matches!(log.start(at(12)), Some(Start::At(3))));
        assert!(matches!(log.start(at(10)), Some(Start::At(1))));
        assert!(matches!(log.start(at(14)), Some(Start::Ahead)));
        assert!(matches!(log.start(None), Some(Start::Whole)));
        let Some(Start::Behind(place, 4)) = log.start(at(9)) else { panic!("it was before the whole map") };
        assert_eq!(place.version, 13);
        assert!(matches!(log.start(Some(Place { epoch: Epoch(8), version: 13 })), Some(Start::Whole)));
        let Some(Start::Part(part, 2)) = log.start(at(11)) else { panic!("in the middle of a frame") };
        let part = text(&part);
        assert!(part.starts_with("id: 0000000000000007-12\nevent: seats\n"), "{part}");
        assert!(part.contains("A-1-2") && !part.contains("A-1-1"), "{part}");
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_lags_is_told_so() {
        let mut log = log();
        for version in 11..11 + 2 * FRAMES_MAX as u64 {
            log.extend(vec![change(version, SeatState::Held, (version % 8) as u32)], None);
        }
        assert_eq!(log.frames.len(), FRAMES_MAX);
        assert!(matches!(log.next(1), Next::Lagged));
        assert!(matches!(log.next(log.first), Next::Frame(_)));
        assert!(matches!(log.next(log.end()), Next::Wait));
        let Some(Start::Behind(place, next)) = log.start(at(10)) else { panic!("it is not kept") };
        assert_eq!((place.version, next), (10 + 2 * FRAMES_MAX as u64, log.end()));
        log.finish();
        assert!(matches!(log.next(log.end()), Next::Ended));
    }

    #[test]
    fn a_whole_map_serves_until_too_much_has_happened() {
        let mut log = log();
        assert!(log.known_whole().is_none());
        let told = Arc::new(log.state().unwrap().whole());
        log.keep_whole(log.end(), told);
        for version in 11..11 + WHOLE_AGE_FRAMES_MAX {
            log.extend(vec![change(version, SeatState::Held, 0)], None);
        }
        assert_eq!(log.known_whole().unwrap().0, 1);
        log.comment();
        assert!(log.known_whole().is_none());
    }

    #[test]
    fn numbers_follow_the_seats() {
        let mut log = log();
        log.extend(vec![change(11, SeatState::Held, 0), change(12, SeatState::Sold, 0)], None);
        let left = &log.state().unwrap().left()[0].left;
        assert_eq!(*left, Availability { total: 8, held: 0, sold: 1, available: 7 });
        log.extend(vec![change(13, SeatState::Held, 1), change(14, SeatState::Free, 1)], None);
        let Next::Frame(frame) = log.next(2) else { panic!("there is one") };
        assert!(frame.told().unwrap().left().is_empty(), "nothing has changed in the end");
    }

    #[test]
    fn sockets_are_told_what_is_held_by_another_name() {
        let mut log = log();
        log.extend(vec![change(11, SeatState::Held, 0), change(12, SeatState::Sold, 1)], None);
        let Next::Frame(frame) = log.next(1) else { panic!("there is one") };
        let texts = frame.told().unwrap().texts();
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(
            read(&texts.seats[0]),
            json!({"event": "seat-locked", "data": {"eventId": "e", "epoch": "0000000000000007", "version": 12, "seatIds": ["A-1-1"]}})
        );
        assert_eq!(
            read(&texts.seats[1])["data"],
            json!({"eventId": "e", "epoch": "0000000000000007", "version": 12, "part": 1, "parts": 1, "full": false,
                "seats": [{"seatId": "A-1-2", "state": "SOLD"}]})
        );
        assert_eq!(read(&texts.tickets[0])["event"], "ticket-updated");
    }
}
