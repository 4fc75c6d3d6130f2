//! The error codes of the driver API (`CUresult`), with the names and texts of CUDA 13.

use std::{ffi::CStr, fmt};

use serde::{Deserialize, Serialize};

/// What a driver function returned: a `CUresult`.
///
/// Any number is representable, because a newer driver on the server may answer one that is not listed here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CuResult(pub u32);

struct Text {
    value: u32,
    name: &'static CStr,
    description: &'static CStr,
    sticky: bool,
}

macro_rules! is_sticky {
    () => {
        false
    };
    (sticky) => {
        true
    };
}

macro_rules! define_results {
    ($($short:ident = $value:literal, $description:literal $(, $sticky:ident)?;)*) => {
        impl CuResult {
            /// `CUDA_SUCCESS`: no error.
            pub const SUCCESS: CuResult = CuResult(0);
            $(
                #[doc = concat!("`CUDA_ERROR_", stringify!($short), "`: ", $description, ".")]
                pub const $short: CuResult = CuResult($value);
            )*
        }

        /// Sorted by value.
        static TEXTS: &[Text] = &[
            Text { value: 0, name: c"CUDA_SUCCESS", description: c"no error", sticky: false },
            $(Text {
                value: $value,
                name: c_str(concat!("CUDA_ERROR_", stringify!($short), "\0")),
                description: c_str(concat!($description, "\0")),
                sticky: is_sticky!($($sticky)?),
            }),*
        ];
    };
}

