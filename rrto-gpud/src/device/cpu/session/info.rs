//! What a client is told about the software GPU.

use rrto_core::api::DeviceAttribute as A;
use rrto_core::wire::{ATTRIBUTE_SLOTS, DeviceInfo, MAX_LIMIT_SLOTS, PciAddress};

use super::launch::{
    MAX_BLOCKS_PER_SM, MAX_THREADS_PER_SM, REGISTERS_PER_SM, RESERVED_SHARED_BYTES, SHARED_BYTES_PER_SM,
};
use crate::device::cpu::{
    ALLOCATION_ALIGN, MAX_BLOCK_DIM, MAX_GRID_DIM, MAX_SHARED_BYTES, MAX_STATIC_SHARED_BYTES,
    MAX_THREADS_PER_BLOCK,
};

/// The device's name.
pub const NAME: &str = "RRTO software GPU";
/// The device's UUID: the same everywhere, since one software GPU is like another. By it a client knows that PTX of any
/// architecture can be executed and machine code cannot.
pub const UUID: [u8; 16] = *b"RRTO software GP";
/// What `cuDriverGetVersion` answers: CUDA 13.0, the newest whose PTX is understood.
const DRIVER_VERSION: i32 = 13_000;
/// Compute capability, major and minor: PTX for everything up to `compute_90` is accepted.
pub const COMPUTE_CAPABILITY: (i32, i32) = (9, 0);

/// The limits of a new context, by `CUlimit`: stack, printf buffer, heap, (none), pending launches, fetch
/// granularity, persisting cache.
const LIMITS: [Option<u64>; 7] =
    [Some(1024), Some(1 << 20), Some(8 << 20), None, Some(2048), Some(64), Some(0)];

/// Every attribute that is not zero. The clocks and the cache are made up, for programs that divide by them.
fn attributes(multiprocessors: i32) -> Vec<(A, i32)> {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    vec![
        (A::MAX_THREADS_PER_BLOCK, number(MAX_THREADS_PER_BLOCK)),
        (A::MAX_BLOCK_DIM_X, number(MAX_BLOCK_DIM[0])),
        (A::MAX_BLOCK_DIM_Y, number(MAX_BLOCK_DIM[1])),
        (A::MAX_BLOCK_DIM_Z, number(MAX_BLOCK_DIM[2])),
        (A::MAX_GRID_DIM_X, number(MAX_GRID_DIM[0])),
        (A::MAX_GRID_DIM_Y, number(MAX_GRID_DIM[1])),
        (A::MAX_GRID_DIM_Z, number(MAX_GRID_DIM[2])),
        (A::MAX_SHARED_MEMORY_PER_BLOCK, number(MAX_STATIC_SHARED_BYTES)),
        (A::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, number(MAX_SHARED_BYTES)),
        (A::MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, number(SHARED_BYTES_PER_SM)),
        (A::RESERVED_SHARED_MEMORY_PER_BLOCK, number(RESERVED_SHARED_BYTES)),
        (A::TOTAL_CONSTANT_MEMORY, 64 << 10),
        (A::WARP_SIZE, 32),
        (A::MAX_PITCH, i32::MAX),
        (A::MAX_REGISTERS_PER_BLOCK, number(REGISTERS_PER_SM)),
        (A::MAX_REGISTERS_PER_MULTIPROCESSOR, number(REGISTERS_PER_SM)),
        (A::MAX_THREADS_PER_MULTIPROCESSOR, number(MAX_THREADS_PER_SM)),
        (A::MAX_BLOCKS_PER_MULTIPROCESSOR, number(MAX_BLOCKS_PER_SM)),
        (A::MULTIPROCESSOR_COUNT, multiprocessors),
        (A::CLOCK_RATE, 1_000_000),
        (A::MEMORY_CLOCK_RATE, 1_000_000),
        (A::GLOBAL_MEMORY_BUS_WIDTH, 64),
        (A::L2_CACHE_SIZE, 4 << 20),
        (A::TEXTURE_ALIGNMENT, number(ALLOCATION_ALIGN as u32)),
        (A::TEXTURE_PITCH_ALIGNMENT, 32),
        (A::SURFACE_ALIGNMENT, number(ALLOCATION_ALIGN as u32)),
        (A::GPU_OVERLAP, 1),
        (A::ASYNC_ENGINE_COUNT, 2),
        (A::CONCURRENT_KERNELS, 1),
        (A::UNIFIED_ADDRESSING, 1),
        (A::STREAM_PRIORITIES_SUPPORTED, 0),
        (A::GLOBAL_L1_CACHE_SUPPORTED, 1),
        (A::LOCAL_L1_CACHE_SUPPORTED, 1),
        (A::SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 1),
        (A::COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY.0),
        (A::COMPUTE_CAPABILITY_MINOR, COMPUTE_CAPABILITY.1),
        (A::COMPUTE_PREEMPTION_SUPPORTED, 1),
        (A::COOPERATIVE_LAUNCH, 1),
        (A::MEM_SYNC_DOMAIN_COUNT, 1),
    ]
}

/// All about a device with so much memory and so many multiprocessors.
pub(super) fn info(total_bytes: u64, multiprocessors: usize) -> DeviceInfo {
    let count = i32::try_from(multiprocessors).unwrap_or(i32::MAX);
    let table = attributes(count);
    let attribute = |number: i32| {
        let own = table.iter().find(|(attribute, _)| attribute.0 == number).map_or(0, |row| row.1);
        A(number).name().map(|_| A(number).override_value().unwrap_or(own))
    };
    let mut limits = LIMITS.to_vec();
    limits.resize(MAX_LIMIT_SLOTS, None);
    DeviceInfo {
        name: NAME.to_owned(),
        uuid: UUID,
        total_bytes,
        driver_version: DRIVER_VERSION,
        attributes: (0..ATTRIBUTE_SLOTS as i32).map(attribute).collect(),
        pci: PciAddress::default(),
        stream_priorities: (0, 0),
        limits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_of_cuda_13_has_an_answer() {
        let info = info(4 << 30, 8);
        assert!(A::ALL.iter().all(|a| info.attribute(a.0).is_some()));
        assert_eq!(info.attribute(0), None);
        assert_eq!(info.attribute(A::WARP_SIZE.0), Some(32));
        assert_eq!(info.attribute(A::MULTIPROCESSOR_COUNT.0), Some(8));
        assert_eq!(info.compute_capability(), (9, 0));
    }
}
