//! What the fuzz target does with its input: a plain function, so that tests run it as well.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use super::{Launch, Limits, Memory, Module, launch};

/// Device memory of a fuzzed module, bytes.
const MEMORY_BYTES: u64 = 1 << 20;
/// How long each kernel of a fuzzed module may run.
const KERNEL_TIME: Duration = Duration::from_millis(2);
/// Kernels of a fuzzed module that are run.
const KERNELS: usize = 4;

/// Reads `input` as PTX, and runs the kernels of what is accepted: one block of a warp and a bit, with
/// parameters that are zero but for an address in front. Whatever the input, this returns.
///
/// # Panics
/// If a refused module leaves memory allocated, which is among the things that fuzzing looks for.
pub fn load_anything(input: &[u8]) {
    let memory = Arc::new(Memory::new(MEMORY_BYTES));
    let Ok(module) = Module::load(&String::from_utf8_lossy(input), &memory) else {
        assert_eq!(memory.used(), 0, "a refused module leaves memory allocated");
        return;
    };
    let limits = Limits { time: KERNEL_TIME, workers: NonZero::<usize>::MIN, ..Limits::default() };
    let Ok(address) = memory.alloc(4096) else { return };
    for name in module.kernel_names().take(KERNELS) {
        let Some(kernel) = module.kernel(name) else { continue };
        let mut params = address.to_le_bytes().to_vec();
        params.resize(params.len() + kernel.param_bytes() as usize, 0);
        // Faults are what most of them end with.
        let _ = launch(&module, kernel, &Launch::linear(1, 33), &params, &memory, &limits);
    }
}
