//! What shows that Usher does what it says: the demo with its synthetic crowd, load beside a hello-world server,
//! and the figures of `RESULTS.md`.
//!
//! Everything in here is a client of the public interfaces; it starts servers as processes of their own, on loopback
//! and free ports, and ends by id what it has started. Every run is bounded in time and number.
#![forbid(unsafe_code)]

pub mod api;
mod bar;
pub mod chart;
pub mod clock;
pub mod confirms;
pub mod crowd;
pub mod delay;
pub mod demo;
pub mod figures;
pub mod hello;
pub mod holds;
pub mod idle;
pub mod live;
pub mod offer;
pub mod overload;
pub mod process;
pub mod random;
pub mod reads;
pub mod redis;
pub mod rehearse;
pub mod scale;
pub mod servers;
pub mod socket;
pub mod sockets;
pub mod tokens;
pub mod wrk;
