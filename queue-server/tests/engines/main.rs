//! One behaviour, two engines: what holds for both, what holds them together, and what only Redis can show.

mod conformance;
mod headers;
mod model;
mod redis_only;
mod sequences;
mod support;
mod two_nodes;
