//! A seeded user-space UDP link, and the experiments that stand on it.
//!
//! Both sides of a connection run through one link, which delays, paces, queues and loses their datagrams as a
//! script says. It needs no privileges and no kernel module, and the same seed gives the same link.
//!
//! - [`link`]: the model of one direction, which is `rrto-core`'s for tests. No socket, clock or thread: time is an
//!   argument, so that it serves simulations in virtual time as well as the proxy.
//! - [`script`]: what the link does over time, and what an experiment over it is, from a TOML file, checked.
//! - [`proxy`]: sockets and a precise timer around two directions.
//! - [`workload`]: what runs over it: a recording of a real program's calls, played, or any program.
//! - [`ideal`]: what it is compared with.
//! - [`run`]: experiments with real processes. [`report`]: what came of them.
//! - [`soak`]: a server among robots and strangers who do what they can, for hours.
//! - [`tc`]: a script's link as commands for the kernel's own emulation.
//!
//! Invariants: `link` never reads a clock and never allocates more than its queue bounds; `script` turns every
//! file into a timeline or into an error that names file, step and field; `link`, `script` and `proxy` know neither QUIC nor RRTO.
#![forbid(unsafe_code)]

pub mod ideal;
pub use rrto_core::testing::link;
pub mod proxy;
pub mod report;
pub mod run;
pub mod script;
pub mod soak;
mod stage;
pub mod tc;
pub mod workload;