// A row: name without CUDA_ERROR_ = value, text of cuGetErrorString; `sticky` where cuda.h says that
// any further CUDA work will return the same error, and for uncorrectable hardware errors, which do likewise.
define_results! {
    INVALID_VALUE = 1, "invalid argument";
    OUT_OF_MEMORY = 2, "out of memory";
    NOT_INITIALIZED = 3, "initialization error";
    DEINITIALIZED = 4, "driver shutting down";
    PROFILER_DISABLED = 5, "profiler disabled while using external profiling tool";
    PROFILER_NOT_INITIALIZED = 6, "profiler not initialized: call cudaProfilerInitialize()";
    PROFILER_ALREADY_STARTED = 7, "profiler already started";
    PROFILER_ALREADY_STOPPED = 8, "profiler already stopped";
    STUB_LIBRARY = 34, "CUDA driver is a stub library";
    CALL_REQUIRES_NEWER_DRIVER = 36, "API call is not supported in the installed CUDA driver";
    DEVICE_UNAVAILABLE = 46, "CUDA-capable device(s) is/are busy or unavailable";
    NO_DEVICE = 100, "no CUDA-capable device is detected";
    INVALID_DEVICE = 101, "invalid device ordinal";
    DEVICE_NOT_LICENSED = 102, "device doesn't have valid Grid license";
    INVALID_IMAGE = 200, "device kernel image is invalid";
    INVALID_CONTEXT = 201, "invalid device context";
    CONTEXT_ALREADY_CURRENT = 202, "context is already current";
    MAP_FAILED = 205, "mapping of buffer object failed";
    UNMAP_FAILED = 206, "unmapping of buffer object failed";
    ARRAY_IS_MAPPED = 207, "array is mapped";
    ALREADY_MAPPED = 208, "resource already mapped";
    NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
    ALREADY_ACQUIRED = 210, "resource already acquired";
    NOT_MAPPED = 211, "resource not mapped";
    NOT_MAPPED_AS_ARRAY = 212, "resource not mapped as array";
    NOT_MAPPED_AS_POINTER = 213, "resource not mapped as pointer";
    ECC_UNCORRECTABLE = 214, "uncorrectable ECC error encountered", sticky;
    UNSUPPORTED_LIMIT = 215, "limit is not supported on this architecture";
    CONTEXT_ALREADY_IN_USE = 216, "exclusive-thread device already in use by a different thread";
    PEER_ACCESS_UNSUPPORTED = 217, "peer access is not supported between these two devices";
    INVALID_PTX = 218, "a PTX JIT compilation failed";
    INVALID_GRAPHICS_CONTEXT = 219, "invalid OpenGL or DirectX context";
    NVLINK_UNCORRECTABLE = 220, "uncorrectable NVLink error detected during the execution", sticky;
    JIT_COMPILER_NOT_FOUND = 221, "PTX JIT compiler library not found";
    UNSUPPORTED_PTX_VERSION = 222, "the provided PTX was compiled with an unsupported toolchain.";
    JIT_COMPILATION_DISABLED = 223, "PTX JIT compilation was disabled";
    UNSUPPORTED_EXEC_AFFINITY = 224, "the provided execution affinity is not supported";
    UNSUPPORTED_DEVSIDE_SYNC = 225, "the provided PTX contains unsupported call to cudaDeviceSynchronize";
    CONTAINED = 226, "Invalid access of peer GPU memory over nvlink or a hardware error", sticky;
    INVALID_SOURCE = 300, "device kernel image is invalid";
    FILE_NOT_FOUND = 301, "file not found";
    SHARED_OBJECT_SYMBOL_NOT_FOUND = 302, "shared object symbol not found";
    SHARED_OBJECT_INIT_FAILED = 303, "shared object initialization failed";
    OPERATING_SYSTEM = 304, "OS call failed or operation not supported on this OS";
    INVALID_HANDLE = 400, "invalid resource handle";
    ILLEGAL_STATE = 401, "the operation cannot be performed in the present state";
    LOSSY_QUERY = 402, "attempted introspection would be semantically lossy";
    NOT_FOUND = 500, "named symbol not found";
    NOT_READY = 600, "device not ready";
    ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered", sticky;
    LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated", sticky;
    LAUNCH_INCOMPATIBLE_TEXTURING = 703, "launch uses incompatible texturing mode";
    PEER_ACCESS_ALREADY_ENABLED = 704, "peer access is already enabled";
    PEER_ACCESS_NOT_ENABLED = 705, "peer access has not been enabled";
    PRIMARY_CONTEXT_ACTIVE = 708, "cannot set while device is active in this process";
    CONTEXT_IS_DESTROYED = 709, "context is destroyed";
    ASSERT = 710, "device-side assert triggered", sticky;
    TOO_MANY_PEERS = 711, "peer mapping resources exhausted";
    HOST_MEMORY_ALREADY_REGISTERED = 712, "part or all of the requested memory range is already mapped";
    HOST_MEMORY_NOT_REGISTERED = 713, "pointer does not correspond to a registered memory region";
    HARDWARE_STACK_ERROR = 714, "hardware stack error", sticky;
    ILLEGAL_INSTRUCTION = 715, "an illegal instruction was encountered", sticky;
    MISALIGNED_ADDRESS = 716, "misaligned address", sticky;
    INVALID_ADDRESS_SPACE = 717, "operation not supported on global/shared address space", sticky;
    INVALID_PC = 718, "invalid program counter", sticky;
    LAUNCH_FAILED = 719, "unspecified launch failure", sticky;
    COOPERATIVE_LAUNCH_TOO_LARGE = 720, "too many blocks in cooperative launch";
    TENSOR_MEMORY_LEAK = 721, "tensor memory not completely freed", sticky;
    NOT_PERMITTED = 800, "operation not permitted";
    NOT_SUPPORTED = 801, "operation not supported";
    SYSTEM_NOT_READY = 802, "system not yet initialized";
    SYSTEM_DRIVER_MISMATCH = 803, "system has unsupported display driver / cuda driver combination";
    COMPAT_NOT_SUPPORTED_ON_DEVICE = 804, "forward compatibility was attempted on non supported HW";
    MPS_CONNECTION_FAILED = 805, "MPS client failed to connect to the MPS control daemon or the MPS server";
    MPS_RPC_FAILURE = 806, "the remote procedural call between the MPS server and the MPS client failed";
    MPS_SERVER_NOT_READY = 807, "MPS server is not ready to accept new MPS client requests";
    MPS_MAX_CLIENTS_REACHED = 808, "the hardware resources required to create MPS client have been exhausted";
    MPS_MAX_CONNECTIONS_REACHED = 809, "the hardware resources required to support device connections have been exhausted";
    MPS_CLIENT_TERMINATED = 810, "the MPS client has been terminated by the server";
    CDP_NOT_SUPPORTED = 811, "is using CUDA Dynamic Parallelism, but the current configuration, like MPS, does not support it";
    CDP_VERSION_MISMATCH = 812, "unsupported interaction between different versions of CUDA Dynamic Parallelism";
    STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
    STREAM_CAPTURE_MERGE = 902, "operation would result in a merge of separate capture sequences";
    STREAM_CAPTURE_UNMATCHED = 903, "capture was not ended in the same stream as it began";
    STREAM_CAPTURE_UNJOINED = 904, "capturing stream has unjoined work";
    STREAM_CAPTURE_ISOLATION = 905, "dependency created on uncaptured work in another stream";
    STREAM_CAPTURE_IMPLICIT = 906, "operation would make the legacy stream depend on a capturing blocking stream";
    CAPTURED_EVENT = 907, "operation not permitted on an event last recorded in a capturing stream";
    STREAM_CAPTURE_WRONG_THREAD = 908, "attempt to terminate a thread-local capture sequence from another thread";
    TIMEOUT = 909, "wait operation timed out";
    GRAPH_EXEC_UPDATE_FAILURE = 910, "the graph update was not performed because it included changes which violated constraints specific to instantiated graph update";
    EXTERNAL_DEVICE = 911, "an async error has occured in external entity outside of CUDA", sticky;
    INVALID_CLUSTER_SIZE = 912, "a kernel launch error has occurred due to cluster misconfiguration";
    FUNCTION_NOT_LOADED = 913, "the function handle is not loaded when calling an API that requires a loaded function";
    INVALID_RESOURCE_TYPE = 914, "one or more resources passed in are not valid resource types for the operation";
    INVALID_RESOURCE_CONFIGURATION = 915, "one or more resources are insufficient or non-applicable for the operation";
    KEY_ROTATION = 916, "an error happened during the key rotation sequence";
    UNKNOWN = 999, "unknown error";
}

