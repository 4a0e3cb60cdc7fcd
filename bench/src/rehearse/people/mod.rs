//! The crowd: people of all kinds, each by a plan of their own, and what they were promised.

mod line;
mod person;
mod shop;
mod sights;
mod till;
mod world;

pub use self::{
    person::live,
    world::{Setup, World},
};
