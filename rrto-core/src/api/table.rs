//! The rows themselves. See [`for_each_function`](crate::for_each_function) for what a row says.

/// Expands `$callback!` over every function that libcuda exports, one row a function:
///
/// ```text
/// SYMBOL since VERSION CLASS;
/// ```
///
/// - SYMBOL: the exported name, an identifier. What cuGetProcAddress calls it follows from it
///   mechanically: without `_ptsz` or `_ptds`, then without `_v2`, `_v3` or `_v4`.
/// - VERSION: the CUDA version, as 1000 * major + 10 * minor, from which cuGetProcAddress resolves that
///   name to this symbol (the number in `PFN_cuXxx_vNNNN` of cudaTypedefs.h), or `NEVER` where it does not.
///   A `tt`, so that a callback that has no use for it can ignore it.
/// - CLASS: a variant of [`Class`](crate::api::Class), an identifier.
///
/// The callback must be a macro that accepts
/// `$($symbol:ident since $version:tt $class:ident;)*`.
///
/// The table has the exports of libcuda 580 (CUDA 13.0). Nothing else in the workspace lists functions:
/// the exports of the preloaded library, the wire form, the dispatch and the tests expand from here. Both
/// ends compare [`table_hash`](crate::api::table_hash), so rows may be added, moved and reclassified freely.
#[macro_export]
macro_rules! for_each_function {
    ($callback:path) => {
        $callback! {
            // The driver itself: start, version, errors, entry points, logs, profiler.
            cuCheckpointProcessCheckpoint since 12080 Unsupported;
            cuCheckpointProcessGetRestoreThreadId since 12080 Unsupported;
            cuCheckpointProcessGetState since 12080 Unsupported;
            cuCheckpointProcessLock since 12080 Unsupported;
            cuCheckpointProcessRestore since 12080 Unsupported;
            cuCheckpointProcessUnlock since 12080 Unsupported;
            cuCoredumpGetAttribute since 12010 Unsupported;
            cuCoredumpGetAttributeGlobal since 12010 Unsupported;
            cuCoredumpSetAttribute since 12010 Unsupported;
            cuCoredumpSetAttributeGlobal since 12010 Unsupported;
            cuDriverGetVersion since 2020 Local;
            cuGetErrorName since 6000 Local;
            cuGetErrorString since 6000 Local;
            cuGetExportTable since 3000 Local;
            cuGetProcAddress since 11030 Local;
            cuGetProcAddress_v2 since 12000 Local;
            cuInit since 2000 Local;
            cuLogsCurrent since 12090 Unsupported;
            cuLogsDumpToFile since 12090 Unsupported;
            cuLogsDumpToMemory since 12090 Unsupported;
            cuLogsRegisterCallback since 12090 Unsupported;
            cuLogsUnregisterCallback since 12090 Unsupported;
            cuProfilerInitialize since 4000 Unsupported;
            cuProfilerStart since 4000 Local;
            cuProfilerStop since 4000 Local;
            cuThreadExchangeStreamCaptureMode since 10010 Local;

            // Symbols of the debugger. Not part of the API, never named by cuGetProcAddress; some are
            // variables.
            cudbgApiAttach since NEVER Unsupported;
            cudbgApiClientPid since NEVER Unsupported;
            cudbgApiClientRevision since NEVER Unsupported;
            cudbgApiDetach since NEVER Unsupported;
            cudbgApiInit since NEVER Unsupported;
            cudbgAttachHandlerAvailable since NEVER Unsupported;
            cudbgDebuggerCapabilities since NEVER Unsupported;
            cudbgDebuggerInitialized since NEVER Unsupported;
            cudbgDetachSuspendedDevicesMask since NEVER Unsupported;
            cudbgEnableIntegratedMemcheck since NEVER Unsupported;
            cudbgEnableLaunchBlocking since NEVER Unsupported;
            cudbgEnablePreemptionDebugging since NEVER Unsupported;
            cudbgGetAPI since NEVER Unsupported;
            cudbgGetAPIVersion since NEVER Unsupported;
            cudbgInjectionPath since NEVER Unsupported;
            cudbgIpcFlag since NEVER Unsupported;
            cudbgMain since NEVER Unsupported;
            cudbgReportDriverApiError since NEVER Unsupported;
            cudbgReportDriverApiErrorFlags since NEVER Unsupported;
            cudbgReportDriverInternalError since NEVER Unsupported;
            cudbgReportedDriverApiErrorCode since NEVER Unsupported;
            cudbgReportedDriverApiErrorFuncNameAddr since NEVER Unsupported;
            cudbgReportedDriverApiErrorFuncNameSize since NEVER Unsupported;
            cudbgReportedDriverApiErrorNameAddr since NEVER Unsupported;
            cudbgReportedDriverApiErrorNameSize since NEVER Unsupported;
            cudbgReportedDriverApiErrorSource since NEVER Unsupported;
            cudbgReportedDriverApiErrorStringAddr since NEVER Unsupported;
            cudbgReportedDriverApiErrorStringSize since NEVER Unsupported;
            cudbgReportedDriverInternalErrorCode since NEVER Unsupported;
            cudbgResumeForAttachDetach since NEVER Unsupported;
            cudbgRpcEnabled since NEVER Unsupported;
            cudbgSessionId since NEVER Unsupported;
            cudbgUseExternalDebugger since NEVER Unsupported;

            // Devices and primary contexts.
            cuDeviceCanAccessPeer since 4000 Local;
            cuDeviceComputeCapability since 2000 Local;
            cuDeviceGet since 2000 Local;
            cuDeviceGetAttribute since 2000 Local;
            cuDeviceGetByPCIBusId since 4010 Local;
            cuDeviceGetCount since 2000 Local;
            cuDeviceGetDevResource since 12040 Unsupported;
            cuDeviceGetExecAffinitySupport since 11040 Unsupported;
            cuDeviceGetHostAtomicCapabilities since 13000 Unsupported;
            cuDeviceGetLuid since 10000 Local;
            cuDeviceGetName since 2000 Local;
            cuDeviceGetNvSciSyncAttributes since 10020 Unsupported;
            cuDeviceGetP2PAtomicCapabilities since 13000 Unsupported;
            cuDeviceGetP2PAttribute since 8000 Local;
            cuDeviceGetPCIBusId since 4010 Local;
            cuDeviceGetProperties since 2000 Local;
            cuDeviceGetTexture1DLinearMaxWidth since 11010 Unsupported;
            cuDeviceGetUuid since 9020 Local;
            cuDeviceGetUuid_v2 since 11040 Local;
            cuDevicePrimaryCtxGetState since 7000 Local;
            cuDevicePrimaryCtxRelease since 7000 Local;
            cuDevicePrimaryCtxRelease_v2 since 11000 Local;
            cuDevicePrimaryCtxReset since 7000 Local;
            cuDevicePrimaryCtxReset_v2 since 11000 Local;
            cuDevicePrimaryCtxRetain since 7000 Local;
            cuDevicePrimaryCtxSetFlags since 7000 Local;
            cuDevicePrimaryCtxSetFlags_v2 since 11000 Local;
            cuDeviceRegisterAsyncNotification since 12040 Unsupported;
            cuDeviceTotalMem since 2000 Local; // writes a u32, unlike _v2
            cuDeviceTotalMem_v2 since 3020 Local;
            cuDeviceUnregisterAsyncNotification since 12040 Unsupported;

            // Contexts.
            cuCtxAttach since 2000 Local;
            cuCtxCreate since 2000 Local;
            cuCtxCreate_v2 since 3020 Local;
            cuCtxCreate_v3 since 11040 Local;
            cuCtxCreate_v4 since 12050 Local;
            cuCtxDestroy since 2000 Local;
            cuCtxDestroy_v2 since 4000 Local;
            cuCtxDetach since 2000 Local;
            cuCtxDisablePeerAccess since 4000 Unsupported;
            cuCtxEnablePeerAccess since 4000 Unsupported;
            cuCtxGetApiVersion since 3020 Local;
            cuCtxGetCacheConfig since 3020 Local;
            cuCtxGetCurrent since 4000 Local;
            cuCtxGetDevResource since 12040 Unsupported;
            cuCtxGetDevice since 2000 Local;
            cuCtxGetDevice_v2 since 13000 Local;
            cuCtxGetExecAffinity since 11040 Unsupported;
            cuCtxGetFlags since 7000 Local;
            cuCtxGetId since 12000 Local;
            cuCtxGetLimit since 3010 Cached;
            cuCtxGetSharedMemConfig since 4020 Local;
            cuCtxGetStreamPriorityRange since 5050 Local;
            cuCtxPopCurrent since 2000 Local;
            cuCtxPopCurrent_v2 since 4000 Local;
            cuCtxPushCurrent since 2000 Local;
            cuCtxPushCurrent_v2 since 4000 Local;
            cuCtxRecordEvent since 12050 Unsupported;
            cuCtxResetPersistingL2Cache since 11000 Unsupported;
            cuCtxSetCacheConfig since 3020 Local;
            cuCtxSetCurrent since 4000 Local;
            cuCtxSetFlags since 12010 Unsupported;
            cuCtxSetLimit since 3010 Blocking;
            cuCtxSetSharedMemConfig since 4020 Local;
            cuCtxSynchronize since 2000 Blocking;
            cuCtxSynchronize_v2 since 13000 Blocking;
            cuCtxWaitEvent since 12050 Unsupported;

            // Green contexts and device resources.
            cuCtxFromGreenCtx since 12040 Unsupported;
            cuDevResourceGenerateDesc since 12040 Unsupported;
            cuDevSmResourceSplitByCount since 12040 Unsupported;
            cuGreenCtxCreate since 12040 Unsupported;
            cuGreenCtxDestroy since 12040 Unsupported;
            cuGreenCtxGetDevResource since 12040 Unsupported;
            cuGreenCtxGetId since 12090 Unsupported;
            cuGreenCtxRecordEvent since 12040 Unsupported;
            cuGreenCtxStreamCreate since 12050 Unsupported;
            cuGreenCtxWaitEvent since 12040 Unsupported;
            cuStreamGetGreenCtx since 12040 Unsupported;

            // Modules, libraries, kernels and functions.
            cuFuncGetAttribute since 2020 Cached;
            cuFuncGetModule since 11000 Local;
            cuFuncGetName since 12030 Local;
            cuFuncGetParamInfo since 12040 Cached;
            cuFuncIsLoaded since 12040 Local;
            cuFuncLoad since 12040 Local;
            cuFuncSetAttribute since 9000 Blocking;
            cuFuncSetBlockShape since 2000 Unsupported;
            cuFuncSetCacheConfig since 3000 Local;
            cuFuncSetSharedMemConfig since 4020 Local;
            cuFuncSetSharedSize since 2000 Unsupported;
            cuKernelGetAttribute since 12000 Cached;
            cuKernelGetFunction since 12000 Local;
            cuKernelGetLibrary since 12050 Local;
            cuKernelGetName since 12030 Local;
            cuKernelGetParamInfo since 12040 Cached;
            cuKernelSetAttribute since 12000 Blocking;
            cuKernelSetCacheConfig since 12000 Local;
            cuLibraryEnumerateKernels since 12040 Blocking;
            cuLibraryGetGlobal since 12000 Blocking;
            cuLibraryGetKernel since 12000 Blocking;
            cuLibraryGetKernelCount since 12040 Blocking;
            cuLibraryGetManaged since 12000 Unsupported;
            cuLibraryGetModule since 12000 Blocking;
            cuLibraryGetUnifiedFunction since 12000 Unsupported;
            cuLibraryLoadData since 12000 Ordered;
            cuLibraryLoadFromFile since 12000 Ordered;
            cuLibraryUnload since 12000 Ordered;
            cuModuleEnumerateFunctions since 12040 Blocking;
            cuModuleGetFunction since 2000 Blocking;
            cuModuleGetFunctionCount since 12040 Blocking;
            cuModuleGetGlobal since 2000 Unsupported; // 32-bit addresses or sizes
            cuModuleGetGlobal_v2 since 3020 Blocking;
            cuModuleGetLoadingMode since 11070 Local;
            cuModuleLoad since 2000 Blocking;
            cuModuleLoadData since 2000 Blocking;
            cuModuleLoadDataEx since 2010 Blocking;
            cuModuleLoadFatBinary since 2000 Blocking;
            cuModuleUnload since 2000 Ordered;

            // The linker.
            cuLinkAddData since 5050 Unsupported;
            cuLinkAddData_v2 since 6050 Unsupported;
            cuLinkAddFile since 5050 Unsupported;
            cuLinkAddFile_v2 since 6050 Unsupported;
            cuLinkComplete since 5050 Unsupported;
            cuLinkCreate since 5050 Unsupported;
            cuLinkCreate_v2 since 6050 Unsupported;
            cuLinkDestroy since 5050 Unsupported;

            // Occupancy and tensor maps.
            cuOccupancyAvailableDynamicSMemPerBlock since 10020 Cached;
            cuOccupancyMaxActiveBlocksPerMultiprocessor since 6050 Cached;
            cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags since 7000 Cached;
            cuOccupancyMaxActiveClusters since 11070 Cached;
            cuOccupancyMaxPotentialBlockSize since 6050 Unsupported; // calls back into the program
            cuOccupancyMaxPotentialBlockSizeWithFlags since 7000 Unsupported; // calls back into the program
            cuOccupancyMaxPotentialClusterSize since 11070 Cached;
            cuTensorMapEncodeIm2col since 12000 Cached;
            cuTensorMapEncodeIm2colWide since 12080 Unsupported;
            cuTensorMapEncodeTiled since 12000 Cached;
            cuTensorMapReplaceAddress since 12000 Unsupported;

            // Launches.
            cuLaunch since 2000 Unsupported;
            cuLaunchCooperativeKernel since 9000 Launch;
            cuLaunchCooperativeKernel_ptsz since 9000 Launch;
            cuLaunchCooperativeKernelMultiDevice since 9000 Unsupported;
            cuLaunchGrid since 2000 Unsupported;
            cuLaunchGridAsync since 2000 Unsupported;
            cuLaunchHostFunc since 10000 Unsupported;
            cuLaunchHostFunc_ptsz since 10000 Unsupported;
            cuLaunchKernel since 4000 Launch;
            cuLaunchKernel_ptsz since 7000 Launch;
            cuLaunchKernelEx since 11060 Launch;
            cuLaunchKernelEx_ptsz since 11060 Launch;

            // Launches as they were before CUDA 4.
            cuParamSetSize since 2000 Unsupported;
            cuParamSetTexRef since 2000 Unsupported;
            cuParamSetf since 2000 Unsupported;
            cuParamSeti since 2000 Unsupported;
            cuParamSetv since 2000 Unsupported;

            // Device memory.
            cuMemAlloc since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemAlloc_v2 since 3020 Blocking;
            cuMemAllocPitch since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemAllocPitch_v2 since 3020 Blocking;
            cuMemFree since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemFree_v2 since 3020 Ordered;
            cuMemGetAddressRange since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemGetAddressRange_v2 since 3020 Local;
            cuMemGetInfo since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemGetInfo_v2 since 3020 Blocking;
            cuPointerGetAttribute since 4000 Local;
            cuPointerGetAttributes since 7000 Local;
            cuPointerSetAttribute since 6000 Unsupported;

            // Host memory.
            cuMemAllocHost since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemAllocHost_v2 since 3020 Local;
            cuMemFreeHost since 2000 Local;
            cuMemHostAlloc since 2020 Local;
            cuMemHostGetDevicePointer since 2020 Unsupported; // 32-bit addresses or sizes
            cuMemHostGetDevicePointer_v2 since 3020 Blocking;
            cuMemHostGetFlags since 2030 Local;
            cuMemHostRegister since 4000 Local; // same ABI as _v2
            cuMemHostRegister_v2 since 6050 Local;
            cuMemHostUnregister since 4000 Local;

            // Managed memory.
            cuMemAdvise since 8000 Unsupported;
            cuMemAdvise_v2 since 12020 Unsupported;
            cuMemAllocManaged since 6000 Unsupported;
            cuMemDiscardAndPrefetchBatchAsync since 13000 Unsupported;
            cuMemDiscardAndPrefetchBatchAsync_ptsz since 13000 Unsupported;
            cuMemDiscardBatchAsync since 13000 Unsupported;
            cuMemDiscardBatchAsync_ptsz since 13000 Unsupported;
            cuMemPrefetchAsync since 8000 Unsupported;
            cuMemPrefetchAsync_ptsz since 8000 Unsupported;
            cuMemPrefetchAsync_v2 since 12020 Unsupported;
            cuMemPrefetchAsync_v2_ptsz since 12020 Unsupported;
            cuMemPrefetchBatchAsync since 13000 Unsupported;
            cuMemPrefetchBatchAsync_ptsz since 13000 Unsupported;
            cuMemRangeGetAttribute since 8000 Unsupported;
            cuMemRangeGetAttributes since 8000 Unsupported;
            cuStreamAttachMemAsync since 6000 Unsupported;
            cuStreamAttachMemAsync_ptsz since 7000 Unsupported;

            // Stream-ordered allocation and memory pools.
            cuDeviceGetDefaultMemPool since 11020 Unsupported;
            cuDeviceGetMemPool since 11020 Unsupported;
            cuDeviceSetMemPool since 11020 Unsupported;
            cuMemAllocAsync since 11020 Unsupported;
            cuMemAllocAsync_ptsz since 11020 Unsupported;
            cuMemAllocFromPoolAsync since 11020 Unsupported;
            cuMemAllocFromPoolAsync_ptsz since 11020 Unsupported;
            cuMemFreeAsync since 11020 Unsupported;
            cuMemFreeAsync_ptsz since 11020 Unsupported;
            cuMemGetDefaultMemPool since 13000 Unsupported;
            cuMemGetMemPool since 13000 Unsupported;
            cuMemPoolCreate since 11020 Unsupported;
            cuMemPoolDestroy since 11020 Unsupported;
            cuMemPoolExportPointer since 11020 Unsupported;
            cuMemPoolExportToShareableHandle since 11020 Unsupported;
            cuMemPoolGetAccess since 11020 Unsupported;
            cuMemPoolGetAttribute since 11020 Unsupported;
            cuMemPoolImportFromShareableHandle since 11020 Unsupported;
            cuMemPoolImportPointer since 11020 Unsupported;
            cuMemPoolSetAccess since 11020 Unsupported;
            cuMemPoolSetAttribute since 11020 Unsupported;
            cuMemPoolTrimTo since 11020 Unsupported;
            cuMemSetMemPool since 13000 Unsupported;

            // Virtual memory management.
            cuMemAddressFree since 10020 Unsupported;
            cuMemAddressReserve since 10020 Unsupported;
            cuMemCreate since 10020 Unsupported;
            cuMemExportToShareableHandle since 10020 Unsupported;
            cuMemGetAccess since 10020 Unsupported;
            cuMemGetAllocationGranularity since 10020 Unsupported;
            cuMemGetAllocationPropertiesFromHandle since 10020 Unsupported;
            cuMemGetAttribute since NEVER Unsupported;
            cuMemGetAttribute_v2 since NEVER Unsupported;
            cuMemGetHandleForAddressRange since 11070 Unsupported;
            cuMemImportFromShareableHandle since 10020 Unsupported;
            cuMemMap since 10020 Unsupported;
            cuMemMapArrayAsync since 11010 Unsupported;
            cuMemMapArrayAsync_ptsz since 11010 Unsupported;
            cuMemRelease since 10020 Unsupported;
            cuMemRetainAllocationHandle since 11000 Unsupported;
            cuMemSetAccess since 10020 Unsupported;
            cuMemUnmap since 10020 Unsupported;
            cuMulticastAddDevice since 12010 Unsupported;
            cuMulticastBindAddr since 12010 Unsupported;
            cuMulticastBindMem since 12010 Unsupported;
            cuMulticastCreate since 12010 Unsupported;
            cuMulticastGetGranularity since 12010 Unsupported;
            cuMulticastUnbind since 12010 Unsupported;

            // Copies between host and device, and on the device.
            cuMemcpy since 4000 Blocking; // the pointers say which way
            cuMemcpy_ptds since 7000 Blocking;
            cuMemcpyAsync since 4000 Blocking; // the pointers say which way
            cuMemcpyAsync_ptsz since 7000 Blocking;
            cuMemcpyDtoD since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemcpyDtoD_v2 since 3020 Ordered;
            cuMemcpyDtoD_v2_ptds since 7000 Ordered;
            cuMemcpyDtoDAsync since 3000 Unsupported; // 32-bit addresses or sizes
            cuMemcpyDtoDAsync_v2 since 3020 Ordered;
            cuMemcpyDtoDAsync_v2_ptsz since 7000 Ordered;
            cuMemcpyDtoH since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemcpyDtoH_v2 since 3020 CopyOut;
            cuMemcpyDtoH_v2_ptds since 7000 CopyOut;
            cuMemcpyDtoHAsync since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemcpyDtoHAsync_v2 since 3020 CopyOut;
            cuMemcpyDtoHAsync_v2_ptsz since 7000 CopyOut;
            cuMemcpyHtoD since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemcpyHtoD_v2 since 3020 CopyIn;
            cuMemcpyHtoD_v2_ptds since 7000 CopyIn;
            cuMemcpyHtoDAsync since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemcpyHtoDAsync_v2 since 3020 CopyIn;
            cuMemcpyHtoDAsync_v2_ptsz since 7000 CopyIn;

            // Other copies: pitched, arrays, peers, batches, decompression.
            cuMemBatchDecompressAsync since 12060 Unsupported;
            cuMemBatchDecompressAsync_ptsz since 12060 Unsupported;
            cuMemcpy2D since 2000 Unsupported;
            cuMemcpy2D_v2 since 3020 Blocking;
            cuMemcpy2D_v2_ptds since 7000 Blocking;
            cuMemcpy2DAsync since 2000 Unsupported;
            cuMemcpy2DAsync_v2 since 3020 Blocking;
            cuMemcpy2DAsync_v2_ptsz since 7000 Blocking;
            cuMemcpy2DUnaligned since 2000 Unsupported;
            cuMemcpy2DUnaligned_v2 since 3020 Blocking;
            cuMemcpy2DUnaligned_v2_ptds since 7000 Blocking;
            cuMemcpy3D since 2000 Unsupported;
            cuMemcpy3D_v2 since 3020 Unsupported;
            cuMemcpy3D_v2_ptds since 7000 Unsupported;
            cuMemcpy3DAsync since 2000 Unsupported;
            cuMemcpy3DAsync_v2 since 3020 Unsupported;
            cuMemcpy3DAsync_v2_ptsz since 7000 Unsupported;
            cuMemcpy3DBatchAsync since 12080 Unsupported;
            cuMemcpy3DBatchAsync_ptsz since 12080 Unsupported;
            cuMemcpy3DBatchAsync_v2 since 13000 Unsupported;
            cuMemcpy3DBatchAsync_v2_ptsz since 13000 Unsupported;
            cuMemcpy3DPeer since 4000 Unsupported;
            cuMemcpy3DPeer_ptds since 7000 Unsupported;
            cuMemcpy3DPeerAsync since 4000 Unsupported;
            cuMemcpy3DPeerAsync_ptsz since 7000 Unsupported;
            cuMemcpyAtoA since 2000 Unsupported;
            cuMemcpyAtoA_v2 since 3020 Unsupported;
            cuMemcpyAtoA_v2_ptds since 7000 Unsupported;
            cuMemcpyAtoD since 2000 Unsupported;
            cuMemcpyAtoD_v2 since 3020 Unsupported;
            cuMemcpyAtoD_v2_ptds since 7000 Unsupported;
            cuMemcpyAtoH since 2000 Unsupported;
            cuMemcpyAtoH_v2 since 3020 Unsupported;
            cuMemcpyAtoH_v2_ptds since 7000 Unsupported;
            cuMemcpyAtoHAsync since 2000 Unsupported;
            cuMemcpyAtoHAsync_v2 since 3020 Unsupported;
            cuMemcpyAtoHAsync_v2_ptsz since 7000 Unsupported;
            cuMemcpyBatchAsync since 12080 Unsupported;
            cuMemcpyBatchAsync_ptsz since 12080 Unsupported;
            cuMemcpyBatchAsync_v2 since 13000 Unsupported;
            cuMemcpyBatchAsync_v2_ptsz since 13000 Unsupported;
            cuMemcpyDtoA since 2000 Unsupported;
            cuMemcpyDtoA_v2 since 3020 Unsupported;
            cuMemcpyDtoA_v2_ptds since 7000 Unsupported;
            cuMemcpyHtoA since 2000 Unsupported;
            cuMemcpyHtoA_v2 since 3020 Unsupported;
            cuMemcpyHtoA_v2_ptds since 7000 Unsupported;
            cuMemcpyHtoAAsync since 2000 Unsupported;
            cuMemcpyHtoAAsync_v2 since 3020 Unsupported;
            cuMemcpyHtoAAsync_v2_ptsz since 7000 Unsupported;
            cuMemcpyPeer since 4000 Unsupported;
            cuMemcpyPeer_ptds since 7000 Unsupported;
            cuMemcpyPeerAsync since 4000 Unsupported;
            cuMemcpyPeerAsync_ptsz since 7000 Unsupported;

            // Fills.
            cuMemsetD16 since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemsetD16_v2 since 3020 Ordered;
            cuMemsetD16_v2_ptds since 7000 Ordered;
            cuMemsetD16Async since 3020 Ordered;
            cuMemsetD16Async_ptsz since 7000 Ordered;
            cuMemsetD2D16 since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemsetD2D16_v2 since 3020 Ordered;
            cuMemsetD2D16_v2_ptds since 7000 Ordered;
            cuMemsetD2D16Async since 3020 Ordered;
            cuMemsetD2D16Async_ptsz since 7000 Ordered;
            cuMemsetD2D32 since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemsetD2D32_v2 since 3020 Ordered;
            cuMemsetD2D32_v2_ptds since 7000 Ordered;
            cuMemsetD2D32Async since 3020 Ordered;
            cuMemsetD2D32Async_ptsz since 7000 Ordered;
            cuMemsetD2D8 since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemsetD2D8_v2 since 3020 Ordered;
            cuMemsetD2D8_v2_ptds since 7000 Ordered;
            cuMemsetD2D8Async since 3020 Ordered;
            cuMemsetD2D8Async_ptsz since 7000 Ordered;
            cuMemsetD32 since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemsetD32_v2 since 3020 Ordered;
            cuMemsetD32_v2_ptds since 7000 Ordered;
            cuMemsetD32Async since 3020 Ordered;
            cuMemsetD32Async_ptsz since 7000 Ordered;
            cuMemsetD8 since 2000 Unsupported; // 32-bit addresses or sizes
            cuMemsetD8_v2 since 3020 Ordered;
            cuMemsetD8_v2_ptds since 7000 Ordered;
            cuMemsetD8Async since 3020 Ordered;
            cuMemsetD8Async_ptsz since 7000 Ordered;

            // Events.
            cuEventCreate since 2000 Ordered;
            cuEventDestroy since 2000 Ordered;
            cuEventDestroy_v2 since 4000 Ordered;
            cuEventElapsedTime since 2000 Blocking;
            cuEventElapsedTime_v2 since 12080 Blocking;
            cuEventQuery since 2000 Blocking;
            cuEventRecord since 2000 Ordered;
            cuEventRecord_ptsz since 7000 Ordered;
            cuEventRecordWithFlags since 11010 Ordered;
            cuEventRecordWithFlags_ptsz since 11010 Ordered;
            cuEventSynchronize since 2000 Blocking;

            // Streams.
            cuStreamAddCallback since 5000 Unsupported;
            cuStreamAddCallback_ptsz since 7000 Unsupported;
            cuStreamCopyAttributes since 11000 Unsupported;
            cuStreamCopyAttributes_ptsz since 11000 Unsupported;
            cuStreamCreate since 2000 Ordered;
            cuStreamCreateWithPriority since 5050 Ordered;
            cuStreamDestroy since 2000 Ordered;
            cuStreamDestroy_v2 since 4000 Ordered;
            cuStreamGetAttribute since 11000 Unsupported;
            cuStreamGetAttribute_ptsz since 11000 Unsupported;
            cuStreamGetCtx since 9020 Local;
            cuStreamGetCtx_ptsz since 9020 Local;
            cuStreamGetCtx_v2 since 12050 Local;
            cuStreamGetCtx_v2_ptsz since 12050 Local;
            cuStreamGetDevice since 12080 Local;
            cuStreamGetDevice_ptsz since 12080 Local;
            cuStreamGetFlags since 5050 Local;
            cuStreamGetFlags_ptsz since 7000 Local;
            cuStreamGetId since 12000 Local;
            cuStreamGetId_ptsz since 12000 Local;
            cuStreamGetPriority since 5050 Local;
            cuStreamGetPriority_ptsz since 7000 Local;
            cuStreamIsCapturing since 10000 Local;
            cuStreamIsCapturing_ptsz since 10000 Local;
            cuStreamQuery since 2000 Blocking;
            cuStreamQuery_ptsz since 7000 Blocking;
            cuStreamSetAttribute since 11000 Unsupported;
            cuStreamSetAttribute_ptsz since 11000 Unsupported;
            cuStreamSynchronize since 2000 Blocking;
            cuStreamSynchronize_ptsz since 7000 Blocking;
            cuStreamWaitEvent since 3020 Ordered;
            cuStreamWaitEvent_ptsz since 7000 Ordered;

            // Stream capture.
            cuStreamBeginCapture since 10000 Unsupported;
            cuStreamBeginCapture_ptsz since 10000 Unsupported;
            cuStreamBeginCapture_v2 since 10010 Unsupported;
            cuStreamBeginCapture_v2_ptsz since 10010 Unsupported;
            cuStreamBeginCaptureToGraph since 12030 Unsupported;
            cuStreamBeginCaptureToGraph_ptsz since 12030 Unsupported;
            cuStreamEndCapture since 10000 Unsupported;
            cuStreamEndCapture_ptsz since 10000 Unsupported;
            cuStreamGetCaptureInfo since 10010 Local;
            cuStreamGetCaptureInfo_ptsz since 10010 Local;
            cuStreamGetCaptureInfo_v2 since 11030 Local;
            cuStreamGetCaptureInfo_v2_ptsz since 11030 Local;
            cuStreamGetCaptureInfo_v3 since 12030 Local;
            cuStreamGetCaptureInfo_v3_ptsz since 12030 Local;
            cuStreamUpdateCaptureDependencies since 11030 Unsupported;
            cuStreamUpdateCaptureDependencies_ptsz since 11030 Unsupported;
            cuStreamUpdateCaptureDependencies_v2 since 12030 Unsupported;
            cuStreamUpdateCaptureDependencies_v2_ptsz since 12030 Unsupported;

            // Stream memory operations.
            cuStreamBatchMemOp since 8000 Unsupported;
            cuStreamBatchMemOp_ptsz since 8000 Unsupported;
            cuStreamBatchMemOp_v2 since 11070 Unsupported;
            cuStreamBatchMemOp_v2_ptsz since 11070 Unsupported;
            cuStreamWaitValue32 since 8000 Unsupported;
            cuStreamWaitValue32_ptsz since 8000 Unsupported;
            cuStreamWaitValue32_v2 since 11070 Unsupported;
            cuStreamWaitValue32_v2_ptsz since 11070 Unsupported;
            cuStreamWaitValue64 since 9000 Unsupported;
            cuStreamWaitValue64_ptsz since 9000 Unsupported;
            cuStreamWaitValue64_v2 since 11070 Unsupported;
            cuStreamWaitValue64_v2_ptsz since 11070 Unsupported;
            cuStreamWriteValue32 since 8000 Unsupported;
            cuStreamWriteValue32_ptsz since 8000 Unsupported;
            cuStreamWriteValue32_v2 since 11070 Unsupported;
            cuStreamWriteValue32_v2_ptsz since 11070 Unsupported;
            cuStreamWriteValue64 since 9000 Unsupported;
            cuStreamWriteValue64_ptsz since 9000 Unsupported;
            cuStreamWriteValue64_v2 since 11070 Unsupported;
            cuStreamWriteValue64_v2_ptsz since 11070 Unsupported;

            // Graphs.
            cuDeviceGetGraphMemAttribute since 11040 Unsupported;
            cuDeviceGraphMemTrim since 11040 Unsupported;
            cuDeviceSetGraphMemAttribute since 11040 Unsupported;
            cuGraphAddBatchMemOpNode since 11070 Unsupported;
            cuGraphAddChildGraphNode since 10000 Unsupported;
            cuGraphAddDependencies since 10000 Unsupported;
            cuGraphAddDependencies_v2 since 12030 Unsupported;
            cuGraphAddEmptyNode since 10000 Unsupported;
            cuGraphAddEventRecordNode since 11010 Unsupported;
            cuGraphAddEventWaitNode since 11010 Unsupported;
            cuGraphAddExternalSemaphoresSignalNode since 11020 Unsupported;
            cuGraphAddExternalSemaphoresWaitNode since 11020 Unsupported;
            cuGraphAddHostNode since 10000 Unsupported;
            cuGraphAddKernelNode since 10000 Unsupported;
            cuGraphAddKernelNode_v2 since 12000 Unsupported;
            cuGraphAddMemAllocNode since 11040 Unsupported;
            cuGraphAddMemFreeNode since 11040 Unsupported;
            cuGraphAddMemcpyNode since 10000 Unsupported;
            cuGraphAddMemsetNode since 10000 Unsupported;
            cuGraphAddNode since 12020 Unsupported;
            cuGraphAddNode_v2 since 12030 Unsupported;
            cuGraphBatchMemOpNodeGetParams since 11070 Unsupported;
            cuGraphBatchMemOpNodeSetParams since 11070 Unsupported;
            cuGraphChildGraphNodeGetGraph since 10000 Unsupported;
            cuGraphClone since 10000 Unsupported;
            cuGraphConditionalHandleCreate since 12030 Unsupported;
            cuGraphCreate since 10000 Unsupported;
            cuGraphDebugDotPrint since 11030 Unsupported;
            cuGraphDestroy since 10000 Unsupported;
            cuGraphDestroyNode since 10000 Unsupported;
            cuGraphEventRecordNodeGetEvent since 11010 Unsupported;
            cuGraphEventRecordNodeSetEvent since 11010 Unsupported;
            cuGraphEventWaitNodeGetEvent since 11010 Unsupported;
            cuGraphEventWaitNodeSetEvent since 11010 Unsupported;
            cuGraphExecBatchMemOpNodeSetParams since 11070 Unsupported;
            cuGraphExecChildGraphNodeSetParams since 11010 Unsupported;
            cuGraphExecDestroy since 10000 Unsupported;
            cuGraphExecEventRecordNodeSetEvent since 11010 Unsupported;
            cuGraphExecEventWaitNodeSetEvent since 11010 Unsupported;
            cuGraphExecExternalSemaphoresSignalNodeSetParams since 11020 Unsupported;
            cuGraphExecExternalSemaphoresWaitNodeSetParams since 11020 Unsupported;
            cuGraphExecGetFlags since 12000 Unsupported;
            cuGraphExecHostNodeSetParams since 10020 Unsupported;
            cuGraphExecKernelNodeSetParams since 10010 Unsupported;
            cuGraphExecKernelNodeSetParams_v2 since 12000 Unsupported;
            cuGraphExecMemcpyNodeSetParams since 10020 Unsupported;
            cuGraphExecMemsetNodeSetParams since 10020 Unsupported;
            cuGraphExecNodeSetParams since 12020 Unsupported;
            cuGraphExecUpdate since 10020 Unsupported;
            cuGraphExecUpdate_v2 since 12000 Unsupported;
            cuGraphExternalSemaphoresSignalNodeGetParams since 11020 Unsupported;
            cuGraphExternalSemaphoresSignalNodeSetParams since 11020 Unsupported;
            cuGraphExternalSemaphoresWaitNodeGetParams since 11020 Unsupported;
            cuGraphExternalSemaphoresWaitNodeSetParams since 11020 Unsupported;
            cuGraphGetEdges since 10000 Unsupported;
            cuGraphGetEdges_v2 since 12030 Unsupported;
            cuGraphGetNodes since 10000 Unsupported;
            cuGraphGetRootNodes since 10000 Unsupported;
            cuGraphHostNodeGetParams since 10000 Unsupported;
            cuGraphHostNodeSetParams since 10000 Unsupported;
            cuGraphInstantiate since 10000 Unsupported;
            cuGraphInstantiate_v2 since 11000 Unsupported;
            cuGraphInstantiateWithFlags since 11040 Unsupported;
            cuGraphInstantiateWithParams since 12000 Unsupported;
            cuGraphInstantiateWithParams_ptsz since 12000 Unsupported;
            cuGraphKernelNodeCopyAttributes since 11000 Unsupported;
            cuGraphKernelNodeGetAttribute since 11000 Unsupported;
            cuGraphKernelNodeGetParams since 10000 Unsupported;
            cuGraphKernelNodeGetParams_v2 since 12000 Unsupported;
            cuGraphKernelNodeSetAttribute since 11000 Unsupported;
            cuGraphKernelNodeSetParams since 10000 Unsupported;
            cuGraphKernelNodeSetParams_v2 since 12000 Unsupported;
            cuGraphLaunch since 10000 Unsupported;
            cuGraphLaunch_ptsz since 10000 Unsupported;
            cuGraphMemAllocNodeGetParams since 11040 Unsupported;
            cuGraphMemFreeNodeGetParams since 11040 Unsupported;
            cuGraphMemcpyNodeGetParams since 10000 Unsupported;
            cuGraphMemcpyNodeSetParams since 10000 Unsupported;
            cuGraphMemsetNodeGetParams since 10000 Unsupported;
            cuGraphMemsetNodeSetParams since 10000 Unsupported;
            cuGraphNodeFindInClone since 10000 Unsupported;
            cuGraphNodeGetDependencies since 10000 Unsupported;
            cuGraphNodeGetDependencies_v2 since 12030 Unsupported;
            cuGraphNodeGetDependentNodes since 10000 Unsupported;
            cuGraphNodeGetDependentNodes_v2 since 12030 Unsupported;
            cuGraphNodeGetEnabled since 11060 Unsupported;
            cuGraphNodeGetType since 10000 Unsupported;
            cuGraphNodeSetEnabled since 11060 Unsupported;
            cuGraphNodeSetParams since 12020 Unsupported;
            cuGraphReleaseUserObject since 11030 Unsupported;
            cuGraphRemoveDependencies since 10000 Unsupported;
            cuGraphRemoveDependencies_v2 since 12030 Unsupported;
            cuGraphRetainUserObject since 11030 Unsupported;
            cuGraphUpload since 11010 Unsupported;
            cuGraphUpload_ptsz since 11010 Unsupported;
            cuUserObjectCreate since 11030 Unsupported;
            cuUserObjectRelease since 11030 Unsupported;
            cuUserObjectRetain since 11030 Unsupported;

            // Other processes, other devices.
            cuDestroyExternalMemory since 10000 Unsupported;
            cuDestroyExternalSemaphore since 10000 Unsupported;
            cuExternalMemoryGetMappedBuffer since 10000 Unsupported;
            cuExternalMemoryGetMappedMipmappedArray since 10000 Unsupported;
            cuFlushGPUDirectRDMAWrites since 11030 Unsupported;
            cuImportExternalMemory since 10000 Unsupported;
            cuImportExternalSemaphore since 10000 Unsupported;
            cuIpcCloseMemHandle since 4010 Unsupported;
            cuIpcGetEventHandle since 4010 Unsupported;
            cuIpcGetMemHandle since 4010 Unsupported;
            cuIpcOpenEventHandle since 4010 Unsupported;
            cuIpcOpenMemHandle since 4010 Unsupported;
            cuIpcOpenMemHandle_v2 since 11000 Unsupported;
            cuSignalExternalSemaphoresAsync since 10000 Unsupported;
            cuSignalExternalSemaphoresAsync_ptsz since 10000 Unsupported;
            cuWaitExternalSemaphoresAsync since 10000 Unsupported;
            cuWaitExternalSemaphoresAsync_ptsz since 10000 Unsupported;

            // Arrays, textures and surfaces.
            cuArray3DCreate since 2000 Unsupported;
            cuArray3DCreate_v2 since 3020 Unsupported;
            cuArray3DGetDescriptor since 2000 Unsupported;
            cuArray3DGetDescriptor_v2 since 3020 Unsupported;
            cuArrayCreate since 2000 Unsupported;
            cuArrayCreate_v2 since 3020 Unsupported;
            cuArrayDestroy since 2000 Unsupported;
            cuArrayGetDescriptor since 2000 Unsupported;
            cuArrayGetDescriptor_v2 since 3020 Unsupported;
            cuArrayGetMemoryRequirements since 11060 Unsupported;
            cuArrayGetPlane since 11020 Unsupported;
            cuArrayGetSparseProperties since 11010 Unsupported;
            cuMipmappedArrayCreate since 5000 Unsupported;
            cuMipmappedArrayDestroy since 5000 Unsupported;
            cuMipmappedArrayGetLevel since 5000 Unsupported;
            cuMipmappedArrayGetMemoryRequirements since 11060 Unsupported;
            cuMipmappedArrayGetSparseProperties since 11010 Unsupported;
            cuModuleGetSurfRef since 3000 Unsupported;
            cuModuleGetTexRef since 2000 Unsupported;
            cuSurfObjectCreate since 5000 Unsupported;
            cuSurfObjectDestroy since 5000 Unsupported;
            cuSurfObjectGetResourceDesc since 5000 Unsupported;
            cuSurfRefGetArray since 3000 Unsupported;
            cuSurfRefSetArray since 3000 Unsupported;
            cuTexObjectCreate since 5000 Unsupported;
            cuTexObjectDestroy since 5000 Unsupported;
            cuTexObjectGetResourceDesc since 5000 Unsupported;
            cuTexObjectGetResourceViewDesc since 5000 Unsupported;
            cuTexObjectGetTextureDesc since 5000 Unsupported;
            cuTexRefCreate since 2000 Unsupported;
            cuTexRefDestroy since 2000 Unsupported;
            cuTexRefGetAddress since 2000 Unsupported;
            cuTexRefGetAddress_v2 since 3020 Unsupported;
            cuTexRefGetAddressMode since 2000 Unsupported;
            cuTexRefGetArray since 2000 Unsupported;
            cuTexRefGetBorderColor since 8000 Unsupported;
            cuTexRefGetFilterMode since 2000 Unsupported;
            cuTexRefGetFlags since 2000 Unsupported;
            cuTexRefGetFormat since 2000 Unsupported;
            cuTexRefGetMaxAnisotropy since 5000 Unsupported;
            cuTexRefGetMipmapFilterMode since 5000 Unsupported;
            cuTexRefGetMipmapLevelBias since 5000 Unsupported;
            cuTexRefGetMipmapLevelClamp since 5000 Unsupported;
            cuTexRefGetMipmappedArray since 5000 Unsupported;
            cuTexRefSetAddress since 2000 Unsupported;
            cuTexRefSetAddress_v2 since 3020 Unsupported;
            cuTexRefSetAddress2D since 2020 Unsupported;
            cuTexRefSetAddress2D_v2 since 3020 Unsupported;
            cuTexRefSetAddress2D_v3 since 4010 Unsupported;
            cuTexRefSetAddressMode since 2000 Unsupported;
            cuTexRefSetArray since 2000 Unsupported;
            cuTexRefSetBorderColor since 8000 Unsupported;
            cuTexRefSetFilterMode since 2000 Unsupported;
            cuTexRefSetFlags since 2000 Unsupported;
            cuTexRefSetFormat since 2000 Unsupported;
            cuTexRefSetMaxAnisotropy since 5000 Unsupported;
            cuTexRefSetMipmapFilterMode since 5000 Unsupported;
            cuTexRefSetMipmapLevelBias since 5000 Unsupported;
            cuTexRefSetMipmapLevelClamp since 5000 Unsupported;
            cuTexRefSetMipmappedArray since 5000 Unsupported;

            // Graphics.
            cuEGLApiInit since NEVER Unsupported;
            cuEGLStreamConsumerAcquireFrame since 7000 Unsupported;
            cuEGLStreamConsumerConnect since 7000 Unsupported;
            cuEGLStreamConsumerConnectWithFlags since 8000 Unsupported;
            cuEGLStreamConsumerDisconnect since 7000 Unsupported;
            cuEGLStreamConsumerReleaseFrame since 7000 Unsupported;
            cuEGLStreamProducerConnect since 7000 Unsupported;
            cuEGLStreamProducerDisconnect since 7000 Unsupported;
            cuEGLStreamProducerPresentFrame since 7000 Unsupported;
            cuEGLStreamProducerReturnFrame since 7000 Unsupported;
            cuGLCtxCreate since 2000 Unsupported;
            cuGLCtxCreate_v2 since 3020 Unsupported;
            cuGLGetDevices since 4010 Unsupported;
            cuGLGetDevices_v2 since 6050 Unsupported;
            cuGLInit since 2000 Unsupported;
            cuGLMapBufferObject since 2000 Unsupported;
            cuGLMapBufferObject_v2 since 3020 Unsupported;
            cuGLMapBufferObject_v2_ptds since 7000 Unsupported;
            cuGLMapBufferObjectAsync since 2030 Unsupported;
            cuGLMapBufferObjectAsync_v2 since 3020 Unsupported;
            cuGLMapBufferObjectAsync_v2_ptsz since 7000 Unsupported;
            cuGLRegisterBufferObject since 2000 Unsupported;
            cuGLSetBufferObjectMapFlags since 2030 Unsupported;
            cuGLUnmapBufferObject since 2000 Unsupported;
            cuGLUnmapBufferObjectAsync since 2030 Unsupported;
            cuGLUnregisterBufferObject since 2000 Unsupported;
            cuGraphicsEGLRegisterImage since 7000 Unsupported;
            cuGraphicsGLRegisterBuffer since 3000 Unsupported;
            cuGraphicsGLRegisterImage since 3000 Unsupported;
            cuGraphicsMapResources since 3000 Unsupported;
            cuGraphicsMapResources_ptsz since 7000 Unsupported;
            cuGraphicsResourceGetMappedEglFrame since 7000 Unsupported;
            cuGraphicsResourceGetMappedMipmappedArray since 5000 Unsupported;
            cuGraphicsResourceGetMappedPointer since 3000 Unsupported;
            cuGraphicsResourceGetMappedPointer_v2 since 3020 Unsupported;
            cuGraphicsResourceSetMapFlags since 3000 Unsupported;
            cuGraphicsResourceSetMapFlags_v2 since 6050 Unsupported;
            cuGraphicsSubResourceGetMappedArray since 3000 Unsupported;
            cuGraphicsUnmapResources since 3000 Unsupported;
            cuGraphicsUnmapResources_ptsz since 7000 Unsupported;
            cuGraphicsUnregisterResource since 3000 Unsupported;
            cuGraphicsVDPAURegisterOutputSurface since 3010 Unsupported;
            cuGraphicsVDPAURegisterVideoSurface since 3010 Unsupported;
            cuVDPAUCtxCreate since 3010 Unsupported;
            cuVDPAUCtxCreate_v2 since 3020 Unsupported;
            cuVDPAUGetDevice since 3010 Unsupported;
        }
    };
}
