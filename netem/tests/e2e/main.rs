//! A whole program, the preload library, QUIC on loopback, and a server with the software GPU, each a process of its own.
//!
//! Needs a C compiler; the programs are the demo's network and `probe.c`. Programs built by NVIDIA's compiler are
//! `.ci/e2e.sh`'s.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod experiment;
mod failures;
mod harness;
mod programs;
mod relay;
mod strangers;
