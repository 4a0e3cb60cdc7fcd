//! The ticket server: events, seats, holds, bookings.
#![forbid(unsafe_code)]

pub mod clock;
pub mod engine;
pub mod fields;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod model;
