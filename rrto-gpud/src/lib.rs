//! The RRTO GPU server: sessions, handles and execution on a GPU or on the software GPU.
//!
//! ```text
//! main      command line, log, signals
//! daemon    device + gate + listener + metrics = a running server
//! gate      who gets a session
//! session   one session: its thread, its end, its faults
//! log       standard error, whatever becomes of it
//! executor  issues operators in order, polls for completions
//! relay/    a server of another kind: forwards to servers that nobody reaches otherwise
//! device/   what executes: a GPU, or the software GPU; in this process, or in one for each session
//! confine/  what the server and the sessions' processes give up
//! ```
//!
//! Each session has a thread of its own, named by `rrto-quic`, and its own context on the device. That context
//! is in a process of its own (`device::process`), because a kernel's fault spoils every context of its process: so
//! nothing that one session does or suffers is seen by another, except that they share the device.
//!
//! A session's thread waits for the device only where CUDA leaves no choice (freeing memory, unloading code), where the
//! session has exhausted its memory for copies in flight, and at the session's end; a synchronising call is a completion
//! that is polled for. `unsafe` lives in `device::cuda`, and one system call in
//! `confine`, which CI holds.

pub mod cli;
pub mod confine;
pub mod daemon;
pub mod device;
pub mod executor;
pub mod expiry;
pub mod gate;
pub mod log;
pub mod metrics;
pub mod relay;
pub mod session;
