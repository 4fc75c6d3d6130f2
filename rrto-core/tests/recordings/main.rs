//! The search and replay on recordings of real models, which lie in `tests/golden`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod player;
mod replay;
mod search;
