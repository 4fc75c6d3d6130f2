//! The driver's functions as they were found in the opened library: one row a function.
//!
//! The library is the one that `cudarc` opens (`cudarc::driver::sys::culib`), and so are the handle types. The
//! signatures are repeated here for two reasons. `cudarc` panics at the first call of a function that the library
//! lacks, and a driver older than CUDA 12.4 lacks some that are used here. And its enumerations are those of one
//! CUDA version, while a newer driver answers `CUresult` values that these do not have, and a program asks for
//! attributes that they do not have: such a value in a Rust `enum` is undefined behaviour. Here every enumeration is
//! the C integer that it travels as.

use std::ffi::{c_char, c_int, c_uint, c_void};

use cudarc::driver::sys::{
    self, CUDA_KERNEL_NODE_PARAMS_v2_st, CUcontext, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec,
    CUgraphNode, CUkernel, CUlibrary, CUmodule, CUstream,
};

use super::launch::LaunchConfig;
use super::tensor_map::RawTensorMap;

macro_rules! functions {
    (
        required { $($required:ident($($required_type:ty),*);)* }
        optional { $($optional:ident($($optional_type:ty),*);)* }
    ) => {
        /// Addresses of the driver's functions. All return a `CUresult`.
        #[allow(non_snake_case, reason = "the driver's own names, so that they can be looked up in its manual")]
        pub(super) struct Functions {
            $(pub(super) $required: unsafe extern "C" fn($($required_type),*) -> c_uint,)*
            $(pub(super) $optional: Option<unsafe extern "C" fn($($optional_type),*) -> c_uint>,)*
        }

        impl Functions {
            /// Looks all of them up.
            ///
            /// # Errors
            /// The name of the first required function that the library does not have.
            ///
            /// # Safety
            /// `sys::is_culib_present()` has said that there is a library, and the library is NVIDIA's driver.
            pub(super) unsafe fn load() -> Result<Self, &'static str> {
                // SAFETY: the caller has made sure that the library can be opened, without which this panics.
                let library = unsafe { sys::culib() };
                Ok(Functions {
                    $($required: {
                        let name = concat!(stringify!($required), "\0");
                        // SAFETY: the row has the signature that cuda.h gives this function, with every enumeration
                        // as the C integer that it is, and a C `int` or `unsigned int` result.
                        match unsafe { library.get(name.as_bytes()) } {
                            Ok(found) => *found,
                            Err(_) => return Err(stringify!($required)),
                        }
                    },)*
                    $($optional: {
                        let name = concat!(stringify!($optional), "\0");
                        // SAFETY: as above.
                        unsafe { library.get(name.as_bytes()) }.ok().map(|found| *found)
                    },)*
                })
            }
        }
    };
}

