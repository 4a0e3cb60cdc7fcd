//! HTTP/1.1 for both servers: a listener with bounds (`server`), one pass around every handler
//! (`pipeline`) that does traces, errors, CORS and metrics, and what handlers need.
//!
//! A server implements [`App`]; what it answers is a [`Response`] or an [`ApiError`]. There are no
//! layers: a hot request costs one routing lookup, no registry lookups and, where it needs not wait, no future.

mod answering;
mod body;
mod connection;
mod cookies;
mod cors;
mod error;
mod forwarded;
mod json;
mod linger;
mod pipeline;
mod request;
mod request_metrics;
mod response;
mod router;
mod server;

pub use body::Body;
pub use connection::{ConnectionGuard, HEAD_BYTES_MAX, HEADERS_MAX, Timeouts, Upgrade, UpgradedSocket};
pub use cookies::{SetCookie, cookie};
pub use cors::Origins;
pub use error::ApiError;
pub use forwarded::TrustedProxies;
pub use json::{BODY_BYTES_MAX, parse_json};
pub use pipeline::{App, Later, Quick};
pub use request::{Request, bearer};
pub use response::{Response, asset, empty, html, json, json_bytes, matches_etag, page_headers, redirect, text};
pub use router::{Method, Router};
pub use server::{Bound, CONNECTIONS_MAX, HttpOptions, bind};
