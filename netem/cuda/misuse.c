// What the driver answers to calls that are wrong: no context, null, handles that are gone, unknown enums, the wrong
// order. Prints one `CALL RESULT` a line in a fixed order, so that `diff` compares a driver with another.
//
// Usage: misuse [-j CHILDREN] [GROUP...]
//
// Each group runs in a process of its own. A call that kills the process is printed with its signal, and the group
// runs again without that call, so that no crash hides what follows.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int R;
typedef void *H;                 // Every opaque handle.
typedef unsigned long long P;    // A device pointer.
typedef unsigned int U;

typedef struct {
    U id, pad;
    U value[16];
} Attribute;

typedef struct {
    U grid[3], block[3], shared_bytes;
    H stream;
    Attribute *attributes;
    U attribute_count;
} Config;

#define FUNCTIONS(X)                                                                                                   \
    X(cuInit, (U))                                                                                                     \
    X(cuDriverGetVersion, (int *))                                                                                     \
    X(cuGetErrorName, (R, const char **))                                                                              \
    X(cuGetErrorString, (R, const char **))                                                                            \
    X(cuGetExportTable, (const void **, const void *))                                                                 \
    X(cuGetProcAddress, (const char *, void **, int, uint64_t))                                                        \
    X(cuGetProcAddress_v2, (const char *, void **, int, uint64_t, int *))                                              \
    X(cuProfilerStart, (void))                                                                                         \
    X(cuProfilerStop, (void))                                                                                          \
    X(cuThreadExchangeStreamCaptureMode, (int *))                                                                      \
    X(cuDeviceCanAccessPeer, (int *, int, int))                                                                        \
    X(cuDeviceComputeCapability, (int *, int *, int))                                                                  \
    X(cuDeviceGet, (int *, int))                                                                                       \
    X(cuDeviceGetAttribute, (int *, int, int))                                                                         \
    X(cuDeviceGetByPCIBusId, (int *, const char *))                                                                    \
    X(cuDeviceGetCount, (int *))                                                                                       \
    X(cuDeviceGetLuid, (char *, U *, int))                                                                             \
    X(cuDeviceGetName, (char *, int, int))                                                                             \
    X(cuDeviceGetP2PAttribute, (int *, int, int, int))                                                                 \
    X(cuDeviceGetPCIBusId, (char *, int, int))                                                                         \
    X(cuDeviceGetProperties, (void *, int))                                                                            \
    X(cuDeviceGetUuid, (void *, int))                                                                                  \
    X(cuDeviceGetUuid_v2, (void *, int))                                                                               \
    X(cuDevicePrimaryCtxGetState, (int, U *, int *))                                                                   \
    X(cuDevicePrimaryCtxRelease_v2, (int))                                                                             \
    X(cuDevicePrimaryCtxReset_v2, (int))                                                                               \
    X(cuDevicePrimaryCtxRetain, (H *, int))                                                                            \
    X(cuDevicePrimaryCtxSetFlags_v2, (int, U))                                                                         \
    X(cuDeviceTotalMem_v2, (size_t *, int))                                                                            \
    X(cuCtxAttach, (H *, U))                                                                                           \
    X(cuCtxCreate_v2, (H *, U, int))                                                                                   \
    X(cuCtxCreate_v4, (H *, void *, U, int))                                                                           \
    X(cuCtxDestroy_v2, (H))                                                                                            \
    X(cuCtxDetach, (H))                                                                                                \
    X(cuCtxGetApiVersion, (H, U *))                                                                                    \
    X(cuCtxGetCacheConfig, (int *))                                                                                    \
    X(cuCtxGetCurrent, (H *))                                                                                          \
    X(cuCtxGetDevice, (int *))                                                                                         \
    X(cuCtxGetDevice_v2, (int *, H))                                                                                   \
    X(cuCtxGetFlags, (U *))                                                                                            \
    X(cuCtxGetId, (H, unsigned long long *))                                                                           \
    X(cuCtxGetLimit, (size_t *, int))                                                                                  \
    X(cuCtxGetSharedMemConfig, (int *))                                                                                \
    X(cuCtxGetStreamPriorityRange, (int *, int *))                                                                     \
    X(cuCtxPopCurrent_v2, (H *))                                                                                       \
    X(cuCtxPushCurrent_v2, (H))                                                                                        \
    X(cuCtxSetCacheConfig, (int))                                                                                      \
    X(cuCtxSetCurrent, (H))                                                                                            \
    X(cuCtxSetLimit, (int, size_t))                                                                                    \
    X(cuCtxSetSharedMemConfig, (int))                                                                                  \
    X(cuCtxSynchronize, (void))                                                                                        \
    X(cuCtxSynchronize_v2, (H))                                                                                        \
    X(cuFuncGetAttribute, (int *, int, H))                                                                             \
    X(cuFuncGetModule, (H *, H))                                                                                       \
    X(cuFuncGetName, (const char **, H))                                                                               \
    X(cuFuncGetParamInfo, (H, size_t, size_t *, size_t *))                                                             \
    X(cuFuncIsLoaded, (int *, H))                                                                                      \
    X(cuFuncLoad, (H))                                                                                                 \
    X(cuFuncSetAttribute, (H, int, int))                                                                               \
    X(cuFuncSetCacheConfig, (H, int))                                                                                  \
    X(cuFuncSetSharedMemConfig, (H, int))                                                                              \
    X(cuKernelGetAttribute, (int *, int, H, int))                                                                      \
    X(cuKernelGetFunction, (H *, H))                                                                                   \
    X(cuKernelGetLibrary, (H *, H))                                                                                    \
    X(cuKernelGetName, (const char **, H))                                                                             \
    X(cuKernelGetParamInfo, (H, size_t, size_t *, size_t *))                                                           \
    X(cuKernelSetAttribute, (int, int, H, int))                                                                        \
    X(cuKernelSetCacheConfig, (H, int, int))                                                                           \
    X(cuLibraryEnumerateKernels, (H *, U, H))                                                                          \
    X(cuLibraryGetGlobal, (P *, size_t *, H, const char *))                                                            \
    X(cuLibraryGetKernel, (H *, H, const char *))                                                                      \
    X(cuLibraryGetKernelCount, (U *, H))                                                                               \
    X(cuLibraryGetModule, (H *, H))                                                                                    \
    X(cuLibraryLoadData, (H *, const void *, int *, void **, U, int *, void **, U))                                    \
    X(cuLibraryLoadFromFile, (H *, const char *, int *, void **, U, int *, void **, U))                                \
    X(cuLibraryUnload, (H))                                                                                            \
    X(cuModuleGetFunction, (H *, H, const char *))                                                                     \
    X(cuModuleGetFunctionCount, (U *, H))                                                                              \
    X(cuModuleGetGlobal_v2, (P *, size_t *, H, const char *))                                                          \
    X(cuModuleGetLoadingMode, (int *))                                                                                 \
    X(cuModuleLoad, (H *, const char *))                                                                               \
    X(cuModuleLoadData, (H *, const void *))                                                                           \
    X(cuModuleLoadDataEx, (H *, const void *, U, int *, void **))                                                      \
    X(cuModuleLoadFatBinary, (H *, const void *))                                                                      \
    X(cuModuleUnload, (H))                                                                                             \
    X(cuOccupancyAvailableDynamicSMemPerBlock, (size_t *, H, int, int))                                                \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *, H, int, size_t))                                            \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, (int *, H, int, size_t, U))                                \
    X(cuOccupancyMaxActiveClusters, (int *, H, const Config *))                                                        \
    X(cuOccupancyMaxPotentialClusterSize, (int *, H, const Config *))                                                  \
    X(cuLaunchCooperativeKernel, (H, U, U, U, U, U, U, U, H, void **))                                                 \
    X(cuLaunchKernel, (H, U, U, U, U, U, U, U, H, void **, void **))                                                   \
    X(cuLaunchKernelEx, (const Config *, H, void **, void **))                                                         \
    X(cuMemAlloc_v2, (P *, size_t))                                                                                    \
    X(cuMemAllocPitch_v2, (P *, size_t *, size_t, size_t, U))                                                          \
    X(cuMemFree_v2, (P))                                                                                               \
    X(cuMemGetAddressRange_v2, (P *, size_t *, P))                                                                     \
    X(cuMemGetInfo_v2, (size_t *, size_t *))                                                                           \
    X(cuPointerGetAttribute, (void *, int, P))                                                                         \
    X(cuPointerGetAttributes, (U, int *, void **, P))                                                                  \
    X(cuMemAllocHost_v2, (void **, size_t))                                                                            \
    X(cuMemFreeHost, (void *))                                                                                         \
    X(cuMemHostAlloc, (void **, size_t, U))                                                                            \
    X(cuMemHostGetDevicePointer_v2, (P *, void *, U))                                                                  \
    X(cuMemHostGetFlags, (U *, void *))                                                                                \
    X(cuMemHostRegister_v2, (void *, size_t, U))                                                                       \
    X(cuMemHostUnregister, (void *))                                                                                   \
    X(cuMemcpy, (P, P, size_t))                                                                                        \
    X(cuMemcpyAsync, (P, P, size_t, H))                                                                                \
    X(cuMemcpyDtoD_v2, (P, P, size_t))                                                                                 \
    X(cuMemcpyDtoDAsync_v2, (P, P, size_t, H))                                                                         \
    X(cuMemcpyDtoH_v2, (void *, P, size_t))                                                                            \
    X(cuMemcpyDtoHAsync_v2, (void *, P, size_t, H))                                                                    \
    X(cuMemcpyHtoD_v2, (P, const void *, size_t))                                                                      \
    X(cuMemcpyHtoDAsync_v2, (P, const void *, size_t, H))                                                              \
    X(cuMemsetD8_v2, (P, unsigned char, size_t))                                                                       \
    X(cuMemsetD16_v2, (P, unsigned short, size_t))                                                                     \
    X(cuMemsetD32_v2, (P, U, size_t))                                                                                  \
    X(cuMemsetD8Async, (P, unsigned char, size_t, H))                                                                  \
    X(cuMemsetD32Async, (P, U, size_t, H))                                                                             \
    X(cuMemsetD2D8_v2, (P, size_t, unsigned char, size_t, size_t))                                                     \
    X(cuMemsetD2D16_v2, (P, size_t, unsigned short, size_t, size_t))                                                   \
    X(cuMemsetD2D32_v2, (P, size_t, U, size_t, size_t))                                                                \
    X(cuEventCreate, (H *, U))                                                                                         \
    X(cuEventDestroy_v2, (H))                                                                                          \
    X(cuEventElapsedTime, (float *, H, H))                                                                             \
    X(cuEventElapsedTime_v2, (float *, H, H))                                                                          \
    X(cuEventQuery, (H))                                                                                               \
    X(cuEventRecord, (H, H))                                                                                           \
    X(cuEventRecordWithFlags, (H, H, U))                                                                               \
    X(cuEventSynchronize, (H))                                                                                         \
    X(cuStreamCreate, (H *, U))                                                                                        \
    X(cuStreamCreateWithPriority, (H *, U, int))                                                                       \
    X(cuStreamDestroy_v2, (H))                                                                                         \
    X(cuStreamGetCtx, (H, H *))                                                                                        \
    X(cuStreamGetCtx_v2, (H, H *, H *))                                                                                \
    X(cuStreamGetDevice, (H, int *))                                                                                   \
    X(cuStreamGetFlags, (H, U *))                                                                                      \
    X(cuStreamGetId, (H, unsigned long long *))                                                                        \
    X(cuStreamGetPriority, (H, int *))                                                                                 \
    X(cuStreamIsCapturing, (H, int *))                                                                                 \
    X(cuStreamQuery, (H))                                                                                              \
    X(cuStreamSynchronize, (H))                                                                                        \
    X(cuStreamWaitEvent, (H, H, U))                                                                                    \
    X(cuStreamGetCaptureInfo_v2, (H, int *, uint64_t *, H *, const H **, size_t *))

