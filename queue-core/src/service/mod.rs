//! The plumbing both servers share: settings, HTTP, the operations listener, logs, metrics, the
//! life of the process. Everything here does I/O; nothing here knows what a queue or a ticket is.

pub mod caps;
pub mod checked;
pub mod config;
pub mod context;
pub mod http;
pub mod keyfiles;
pub mod log;
pub mod metrics;
pub mod ops;
pub mod pages;
pub mod redis;
pub mod remote_keys;
pub mod run;
pub mod secret;
pub mod spans;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(any(test, feature = "testing"))]
pub mod testing_sql;
pub mod trace;
pub mod uptime;
pub mod users;
pub mod websocket;
