//! The ticket server over real listeners, with tokens signed here and a queue of our own.

mod account;
mod confirming;
mod elsewhere;
mod events;
mod figures;
mod finishing;
mod keys;
mod ledgers;
mod live;
mod process;
mod sessions;
mod sockets;
mod store;
mod support;
mod taking;
mod tokens;
mod users;
