//! What guards a running server: keys that rotate, user tokens, limits, what operators leave behind. The real
//! program, over the memory engine and, where several nodes matter, over a real Redis.

mod audit;
mod bounds;
#[path = "../faults/ear.rs"]
mod ear;
mod limits;
mod rotation;
mod support;
mod users;
