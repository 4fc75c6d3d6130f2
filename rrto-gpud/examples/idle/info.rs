//! What programs are told about the device: an H100 with 80 GB, as its driver describes it.

use rrto_core::api::DeviceAttribute as A;
use rrto_core::wire::{ATTRIBUTE_SLOTS, DeviceInfo, MAX_LIMIT_SLOTS, PciAddress};

/// Device memory, bytes.
pub(crate) const TOTAL_BYTES: u64 = 80 << 30;
/// Shared memory of a block that does not ask for more, bytes.
pub(crate) const STATIC_SHARED_BYTES: i32 = 48 << 10;
/// Compute capability 9.0, as function attributes have it.
pub(crate) const CODE_VERSION: i32 = 90;

/// The limits of a new context, by `CUlimit`.
const LIMITS: [Option<u64>; 7] =
    [Some(1024), Some(7 << 20), Some(8 << 20), None, Some(2048), Some(64), Some(0)];

/// Every attribute that is not zero.
const ATTRIBUTES: &[(A, i32)] = &[
    (A::MAX_THREADS_PER_BLOCK, 1024),
    (A::MAX_BLOCK_DIM_X, 1024),
    (A::MAX_BLOCK_DIM_Y, 1024),
    (A::MAX_BLOCK_DIM_Z, 64),
    (A::MAX_GRID_DIM_X, i32::MAX),
    (A::MAX_GRID_DIM_Y, 65_535),
    (A::MAX_GRID_DIM_Z, 65_535),
    (A::MAX_SHARED_MEMORY_PER_BLOCK, STATIC_SHARED_BYTES),
    (A::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 227 << 10),
    (A::MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 228 << 10),
    (A::RESERVED_SHARED_MEMORY_PER_BLOCK, 1024),
    (A::TOTAL_CONSTANT_MEMORY, 64 << 10),
    (A::WARP_SIZE, 32),
    (A::MAX_PITCH, i32::MAX),
    (A::MAX_REGISTERS_PER_BLOCK, 65_536),
    (A::MAX_REGISTERS_PER_MULTIPROCESSOR, 65_536),
    (A::MAX_THREADS_PER_MULTIPROCESSOR, 2048),
    (A::MAX_BLOCKS_PER_MULTIPROCESSOR, 32),
    (A::MULTIPROCESSOR_COUNT, 132),
    (A::CLOCK_RATE, 1_980_000),
    (A::MEMORY_CLOCK_RATE, 2_619_000),
    (A::GLOBAL_MEMORY_BUS_WIDTH, 5120),
    (A::L2_CACHE_SIZE, 50 << 20),
    (A::TEXTURE_ALIGNMENT, 512),
    (A::TEXTURE_PITCH_ALIGNMENT, 32),
    (A::SURFACE_ALIGNMENT, 512),
    (A::GPU_OVERLAP, 1),
    (A::ASYNC_ENGINE_COUNT, 3),
    (A::CONCURRENT_KERNELS, 1),
    (A::UNIFIED_ADDRESSING, 1),
    (A::STREAM_PRIORITIES_SUPPORTED, 1),
    (A::GLOBAL_L1_CACHE_SUPPORTED, 1),
    (A::LOCAL_L1_CACHE_SUPPORTED, 1),
    (A::SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 2),
    (A::COMPUTE_CAPABILITY_MAJOR, 9),
    (A::COMPUTE_CAPABILITY_MINOR, 0),
    (A::COMPUTE_PREEMPTION_SUPPORTED, 1),
    (A::COOPERATIVE_LAUNCH, 1),
    (A::MEM_SYNC_DOMAIN_COUNT, 4),
    (A::CLUSTER_LAUNCH, 1),
    (A::TENSOR_MAP_ACCESS_SUPPORTED, 1),
    (A::UNIFIED_FUNCTION_POINTERS, 1),
    (A::MAX_PERSISTING_L2_CACHE_SIZE, 32_768_000),
    (A::MAX_ACCESS_POLICY_WINDOW_SIZE, 134_213_632),
    (A::GENERIC_COMPRESSION_SUPPORTED, 1),
    (A::ECC_ENABLED, 1),
    (A::GPU_PCI_DEVICE_ID, 0x2330_10de),
    (A::MAXIMUM_TEXTURE1D_WIDTH, 131_072),
    (A::MAXIMUM_TEXTURE2D_WIDTH, 131_072),
    (A::MAXIMUM_TEXTURE2D_HEIGHT, 65_536),
    (A::MAXIMUM_TEXTURE1D_LINEAR_WIDTH, 268_435_456),
];

pub(crate) fn info() -> DeviceInfo {
    let attribute = |number: i32| {
        let own = ATTRIBUTES.iter().find(|(attribute, _)| attribute.0 == number).map_or(0, |row| row.1);
        A(number).name().map(|_| A(number).override_value().unwrap_or(own))
    };
    let mut limits = LIMITS.to_vec();
    limits.resize(MAX_LIMIT_SLOTS, None);
    DeviceInfo {
        name: "RRTO idle GPU".to_owned(),
        uuid: *b"RRTO an idle GPU",
        total_bytes: TOTAL_BYTES,
        driver_version: 13_000,
        attributes: (0..ATTRIBUTE_SLOTS as i32).map(attribute).collect(),
        pci: PciAddress::default(),
        stream_priorities: (0, -5),
        limits,
    }
}
