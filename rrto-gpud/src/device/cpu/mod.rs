//! The software GPU: device memory, PTX and kernels, all on the CPU.
//!
//! It exists so that everything but NVIDIA's own hardware can be tried, tested and shown anywhere. A
//! [`Module`] is made from the PTX that a program carries, its kernels run with [`launch`] over the
//! processors of the machine, and [`Memory`] is what they share. Results are those that IEEE 754 and the PTX
//! manual ask for, so they can be compared with a CPU's or a GPU's; speed is that of an interpreter.
//!
//! This room never touches the real driver, the network or the host program, and it has no unsafe code.

#![forbid(unsafe_code)]

mod alu;
mod exec;
pub mod fuzzing;
mod memory;
mod module;
pub mod ptx;
mod session;

pub use exec::{
    Fault, Launch, Limits, MAX_BLOCK_DIM, MAX_GRID_DIM, MAX_SHARED_BYTES, MAX_STATIC_SHARED_BYTES,
    MAX_THREADS_PER_BLOCK, launch,
};
pub use memory::{
    ALLOCATION_ALIGN, BASE_ADDRESS, Budget, END_ADDRESS, Fill, GUARD_BYTES, MAX_ALLOCATIONS, Memory,
};
pub use module::{Kernel, Module};
pub use ptx::{KernelParam, LoadError};
pub use session::{COMPUTE_CAPABILITY, CpuDevice, CpuSettings, NAME, UUID};
