//! Tests of the accept loop.
