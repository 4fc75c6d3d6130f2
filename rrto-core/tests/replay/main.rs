//! Record and replay on the two engines: whatever a program does, it sees what it would see without.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod costs;
mod divergence;
mod early;
mod generated;
mod hostile;
mod model;
mod queries;
mod repertoire;
