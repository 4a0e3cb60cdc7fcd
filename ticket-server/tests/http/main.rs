//! The ticket server over real listeners, with tokens signed here and a queue of our own.

mod account;
mod confirming;
mod events;
mod finishing;
mod keys;
mod ledgers;
mod process;
mod sessions;
mod store;
mod support;
mod taking;
mod tokens;
mod users;
