//! Tokens: what a visitor holds to prove a place ([`place`]) or a session ([`active`]), and
//! what a site's login gives ([`user`]).
//!
//! Invariants: nothing in here reads a clock or makes randomness, `now` and seeds come in as
//! parameters; no secret and no token appears in an error; every token has a largest size.

pub mod active;
pub mod jwks;
pub mod keys;
pub mod place;
pub mod user;

#[cfg(test)]
mod tests;
