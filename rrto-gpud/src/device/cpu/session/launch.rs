//! Launches and occupancy.

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Launch, LaunchAttribute, Value};

use super::code::Function;
use super::context::{CpuContext, Step};
use crate::device::cpu::exec::Prepared;
use crate::device::cpu::{Launch as Shape, Limits as LaunchLimits, MAX_SHARED_BYTES, MAX_THREADS_PER_BLOCK};

/// Threads that a multiprocessor holds.
pub(super) const MAX_THREADS_PER_SM: u32 = 2048;
/// Blocks that a multiprocessor holds.
pub(super) const MAX_BLOCKS_PER_SM: u32 = 32;
/// Registers of a multiprocessor.
pub(super) const REGISTERS_PER_SM: u32 = 65_536;
/// Shared memory that the system takes of each block, bytes.
pub(super) const RESERVED_SHARED_BYTES: u32 = 1024;
/// Shared memory of a multiprocessor, bytes.
pub(super) const SHARED_BYTES_PER_SM: u32 = MAX_SHARED_BYTES + RESERVED_SHARED_BYTES;

/// `CUlaunchAttributeID`: asks for a cooperative launch.
const COOPERATIVE: u32 = 2;
/// The dimension of clusters, three numbers.
const CLUSTER_DIMENSION: u32 = 4;
/// Advice that changes no result: nothing, access policy, synchronisation policy, cluster scheduling,
/// serialisation of dependent launches (which is what happens anyhow), priority, memory domains, carve-out.
const ADVICE: [u32; 9] = [0, 1, 3, 5, 6, 8, 9, 10, 14];

/// Whether attributes make the launch cooperative.
///
/// # Errors
/// `NOT_SUPPORTED` for what would change the kernel's meaning.
fn is_cooperative(attributes: &[LaunchAttribute]) -> Result<bool, CuResult> {
    let mut cooperative = false;
    for attribute in attributes {
        match attribute.id {
            COOPERATIVE => cooperative = attribute.value.first().is_some_and(|byte| *byte != 0),
            CLUSTER_DIMENSION => {
                let single =
                    |n: &[u8]| matches!(n, [] | [0 | 1, ..]) && n.iter().skip(1).all(|byte| *byte == 0);
                if !attribute.value.chunks(4).all(single) {
                    return Err(CuResult::NOT_SUPPORTED);
                }
            }
            id if ADVICE.contains(&id) => {}
            _ => return Err(CuResult::NOT_SUPPORTED),
        }
    }
    Ok(cooperative)
}

/// Blocks of a kernel that a multiprocessor would hold.
fn active_blocks(function: &Function, threads: u32, dynamic_bytes: u64) -> u32 {
    let warps = threads.div_ceil(32).max(1);
    let registers = function.kernel.registers().max(1).next_multiple_of(8).saturating_mul(32 * warps);
    let shared =
        u64::from(function.kernel.shared_bytes() + RESERVED_SHARED_BYTES).saturating_add(dynamic_bytes);
    let by_shared = u32::try_from(u64::from(SHARED_BYTES_PER_SM) / shared).unwrap_or(u32::MAX);
    if threads > function.kernel.max_threads() || dynamic_bytes > u64::from(function.max_dynamic_bytes) {
        return 0;
    }
    // The registers are virtual and no limit to a launch, so at least one block always fits.
    let by_registers = (REGISTERS_PER_SM / registers).max(1);
    [MAX_BLOCKS_PER_SM, MAX_THREADS_PER_SM / (32 * warps), by_registers, by_shared]
        .into_iter()
        .min()
        .unwrap_or(0)
}

impl CpuContext {
    pub(super) fn launch(&mut self, launch: Launch) -> Step {
        let function = self.code.function(launch.function)?.clone();
        self.check_stream(launch.stream)?;
        let cooperative = is_cooperative(&launch.attributes)? || launch.cooperative;
        let geometry = launch.geometry;
        let shape = Shape {
            grid: geometry.grid,
            block: geometry.block,
            dynamic_shared_bytes: geometry.shared_bytes,
            cooperative,
        };
        if cooperative {
            self.check_cooperative(&function, &shape)?;
        }
        let limits = LaunchLimits { shared_bytes: function.max_shared_bytes(), ..self.launch_limits };
        let Function { module, kernel, .. } = function;
        let prepared = Prepared::new(&module, &kernel, &shape, &launch.params, &self.memory, &limits);
        let prepared = prepared.map_err(|fault| {
            tracing::debug!(%fault, kernel = kernel.name(), "a launch is refused");
            fault.code
        })?;
        self.enqueue(launch.stream, move |shared| {
            if shared.fault().is_some() {
                return;
            }
            if let Err(fault) = prepared.run(&module, &kernel, &launch.params, &limits, &shared.stop) {
                if fault.code != CuResult::CONTEXT_IS_DESTROYED {
                    tracing::warn!(code = fault.code.0, "{fault}");
                }
                shared.set_fault(fault.code);
            }
        })?;
        Ok(Some(Value::None))
    }

    /// A cooperative launch must fit the multiprocessors all at once.
    fn check_cooperative(&self, function: &Function, shape: &Shape) -> Result<(), CuResult> {
        let threads = shape.block.iter().fold(1u32, |product, &n| product.saturating_mul(n));
        let blocks = shape.grid.iter().fold(1u64, |product, &n| product.saturating_mul(n.into()));
        let each = active_blocks(function, threads, shape.dynamic_shared_bytes.into());
        let most = u64::from(each).saturating_mul(self.launch_limits.workers.get() as u64);
        if threads <= MAX_THREADS_PER_BLOCK && blocks > most {
            return Err(CuResult::COOPERATIVE_LAUNCH_TOO_LARGE);
        }
        Ok(())
    }

    pub(super) fn max_active_blocks(&self, function: Handle, block_threads: i32, shared_bytes: u64) -> Step {
        let function = self.code.function(function)?;
        let threads = u32::try_from(block_threads).ok().filter(|t| *t > 0).ok_or(CuResult::INVALID_VALUE)?;
        Ok(Some(Value::Number(active_blocks(function, threads, shared_bytes).into())))
    }

    pub(super) fn available_shared_bytes(&self, function: Handle, blocks: i32, block_threads: i32) -> Step {
        let function = self.code.function(function)?;
        let positive = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0).ok_or(CuResult::INVALID_VALUE);
        let (blocks, threads) = (positive(blocks)?, positive(block_threads)?);
        if blocks > active_blocks(function, threads, 0) {
            return Err(CuResult::INVALID_VALUE);
        }
        let each = SHARED_BYTES_PER_SM / blocks;
        let taken = RESERVED_SHARED_BYTES + function.kernel.shared_bytes();
        Ok(Some(Value::Number(each.saturating_sub(taken).into())))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn attributes_that_would_change_the_meaning_are_refused() {
        let one = |id, value: &'static [u8]| [LaunchAttribute { id, value: Bytes::from_static(value) }];
        assert_eq!(is_cooperative(&one(2, &[1])), Ok(true));
        assert_eq!(is_cooperative(&one(2, &[])), Ok(false));
        assert_eq!(is_cooperative(&one(4, &[1, 0, 0, 0, 1, 0, 0, 0, 1])), Ok(false));
        assert_eq!(is_cooperative(&one(4, &[2, 0, 0, 0, 1])), Err(CuResult::NOT_SUPPORTED));
        assert_eq!(is_cooperative(&one(6, &[1])), Ok(false));
        assert_eq!(is_cooperative(&one(7, &[1])), Err(CuResult::NOT_SUPPORTED));
    }
}