#define DECLARE(name, arguments) static R(*name) arguments;
FUNCTIONS(DECLARE)

/// The result of a function that libcuda.so.1 does not export.
static R absent(void) { return -1; }

static void open_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(1);
    }
#define LOAD(name, arguments)                                                                                          \
    name = (R(*) arguments)dlsym(driver, #name);                                                                       \
    if (!name) name = (R(*) arguments)absent;
    FUNCTIONS(LOAD)
}

// -- One line of output.

enum { MOST_DEATHS = 64, LABEL_BYTES = 160 };

/// What a child leaves to its parent, in shared memory: the call it is in.
typedef struct {
    int step;
    char label[LABEL_BYTES];
} Progress;

static Progress *progress;
/// The calls that killed an earlier run of this group, and the last one already printed.
static int deadly[MOST_DEATHS], deaths, printed_until;

/// Whether the call is to be made in this run.
static int begin(const char *label) {
    progress->step++;
    snprintf(progress->label, sizeof progress->label, "%s", label);
    for (int i = 0; i < deaths; i++)
        if (deadly[i] == progress->step) return 0;
    return 1;
}

static void end(const char *format, ...) {
    if (progress->step <= printed_until) return;
    va_list values;
    va_start(values, format);
    printf("%-100s ", progress->label);
    vprintf(format, values);
    printf("\n");
    fflush(stdout);
    va_end(values);
}

#define SAY(call)                                                                                                      \
    do {                                                                                                               \
        if (begin(#call)) end("%d", (int)(call));                                                                      \
    } while (0)
/// A value that the call before it has left.
#define SHOW(value)                                                                                                    \
    do {                                                                                                               \
        if (begin("= " #value)) end("%lld", (long long)(value));                                                       \
    } while (0)
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        R result_ = (call);                                                                                            \
        if (result_ && begin("cannot prepare: " #call)) end("%d", result_);                                            \
    } while (0)

// -- What the cases work on.

static const char PTX[] = ".version 6.3\n"
                          ".target sm_75\n"
                          ".address_size 64\n"
                          ".visible .global .align 4 .b8 table[64];\n"
                          ".visible .entry nothing() { ret; }\n"
                          ".visible .entry write_to(.param .u64 address) {\n"
                          "  .reg .b64 %rd<3>; .reg .b32 %r<2>;\n"
                          "  ld.param.u64 %rd1, [address];\n"
                          "  cvta.to.global.u64 %rd2, %rd1;\n"
                          "  mov.u32 %r1, 7;\n"
                          "  st.global.u32 [%rd2], %r1;\n"
                          "  ret;\n"
                          "}\n";
static const char BROKEN[] = ".version 6.3\n.target sm_75\n.address_size 64\n.visible .entry broken() { nonsense; }";

static H ctx, module, nothing, write_to, stream, event, library, kernel, gone;
static P mem, freed;
static void *pinned;
static char host[8192], other_host[8192];
static int number, other_number;
static U unsigned_number;
static size_t size, other_size;
static P pointer;
static H handle;
static const char *text;
static unsigned long long id;
static float ms;

static void init(void) { MUST(cuInit(0)); }

static void with_context(void) {
    init();
    MUST(cuDevicePrimaryCtxRetain(&ctx, 0));
    MUST(cuCtxSetCurrent(ctx));
}

static void with_objects(void) {
    with_context();
    MUST(cuModuleLoadData(&module, PTX));
    MUST(cuModuleGetFunction(&nothing, module, "nothing"));
    MUST(cuModuleGetFunction(&write_to, module, "write_to"));
    MUST(cuStreamCreate(&stream, 1));
    MUST(cuEventCreate(&event, 0));
    MUST(cuMemAlloc_v2(&mem, 4096));
    MUST(cuMemAlloc_v2(&freed, 4096));
    MUST(cuMemFree_v2(freed));
    MUST(cuMemAllocHost_v2(&pinned, 4096));
    MUST(cuLibraryLoadData(&library, PTX, 0, 0, 0, 0, 0, 0));
    MUST(cuLibraryGetKernel(&kernel, library, "nothing"));
}

static void launch(H function, P address) {
    void *parameters[] = {&address};
    R result = cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, 0);
    if (begin("cuLaunchKernel(write_to, a bad address)")) end("%d", result);
}

static R launch_of(U gx, U gy, U gz, U bx, U by, U bz, U shared_bytes) {
    return cuLaunchKernel(nothing, gx, gy, gz, bx, by, bz, shared_bytes, 0, 0, 0);
}

static R launch_with(U attribute, U x, U y, U z, U grid) {
    Attribute one = {.id = attribute, .value = {x, y, z}};
    Config config = {.grid = {grid, 1, 1}, .block = {32, 1, 1}, .attributes = &one, .attribute_count = 1};
    R result = cuLaunchKernelEx(&config, nothing, 0, 0);
    R later = cuCtxSynchronize();
    return result ? result : later * 1000;
}

static const char *with_junk(const char *bytes, size_t length) {
    static char image[4096];
    memset(image, 0, sizeof image);
    memcpy(image, bytes, length);
    return image;
}

// -- The groups. Their order is that of the output.

static void before_init(void) {
    SAY(cuDriverGetVersion(&number));
    SAY(cuDriverGetVersion(0));
    SAY(cuGetErrorName(3, &text));
    SAY(cuGetErrorString(3, &text));
    SAY(cuDeviceGet(&number, 0));
    SAY(cuDeviceGetCount(&number));
    SAY(cuDeviceGetAttribute(&number, 1, 0));
    SAY(cuDeviceGetName(host, 64, 0));
    SAY(cuDeviceTotalMem_v2(&size, 0));
    SAY(cuDeviceGetUuid(host, 0));
    SAY(cuDeviceGetP2PAttribute(&number, 1, 0, 0));
    SAY(cuDeviceCanAccessPeer(&number, 0, 0));
    SAY(cuDevicePrimaryCtxGetState(0, &unsigned_number, &number));
    SAY(cuDevicePrimaryCtxRetain(&handle, 0));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuDevicePrimaryCtxReset_v2(0));
    SAY(cuCtxCreate_v2(&handle, 0, 0));
    SAY(cuCtxGetCurrent(&handle));
    SAY(cuCtxSetCurrent(0));
    SAY(cuCtxPopCurrent_v2(&handle));
    SAY(cuCtxPushCurrent_v2(0));
    SAY(cuCtxGetDevice(&number));
    SAY(cuCtxSynchronize());
    SAY(cuCtxDestroy_v2(0));
    SAY(cuMemAlloc_v2(&pointer, 16));
    SAY(cuMemFree_v2(0));
    SAY(cuMemFree_v2(4096));
    SAY(cuMemGetInfo_v2(&size, &other_size));
    SAY(cuMemHostAlloc(&pinned, 16, 0));
    SAY(cuMemFreeHost(0));
    SAY(cuMemHostRegister_v2(host, 4096, 0));
    SAY(cuMemHostUnregister(host));
    SAY(cuMemcpyHtoD_v2(4096, host, 16));
    SAY(cuMemcpy((P)(uintptr_t)host, (P)(uintptr_t)other_host, 16));
    SAY(cuMemsetD8_v2(4096, 0, 16));
    SAY(cuPointerGetAttribute(&number, 2, (P)(uintptr_t)host));
    SAY(cuModuleLoadData(&handle, PTX));
    SAY(cuModuleGetLoadingMode(&number));
    SAY(cuLibraryLoadData(&handle, PTX, 0, 0, 0, 0, 0, 0));
    SAY(cuLaunchKernel(0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuStreamCreate(&handle, 0));
    SAY(cuStreamSynchronize(0));
    SAY(cuStreamQuery(0));
    SAY(cuEventCreate(&handle, 0));
    SAY(cuEventQuery(0));
    SAY(cuProfilerStart());
    SAY(cuThreadExchangeStreamCaptureMode(&number));
    SAY(cuGetProcAddress_v2("cuInit", (void **)&handle, 12000, 0, &number));
    SAY(cuInit(1));
    SAY(cuInit(0));
    SAY(cuInit(0));
    SAY(cuInit(1));
}

static void no_context_devices(void) {
    init();
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == 0);
    SAY(cuCtxGetDevice(&number));
    SAY(cuCtxGetDevice_v2(&number, 0));
    SAY(cuCtxGetFlags(&unsigned_number));
    SAY(cuCtxGetId(0, &id));
    SAY(cuCtxGetApiVersion(0, &unsigned_number));
    SAY(cuCtxGetLimit(&size, 0));
    SAY(cuCtxSetLimit(0, 1024));
    SAY(cuCtxGetCacheConfig(&number));
    SAY(cuCtxSetCacheConfig(0));
    SAY(cuCtxGetSharedMemConfig(&number));
    SAY(cuCtxSetSharedMemConfig(0));
    SAY(cuCtxGetStreamPriorityRange(&number, &other_number));
    SAY(cuCtxSynchronize());
    SAY(cuCtxSynchronize_v2(0));
    SAY(cuCtxPopCurrent_v2(&handle));
    SAY(cuCtxPopCurrent_v2(0));
    SAY(cuCtxPushCurrent_v2(0));
    SAY(cuCtxSetCurrent(0));
    SAY(cuCtxDestroy_v2(0));
    SAY(cuCtxDetach(0));
    SAY(cuCtxAttach(&handle, 0));
    SAY(cuProfilerStart());
    SAY(cuProfilerStop());
    number = 0;
    SAY(cuThreadExchangeStreamCaptureMode(&number));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuDevicePrimaryCtxReset_v2(0));
    SAY(cuDevicePrimaryCtxSetFlags_v2(0, 0));
    SAY(cuDevicePrimaryCtxSetFlags_v2(0, 0x1000));
}

static void no_context_memory(void) {
    init();
    SAY(cuMemAlloc_v2(&pointer, 16));
    SAY(cuMemAllocPitch_v2(&pointer, &size, 16, 16, 4));
    SAY(cuMemFree_v2(0));
    SAY(cuMemFree_v2(4096));
    SAY(cuMemGetInfo_v2(&size, &other_size));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, 4096));
    SAY(cuPointerGetAttribute(&number, 2, (P)(uintptr_t)host));
    SAY(cuMemAllocHost_v2(&pinned, 16));
    SAY(cuMemHostAlloc(&pinned, 16, 0));
    SAY(cuMemFreeHost(0));
    SAY(cuMemFreeHost(host));
    SAY(cuMemHostRegister_v2(host, 4096, 0));
    SAY(cuMemHostUnregister(host));
    SAY(cuMemHostUnregister(0));
    SAY(cuMemHostGetFlags(&unsigned_number, host));
    SAY(cuMemHostGetDevicePointer_v2(&pointer, host, 0));
    SAY(cuMemcpyHtoD_v2(4096, host, 16));
    SAY(cuMemcpyHtoD_v2(4096, host, 0));
    SAY(cuMemcpyDtoH_v2(host, 4096, 16));
    SAY(cuMemcpyDtoD_v2(4096, 8192, 16));
    SAY(cuMemcpy((P)(uintptr_t)host, (P)(uintptr_t)other_host, 16));
    SAY(cuMemcpyHtoDAsync_v2(4096, host, 16, 0));
    SAY(cuMemsetD8_v2(4096, 0, 16));
    SAY(cuMemsetD8Async(4096, 0, 16, 0));
}

