mod active;
mod keys;
mod place;
mod user;
