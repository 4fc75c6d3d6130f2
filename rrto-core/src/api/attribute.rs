//! The numbers of device and function attributes, as of CUDA 13.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! define_attributes {
    ($kind:ident, $c_prefix:literal, $($name:ident = $value:literal,)*) => {
        impl $kind {
            $(
                #[doc = concat!("`", $c_prefix, stringify!($name), "`")]
                pub const $name: $kind = $kind($value);
            )*

            /// Every one that CUDA 13 defines, by number.
            pub const ALL: &'static [$kind] = &[$($kind($value)),*];

            /// The name in cuda.h; `None` for a number that CUDA 13 does not define.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(concat!($c_prefix, stringify!($name))),)*
                    _ => None,
                }
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}{}", $c_prefix, self.0),
                }
            }
        }
    };
}

/// A `CUdevice_attribute`: a question that cuDeviceGetAttribute answers with a C `int`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceAttribute(pub i32);

/// A `CUfunction_attribute`: a question about a kernel, answered with a C `int`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionAttribute(pub i32);

/// Something that a device may be able to do and RRTO does not offer.
#[derive(Clone, Copy, Debug)]
pub struct NotOffered {
    /// What the program is told instead of the device's own answer.
    pub told: i32,
    /// Why it is not offered.
    pub because: &'static str,
    /// The attributes that ask for it.
    pub attributes: &'static [DeviceAttribute],
}

impl DeviceAttribute {
    /// What the program is told whatever the device says; `None` where the device's own answer stands.
    ///
    /// A program that asks before it uses a feature then takes another way, instead of failing in the middle.
    /// UNIFIED_ADDRESSING is deliberately not among these: device addresses are the server's real ones, host
    /// addresses are the program's, and which is which is known from their value.
    pub fn override_value(self) -> Option<i32> {
        NOT_OFFERED.iter().find(|not| not.attributes.contains(&self)).map(|not| not.told)
    }

    /// Everything that is not offered.
    pub const fn not_offered() -> &'static [NotOffered] {
        NOT_OFFERED
    }
}

impl FunctionAttribute {
    /// Whether cuFuncSetAttribute and cuKernelSetAttribute accept it; the others are facts about the code.
    pub fn is_settable(self) -> bool {
        matches!(
            self,
            Self::MAX_DYNAMIC_SHARED_SIZE_BYTES
                | Self::PREFERRED_SHARED_MEMORY_CARVEOUT
                | Self::REQUIRED_CLUSTER_WIDTH
                | Self::REQUIRED_CLUSTER_HEIGHT
                | Self::REQUIRED_CLUSTER_DEPTH
                | Self::NON_PORTABLE_CLUSTER_SIZE_ALLOWED
                | Self::CLUSTER_SCHEDULING_POLICY_PREFERENCE
        )
    }
}