static void no_context_modules(void) {
    init();
    SAY(cuModuleLoadData(&handle, PTX));
    SAY(cuModuleLoad(&handle, "/nonexistent"));
    SAY(cuModuleUnload(0));
    SAY(cuModuleGetFunction(&handle, 0, "nothing"));
    SAY(cuModuleGetLoadingMode(&number));
    SAY(cuLaunchKernel(0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuFuncGetAttribute(&number, 0, 0));
    SAY(cuStreamCreate(&handle, 0));
    SAY(cuStreamSynchronize(0));
    SAY(cuStreamSynchronize((H)1));
    SAY(cuStreamSynchronize((H)2));
    SAY(cuStreamQuery(0));
    SAY(cuStreamGetFlags(0, &unsigned_number));
    SAY(cuStreamGetPriority(0, &number));
    SAY(cuStreamGetCtx(0, &handle));
    SAY(cuStreamGetDevice(0, &number));
    SAY(cuStreamGetId(0, &id));
    SAY(cuStreamIsCapturing(0, &number));
    SAY(cuStreamGetCaptureInfo_v2(0, &number, 0, 0, 0, 0));
    SAY(cuStreamWaitEvent(0, 0, 0));
    SAY(cuStreamDestroy_v2(0));
    SAY(cuEventCreate(&handle, 0));
    SAY(cuEventRecord(0, 0));
    SAY(cuEventQuery(0));
    SAY(cuEventDestroy_v2(0));
}

static void no_context_libraries(void) {
    init();
    SAY(cuLibraryLoadData(&library, PTX, 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryGetKernelCount(&unsigned_number, library));
    SHOW(unsigned_number);
    SAY(cuLibraryGetKernel(&kernel, library, "nothing"));
    SAY(cuLibraryGetKernel(&handle, library, "absent"));
    SAY(cuLibraryEnumerateKernels(&handle, 1, library));
    SAY(cuKernelGetName(&text, kernel));
    SAY(cuKernelGetLibrary(&handle, kernel));
    SHOW(handle == library);
    SAY(cuKernelGetAttribute(&number, 0, kernel, 0));
    SAY(cuKernelGetAttribute(&number, 0, kernel, 99));
    SAY(cuKernelSetAttribute(8, 1024, kernel, 0));
    SAY(cuKernelSetCacheConfig(kernel, 0, 0));
    SAY(cuKernelGetParamInfo(kernel, 0, &size, &other_size));
    SAY(cuKernelGetFunction(&handle, kernel));
    SAY(cuLibraryGetModule(&handle, library));
    SAY(cuLibraryGetGlobal(&pointer, &size, library, "table"));
    SAY(cuLibraryGetGlobal(&pointer, &size, library, "absent"));
    SAY(cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuFuncGetAttribute(&number, 0, kernel));
    SAY(cuFuncSetAttribute(kernel, 8, 1024));
    SAY(cuLibraryLoadData(&handle, "this is no module at all", 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, BROKEN, 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryGetKernel(&gone, handle, "broken"));
    SAY(cuLibraryLoadFromFile(&handle, "/nonexistent", 0, 0, 0, 0, 0, 0));
    // The library is there for every context that comes later.
    MUST(cuDevicePrimaryCtxRetain(&ctx, 0));
    MUST(cuCtxSetCurrent(ctx));
    SAY(cuKernelGetFunction(&handle, kernel));
    SAY(cuLibraryGetModule(&handle, library));
    SAY(cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuCtxSynchronize());
    SAY(cuLibraryGetGlobal(&pointer, &size, library, "table"));
    SHOW(size);
    // In a second context too, with a global of its own.
    MUST(cuCtxCreate_v2(&gone, 0, 0));
    SAY(cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuCtxSynchronize());
    P second = 0;
    SAY(cuLibraryGetGlobal(&second, &size, library, "table"));
    SHOW(second != pointer);
    SAY(cuLibraryUnload(library));
    SAY(cuCtxSynchronize());
}

static void library_unload_without_context(void) {
    init();
    MUST(cuLibraryLoadData(&library, PTX, 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryUnload(library));
}

static void library_unload_null(void) {
    init();
    SAY(cuLibraryUnload(0));
}

static void library_unload_twice(void) {
    init();
    MUST(cuLibraryLoadData(&library, PTX, 0, 0, 0, 0, 0, 0));
    MUST(cuLibraryUnload(library));
    SAY(cuLibraryUnload(library));
}

static void garbage_images(void) {
    with_context();
    static const char elf[64] = "\177ELF\2\1\1\063";
    SAY(cuModuleLoadData(&handle, ""));
    SAY(cuModuleLoadData(&handle, "this is no module at all"));
    SAY(cuModuleLoadData(&handle, with_junk(BROKEN, sizeof BROKEN)));
    SAY(cuModuleLoadData(&handle, with_junk(".version 99.9\n.target sm_75\n.address_size 64\n", 47)));
    SAY(cuModuleLoadData(&handle, with_junk(".version 6.3\n.target sm_999\n.address_size 64\n", 46)));
    SAY(cuModuleLoadData(&handle, with_junk(".version 6.3\n.target sm_75\n.address_size 64\n", 45)));
    SAY(cuModuleLoadData(&handle, with_junk(elf, sizeof elf)));
    SAY(cuModuleLoadData(&handle, 0));
    SAY(cuModuleLoadData(0, PTX));
    SAY(cuModuleLoadDataEx(&handle, PTX, 0, 0, 0));
    SAY(cuModuleLoadFatBinary(&handle, "this is no module at all"));
    SAY(cuModuleLoadFatBinary(&handle, 0));
    SAY(cuModuleLoad(&handle, "/nonexistent"));
    SAY(cuModuleLoad(&handle, "/dev/null"));
    SAY(cuModuleLoad(&handle, 0));
    SAY(cuModuleLoad(0, "/nonexistent"));
    SAY(cuLibraryLoadData(&handle, "", 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, "this is no module at all", 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, with_junk(BROKEN, sizeof BROKEN), 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, with_junk(elf, sizeof elf), 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, 0, 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(0, PTX, 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadFromFile(&handle, "/nonexistent", 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadFromFile(&handle, 0, 0, 0, 0, 0, 0, 0));
}

static void eager_garbage(void) {
    setenv("CUDA_MODULE_LOADING", "EAGER", 1);
    init();
    SAY(cuModuleGetLoadingMode(&number));
    SHOW(number);
    SAY(cuLibraryLoadData(&handle, "this is no module at all", 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, with_junk(BROKEN, sizeof BROKEN), 0, 0, 0, 0, 0, 0));
    with_context();
    SAY(cuLibraryLoadData(&handle, "this is no module at all", 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryLoadData(&handle, with_junk(BROKEN, sizeof BROKEN), 0, 0, 0, 0, 0, 0));
}

static void names(void) {
    init();
    SAY(cuGetErrorName(12345, &text));
    SHOW(text == 0);
    SAY(cuGetErrorName(500, &text));
    SAY(cuGetErrorName(500, 0));
    SAY(cuGetErrorString(12345, &text));
    SHOW(text == 0);
    SAY(cuGetErrorString(-1, &text));
    SAY(cuGetErrorString(0, 0));
    SAY(cuGetProcAddress("cuNoSuchThing", (void **)&handle, 13000, 0));
    SAY(cuGetProcAddress_v2("cuNoSuchThing", (void **)&handle, 13000, 0, &number));
    SHOW(number);
    SHOW(handle == 0);
    SAY(cuGetProcAddress_v2("cuMemAlloc", (void **)&handle, 1000, 0, &number));
    SHOW(number);
    SAY(cuGetProcAddress_v2("cuMemAlloc", (void **)&handle, 13000, 0, 0));
    SAY(cuGetProcAddress_v2("cuMemAlloc", 0, 13000, 0, &number));
    SAY(cuGetProcAddress_v2(0, (void **)&handle, 13000, 0, &number));
    SAY(cuGetProcAddress_v2("cuMemAlloc", (void **)&handle, 13000, 8, &number));
    SHOW(number);
    SAY(cuGetProcAddress_v2("cuMemAlloc_v2", (void **)&handle, 13000, 0, &number));
    SAY(cuGetProcAddress_v2("cuMemAlloc", (void **)&handle, 99000, 0, &number));
    SAY(cuGetProcAddress_v2("cuMemAlloc", (void **)&handle, -1, 0, &number));
    SAY(cuGetProcAddress_v2("", (void **)&handle, 13000, 0, &number));
    SAY(cuGetExportTable((const void **)&handle, host));
    SHOW(handle == 0);
    SAY(cuGetExportTable(0, host));
    SAY(cuGetExportTable((const void **)&handle, 0));
}

/// How many bytes of a buffer of 64, filled with 0xAA before, were changed to zero after the name's end.
static int padding_of(int length) {
    memset(host, 0xAA, 512);
    if (cuDeviceGetName(host, length, 0)) return -1;
    int zeros = 0;
    for (size_t i = strnlen(host, 512); i < 512; i++) zeros += host[i] == 0;
    return zeros;
}

static int length_of(int length) {
    memset(host, 0xAA, 512);
    return cuDeviceGetName(host, length, 0) ? -1 : (int)strnlen(host, 512);
}

static void devices(void) {
    init();
    SAY(cuDeviceGet(&number, -1));
    SAY(cuDeviceGet(&number, 99));
    SAY(cuDeviceGet(0, 0));
    SAY(cuDeviceGetCount(0));
    SAY(cuDeviceGetAttribute(&number, 0, 0));
    SAY(cuDeviceGetAttribute(&number, 9999, 0));
    SAY(cuDeviceGetAttribute(&number, -1, 0));
    SAY(cuDeviceGetAttribute(&number, 1, 99));
    SAY(cuDeviceGetAttribute(&number, 1, -1));
    SAY(cuDeviceGetAttribute(0, 1, 0));
    SAY(cuDeviceGetName(host, 256, 99));
    SAY(cuDeviceGetName(0, 256, 0));
    SAY(cuDeviceGetName(host, 0, 0));
    SAY(cuDeviceGetName(host, 1, 0));
    SHOW(length_of(1));
    SHOW(length_of(4));
    SHOW(padding_of(4));
    SHOW(padding_of(256) + length_of(256));
    SHOW(padding_of(64) + length_of(64));
    SHOW(padding_of(300) + length_of(300));
    SAY(cuDeviceTotalMem_v2(&size, 99));
    SAY(cuDeviceTotalMem_v2(0, 0));
    SAY(cuDeviceGetUuid(0, 0));
    SAY(cuDeviceGetUuid(host, 99));
    SAY(cuDeviceGetUuid_v2(0, 0));
    SAY(cuDeviceGetLuid(host, &unsigned_number, 0));
    SAY(cuDeviceGetLuid(0, 0, 0));
    SAY(cuDeviceGetPCIBusId(host, 64, 0));
    SAY(cuDeviceGetPCIBusId(host, 4, 0));
    SAY(cuDeviceGetPCIBusId(host, 0, 0));
    SAY(cuDeviceGetPCIBusId(host, 12, 0));
    SAY(cuDeviceGetPCIBusId(host, 13, 0));
    SAY(cuDeviceGetPCIBusId(0, 64, 0));
    SAY(cuDeviceGetByPCIBusId(&number, "nonsense"));
    SAY(cuDeviceGetByPCIBusId(&number, "ffff:ff:1f.0"));
    SAY(cuDeviceGetByPCIBusId(&number, 0));
    SAY(cuDeviceGetByPCIBusId(0, "0000:00:00.0"));
    SAY(cuDeviceGetP2PAttribute(&number, 1, 0, 0));
    SAY(cuDeviceGetP2PAttribute(&number, 9999, 0, 0));
    SAY(cuDeviceGetP2PAttribute(&number, 0, 0, 0));
    SAY(cuDeviceGetP2PAttribute(&number, 1, 0, 99));
    SAY(cuDeviceGetP2PAttribute(&number, 9999, 0, 99));
    SAY(cuDeviceGetP2PAttribute(&number, 1, 99, 0));
    SAY(cuDeviceGetP2PAttribute(0, 1, 0, 0));
    SAY(cuDeviceCanAccessPeer(&number, 0, 0));
    SHOW(number);
    SAY(cuDeviceCanAccessPeer(&number, 0, 99));
    SAY(cuDeviceCanAccessPeer(0, 0, 0));
    SAY(cuDeviceComputeCapability(&number, 0, 0));
    SAY(cuDeviceComputeCapability(0, &number, 0));
    SAY(cuDeviceComputeCapability(&number, &other_number, 99));
    SAY(cuDeviceGetProperties(0, 0));
    SAY(cuDeviceGetProperties(host, 99));
    SAY(cuModuleGetLoadingMode(0));
    SAY(cuThreadExchangeStreamCaptureMode(0));
    number = 77;
    SAY(cuThreadExchangeStreamCaptureMode(&number));
}

static void primary_context(void) {
    init();
    SAY(cuDevicePrimaryCtxRetain(0, 0));
    SAY(cuDevicePrimaryCtxRetain(&ctx, 99));
    SAY(cuDevicePrimaryCtxGetState(0, 0, &number));
    SAY(cuDevicePrimaryCtxGetState(0, &unsigned_number, 0));
    SAY(cuDevicePrimaryCtxGetState(0, 0, 0));
    SAY(cuDevicePrimaryCtxGetState(99, &unsigned_number, &number));
    SAY(cuDevicePrimaryCtxRetain(&ctx, 0));
    SAY(cuDevicePrimaryCtxSetFlags_v2(0, 4));
    SAY(cuDevicePrimaryCtxSetFlags_v2(0, 3));
    SAY(cuDevicePrimaryCtxSetFlags_v2(99, 0));
    SAY(cuDevicePrimaryCtxGetState(0, &unsigned_number, &number));
    SHOW(unsigned_number);
    SHOW(number);
    SAY(cuCtxSetCurrent(ctx));
    SAY(cuCtxDestroy_v2(ctx));
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == ctx);
    SAY(cuMemAlloc_v2(&mem, 4096));
    SAY(cuDevicePrimaryCtxReset_v2(0));
    SAY(cuDevicePrimaryCtxGetState(0, &unsigned_number, &number));
    SHOW(number);
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == ctx);
    SAY(cuMemAlloc_v2(&pointer, 4096));
    SAY(cuMemFree_v2(mem));
    SAY(cuCtxSynchronize());
    SAY(cuDevicePrimaryCtxRetain(&handle, 0));
    SHOW(handle == ctx);
    SAY(cuCtxSetCurrent(handle));
    SAY(cuMemAlloc_v2(&pointer, 4096));
}

static void primary_release(void) {
    with_context();
    SAY(cuMemAlloc_v2(&mem, 4096));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuDevicePrimaryCtxGetState(0, &unsigned_number, &number));
    SHOW(number);
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == ctx);
    SAY(cuCtxSynchronize());
    SAY(cuCtxGetDevice(&number));
    SAY(cuCtxGetFlags(&unsigned_number));
    SAY(cuMemAlloc_v2(&pointer, 16));
    SAY(cuMemFree_v2(mem));
    SAY(cuStreamSynchronize(0));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuDevicePrimaryCtxRelease_v2(99));
    SAY(cuCtxSetCurrent(ctx));
    SAY(cuCtxPopCurrent_v2(&handle));
    SAY(cuCtxPushCurrent_v2(ctx));
}

static void contexts(void) {
    with_context();
    SAY(cuCtxCreate_v2(0, 0, 0));
    SAY(cuCtxCreate_v2(&handle, 0, 99));
    SAY(cuCtxCreate_v2(&handle, 7, 0));
    SAY(cuCtxCreate_v2(&handle, 0x1000, 0));
    SAY(cuCtxCreate_v2(&gone, 0, 0));
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == gone);
    SAY(cuCtxGetCurrent(0));
    SAY(cuCtxGetDevice(0));
    SAY(cuCtxGetFlags(0));
    SAY(cuCtxGetId(0, 0));
    SAY(cuCtxGetId(gone, &id));
    SAY(cuCtxGetApiVersion(gone, &unsigned_number));
    SHOW(unsigned_number);
    SAY(cuCtxGetApiVersion(0, &unsigned_number));
    SAY(cuCtxGetApiVersion(gone, 0));
    SAY(cuCtxGetLimit(0, 0));
    SAY(cuCtxGetLimit(&size, 99));
    SAY(cuCtxGetLimit(&size, 1));
    SAY(cuCtxGetLimit(&size, 2));
    SAY(cuCtxGetLimit(&size, 3));
    SAY(cuCtxGetLimit(&size, 4));
    SAY(cuCtxGetLimit(&size, 5));
    SAY(cuCtxGetLimit(&size, 6));
    SAY(cuCtxSetLimit(99, 0));
    SAY(cuCtxSetLimit(0, (size_t)1 << 40));
    SAY(cuCtxSetLimit(0, 4096));
    SAY(cuCtxGetCacheConfig(&number));
    SAY(cuCtxGetCacheConfig(0));
    SAY(cuCtxSetCacheConfig(0));
    SAY(cuCtxSetCacheConfig(99));
    SAY(cuCtxGetSharedMemConfig(&number));
    SAY(cuCtxGetSharedMemConfig(0));
    SAY(cuCtxSetSharedMemConfig(0));
    SAY(cuCtxSetSharedMemConfig(99));
    SAY(cuCtxGetStreamPriorityRange(0, 0));
    SAY(cuCtxGetStreamPriorityRange(&number, 0));
    SAY(cuCtxSynchronize());
    SAY(cuCtxSynchronize_v2(0));
    SAY(cuCtxSynchronize_v2(ctx));
    SAY(cuCtxGetDevice_v2(&number, 0));
    SAY(cuCtxGetDevice_v2(&number, ctx));
    SAY(cuCtxGetDevice_v2(0, ctx));
    SAY(cuCtxAttach(&handle, 0));
    SAY(cuCtxDetach(gone));
    SAY(cuCtxPopCurrent_v2(0));
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == ctx);
    SAY(cuCtxPopCurrent_v2(&handle));
    SAY(cuCtxPopCurrent_v2(&handle));
    SAY(cuCtxPushCurrent_v2(gone));
    SAY(cuCtxDestroy_v2(gone));
    SAY(cuCtxGetCurrent(&handle));
    SHOW(handle == 0);
    SAY(cuMemAlloc_v2(&pointer, 16));
}

static void context_destroyed(void) {
    with_context();
    MUST(cuCtxCreate_v2(&gone, 0, 0));
    MUST(cuMemAlloc_v2(&pointer, 64));
    MUST(cuStreamCreate(&stream, 0));
    MUST(cuEventCreate(&event, 0));
    MUST(cuModuleLoadData(&module, PTX));
    MUST(cuModuleGetFunction(&nothing, module, "nothing"));
    MUST(cuCtxSetCurrent(ctx));
    // What belongs to a context that is not the current one.
    SAY(cuMemcpyDtoH_v2(host, pointer, 64));
    SAY(cuMemsetD8_v2(pointer, 1, 64));
    SAY(cuMemsetD8Async(pointer, 1, 64, stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuStreamQuery(stream));
    SAY(cuStreamGetCtx(stream, &handle));
    SHOW(handle == gone);
    SAY(cuEventRecord(event, 0));
    SAY(cuEventRecord(event, stream));
    SAY(cuStreamWaitEvent(0, event, 0));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0));
    SAY(cuFuncGetAttribute(&number, 0, nothing));
    SAY(cuModuleGetFunction(&handle, module, "nothing"));
    SAY(cuModuleGetGlobal_v2(&mem, &size, module, "table"));
    SAY(cuMemGetAddressRange_v2(&mem, &size, pointer));
    SAY(cuPointerGetAttribute(&handle, 1, pointer));
    SHOW(handle == gone);
    SAY(cuMemFree_v2(pointer));
    SAY(cuModuleUnload(module));
    SAY(cuCtxDestroy_v2(gone));
    SAY(cuStreamDestroy_v2(stream));
    SAY(cuEventQuery(event));
    SAY(cuEventDestroy_v2(event));
    SAY(cuMemFree_v2(pointer));
    SAY(cuCtxGetApiVersion(gone, &unsigned_number));
    SAY(cuCtxGetId(gone, &id));
    SAY(cuCtxSynchronize_v2(gone));
}

