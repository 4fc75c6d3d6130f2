//! Running kernels.
//!
//! A launch spreads its blocks over threads ([`mod@launch`]). A block ([`block`]) owns its shared memory, its
//! barriers and its warps and runs them in turn on one thread, so nothing within a block needs a lock. A warp
//! ([`warp`]) has 32 lanes with a program counter each.
//!
//! # Divergence
//! The lanes of a warp that stand at the same instruction in calls of the same depth form a group, and a
//! group executes together. The deepest call goes first, and within it the lowest instruction, so lanes that
//! have gone ahead wait for the rest where their paths meet again; compilers lay code out so that this is
//! where the program reconverges. Reconvergence is only for speed: since Volta a program may rely on nothing
//! but the masks of `.sync` instructions, and those make the lanes they name wait for each other wherever
//! they stand. Every so often the turn goes to another lane whatever its place, so a lane that spins on what
//! another lane of its warp will do cannot starve that lane. For the same reason warps take turns by a budget
//! of instructions, and a block that runs long lets its thread start further blocks beside it.

mod access;
mod barrier;
mod block;
mod fault;
mod launch;
mod meet;
mod operand;
mod step;
mod warp;
pub(crate) mod window;

pub use fault::Fault;
pub(crate) use launch::Prepared;
pub use launch::{
    Launch, Limits, MAX_BLOCK_DIM, MAX_GRID_DIM, MAX_SHARED_BYTES, MAX_STATIC_SHARED_BYTES,
    MAX_THREADS_PER_BLOCK, launch,
};
