//! libcuda.so.1 for programs whose GPU is elsewhere, and the rrto command.
//!
//! ```text
//! the program, cudart, cuBLAS, ...
//!    |  C calls, raw pointers
//! entry         one exported function a row of the table
//!    |  boundary: the guard around each; calls: how often; marshal: pointers to values, once
//! context, private_tables, proc_address    what a driver is beside its functions
//! client        what is known here; operators for the rest
//!    |  Remote
//! rrto_quic::Link                          to rrto-gpud
//! ```
//!
//! `unsafe` lives in [`boundary`], `marshal`, `entry` and [`private_tables`]; [`proc_address`] reads one string.

pub mod boundary;
mod calls;
mod client;
pub mod context;
pub mod entry;
mod lane;
pub mod log;
mod marshal;
pub mod private_tables;
pub mod proc_address;
#[doc(hidden)]
pub mod runtime;
mod thread;
