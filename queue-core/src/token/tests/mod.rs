mod active;
mod keys;
mod place;