static NOT_OFFERED: &[NotOffered] = &[
    NotOffered {
        told: 0,
        because: "the program's memory is not the device's, whatever the server is",
        attributes: &[DeviceAttribute::INTEGRATED],
    },
    NotOffered {
        told: 0,
        because: "a kernel cannot reach into the program's memory",
        attributes: &[
            DeviceAttribute::CAN_MAP_HOST_MEMORY,
            DeviceAttribute::HOST_NATIVE_ATOMIC_SUPPORTED,
            DeviceAttribute::ONLY_PARTIAL_HOST_NATIVE_ATOMIC_SUPPORTED,
            DeviceAttribute::PAGEABLE_MEMORY_ACCESS,
            DeviceAttribute::PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
            DeviceAttribute::CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
        ],
    },
    NotOffered {
        told: 0,
        because: "registering is accepted, and maps nothing",
        attributes: &[
            DeviceAttribute::HOST_REGISTER_SUPPORTED,
            DeviceAttribute::READ_ONLY_HOST_REGISTER_SUPPORTED,
        ],
    },
    NotOffered {
        told: 0,
        because: "managed memory is not offered",
        attributes: &[
            DeviceAttribute::MANAGED_MEMORY,
            DeviceAttribute::CONCURRENT_MANAGED_ACCESS,
            DeviceAttribute::DIRECT_MANAGED_MEM_ACCESS_FROM_HOST,
        ],
    },
    NotOffered {
        told: 0,
        because: "stream memory operations are not offered",
        attributes: &[
            DeviceAttribute::CAN_USE_STREAM_MEM_OPS_V1,
            DeviceAttribute::CAN_USE_64_BIT_STREAM_MEM_OPS_V1,
            DeviceAttribute::CAN_USE_STREAM_WAIT_VALUE_NOR_V1,
            DeviceAttribute::CAN_USE_64_BIT_STREAM_MEM_OPS,
            DeviceAttribute::CAN_USE_STREAM_WAIT_VALUE_NOR,
            DeviceAttribute::CAN_FLUSH_REMOTE_WRITES,
        ],
    },
    NotOffered {
        told: 0,
        because: "a session has one device",
        attributes: &[DeviceAttribute::COOPERATIVE_MULTI_DEVICE_LAUNCH, DeviceAttribute::MULTICAST_SUPPORTED],
    },
    NotOffered {
        told: 0,
        because: "virtual memory management is not offered",
        attributes: &[
            DeviceAttribute::VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
            DeviceAttribute::HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
            DeviceAttribute::HANDLE_TYPE_WIN32_HANDLE_SUPPORTED,
            DeviceAttribute::HANDLE_TYPE_WIN32_KMT_HANDLE_SUPPORTED,
            DeviceAttribute::HANDLE_TYPE_FABRIC_SUPPORTED,
            DeviceAttribute::GENERIC_COMPRESSION_SUPPORTED,
            DeviceAttribute::HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
            DeviceAttribute::HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
        ],
    },
    NotOffered {
        told: 0,
        because: "memory pools are not offered",
        attributes: &[
            DeviceAttribute::MEMORY_POOLS_SUPPORTED,
            DeviceAttribute::MEMPOOL_SUPPORTED_HANDLE_TYPES,
            DeviceAttribute::HOST_NUMA_MEMORY_POOLS_SUPPORTED,
            DeviceAttribute::HOST_MEMORY_POOLS_SUPPORTED,
        ],
    },
    NotOffered {
        told: 0,
        because: "stream attributes are not offered",
        attributes: &[
            DeviceAttribute::MAX_PERSISTING_L2_CACHE_SIZE,
            DeviceAttribute::MAX_ACCESS_POLICY_WINDOW_SIZE,
        ],
    },
    NotOffered {
        told: 0,
        because: "arrays are not offered",
        attributes: &[
            DeviceAttribute::SPARSE_CUDA_ARRAY_SUPPORTED,
            DeviceAttribute::DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED,
        ],
    },
    NotOffered {
        told: 0,
        because: "nothing else on the program's machine can share the device",
        attributes: &[
            DeviceAttribute::TIMELINE_SEMAPHORE_INTEROP_SUPPORTED,
            DeviceAttribute::D3D12_CIG_SUPPORTED,
            DeviceAttribute::VULKAN_CIG_SUPPORTED,
            DeviceAttribute::GPU_DIRECT_RDMA_SUPPORTED,
            DeviceAttribute::GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
            DeviceAttribute::GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS,
            DeviceAttribute::GPU_DIRECT_RDMA_WRITES_ORDERING,
            DeviceAttribute::DMA_BUF_SUPPORTED,
            DeviceAttribute::HOST_ALLOC_DMA_BUF_SUPPORTED,
        ],
    },
    NotOffered {
        told: 0,
        because: "handles mean nothing to another process",
        attributes: &[
            DeviceAttribute::IPC_EVENT_SUPPORTED,
            DeviceAttribute::HOST_NUMA_MULTINODE_IPC_SUPPORTED,
        ],
    },
    NotOffered {
        told: 0,
        because: "how the server shares its device is its own affair",
        attributes: &[DeviceAttribute::MPS_ENABLED],
    },
    NotOffered {
        told: 0,
        because: "function pointers cannot be taken from here",
        attributes: &[DeviceAttribute::UNIFIED_FUNCTION_POINTERS],
    },
    NotOffered {
        told: 0,
        because: "the device is near to no part of the program's memory",
        attributes: &[DeviceAttribute::NUMA_CONFIG],
    },
    NotOffered {
        told: -1,
        because: "the device is near to no part of the program's memory",
        attributes: &[DeviceAttribute::NUMA_ID, DeviceAttribute::HOST_NUMA_ID],
    },
    NotOffered {
        told: 0,
        because: "decompression is not offered",
        attributes: &[
            DeviceAttribute::MEM_DECOMPRESS_ALGORITHM_MASK,
            DeviceAttribute::MEM_DECOMPRESS_MAXIMUM_LENGTH,
        ],
    },
];