functions! {
    required {
        cuInit(c_uint);
        cuDriverGetVersion(*mut c_int);
        cuDeviceGetCount(*mut c_int);
        cuDeviceGet(*mut c_int, c_int);
        cuDeviceGetName(*mut c_char, c_int, c_int);
        cuDeviceGetUuid_v2(*mut [u8; 16], c_int);
        cuDeviceTotalMem_v2(*mut usize, c_int);
        cuDeviceGetAttribute(*mut c_int, c_int, c_int);
        cuGetExportTable(*mut *const c_void, *const [u8; 16]);

        cuCtxCreate_v2(*mut CUcontext, c_uint, c_int);
        cuCtxDestroy_v2(CUcontext);
        cuCtxPopCurrent_v2(*mut CUcontext);
        cuCtxSetCurrent(CUcontext);
        cuCtxSynchronize();
        cuCtxGetLimit(*mut usize, c_uint);
        cuCtxSetLimit(c_uint, usize);
        cuCtxGetStreamPriorityRange(*mut c_int, *mut c_int);

        cuMemAlloc_v2(*mut CUdeviceptr, usize);
        cuMemAllocPitch_v2(*mut CUdeviceptr, *mut usize, usize, usize, c_uint);
        cuMemFree_v2(CUdeviceptr);
        cuMemGetInfo_v2(*mut usize, *mut usize);
        cuMemGetAddressRange_v2(*mut CUdeviceptr, *mut usize, CUdeviceptr);
        cuMemHostRegister_v2(*mut c_void, usize, c_uint);
        cuMemHostUnregister(*mut c_void);
        cuPointerGetAttribute(*mut c_void, c_uint, CUdeviceptr);
        cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
        cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
        cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
        cuMemsetD8Async(CUdeviceptr, u8, usize, CUstream);
        cuMemsetD16Async(CUdeviceptr, u16, usize, CUstream);
        cuMemsetD32Async(CUdeviceptr, c_uint, usize, CUstream);
        cuMemsetD2D8Async(CUdeviceptr, usize, u8, usize, usize, CUstream);
        cuMemsetD2D16Async(CUdeviceptr, usize, u16, usize, usize, CUstream);
        cuMemsetD2D32Async(CUdeviceptr, usize, c_uint, usize, usize, CUstream);

        cuStreamCreateWithPriority(*mut CUstream, c_uint, c_int);
        cuStreamDestroy_v2(CUstream);
        cuStreamQuery(CUstream);
        cuStreamWaitEvent(CUstream, CUevent, c_uint);
        cuEventCreate(*mut CUevent, c_uint);
        cuEventDestroy_v2(CUevent);
        cuEventRecordWithFlags(CUevent, CUstream, c_uint);
        cuEventQuery(CUevent);
        cuEventSynchronize(CUevent);
        cuEventElapsedTime(*mut f32, CUevent, CUevent);

        cuModuleGetLoadingMode(*mut c_uint);
        cuModuleLoadData(*mut CUmodule, *const c_void);
        cuModuleUnload(CUmodule);
        cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
        cuModuleGetGlobal_v2(*mut CUdeviceptr, *mut usize, CUmodule, *const c_char);
        cuLibraryLoadData(
            *mut CUlibrary, *const c_void,
            *mut c_uint, *mut *mut c_void, c_uint,
            *mut c_uint, *mut *mut c_void, c_uint
        );
        cuLibraryUnload(CUlibrary);
        cuLibraryGetKernel(*mut CUkernel, CUlibrary, *const c_char);
        cuLibraryGetModule(*mut CUmodule, CUlibrary);
        cuLibraryGetGlobal(*mut CUdeviceptr, *mut usize, CUlibrary, *const c_char);
        cuKernelGetFunction(*mut CUfunction, CUkernel);
        cuFuncGetAttribute(*mut c_int, c_int, CUfunction);
        cuFuncSetAttribute(CUfunction, c_int, c_int);
        cuFuncSetCacheConfig(CUfunction, c_uint);

        cuLaunchKernelEx(*const LaunchConfig, CUfunction, *mut *mut c_void, *mut *mut c_void);
        cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(*mut c_int, CUfunction, c_int, usize, c_uint);
        cuOccupancyAvailableDynamicSMemPerBlock(*mut usize, CUfunction, c_int, c_int);
        cuOccupancyMaxActiveClusters(*mut c_int, CUfunction, *const LaunchConfig);
        cuOccupancyMaxPotentialClusterSize(*mut c_int, CUfunction, *const LaunchConfig);

        cuTensorMapEncodeTiled(
            *mut RawTensorMap, c_uint, u32, *mut c_void,
            *const u64, *const u64, *const u32, *const u32,
            c_uint, c_uint, c_uint, c_uint
        );
        cuTensorMapEncodeIm2col(
            *mut RawTensorMap, c_uint, u32, *mut c_void,
            *const u64, *const u64, *const c_int, *const c_int, u32, u32, *const u32,
            c_uint, c_uint, c_uint, c_uint
        );
    }
    // Newer than CUDA 12.0, or not needed to execute operators one by one.
    optional {
        cuStreamBeginCapture_v2(CUstream, c_int);
        cuStreamGetCaptureInfo_v2(
            CUstream, *mut c_uint, *mut u64, *mut CUgraph, *mut *const CUgraphNode, *mut usize
        );
        cuStreamEndCapture(CUstream, *mut CUgraph);
        cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, u64);
        cuGraphUpload(CUgraphExec, CUstream);
        cuGraphLaunch(CUgraphExec, CUstream);
        cuGraphExecKernelNodeSetParams_v2(CUgraphExec, CUgraphNode, *const CUDA_KERNEL_NODE_PARAMS_v2_st);
        cuGraphExecDestroy(CUgraphExec);
        cuGraphDestroy(CUgraph);
        // 12.3
        cuFuncGetName(*mut *const c_char, CUfunction);
        cuKernelGetName(*mut *const c_char, CUkernel);
        // 12.4
        cuFuncGetParamInfo(CUfunction, usize, *mut usize, *mut usize);
        cuLibraryGetKernelCount(*mut c_uint, CUlibrary);
        cuLibraryEnumerateKernels(*mut CUkernel, c_uint, CUlibrary);
        cuModuleGetFunctionCount(*mut c_uint, CUmodule);
        cuModuleEnumerateFunctions(*mut CUfunction, c_uint, CUmodule);
    }
}
