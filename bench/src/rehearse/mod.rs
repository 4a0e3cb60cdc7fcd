//! A rehearsal: real servers, real stores, a real ledger and a payment provider, a crowd of people of all kinds, and
//! faults on a schedule. What was promised to anybody is written down, and an auditor compares it with what the
//! servers keep.

pub mod audit;
pub mod record;
pub mod report;
pub mod watch;