define_attributes! {
    FunctionAttribute, "CU_FUNC_ATTRIBUTE_",
    MAX_THREADS_PER_BLOCK = 0,
    SHARED_SIZE_BYTES = 1,
    CONST_SIZE_BYTES = 2,
    LOCAL_SIZE_BYTES = 3,
    NUM_REGS = 4,
    PTX_VERSION = 5,
    BINARY_VERSION = 6,
    CACHE_MODE_CA = 7,
    MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    PREFERRED_SHARED_MEMORY_CARVEOUT = 9,
    CLUSTER_SIZE_MUST_BE_SET = 10,
    REQUIRED_CLUSTER_WIDTH = 11,
    REQUIRED_CLUSTER_HEIGHT = 12,
    REQUIRED_CLUSTER_DEPTH = 13,
    NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14,
    CLUSTER_SCHEDULING_POLICY_PREFERENCE = 15,
}

define_attributes! {
    DeviceAttribute, "CU_DEVICE_ATTRIBUTE_",
    MAX_THREADS_PER_BLOCK = 1,
    MAX_BLOCK_DIM_X = 2,
    MAX_BLOCK_DIM_Y = 3,
    MAX_BLOCK_DIM_Z = 4,
    MAX_GRID_DIM_X = 5,
    MAX_GRID_DIM_Y = 6,
    MAX_GRID_DIM_Z = 7,
    MAX_SHARED_MEMORY_PER_BLOCK = 8,
    TOTAL_CONSTANT_MEMORY = 9,
    WARP_SIZE = 10,
    MAX_PITCH = 11,
    MAX_REGISTERS_PER_BLOCK = 12,
    CLOCK_RATE = 13,
    TEXTURE_ALIGNMENT = 14,
    GPU_OVERLAP = 15,
    MULTIPROCESSOR_COUNT = 16,
    KERNEL_EXEC_TIMEOUT = 17,
    INTEGRATED = 18,
    CAN_MAP_HOST_MEMORY = 19,
    COMPUTE_MODE = 20,
    MAXIMUM_TEXTURE1D_WIDTH = 21,
    MAXIMUM_TEXTURE2D_WIDTH = 22,
    MAXIMUM_TEXTURE2D_HEIGHT = 23,
    MAXIMUM_TEXTURE3D_WIDTH = 24,
    MAXIMUM_TEXTURE3D_HEIGHT = 25,
    MAXIMUM_TEXTURE3D_DEPTH = 26,
    MAXIMUM_TEXTURE2D_LAYERED_WIDTH = 27,
    MAXIMUM_TEXTURE2D_LAYERED_HEIGHT = 28,
    MAXIMUM_TEXTURE2D_LAYERED_LAYERS = 29,
    SURFACE_ALIGNMENT = 30,
    CONCURRENT_KERNELS = 31,
    ECC_ENABLED = 32,
    PCI_BUS_ID = 33,
    PCI_DEVICE_ID = 34,
    TCC_DRIVER = 35,
    MEMORY_CLOCK_RATE = 36,
    GLOBAL_MEMORY_BUS_WIDTH = 37,
    L2_CACHE_SIZE = 38,
    MAX_THREADS_PER_MULTIPROCESSOR = 39,
    ASYNC_ENGINE_COUNT = 40,
    UNIFIED_ADDRESSING = 41,
    MAXIMUM_TEXTURE1D_LAYERED_WIDTH = 42,
    MAXIMUM_TEXTURE1D_LAYERED_LAYERS = 43,
    CAN_TEX2D_GATHER = 44,
    MAXIMUM_TEXTURE2D_GATHER_WIDTH = 45,
    MAXIMUM_TEXTURE2D_GATHER_HEIGHT = 46,
    MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE = 47,
    MAXIMUM_TEXTURE3D_HEIGHT_ALTERNATE = 48,
    MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE = 49,
    PCI_DOMAIN_ID = 50,
    TEXTURE_PITCH_ALIGNMENT = 51,
    MAXIMUM_TEXTURECUBEMAP_WIDTH = 52,
    MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH = 53,
    MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS = 54,
    MAXIMUM_SURFACE1D_WIDTH = 55,
    MAXIMUM_SURFACE2D_WIDTH = 56,
    MAXIMUM_SURFACE2D_HEIGHT = 57,
    MAXIMUM_SURFACE3D_WIDTH = 58,
    MAXIMUM_SURFACE3D_HEIGHT = 59,
    MAXIMUM_SURFACE3D_DEPTH = 60,
    MAXIMUM_SURFACE1D_LAYERED_WIDTH = 61,
    MAXIMUM_SURFACE1D_LAYERED_LAYERS = 62,
    MAXIMUM_SURFACE2D_LAYERED_WIDTH = 63,
    MAXIMUM_SURFACE2D_LAYERED_HEIGHT = 64,
    MAXIMUM_SURFACE2D_LAYERED_LAYERS = 65,
    MAXIMUM_SURFACECUBEMAP_WIDTH = 66,
    MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH = 67,
    MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS = 68,
    MAXIMUM_TEXTURE1D_LINEAR_WIDTH = 69,
    MAXIMUM_TEXTURE2D_LINEAR_WIDTH = 70,
    MAXIMUM_TEXTURE2D_LINEAR_HEIGHT = 71,
    MAXIMUM_TEXTURE2D_LINEAR_PITCH = 72,
    MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH = 73,
    MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT = 74,
    COMPUTE_CAPABILITY_MAJOR = 75,
    COMPUTE_CAPABILITY_MINOR = 76,
    MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH = 77,
    STREAM_PRIORITIES_SUPPORTED = 78,
    GLOBAL_L1_CACHE_SUPPORTED = 79,
    LOCAL_L1_CACHE_SUPPORTED = 80,
    MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81,
    MAX_REGISTERS_PER_MULTIPROCESSOR = 82,
    MANAGED_MEMORY = 83,
    MULTI_GPU_BOARD = 84,
    MULTI_GPU_BOARD_GROUP_ID = 85,
    HOST_NATIVE_ATOMIC_SUPPORTED = 86,
    SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO = 87,
    PAGEABLE_MEMORY_ACCESS = 88,
    CONCURRENT_MANAGED_ACCESS = 89,
    COMPUTE_PREEMPTION_SUPPORTED = 90,
    CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM = 91,
    CAN_USE_STREAM_MEM_OPS_V1 = 92,
    CAN_USE_64_BIT_STREAM_MEM_OPS_V1 = 93,
    CAN_USE_STREAM_WAIT_VALUE_NOR_V1 = 94,
    COOPERATIVE_LAUNCH = 95,
    COOPERATIVE_MULTI_DEVICE_LAUNCH = 96,
    MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    CAN_FLUSH_REMOTE_WRITES = 98,
    HOST_REGISTER_SUPPORTED = 99,
    PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES = 100,
    DIRECT_MANAGED_MEM_ACCESS_FROM_HOST = 101,
    VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
    HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,
    HANDLE_TYPE_WIN32_HANDLE_SUPPORTED = 104,
    HANDLE_TYPE_WIN32_KMT_HANDLE_SUPPORTED = 105,
    MAX_BLOCKS_PER_MULTIPROCESSOR = 106,
    GENERIC_COMPRESSION_SUPPORTED = 107,
    MAX_PERSISTING_L2_CACHE_SIZE = 108,
    MAX_ACCESS_POLICY_WINDOW_SIZE = 109,
    GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED = 110,
    RESERVED_SHARED_MEMORY_PER_BLOCK = 111,
    SPARSE_CUDA_ARRAY_SUPPORTED = 112,
    READ_ONLY_HOST_REGISTER_SUPPORTED = 113,
    TIMELINE_SEMAPHORE_INTEROP_SUPPORTED = 114,
    MEMORY_POOLS_SUPPORTED = 115,
    GPU_DIRECT_RDMA_SUPPORTED = 116,
    GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS = 117,
    GPU_DIRECT_RDMA_WRITES_ORDERING = 118,
    MEMPOOL_SUPPORTED_HANDLE_TYPES = 119,
    CLUSTER_LAUNCH = 120,
    DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED = 121,
    CAN_USE_64_BIT_STREAM_MEM_OPS = 122,
    CAN_USE_STREAM_WAIT_VALUE_NOR = 123,
    DMA_BUF_SUPPORTED = 124,
    IPC_EVENT_SUPPORTED = 125,
    MEM_SYNC_DOMAIN_COUNT = 126,
    TENSOR_MAP_ACCESS_SUPPORTED = 127,
    HANDLE_TYPE_FABRIC_SUPPORTED = 128,
    UNIFIED_FUNCTION_POINTERS = 129,
    NUMA_CONFIG = 130,
    NUMA_ID = 131,
    MULTICAST_SUPPORTED = 132,
    MPS_ENABLED = 133,
    HOST_NUMA_ID = 134,
    D3D12_CIG_SUPPORTED = 135,
    MEM_DECOMPRESS_ALGORITHM_MASK = 136,
    MEM_DECOMPRESS_MAXIMUM_LENGTH = 137,
    VULKAN_CIG_SUPPORTED = 138,
    GPU_PCI_DEVICE_ID = 139,
    GPU_PCI_SUBSYSTEM_ID = 140,
    HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 141,
    HOST_NUMA_MEMORY_POOLS_SUPPORTED = 142,
    HOST_NUMA_MULTINODE_IPC_SUPPORTED = 143,
    HOST_MEMORY_POOLS_SUPPORTED = 144,
    HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 145,
    HOST_ALLOC_DMA_BUF_SUPPORTED = 146,
    ONLY_PARTIAL_HOST_NATIVE_ATOMIC_SUPPORTED = 147,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive() {
        let device: Vec<i32> = DeviceAttribute::ALL.iter().map(|a| a.0).collect();
        assert_eq!(device, (1..=147).collect::<Vec<_>>());
        let function: Vec<i32> = FunctionAttribute::ALL.iter().map(|a| a.0).collect();
        assert_eq!(function, (0..=15).collect::<Vec<_>>());
    }

    #[test]
    fn an_attribute_is_overridden_once_or_not_at_all() {
        let all = || DeviceAttribute::not_offered().iter().flat_map(|not| not.attributes);
        for attribute in all() {
            assert!(matches!(attribute.override_value(), Some(0 | -1)), "{attribute:?}");
            assert_eq!(all().filter(|a| a == &attribute).count(), 1, "{attribute:?}");
        }
        for kept in [
            DeviceAttribute::UNIFIED_ADDRESSING,
            DeviceAttribute::COMPUTE_CAPABILITY_MAJOR,
            DeviceAttribute::COOPERATIVE_LAUNCH,
            DeviceAttribute(4242),
        ] {
            assert_eq!(kept.override_value(), None, "{kept:?}");
        }
    }

    #[test]
    fn names() {
        let name = DeviceAttribute::MANAGED_MEMORY.name();
        assert_eq!(name, Some("CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY"));
        assert_eq!(format!("{:?}", DeviceAttribute(4242)), "CU_DEVICE_ATTRIBUTE_4242");
        assert_eq!(FunctionAttribute::NUM_REGS.name(), Some("CU_FUNC_ATTRIBUTE_NUM_REGS"));
    }
}
