//! Endpoints on a simulated network, in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a failure is a panic")]

mod harness;
mod network;
mod scenarios;
mod table;
