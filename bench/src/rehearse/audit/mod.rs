//! The auditor: reads what the servers keep after a run, and proves from the record that every promise was kept.
