//! The rules of one event's sale: `apply(command, now) → outcome`.
//!
//! Pure: no I/O, no clock, no randomness. The memory engine is this model behind a lock; the Redis
//! engine's scripts are held to it by a test that compares replies and complete state.

pub mod best;
pub mod bits;
pub mod command;
mod dump;
pub mod event;
pub mod hall;
pub mod record;
mod sale;
mod taking;
mod unbooking;

pub use bits::{SeatBits, SeatState};
pub use command::{
    Change, Command, Counts, Hold, Outcome, PastState, Refusal, Shape, Snapshot, Sold, Taking, Tally, Version, Wanted,
    What, Wish,
};
pub use dump::Dump;
pub use event::EventBody;
pub use hall::Hall;
pub use sale::Sale;
