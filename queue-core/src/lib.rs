//! What both servers share. Pure by default: no I/O, no clock, no randomness; the feature
//! `service` adds the plumbing that does I/O.
#![forbid(unsafe_code)]

pub mod close;
pub mod codes;
pub mod estimate;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod line;
pub mod policy;
pub mod positions;
#[cfg(feature = "service")]
pub mod service;
pub mod token;
pub mod wire;
