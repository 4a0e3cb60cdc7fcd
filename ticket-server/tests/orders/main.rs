//! Orders from outside: placing, paying, cancelling, stored value, and what becomes of them when things fail.

#[path = "../http/support.rs"]
#[allow(dead_code, reason = "made for another suite as well")]
mod support;

mod balance;
mod cancelling;
mod crashes;
mod databases;
mod notifying;
mod paying;
mod placing;
mod provider;
mod saga;
