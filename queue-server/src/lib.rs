//! The waiting-room server.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod engine;
pub mod entrance;
pub mod key_places;
pub mod node;
pub mod routes;
pub mod server;
pub mod sockets;
