//! Programs to run over a link: one that plays a recording, or any that tells about its inferences.
//!
//! A recording (`RRTO_RECORD`) becomes a [`Plan`], the calls of its inferences, and a PTX module with kernels that stand for the
//! recorded ones ([`kernels`]); `player.c`, which the C compiler of this machine compiles, makes these calls through
//! the real preload library on the real server. What is as recorded: calls, their order, lengths of copies, kernels' parameter bytes,
//! places of addresses in them. What is not: weights are not loaded, kernels compute a checksum, launches have one thread,
//! and the GPU takes the time that the scenario says.
//!
//! A program's lines: `inference NUMBER SECONDS DIGEST [cpu=SECONDS] [wrong]` ([`Inference`]), each when its inference has ended.

mod line;
mod plan;
mod ptx;

pub use line::Inference;
pub use plan::{Call, MAX_RECORDING_BYTES, PLAYED_INFERENCES, Place, Plan, PlanError};
pub use ptx::kernels;

/// The player's source.
pub const PLAYER: &str = include_str!("player.c");