static void modules(void) {
    with_objects();
    SAY(cuModuleGetFunction(&handle, module, "absent"));
    SAY(cuModuleGetFunction(&handle, module, ""));
    SAY(cuModuleGetFunction(&handle, module, 0));
    SAY(cuModuleGetFunction(0, module, "nothing"));
    SAY(cuModuleGetFunction(&handle, 0, "nothing"));
    SAY(cuModuleGetFunctionCount(&unsigned_number, module));
    SHOW(unsigned_number);
    SAY(cuModuleGetFunctionCount(0, module));
    SAY(cuModuleGetGlobal_v2(&pointer, &size, module, "table"));
    SHOW(size);
    SAY(cuModuleGetGlobal_v2(&pointer, 0, module, "table"));
    SAY(cuModuleGetGlobal_v2(0, &size, module, "table"));
    SAY(cuModuleGetGlobal_v2(0, 0, module, "table"));
    SAY(cuModuleGetGlobal_v2(&pointer, &size, module, "absent"));
    SAY(cuModuleGetGlobal_v2(&pointer, &size, module, 0));
    SAY(cuModuleGetGlobal_v2(&pointer, &size, 0, "table"));
    SAY(cuModuleUnload(0));
    SAY(cuFuncGetModule(&handle, nothing));
    SHOW(handle == module);
    SAY(cuFuncGetModule(0, nothing));
    SAY(cuFuncGetModule(&handle, 0));
    SAY(cuFuncGetName(&text, nothing));
    SAY(cuFuncGetName(0, nothing));
    SAY(cuFuncGetName(&text, 0));
    SAY(cuFuncGetParamInfo(write_to, 0, &size, &other_size));
    SHOW(other_size);
    SAY(cuFuncGetParamInfo(write_to, 0, &size, 0));
    SAY(cuFuncGetParamInfo(write_to, 0, 0, &size));
    SAY(cuFuncGetParamInfo(write_to, 1, &size, &other_size));
    SAY(cuFuncGetParamInfo(0, 0, &size, &other_size));
    SAY(cuFuncIsLoaded(&number, nothing));
    SAY(cuFuncIsLoaded(0, nothing));
    SAY(cuFuncIsLoaded(&number, 0));
    SAY(cuFuncLoad(nothing));
    SAY(cuFuncLoad(0));
    SAY(cuFuncGetAttribute(&number, 0, nothing));
    SAY(cuFuncGetAttribute(&number, 99, nothing));
    SAY(cuFuncGetAttribute(&number, -1, nothing));
    SAY(cuFuncGetAttribute(0, 0, nothing));
    SAY(cuFuncGetAttribute(&number, 0, 0));
    SAY(cuFuncSetAttribute(nothing, 0, 32));
    SAY(cuFuncSetAttribute(nothing, 8, 1 << 30));
    SAY(cuFuncSetAttribute(nothing, 8, -1));
    SAY(cuFuncSetAttribute(nothing, 8, 4096));
    SAY(cuFuncSetAttribute(nothing, 9, 50));
    SAY(cuFuncSetAttribute(nothing, 9, 101));
    SAY(cuFuncSetAttribute(nothing, 9, -1));
    SAY(cuFuncSetAttribute(nothing, 9, -2));
    SAY(cuFuncSetAttribute(nothing, 99, 1));
    SAY(cuFuncSetAttribute(0, 8, 4096));
    SAY(cuFuncSetCacheConfig(nothing, 1));
    SAY(cuFuncSetCacheConfig(nothing, 99));
    SAY(cuFuncSetCacheConfig(0, 1));
    SAY(cuFuncSetSharedMemConfig(nothing, 1));
    SAY(cuFuncSetSharedMemConfig(nothing, 99));
    SAY(cuFuncSetSharedMemConfig(0, 1));
}