impl CuResult {
    /// Whether this is CUDA_SUCCESS.
    pub const fn is_success(self) -> bool {
        self.0 == Self::SUCCESS.0
    }

    /// `Ok` for CUDA_SUCCESS.
    ///
    /// # Errors
    /// Itself, where it is anything else.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }

    /// Whether the error has corrupted the context: every later call in it returns the same error, until the
    /// context is destroyed or reset.
    pub fn is_sticky(self) -> bool {
        self.text().is_some_and(|text| text.sticky)
    }

    /// What cuGetErrorName answers; `None` for a number that CUDA 13 does not define.
    pub fn c_name(self) -> Option<&'static CStr> {
        self.text().map(|text| text.name)
    }

    /// What cuGetErrorString answers; `None` for a number that CUDA 13 does not define.
    pub fn c_description(self) -> Option<&'static CStr> {
        self.text().map(|text| text.description)
    }

    /// The name, such as `CUDA_ERROR_INVALID_VALUE`, for logs.
    pub fn name(self) -> &'static str {
        self.c_name().and_then(|name| name.to_str().ok()).unwrap_or("an unlisted CUresult")
    }

    /// The text, such as `invalid argument`, for logs.
    pub fn description(self) -> &'static str {
        self.c_description().and_then(|text| text.to_str().ok()).unwrap_or("unrecognized error code")
    }

    fn text(self) -> Option<&'static Text> {
        let at = TEXTS.binary_search_by_key(&self.0, |text| text.value).ok()?;
        TEXTS.get(at)
    }
}

impl fmt::Debug for CuResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for CuResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {})", self.name(), self.0, self.description())
    }
}

impl std::error::Error for CuResult {}

const fn c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        // Unreachable: evaluated at compile time for the rows above only, which would then not compile.
        Err(_) => c"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(TEXTS.is_sorted_by(|a, b| a.value < b.value));
        for text in TEXTS {
            assert!(!text.description.is_empty(), "{:?}", text.name);
            assert!(text.name.to_bytes().starts_with(b"CUDA_"));
        }
    }

    #[test]
    fn names_and_texts() {
        assert_eq!(CuResult::INVALID_VALUE.name(), "CUDA_ERROR_INVALID_VALUE");
        assert_eq!(CuResult::INVALID_VALUE.description(), "invalid argument");
        assert_eq!(CuResult::SUCCESS.c_name(), Some(c"CUDA_SUCCESS"));
        assert_eq!(CuResult(999), CuResult::UNKNOWN);
        assert_eq!(CuResult(12345).c_name(), None);
        assert_eq!(CuResult(12345).description(), "unrecognized error code");
        assert_eq!(format!("{:?}", CuResult::NOT_FOUND), "CUDA_ERROR_NOT_FOUND(500)");
    }

    #[test]
    fn only_errors_that_corrupt_the_context_stick() {
        for sticky in [700, 702, 710, 714, 715, 716, 717, 718, 719] {
            assert!(CuResult(sticky).is_sticky(), "{sticky}");
        }
        for passing in [0, 1, 2, 201, 209, 500, 600, 701, 720, 801, 999, 12345] {
            assert!(!CuResult(passing).is_sticky(), "{passing}");
        }
    }
}
