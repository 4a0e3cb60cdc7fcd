//! The ticket server: events, seats, holds, bookings.
//!
//! From the outside in: `routes` read tokens and bodies, [`office`] puts together what the store
//! ([`engine`], the rules of [`model`]) and the [`ledger`] decide, [`relay`] tells the queue. Nothing in
//! [`model`] does I/O, and nothing outside of [`engine`] knows where the state lives.
#![forbid(unsafe_code)]

pub mod balance;
pub mod clock;
pub mod config;
pub mod counter;
pub mod engine;
pub mod fields;
pub mod figures;
pub mod gate;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod live;
pub mod meters;
pub mod model;
pub mod office;
pub mod orders;
pub mod payments;
pub mod peer;
pub mod relay;
pub mod routes;
pub mod server;
pub mod sessions;
pub mod sockets;
pub mod webhooks;