/// The attributes 10 to 15: cluster size must be set, width, height, depth, non-portable size, scheduling policy.
static void cluster_attributes(void) {
    with_objects();
    for (int attribute = 10; attribute <= 15; attribute++) {
        static const int values[] = {-1, 0, 1, 2, 3, 8, 9, 16, 17, 1000};
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            char label[LABEL_BYTES];
            snprintf(label, sizeof label, "cuFuncSetAttribute(nothing, %d, %d)", attribute, values[i]);
            if (begin(label)) end("%d", cuFuncSetAttribute(nothing, attribute, values[i]));
        }
        char label[LABEL_BYTES];
        snprintf(label, sizeof label, "cuFuncGetAttribute(&number, %d, nothing)", attribute);
        if (begin(label)) {
            number = -5;
            R result = cuFuncGetAttribute(&number, attribute, nothing);
            end("%d %d", result, number);
        }
    }
}

static void kernels(void) {
    with_objects();
    SAY(cuLibraryGetKernel(&handle, library, "absent"));
    SAY(cuLibraryGetKernel(&handle, library, 0));
    SAY(cuLibraryGetKernel(0, library, "nothing"));
    SAY(cuLibraryGetKernel(&handle, 0, "nothing"));
    SAY(cuLibraryGetKernelCount(0, library));
    SAY(cuLibraryGetKernelCount(&unsigned_number, 0));
    SAY(cuLibraryEnumerateKernels(0, 1, library));
    SAY(cuLibraryEnumerateKernels(&handle, 0, library));
    SAY(cuLibraryEnumerateKernels(&handle, 1, 0));
    SAY(cuLibraryGetModule(0, library));
    SAY(cuLibraryGetModule(&handle, 0));
    SAY(cuLibraryGetModule(&handle, library));
    SAY(cuModuleUnload(handle));
    SAY(cuLibraryGetGlobal(&pointer, &size, library, "table"));
    SAY(cuLibraryGetGlobal(&pointer, 0, library, "table"));
    SAY(cuLibraryGetGlobal(0, &size, library, "table"));
    SAY(cuLibraryGetGlobal(0, 0, library, "table"));
    SAY(cuLibraryGetGlobal(&pointer, &size, library, 0));
    SAY(cuLibraryGetGlobal(&pointer, &size, library, "absent"));
    SAY(cuLibraryGetGlobal(&pointer, &size, 0, "table"));
    SAY(cuKernelGetFunction(0, kernel));
    SAY(cuKernelGetFunction(&handle, 0));
    SAY(cuKernelGetLibrary(0, kernel));
    SAY(cuKernelGetLibrary(&handle, 0));
    SAY(cuKernelGetName(0, kernel));
    SAY(cuKernelGetName(&text, 0));
    SAY(cuKernelGetAttribute(0, 0, kernel, 0));
    SAY(cuKernelGetAttribute(&number, 99, kernel, 0));
    SAY(cuKernelGetAttribute(&number, 0, 0, 0));
    SAY(cuKernelSetAttribute(8, 1 << 30, kernel, 0));
    SAY(cuKernelSetAttribute(8, 4096, kernel, 99));
    SAY(cuKernelSetAttribute(0, 4096, kernel, 0));
    SAY(cuKernelSetAttribute(99, 4096, kernel, 0));
    SAY(cuKernelSetAttribute(8, 4096, 0, 0));
    SAY(cuKernelSetCacheConfig(kernel, 99, 0));
    SAY(cuKernelSetCacheConfig(0, 0, 0));
    SAY(cuKernelSetCacheConfig(kernel, 0, 99));
    SAY(cuKernelGetParamInfo(kernel, 0, &size, &other_size));
    SAY(cuKernelGetParamInfo(0, 0, &size, &other_size));
    SAY(cuFuncGetAttribute(&number, 0, kernel));
    SAY(cuFuncSetAttribute(kernel, 8, 4096));
    SAY(cuFuncGetModule(&handle, kernel));
    SAY(cuFuncGetName(&text, kernel));
    SAY(cuKernelGetAttribute(&number, 0, nothing, 0));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, kernel, 32, 0));
    SAY(cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
}

static void launches(void) {
    with_objects();
    SAY(launch_of(1, 1, 1, 1, 1, 1, 0));
    SAY(launch_of(0, 1, 1, 1, 1, 1, 0));
    SAY(launch_of(1, 0, 1, 1, 1, 1, 0));
    SAY(launch_of(1, 1, 0, 1, 1, 1, 0));
    SAY(launch_of(1, 1, 1, 0, 1, 1, 0));
    SAY(launch_of(1, 1, 1, 1, 1, 0, 0));
    SAY(launch_of(1, 1, 1, 1024, 1, 1, 0));
    SAY(launch_of(1, 1, 1, 1025, 1, 1, 0));
    SAY(launch_of(1, 1, 1, 32, 32, 2, 0));
    SAY(launch_of(1, 1, 1, 1, 1, 64, 0));
    SAY(launch_of(1, 1, 1, 1, 1, 65, 0));
    SAY(launch_of(1, 65535, 1, 1, 1, 1, 0));
    SAY(launch_of(1, 65536, 1, 1, 1, 1, 0));
    SAY(launch_of(1, 1, 65536, 1, 1, 1, 0));
    SAY(launch_of(0x80000000u, 1, 1, 1, 1, 1, 0));
    SAY(launch_of(1, 1, 1, 1, 1, 1, 48 << 10));
    SAY(launch_of(1, 1, 1, 1, 1, 1, (48 << 10) + 1));
    SAY(launch_of(1, 1, 1, 1, 1, 1, 1 << 30));
    SAY(cuLaunchKernel(0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuLaunchKernel(write_to, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
    SAY(cuLaunchKernelEx(0, nothing, 0, 0));
    SAY(cuLaunchCooperativeKernel(nothing, 1, 1, 1, 1, 1, 1, 0, 0, 0));
    SAY(cuLaunchCooperativeKernel(nothing, 1 << 20, 1, 1, 1024, 1, 1, 0, 0, 0));
    SAY(cuLaunchCooperativeKernel(0, 1, 1, 1, 1, 1, 1, 0, 0, 0));
    SAY(cuCtxSynchronize());
    // launch_with(attribute, value...): 1000 times the error where only the wait reports one.
    SAY(launch_with(0, 0, 0, 0, 8));
    SAY(launch_with(99, 0, 0, 0, 8));
    SAY(launch_with(2, 1, 0, 0, 8));
    SAY(launch_with(2, 2, 0, 0, 8));
    SAY(launch_with(4, 2, 1, 1, 8));
    SAY(launch_with(4, 8, 1, 1, 8));
    SAY(launch_with(4, 3, 1, 1, 8));
    SAY(launch_with(4, 9, 1, 1, 9));
    SAY(launch_with(4, 16, 1, 1, 16));
    SAY(launch_with(4, 17, 1, 1, 17));
    SAY(launch_with(4, 0, 1, 1, 8));
    SAY(launch_with(4, 0, 0, 0, 8));
    SAY(launch_with(4, 1, 0, 0, 8));
    SAY(launch_with(4, 2, 2, 1, 8));
    SAY(launch_with(5, 0, 0, 0, 8));
    SAY(launch_with(5, 1, 0, 0, 8));
    SAY(launch_with(5, 2, 0, 0, 8));
    SAY(launch_with(5, 3, 0, 0, 8));
    SAY(launch_with(6, 1, 0, 0, 8));
    SAY(launch_with(6, 2, 0, 0, 8));
    SAY(launch_with(8, 0, 0, 0, 8));
    SAY(launch_with(8, (U)-5, 0, 0, 8));
    SAY(launch_with(8, 100, 0, 0, 8));
    SAY(launch_with(9, 0, 0, 0, 8));
    SAY(launch_with(10, 0, 0, 0, 8));
    SAY(launch_with(10, 5, 0, 0, 8));
    SAY(launch_with(14, 0, 0, 0, 8));
    SAY(launch_with(14, 50, 0, 0, 8));
    SAY(launch_with(14, 101, 0, 0, 8));
    Config bare = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    SAY(cuLaunchKernelEx(&bare, nothing, 0, 0));
    SAY(cuLaunchKernelEx(&bare, 0, 0, 0));
    SAY(cuLaunchKernelEx(&bare, kernel, 0, 0));
    bare.attribute_count = 1;
    SAY(cuLaunchKernelEx(&bare, nothing, 0, 0));
    bare.attribute_count = 0;
    void *extra_end[] = {0};
    void *extra_unknown[] = {(void *)77, 0};
    size_t extra_bytes = 8;
    P address = mem;
    void *extra[] = {(void *)1, &address, (void *)2, &extra_bytes, 0};
    void *parameters[] = {&address};
    SAY(cuLaunchKernel(write_to, 1, 1, 1, 1, 1, 1, 0, 0, 0, extra));
    SAY(cuLaunchKernel(write_to, 1, 1, 1, 1, 1, 1, 0, 0, parameters, extra));
    extra_bytes = 16;
    SAY(cuLaunchKernel(write_to, 1, 1, 1, 1, 1, 1, 0, 0, 0, extra));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, 0, 0, extra_end));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, 0, 0, extra_unknown));
}

static void occupancy(void) {
    with_objects();
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(0, nothing, 32, 0));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, 0, 32, 0));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, nothing, 0, 0));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, nothing, -1, 0));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, nothing, 2048, 0));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, nothing, 32, (size_t)1 << 40));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&number, nothing, 32, 0, 99));
    SAY(cuOccupancyAvailableDynamicSMemPerBlock(0, nothing, 1, 32));
    SAY(cuOccupancyAvailableDynamicSMemPerBlock(&size, 0, 1, 32));
    SAY(cuOccupancyAvailableDynamicSMemPerBlock(&size, nothing, 0, 32));
    SAY(cuOccupancyAvailableDynamicSMemPerBlock(&size, nothing, 1, 0));
    SAY(cuOccupancyAvailableDynamicSMemPerBlock(&size, nothing, 1000, 1024));
    Config config = {.grid = {8, 1, 1}, .block = {32, 1, 1}};
    SAY(cuOccupancyMaxActiveClusters(&number, nothing, &config));
    SAY(cuOccupancyMaxActiveClusters(&number, nothing, 0));
    SAY(cuOccupancyMaxActiveClusters(0, nothing, &config));
    SAY(cuOccupancyMaxActiveClusters(&number, 0, &config));
    SAY(cuOccupancyMaxPotentialClusterSize(&number, nothing, &config));
    SAY(cuOccupancyMaxPotentialClusterSize(&number, nothing, 0));
    SAY(cuOccupancyMaxPotentialClusterSize(0, nothing, &config));
}

