//! The HTTP interface of a whole server over the memory engine: every route, every way of being
//! refused, cookies and their precedence, the operations listener, the pages.

#[path = "http/gate.rs"]
mod gate;
#[path = "http/operator.rs"]
mod operator;
#[path = "http/origins.rs"]
mod origins;
#[path = "http/pages.rs"]
mod pages;
#[path = "http/peer.rs"]
mod peer;
#[path = "http/plain.rs"]
mod plain;
#[path = "http/process.rs"]
mod process;
#[path = "http/requests.rs"]
mod requests;
#[path = "http/store.rs"]
mod store;
#[path = "http/support.rs"]
mod support;
#[path = "http/visitor.rs"]
mod visitor;
