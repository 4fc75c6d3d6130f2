//! Endpoints on a simulated network, in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a failure is a panic")]

mod addresses;
mod admission;
mod bars;
mod certificates;
mod copies;
mod gone;
mod harness;
mod inferences;
mod interop;
mod network;
mod outages;
mod roaming;
mod scenarios;
mod sessions;