static void device_memory(void) {
    with_objects();
    P interior = mem + 16, inside_host = (P)(uintptr_t)host;
    SAY(cuMemAlloc_v2(0, 16));
    SAY(cuMemAlloc_v2(&pointer, 0));
    SAY(cuMemAlloc_v2(&pointer, (size_t)1 << 50));
    SAY(cuMemAlloc_v2(&pointer, ~(size_t)0));
    SAY(cuMemAllocPitch_v2(&pointer, &size, 100, 100, 4));
    SAY(cuMemAllocPitch_v2(0, &size, 100, 100, 4));
    SAY(cuMemAllocPitch_v2(&pointer, 0, 100, 100, 4));
    SAY(cuMemAllocPitch_v2(&pointer, &size, 0, 100, 4));
    SAY(cuMemAllocPitch_v2(&pointer, &size, 100, 0, 4));
    SAY(cuMemAllocPitch_v2(&pointer, &size, 100, 100, 3));
    SAY(cuMemAllocPitch_v2(&pointer, &size, 100, 100, 0));
    SAY(cuMemAllocPitch_v2(&pointer, &size, (size_t)1 << 40, (size_t)1 << 40, 4));
    SAY(cuMemFree_v2(0));
    SAY(cuMemFree_v2(interior));
    SAY(cuMemFree_v2(inside_host));
    SAY(cuMemFree_v2((P)(uintptr_t)pinned));
    SAY(cuMemFree_v2(0x1234));
    SAY(cuMemGetInfo_v2(&size, 0));
    SAY(cuMemGetInfo_v2(0, &size));
    SAY(cuMemGetInfo_v2(0, 0));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, interior));
    SHOW(pointer == mem);
    SHOW(size);
    SAY(cuMemGetAddressRange_v2(0, &size, mem));
    SAY(cuMemGetAddressRange_v2(&pointer, 0, mem));
    SAY(cuMemGetAddressRange_v2(0, 0, mem));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, 0));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, freed));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, inside_host));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, (P)(uintptr_t)pinned));
    SHOW(size);
    SAY(cuMemFree_v2(mem));
    SAY(cuMemFree_v2(mem));
}

static void pointer_attributes(void) {
    with_objects();
    static const int kinds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 0, 99};
    struct {
        const char *what;
        P address;
    } pointers[] = {{"device", mem},   {"interior", mem + 5},           {"freed", freed},
                    {"null", 0},       {"host", (P)(uintptr_t)host},    {"pinned", (P)(uintptr_t)pinned},
                    {"0x1234", 0x1234}, {"end of device", mem + 4096}};
    for (size_t p = 0; p < sizeof pointers / sizeof pointers[0]; p++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            char label[LABEL_BYTES];
            unsigned long long value[8];
            snprintf(label, sizeof label, "cuPointerGetAttribute(%d, %s)", kinds[k], pointers[p].what);
            memset(value, 0xAA, sizeof value);
            if (begin(label)) {
                R result = cuPointerGetAttribute(value, kinds[k], pointers[p].address);
                int small = kinds[k] == 2 || kinds[k] == 9 || kinds[k] == 6 || kinds[k] == 8;
                if (result == 0 && small) end("%d %d", result, (int)(U)value[0] & (kinds[k] == 6 || kinds[k] == 8 ? 255 : -1));
                else end("%d", result);
            }
        }
    }
    SAY(cuPointerGetAttribute(0, 2, mem));
    int asked[] = {2, 9, 3};
    U type = 0xAA;
    int ordinal = 0xAA;
    P address = 0xAA;
    void *out[] = {&type, &ordinal, &address};
    SAY(cuPointerGetAttributes(3, asked, out, mem + 5));
    SHOW(type);
    SHOW(ordinal);
    SHOW(address == mem + 5);
    SAY(cuPointerGetAttributes(3, asked, out, (P)(uintptr_t)host));
    SHOW(type);
    SHOW(ordinal);
    SHOW(address);
    SAY(cuPointerGetAttributes(3, asked, out, 0));
    SHOW(type);
    SHOW(ordinal);
    SAY(cuPointerGetAttributes(3, asked, out, freed));
    SHOW(type);
    SAY(cuPointerGetAttributes(0, asked, out, mem));
    SAY(cuPointerGetAttributes(3, 0, out, mem));
    SAY(cuPointerGetAttributes(3, asked, 0, mem));
    int unknown[] = {99};
    SAY(cuPointerGetAttributes(1, unknown, out, mem));
}

static void host_memory(void) {
    with_objects();
    void *block = aligned_alloc(65536, 65536);
    SAY(cuMemAllocHost_v2(0, 16));
    SAY(cuMemAllocHost_v2((void **)&handle, 0));
    SAY(cuMemHostAlloc((void **)&handle, 0, 0));
    SAY(cuMemHostAlloc(0, 16, 0));
    SAY(cuMemHostAlloc((void **)&handle, 16, 0x80));
    SAY(cuMemHostAlloc((void **)&handle, (size_t)1 << 60, 0));
    SAY(cuMemHostAlloc((void **)&handle, 4096, 2));
    SAY(cuMemHostGetFlags(&unsigned_number, handle));
    SHOW(unsigned_number);
    SAY(cuMemHostGetDevicePointer_v2(&pointer, handle, 0));
    SHOW(pointer == (P)(uintptr_t)handle);
    SAY(cuMemHostGetDevicePointer_v2(&pointer, (char *)handle + 16, 0));
    SAY(cuMemHostGetDevicePointer_v2(&pointer, handle, 1));
    SAY(cuMemHostGetDevicePointer_v2(0, handle, 0));
    SAY(cuMemFreeHost((char *)handle + 16));
    SAY(cuMemFreeHost(handle));
    SAY(cuMemFreeHost(handle));
    SAY(cuMemHostAlloc((void **)&handle, 4096, 0));
    SAY(cuMemHostGetFlags(&unsigned_number, handle));
    SHOW(unsigned_number);
    SAY(cuMemHostGetDevicePointer_v2(&pointer, handle, 0));
    SAY(cuMemHostAlloc((void **)&handle, 4096, 7));
    SAY(cuMemHostGetFlags(&unsigned_number, handle));
    SHOW(unsigned_number);
    SAY(cuMemHostGetFlags(&unsigned_number, pinned));
    SHOW(unsigned_number);
    SAY(cuMemHostGetFlags(0, pinned));
    SAY(cuMemHostGetFlags(&unsigned_number, 0));
    SAY(cuMemHostGetFlags(&unsigned_number, host));
    SAY(cuMemHostGetDevicePointer_v2(&pointer, host, 0));
    SAY(cuMemHostGetDevicePointer_v2(&pointer, 0, 0));
    SAY(cuMemFreeHost(0));
    SAY(cuMemFreeHost(host));
    SAY(cuMemHostRegister_v2(0, 4096, 0));
    SAY(cuMemHostRegister_v2(block, 0, 0));
    SAY(cuMemHostRegister_v2(block, 4096, 0x80));
    SAY(cuMemHostRegister_v2(block, 4096, 8));
    SAY(cuMemHostUnregister(block));
    SAY(cuMemHostRegister_v2(block, 4096, 4));
    SAY(cuMemHostUnregister(block));
    SAY(cuMemHostRegister_v2((void *)4096, 4096, 0));
    SAY(cuMemHostRegister_v2(block, 65536, 0));
    SAY(cuMemHostRegister_v2(block, 65536, 0));
    SAY(cuMemHostRegister_v2((char *)block + 4096, 4096, 0));
    SAY(cuMemHostGetFlags(&unsigned_number, block));
    SHOW(unsigned_number);
    SAY(cuMemHostGetDevicePointer_v2(&pointer, block, 0));
    SAY(cuMemHostUnregister((char *)block + 4096));
    SAY(cuMemFreeHost(block));
    SAY(cuMemHostUnregister(block));
    SAY(cuMemHostUnregister(block));
    SAY(cuMemHostUnregister(0));
    SAY(cuMemHostUnregister(host));
    SAY(cuMemHostUnregister(pinned));
    SAY(cuMemHostRegister_v2(pinned, 4096, 0));
    SAY(cuMemHostRegister_v2((char *)block + 1, 100, 0));
    SAY(cuMemHostUnregister((char *)block + 1));
}

static void copies(void) {
    with_objects();
    P at_host = (P)(uintptr_t)host, at_other = (P)(uintptr_t)other_host, at_pinned = (P)(uintptr_t)pinned;
    SAY(cuMemcpyHtoD_v2(mem, host, 0));
    SAY(cuMemcpyHtoD_v2(0, 0, 0));
    SAY(cuMemcpyHtoD_v2(0, host, 16));
    SAY(cuMemcpyHtoD_v2(mem, 0, 16));
    SAY(cuMemcpyHtoD_v2(freed, host, 16));
    SAY(cuMemcpyHtoD_v2(mem + 4000, host, 4096));
    SAY(cuMemcpyHtoD_v2(mem, host, 1 << 30));
    SAY(cuMemcpyHtoD_v2(at_host, other_host, 16));
    SAY(cuMemcpyHtoD_v2(at_pinned, other_host, 16));
    SAY(cuMemcpyHtoD_v2(mem, (void *)(uintptr_t)mem, 16));
    SAY(cuMemcpyDtoH_v2(host, mem, 0));
    SAY(cuMemcpyDtoH_v2(host, 0, 16));
    SAY(cuMemcpyDtoH_v2(0, mem, 16));
    SAY(cuMemcpyDtoH_v2(host, freed, 16));
    SAY(cuMemcpyDtoH_v2(host, mem + 4000, 4096));
    SAY(cuMemcpyDtoH_v2(host, at_other, 16));
    SAY(cuMemcpyDtoH_v2(host, at_pinned, 16));
    SAY(cuMemcpyDtoD_v2(mem, mem + 64, 0));
    SAY(cuMemcpyDtoD_v2(mem, 0, 16));
    SAY(cuMemcpyDtoD_v2(0, mem, 16));
    SAY(cuMemcpyDtoD_v2(mem, freed, 16));
    SAY(cuMemcpyDtoD_v2(mem, mem + 8, 64));
    SAY(cuMemcpyDtoD_v2(mem, mem, 64));
    SAY(cuMemcpyDtoD_v2(mem, at_host, 16));
    SAY(cuMemcpyDtoD_v2(mem, at_pinned, 16));
    SAY(cuMemcpy(mem, mem + 64, 16));
    SAY(cuMemcpy(mem, at_host, 16));
    SAY(cuMemcpy(at_host, mem, 16));
    memset(other_host, 7, sizeof other_host);
    memset(host, 0, sizeof host);
    SAY(cuMemcpy(at_host, at_other, 16));
    SHOW(host[0]);
    SHOW(host[15]);
    SHOW(host[16]);
    SAY(cuMemcpy(at_pinned, at_other, 16));
    SHOW(*(char *)pinned);
    SAY(cuMemcpy(at_host, at_pinned, 16));
    SAY(cuMemcpy(at_host, at_host, 16));
    SAY(cuMemcpy(0, 0, 0));
    SAY(cuMemcpy(0, mem, 16));
    SAY(cuMemcpy(mem, 0, 16));
    SAY(cuMemcpy(at_host, 0, 16));
    SAY(cuMemcpy(0, at_host, 16));
    SAY(cuMemcpyAsync(at_host, at_other, 16, 0));
    SAY(cuMemcpyAsync(at_host, at_other, 16, stream));
    SAY(cuMemcpyAsync(at_pinned, at_other, 16, stream));
    SAY(cuMemcpyAsync(mem, mem + 64, 16, stream));
    SAY(cuMemcpyAsync(mem, at_host, 16, stream));
    SAY(cuMemcpyAsync(0, mem, 16, stream));
    SAY(cuMemcpyHtoDAsync_v2(mem, host, 0, stream));
    SAY(cuMemcpyHtoDAsync_v2(mem, 0, 16, stream));
    SAY(cuMemcpyHtoDAsync_v2(0, host, 16, stream));
    SAY(cuMemcpyHtoDAsync_v2(freed, host, 16, stream));
    SAY(cuMemcpyDtoHAsync_v2(host, 0, 16, stream));
    SAY(cuMemcpyDtoHAsync_v2(0, mem, 16, stream));
    SAY(cuMemcpyDtoDAsync_v2(mem, 0, 16, stream));
    SAY(cuMemcpyDtoDAsync_v2(mem, freed, 16, stream));
    SAY(cuCtxSynchronize());
}

