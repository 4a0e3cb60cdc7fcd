//! The two engines: the rules that both keep, that they do the same, and what scripts say of themselves.

mod best;
mod conformance;
mod counter;
mod headers;
mod model;
mod model_redis;
mod steps;
