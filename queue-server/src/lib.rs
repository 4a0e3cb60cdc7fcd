//! The waiting-room server.
#![forbid(unsafe_code)]

pub mod engine;
pub mod node;