static void fills(void) {
    with_objects();
    SAY(cuMemsetD8_v2(mem, 0, 0));
    SAY(cuMemsetD8_v2(0, 0, 0));
    SAY(cuMemsetD8_v2(0, 0, 16));
    SAY(cuMemsetD8_v2(mem + 1, 0, 16));
    SAY(cuMemsetD8_v2(mem, 0, 1 << 30));
    SAY(cuMemsetD8_v2(mem + 4090, 0, 16));
    SAY(cuMemsetD8_v2(freed, 0, 16));
    SAY(cuMemsetD8_v2((P)(uintptr_t)host, 0, 16));
    SAY(cuMemsetD8_v2((P)(uintptr_t)pinned, 5, 16));
    SHOW(*(char *)pinned);
    SAY(cuMemsetD16_v2(mem + 1, 0, 16));
    SAY(cuMemsetD16_v2(mem + 2, 0, 16));
    SAY(cuMemsetD32_v2(mem + 2, 0, 16));
    SAY(cuMemsetD32_v2(mem + 4, 0, 16));
    SAY(cuMemsetD8Async(0, 0, 16, stream));
    SAY(cuMemsetD8Async(mem, 0, 1 << 30, stream));
    SAY(cuMemsetD32Async(mem + 2, 0, 16, stream));
    SAY(cuMemsetD2D8_v2(mem, 64, 0, 32, 4));
    SAY(cuMemsetD2D8_v2(mem, 16, 0, 32, 4));
    SAY(cuMemsetD2D8_v2(mem, 64, 0, 0, 4));
    SAY(cuMemsetD2D8_v2(mem, 64, 0, 32, 0));
    SAY(cuMemsetD2D8_v2(0, 64, 0, 32, 4));
    SAY(cuMemsetD2D8_v2(mem, 0, 0, 32, 1));
    SAY(cuMemsetD2D8_v2(mem, 64, 0, 32, 1 << 20));
    SAY(cuMemsetD2D16_v2(mem, 63, 0, 16, 4));
    SAY(cuMemsetD2D32_v2(mem, 62, 0, 8, 4));
    SAY(cuMemsetD2D32_v2(mem + 2, 64, 0, 8, 4));
    SAY(cuCtxSynchronize());
}

static void streams(void) {
    with_objects();
    SAY(cuStreamCreate(0, 0));
    SAY(cuStreamCreate(&handle, 2));
    SAY(cuStreamCreate(&handle, 0x80));
    SAY(cuStreamCreateWithPriority(&handle, 0, 100));
    SAY(cuStreamGetPriority(handle, &number));
    SHOW(number);
    SAY(cuStreamCreateWithPriority(&handle, 0, -100));
    SAY(cuStreamGetPriority(handle, &number));
    SHOW(number);
    SAY(cuStreamCreateWithPriority(&handle, 4, 0));
    SAY(cuStreamCreateWithPriority(0, 0, 0));
    SAY(cuStreamGetFlags(stream, &unsigned_number));
    SHOW(unsigned_number);
    SAY(cuStreamGetFlags(0, &unsigned_number));
    SHOW(unsigned_number);
    SAY(cuStreamGetFlags((H)1, &unsigned_number));
    SHOW(unsigned_number);
    SAY(cuStreamGetFlags((H)2, &unsigned_number));
    SHOW(unsigned_number);
    SAY(cuStreamGetFlags(stream, 0));
    SAY(cuStreamGetPriority(0, &number));
    SAY(cuStreamGetPriority((H)2, &number));
    SAY(cuStreamGetPriority(stream, 0));
    SAY(cuStreamGetId(0, &id));
    SAY(cuStreamGetId((H)1, &id));
    SAY(cuStreamGetId((H)2, &id));
    SAY(cuStreamGetId(stream, &id));
    SAY(cuStreamGetId(stream, 0));
    SAY(cuStreamGetCtx(0, &handle));
    SHOW(handle == ctx);
    SAY(cuStreamGetCtx((H)2, &handle));
    SAY(cuStreamGetCtx(stream, 0));
    SAY(cuStreamGetCtx_v2(stream, &handle, 0));
    SAY(cuStreamGetCtx_v2(stream, 0, &handle));
    SAY(cuStreamGetCtx_v2(stream, &handle, &gone));
    SHOW(gone == 0);
    SAY(cuStreamGetDevice(stream, &number));
    SAY(cuStreamGetDevice(stream, 0));
    SAY(cuStreamGetDevice(0, &number));
    SAY(cuStreamIsCapturing(0, &number));
    SHOW(number);
    SAY(cuStreamIsCapturing((H)1, &number));
    SAY(cuStreamIsCapturing((H)2, &number));
    SAY(cuStreamIsCapturing(stream, 0));
    SAY(cuStreamGetCaptureInfo_v2(stream, &number, 0, 0, 0, 0));
    SAY(cuStreamGetCaptureInfo_v2(stream, 0, 0, 0, 0, 0));
    SAY(cuStreamQuery(0));
    SAY(cuStreamQuery((H)1));
    SAY(cuStreamQuery((H)2));
    SAY(cuStreamSynchronize(0));
    SAY(cuStreamSynchronize((H)1));
    SAY(cuStreamSynchronize((H)2));
    SAY(cuStreamWaitEvent(stream, event, 0));
    SAY(cuStreamWaitEvent(stream, event, 1));
    SAY(cuStreamWaitEvent(stream, event, 2));
    SAY(cuStreamWaitEvent(stream, 0, 0));
    SAY(cuStreamWaitEvent(0, event, 0));
    SAY(cuStreamDestroy_v2(0));
    SAY(cuStreamDestroy_v2((H)1));
    SAY(cuStreamDestroy_v2((H)2));
    SAY(cuStreamDestroy_v2(stream));
}

static void stream_destroyed(void) {
    with_objects();
    MUST(cuStreamDestroy_v2(stream));
    SAY(cuStreamDestroy_v2(stream));
    SAY(cuStreamQuery(stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuStreamGetFlags(stream, &unsigned_number));
    SAY(cuStreamGetPriority(stream, &number));
    SAY(cuStreamGetCtx(stream, &handle));
    SAY(cuStreamGetId(stream, &id));
    SAY(cuStreamIsCapturing(stream, &number));
    SAY(cuStreamWaitEvent(stream, event, 0));
    SAY(cuEventRecord(event, stream));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0));
    SAY(cuMemsetD8Async(mem, 0, 16, stream));
    SAY(cuMemcpyHtoDAsync_v2(mem, host, 16, stream));
    SAY(cuMemcpyDtoHAsync_v2(host, mem, 16, stream));
    SAY(cuCtxSynchronize());
}

static void events(void) {
    with_objects();
    H untimed = 0, second = 0;
    SAY(cuEventCreate(0, 0));
    SAY(cuEventCreate(&handle, 0x80));
    SAY(cuEventCreate(&handle, 4));
    SAY(cuEventCreate(&handle, 6));
    SAY(cuEventCreate(&untimed, 2));
    SAY(cuEventCreate(&second, 1));
    SAY(cuEventQuery(event));
    SAY(cuEventSynchronize(event));
    SAY(cuEventElapsedTime(&ms, event, second));
    SAY(cuEventElapsedTime_v2(&ms, event, second));
    SAY(cuEventRecord(event, stream));
    SAY(cuEventElapsedTime(&ms, event, second));
    SAY(cuEventRecord(untimed, stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuEventQuery(event));
    SAY(cuEventElapsedTime(&ms, event, untimed));
    SAY(cuEventElapsedTime(&ms, event, event));
    SAY(cuEventElapsedTime(0, event, event));
    SAY(cuEventElapsedTime(&ms, 0, event));
    SAY(cuEventElapsedTime(&ms, event, 0));
    SAY(cuEventElapsedTime_v2(&ms, event, untimed));
    SAY(cuEventElapsedTime_v2(&ms, event, event));
    SAY(cuEventElapsedTime_v2(0, event, event));
    SAY(cuEventRecordWithFlags(event, stream, 0));
    SAY(cuEventRecordWithFlags(event, stream, 1));
    SAY(cuEventRecordWithFlags(event, stream, 2));
    SAY(cuEventRecord(event, 0));
    SAY(cuEventRecord(event, (H)1));
    SAY(cuEventRecord(event, (H)2));
    SAY(cuEventRecord(0, stream));
    SAY(cuEventQuery(0));
    SAY(cuEventSynchronize(0));
    SAY(cuEventDestroy_v2(0));
    SAY(cuEventDestroy_v2(event));
}

static void event_destroyed(void) {
    with_objects();
    H second = 0;
    MUST(cuEventCreate(&second, 0));
    MUST(cuEventRecord(second, 0));
    MUST(cuEventDestroy_v2(event));
    SAY(cuEventDestroy_v2(event));
    SAY(cuEventQuery(event));
    SAY(cuEventSynchronize(event));
    SAY(cuEventRecord(event, 0));
    SAY(cuEventElapsedTime(&ms, second, event));
    SAY(cuStreamWaitEvent(0, event, 0));
}

static void module_unloaded(void) {
    with_objects();
    MUST(cuModuleUnload(module));
    SAY(cuModuleUnload(module));
    SAY(cuModuleGetFunction(&handle, module, "nothing"));
    SAY(cuModuleGetGlobal_v2(&pointer, &size, module, "table"));
    SAY(cuFuncGetAttribute(&number, 0, nothing));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0));
}

