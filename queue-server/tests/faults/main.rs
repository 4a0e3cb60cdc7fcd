//! What happens when parts are lost: the store frozen, killed, emptied, older than it was, full, or cut off in the middle of a reply; nodes
//! killed, drained and replaced under load. Real processes and a real Redis, but for what takes minutes: there one
//! node runs in this process on virtual time.

mod clients;
mod ear;
mod emptied;
mod full;
mod lost_replies;
mod nodes;
mod older;
mod outage;
mod proxy;
mod rolling;
mod store;
mod support;
