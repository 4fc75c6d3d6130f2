//! The RRTO GPU server: sessions, handles and execution on a GPU or on the software GPU.
//!
//! ```text
//! main      command line, log, signals
//! daemon    device + gate + listener + metrics = a running server
//! gate      who gets a session
//! session   one session: its thread, its end, its faults
//! executor  issues operators in order, polls for completions
//! device/   what executes: a GPU, or the software GPU
//! ```
//!
//! Each session has a thread of its own, named by `rrto-quic`, and its own context on the device; nothing that one
//! session does or suffers is seen by another, except that they share the device. No thread here ever waits for the
//! device. `unsafe` lives in `device::cuda` alone, which CI holds.

pub mod cli;
pub mod daemon;
pub mod device;
pub mod executor;
pub mod gate;
pub mod metrics;
pub mod session;