/// What each call answers when a kernel has written where nothing is.
static void after_fault(void) {
    with_objects();
    launch(write_to, 16);
    SAY(cuStreamSynchronize(stream));
    SAY(cuStreamSynchronize(stream));
    SAY(cuCtxSynchronize());
    SAY(cuStreamQuery(stream));
    SAY(cuStreamQuery(0));
    SAY(cuEventQuery(event));
    SAY(cuEventRecord(event, stream));
    SAY(cuEventSynchronize(event));
    SAY(cuEventCreate(&handle, 0));
    SAY(cuStreamCreate(&handle, 0));
    SAY(cuStreamGetFlags(stream, &unsigned_number));
    SAY(cuStreamGetPriority(stream, &number));
    SAY(cuStreamIsCapturing(stream, &number));
    SAY(cuStreamWaitEvent(stream, event, 0));
    SAY(cuMemAlloc_v2(&pointer, 16));
    SAY(cuMemAlloc_v2(0, 16));
    SAY(cuMemGetInfo_v2(&size, &other_size));
    SAY(cuMemcpyHtoD_v2(mem, host, 16));
    SAY(cuMemcpyHtoD_v2(0, host, 16));
    SAY(cuMemcpyHtoD_v2(mem, host, 0));
    SAY(cuMemcpyDtoH_v2(host, mem, 16));
    SAY(cuMemcpy((P)(uintptr_t)host, (P)(uintptr_t)other_host, 16));
    SAY(cuMemsetD8_v2(mem, 0, 16));
    SAY(cuMemHostAlloc((void **)&handle, 16, 0));
    SAY(cuMemHostRegister_v2(host, 4096, 0));
    SAY(cuMemFreeHost(pinned));
    SAY(cuPointerGetAttribute(&number, 2, mem));
    SAY(cuMemGetAddressRange_v2(&pointer, &size, mem));
    SAY(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0));
    SAY(cuLaunchKernel(0, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0));
    SAY(cuFuncGetAttribute(&number, 0, nothing));
    SAY(cuFuncSetAttribute(nothing, 8, 1024));
    SAY(cuFuncSetCacheConfig(nothing, 0));
    SAY(cuModuleLoadData(&handle, PTX));
    SAY(cuModuleGetFunction(&handle, module, "nothing"));
    SAY(cuModuleGetFunction(&handle, module, "absent"));
    SAY(cuLibraryLoadData(&handle, PTX, 0, 0, 0, 0, 0, 0));
    SAY(cuLibraryGetKernel(&handle, library, "nothing"));
    SAY(cuKernelGetFunction(&handle, kernel));
    SAY(cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, nothing, 32, 0));
    SAY(cuCtxGetLimit(&size, 0));
    SAY(cuCtxSetLimit(0, 2048));
    SAY(cuCtxGetDevice(&number));
    SAY(cuCtxGetFlags(&unsigned_number));
    SAY(cuCtxGetStreamPriorityRange(&number, &other_number));
    SAY(cuCtxGetCurrent(&handle));
    SAY(cuCtxSetCurrent(ctx));
    SAY(cuDeviceGetAttribute(&number, 1, 0));
    SAY(cuDeviceGetCount(&number));
    SAY(cuDevicePrimaryCtxGetState(0, &unsigned_number, &number));
    SAY(cuProfilerStart());
    SAY(cuEventElapsedTime(&ms, event, event));
    SAY(cuMemFree_v2(mem));
    SAY(cuEventDestroy_v2(event));
    SAY(cuStreamDestroy_v2(stream));
    SAY(cuModuleUnload(module));
    SAY(cuLibraryUnload(library));
    SAY(cuCtxCreate_v2(&handle, 0, 0));
    SAY(cuMemAlloc_v2(&pointer, 16));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuDevicePrimaryCtxReset_v2(0));
    SAY(cuDevicePrimaryCtxRetain(&ctx, 0));
    SAY(cuCtxSetCurrent(ctx));
    SAY(cuMemAlloc_v2(&pointer, 16));
    SAY(cuCtxSynchronize());
}

/// The first calls after a fault that nobody has waited for: each in a process of its own.
#define FIRST_AFTER_FAULT(name, call)                                                                                  \
    static void name(void) {                                                                                           \
        with_objects();                                                                                                \
        launch(write_to, 16);                                                                                          \
        usleep(300000);                                                                                                \
        SAY(call);                                                                                                     \
        SAY(call);                                                                                                     \
        SAY(cuCtxSynchronize());                                                                                       \
    }
FIRST_AFTER_FAULT(fault_then_alloc, cuMemAlloc_v2(&pointer, 16))
FIRST_AFTER_FAULT(fault_then_launch, cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0))
FIRST_AFTER_FAULT(fault_then_query, cuStreamQuery(0))
FIRST_AFTER_FAULT(fault_then_event_query, cuEventQuery(event))
FIRST_AFTER_FAULT(fault_then_load, cuModuleLoadData(&handle, PTX))
FIRST_AFTER_FAULT(fault_then_fill, cuMemsetD8Async(mem, 0, 16, 0))
FIRST_AFTER_FAULT(fault_then_get_function, cuModuleGetFunction(&handle, module, "nothing"))

static void teardown(void) {
    with_objects();
    SAY(cuLibraryUnload(library));
    SAY(cuModuleUnload(module));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuStreamDestroy_v2(stream));
    SAY(cuEventDestroy_v2(event));
    SAY(cuMemFree_v2(mem));
    SAY(cuMemFreeHost(pinned));
    SAY(cuMemHostUnregister(host));
    SAY(cuCtxSynchronize());
    SAY(cuCtxSetCurrent(0));
    SAY(cuDevicePrimaryCtxRelease_v2(0));
    SAY(cuCtxPopCurrent_v2(&handle));
}

// -- Values that differ from machine to machine: asked for by name only.

static void probe(void) {
    with_context();
    SAY(cuDeviceTotalMem_v2(&size, 0));
    SHOW(size);
    SAY(cuMemGetInfo_v2(&other_size, &size));
    SHOW(size);
    SHOW(other_size);
    SAY(cuDriverGetVersion(&number));
    SHOW(number);
    for (int limit = 0; limit <= 9; limit++) {
        char label[LABEL_BYTES];
        snprintf(label, sizeof label, "cuCtxGetLimit(%d)", limit);
        size = 0;
        if (begin(label)) {
            R result = cuCtxGetLimit(&size, limit);
            end("%d %zu", result, size);
        }
    }
    for (int attribute = 0; attribute <= 6; attribute++) {
        char label[LABEL_BYTES];
        snprintf(label, sizeof label, "cuDeviceGetP2PAttribute(%d, 0, 0)", attribute);
        number = -7;
        if (begin(label)) {
            R result = cuDeviceGetP2PAttribute(&number, attribute, 0, 0);
            end("%d %d", result, number);
        }
    }
    MUST(cuModuleGetLoadingMode(&number));
    SHOW(number);
    MUST(cuCtxGetCacheConfig(&number));
    SHOW(number);
    MUST(cuCtxGetSharedMemConfig(&number));
    SHOW(number);
    SAY(cuCtxSetCacheConfig(2));
    MUST(cuCtxGetCacheConfig(&number));
    SHOW(number);
    SAY(cuCtxSetSharedMemConfig(2));
    MUST(cuCtxGetSharedMemConfig(&number));
    SHOW(number);
    SAY(cuCtxSetLimit(0, 5000));
    MUST(cuCtxGetLimit(&size, 0));
    SHOW(size);
    SAY(cuCtxGetStreamPriorityRange(&number, &other_number));
    SHOW(number);
    SHOW(other_number);
    SAY(cuCtxGetFlags(&unsigned_number));
    SHOW(unsigned_number);
    memset(host, 0xAA, 512);
    SAY(cuDeviceGetName(host, 256, 0));
    for (int i = 0; i < 256; i += 16) {
        char label[LABEL_BYTES];
        snprintf(label, sizeof label, "name bytes at %d", i);
        if (begin(label))
            end("%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x", host[i] & 255, host[i + 1] & 255, host[i + 2] & 255,
                host[i + 3] & 255, host[i + 4] & 255, host[i + 5] & 255, host[i + 6] & 255, host[i + 7] & 255, host[i + 8] & 255,
                host[i + 9] & 255, host[i + 10] & 255, host[i + 11] & 255, host[i + 12] & 255, host[i + 13] & 255, host[i + 14] & 255,
                host[i + 15] & 255);
    }
    number = 1;
    SAY(cuThreadExchangeStreamCaptureMode(&number));
    SHOW(number);
}

typedef struct {
    const char *name;
    void (*run)(void);
} Group;

#define GROUP(name) {#name, name}
static const Group GROUPS[] = {
    GROUP(before_init), GROUP(no_context_devices), GROUP(no_context_memory), GROUP(no_context_modules), GROUP(no_context_libraries),
    GROUP(library_unload_without_context), GROUP(library_unload_null), GROUP(library_unload_twice), GROUP(garbage_images),
    GROUP(eager_garbage), GROUP(names), GROUP(devices), GROUP(primary_context), GROUP(primary_release), GROUP(contexts),
    GROUP(context_destroyed), GROUP(modules), GROUP(cluster_attributes), GROUP(kernels), GROUP(launches), GROUP(occupancy),
    GROUP(device_memory), GROUP(pointer_attributes), GROUP(host_memory), GROUP(copies), GROUP(fills), GROUP(streams),
    GROUP(stream_destroyed), GROUP(events), GROUP(event_destroyed), GROUP(module_unloaded), GROUP(after_fault),
    GROUP(fault_then_alloc), GROUP(fault_then_launch), GROUP(fault_then_query), GROUP(fault_then_event_query),
    GROUP(fault_then_load), GROUP(fault_then_fill), GROUP(fault_then_get_function), GROUP(teardown),
    // From here on by name only.
    GROUP(probe),
};
enum { ALL = sizeof GROUPS / sizeof GROUPS[0], BY_DEFAULT = ALL - 1, LIMIT_S = 20 };

/// Runs a group until a run of it ends by itself, with what is printed going to `output`.
static void run_group(const Group *group, FILE *output) {
    progress = mmap(0, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) _exit(1);
    dprintf(fileno(output), "-- %s\n", group->name);
    for (;;) {
        memset(progress, 0, sizeof *progress);
        pid_t child = fork();
        if (child == 0) {
            dup2(fileno(output), STDOUT_FILENO);
            alarm(LIMIT_S);
            open_driver();
            group->run();
            fflush(stdout);
            progress->step = -1;
            exit(0);
        }
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (progress->step == -1) {
            if (WIFSIGNALED(status)) dprintf(fileno(output), "%-100s signal %d\n", "the end of the process", WTERMSIG(status));
            return;
        }
        char how[32];
        if (WIFSIGNALED(status)) snprintf(how, sizeof how, "signal %d", WTERMSIG(status));
        else snprintf(how, sizeof how, "exit %d", WEXITSTATUS(status));
        dprintf(fileno(output), "%-100s %s\n", progress->label, how);
        if (deaths == MOST_DEATHS || progress->step == 0) return;
        deadly[deaths++] = progress->step;
        if (progress->step > printed_until) printed_until = progress->step;
    }
}

int main(int count, char **arguments) {
    int jobs = 1, chosen[ALL], groups = 0;
    for (int i = 1; i < count; i++) {
        if (!strcmp(arguments[i], "-j") && i + 1 < count) {
            jobs = atoi(arguments[++i]);
            continue;
        }
        for (int g = 0; g < ALL; g++)
            if (!strcmp(arguments[i], GROUPS[g].name)) chosen[groups++] = g;
    }
    if (!groups)
        for (int g = 0; g < BY_DEFAULT; g++) chosen[groups++] = g;
    FILE *outputs[ALL];
    int running = 0;
    for (int i = 0; i < groups; i++) {
        outputs[i] = tmpfile();
        if (!outputs[i]) return 1;
        if (running >= jobs) {
            wait(0);
            running--;
        }
        if (fork() == 0) {
            run_group(&GROUPS[chosen[i]], outputs[i]);
            _exit(0);
        }
        running++;
    }
    while (wait(0) > 0) {
    }
    for (int i = 0; i < groups; i++) {
        char block[65536];
        size_t length;
        rewind(outputs[i]);
        while ((length = fread(block, 1, sizeof block, outputs[i])) > 0) fwrite(block, 1, length, stdout);
    }
    return 0;
}
