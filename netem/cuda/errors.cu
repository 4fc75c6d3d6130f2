// Every way to be told no: prints each error, so that `diff` compares a driver with another.
//
// Usage: errors [illegal|trap|misaligned|assert]: with an argument, only what a kernel that fails in this way
// leaves behind: it makes the context unusable, so that each needs a process of its own.
//
// errors.expected is what NVIDIA's driver 580.159.04 answered on an H200 (CUDA 13.0), run without an argument and
// then with each in this order.
#include <cassert>
#include <cstring>

#include <cuda.h>
#include <dlfcn.h>

#include "check.cuh"

__global__ void nothing() {}
__global__ void write_to(int *address) { *address = 1; }
__global__ void trap() { asm volatile("trap;"); }
__global__ void assertion(int zero) { assert(zero != 0); }

/// Prints an outcome; no judgement here, that is for who compares.
static void say(const char *what, cudaError_t error) { std::printf("%-58s %d %s\n", what, (int)error, cudaGetErrorName(error)); }
static void say(const char *what, CUresult error) { std::printf("%-58s %d (driver)\n", what, (int)error); }

#define SAY(call) say(#call, (call))

static void *driver;

template <typename Function> static Function *entry(const char *name) {
    void *address = dlsym(driver, name);
    if (!address) {
        std::printf("FAILED no %s in libcuda.so.1\nFAIL\n", name);
        std::exit(1);
    }
    return (Function *)address;
}

#define DRIVER(name) static auto *const name##_ = entry<decltype(name)>(#name)

static void runtime_arguments() {
    std::puts("-- runtime: arguments");
    void *pointer = nullptr;
    int value = 0;
    SAY(cudaSetDevice(99));
    SAY(cudaGetLastError());
    SAY(cudaGetLastError());
    SAY(cudaSetDevice(-1));
    SAY(cudaDeviceGetAttribute(&value, (cudaDeviceAttr)9999, 0));
    SAY(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 99));
    SAY(cudaMalloc(nullptr, 16));
    SAY(cudaMalloc(&pointer, 0));
    std::printf("a zero-byte allocation is null: %d\n", pointer == nullptr);
    SAY(cudaMalloc(&pointer, (size_t)1 << 50));
    SAY(cudaPeekAtLastError());
    SAY(cudaGetLastError());
    SAY(cudaMalloc(&pointer, ~(size_t)0 / 2));
    SAY(cudaMallocHost(&pointer, (size_t)1 << 60));
    SAY(cudaFree(nullptr));
    SAY(cudaFreeHost(nullptr));
    (void)cudaGetLastError();
}

static void memory() {
    std::puts("-- runtime: memory");
    char *device = nullptr, *freed = nullptr, host[64] = {};
    MUST(cudaMalloc((void **)&device, 1024));
    MUST(cudaMalloc((void **)&freed, 1024));
    SAY(cudaFree(freed));
    SAY(cudaFree(freed));
    SAY(cudaFree(device + 16));
    SAY(cudaFree(host));
    SAY(cudaFreeHost(host));
    SAY(cudaMemcpy(freed + ((size_t)1 << 44), host, 64, cudaMemcpyHostToDevice));
    SAY(cudaMemcpy(host, freed + ((size_t)1 << 44), 64, cudaMemcpyDeviceToHost));
    SAY(cudaMemcpy(device, host, 64, (cudaMemcpyKind)77));
    SAY(cudaMemcpy(device, host, 0, cudaMemcpyHostToDevice));
    SAY(cudaMemcpy(device, nullptr, 0, cudaMemcpyHostToDevice));
    SAY(cudaMemset(nullptr, 0, 16));
    SAY(cudaMemset(device, 0, (size_t)1 << 44));
    SAY(cudaMemset(device, 0, 0));
    cudaPointerAttributes attributes;
    SAY(cudaPointerGetAttributes(&attributes, device + 5));
    std::printf("memory type of a device pointer: %d\n", (int)attributes.type);
    SAY(cudaPointerGetAttributes(&attributes, host));
    std::printf("memory type of a host pointer: %d\n", (int)attributes.type);
    SAY(cudaFree(device));
    (void)cudaGetLastError();
}

static void launches() {
    std::puts("-- runtime: launch configurations");
    struct {
        const char *what;
        dim3 grid, block;
        size_t shared_bytes;
    } cases[] = {
        {"an ordinary launch", dim3(1), dim3(1), 0},
        {"2048 threads a block", dim3(1), dim3(2048), 0},
        {"0 threads a block", dim3(1), dim3(0), 0},
        {"0 blocks", dim3(0), dim3(1), 0},
        {"block 32 x 32 x 2", dim3(1), dim3(32, 32, 2), 0},
        {"block z = 65", dim3(1), dim3(1, 1, 65), 0},
        {"grid y = 65536", dim3(1, 65536), dim3(1), 0},
        {"grid z = 65536", dim3(1, 1, 65536), dim3(1), 0},
        {"48 KiB of dynamic shared memory", dim3(1), dim3(1), 48 << 10},
        {"64 KiB without having asked for it", dim3(1), dim3(1), 64 << 10},
        {"1 GiB of dynamic shared memory", dim3(1), dim3(1), 1 << 30},
    };
    for (auto &launch : cases) {
        nothing<<<launch.grid, launch.block, launch.shared_bytes>>>();
        say(launch.what, cudaGetLastError());
    }
    SAY(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 30));
    SAY(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 << 10));
    nothing<<<1, 1, 60 << 10>>>();
    say("60 KiB after having asked for it", cudaGetLastError());
    SAY(cudaLaunchKernel((const void *)&driver, dim3(1), dim3(1), nullptr, 0, nullptr));
    SAY(cudaDeviceSynchronize());
    (void)cudaGetLastError();
}

static void streams_and_events() {
    std::puts("-- runtime: streams and events");
    cudaStream_t stream;
    cudaEvent_t first, second, untimed;
    float elapsed_ms;
    MUST(cudaStreamCreate(&stream));
    MUST(cudaEventCreate(&first));
    MUST(cudaEventCreate(&second));
    MUST(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
    SAY(cudaEventElapsedTime(&elapsed_ms, first, second));
    SAY(cudaEventSynchronize(first));
    SAY(cudaEventRecord(first, stream));
    SAY(cudaEventElapsedTime(&elapsed_ms, first, second));
    SAY(cudaEventRecord(untimed, stream));
    SAY(cudaStreamSynchronize(stream));
    SAY(cudaEventElapsedTime(&elapsed_ms, first, untimed));
    SAY(cudaEventCreateWithFlags(&untimed, 0x4000));
    SAY(cudaEventRecord(nullptr, stream));
    SAY(cudaEventQuery(nullptr));
    SAY(cudaEventDestroy(nullptr));
    SAY(cudaStreamDestroy(nullptr));
    SAY(cudaStreamWaitEvent(stream, nullptr, 0));
    SAY(cudaStreamCreateWithFlags(&stream, 0x80));
    SAY(cudaStreamSynchronize(nullptr));
    SAY(cudaStreamQuery(cudaStreamLegacy));
    (void)cudaGetLastError();
}

static void driver_calls() {
    std::puts("-- driver");
    DRIVER(cuDeviceGet);
    DRIVER(cuDeviceGetAttribute);
    DRIVER(cuDeviceGetName);
    DRIVER(cuModuleLoadData);
    DRIVER(cuModuleGetFunction);
    DRIVER(cuModuleGetGlobal_v2);
    DRIVER(cuModuleUnload);
    DRIVER(cuMemAlloc_v2);
    DRIVER(cuMemFree_v2);
    DRIVER(cuMemcpyHtoD_v2);
    DRIVER(cuMemcpyDtoH_v2);
    DRIVER(cuMemcpyDtoD_v2);
    DRIVER(cuMemsetD8_v2);
    DRIVER(cuMemsetD32_v2);
    DRIVER(cuLaunchKernel);
    DRIVER(cuFuncGetAttribute);
    DRIVER(cuCtxPopCurrent_v2);
    DRIVER(cuCtxPushCurrent_v2);
    DRIVER(cuCtxSetCurrent);
    DRIVER(cuCtxGetDevice);
    DRIVER(cuStreamCreate);
    DRIVER(cuGetErrorName);
    CUdevice device;
    CUdeviceptr memory = 0;
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    CUcontext context = nullptr, other = nullptr;
    CUstream stream;
    char name[8] = {};
    size_t bytes = 0;
    int value = 0;
    const char *text = nullptr;
    SAY(cuDeviceGet_(&device, 99));
    SAY(cuDeviceGet_(&device, 0));
    SAY(cuDeviceGet_(nullptr, 0));
    SAY(cuDeviceGetAttribute_(&value, (CUdevice_attribute)9999, device));
    SAY(cuDeviceGetAttribute_(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 99));
    SAY(cuDeviceGetName_(name, 4, device));
    std::printf("a name cut to 4 bytes has length %zu\n", strnlen(name, sizeof(name)));
    SAY(cuMemAlloc_v2_(&memory, 0));
    SAY(cuMemAlloc_v2_(&memory, (size_t)1 << 50));
    SAY(cuMemAlloc_v2_(nullptr, 16));
    SAY(cuMemFree_v2_(0));
    SAY(cuMemFree_v2_(0x1234));
    SAY(cuMemAlloc_v2_(&memory, 256));
    char host[512] = {};
    SAY(cuMemcpyHtoD_v2_(memory, host, 256));
    SAY(cuMemcpyHtoD_v2_(memory, host, 0));
    SAY(cuMemcpyHtoD_v2_(0, host, 16));
    SAY(cuMemcpyDtoH_v2_(host, 0, 16));
    SAY(cuMemcpyDtoD_v2_(memory, 0, 16));
    SAY(cuMemsetD8_v2_(0, 0, 16));
    SAY(cuMemsetD8_v2_(memory, 0, 0));
    SAY(cuMemsetD32_v2_(memory + 1, 0, 4));
    SAY(cuMemFree_v2_(memory));
    SAY(cuMemFree_v2_(memory));
    SAY(cuModuleLoadData_(&module, "this is no module at all"));
    SAY(cuModuleLoadData_(&module, ".version 6.3\n.target sm_30\n.address_size 64\n.visible .entry broken() { nonsense; }"));
    SAY(cuModuleLoadData_(&module, ".version 6.3\n.target sm_30\n.address_size 64\n.visible .entry fine() { ret; }"));
    SAY(cuModuleGetFunction_(&function, module, "absent"));
    SAY(cuModuleGetFunction_(nullptr, module, "fine"));
    SAY(cuModuleGetGlobal_v2_(&memory, &bytes, module, "absent"));
    SAY(cuModuleGetFunction_(&function, module, "fine"));
    SAY(cuFuncGetAttribute_(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function));
    SAY(cuFuncGetAttribute_(&value, (CUfunction_attribute)9999, function));
    SAY(cuLaunchKernel_(function, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
    SAY(cuLaunchKernel_(function, 1, 1, 1, 1025, 1, 1, 0, nullptr, nullptr, nullptr));
    SAY(cuLaunchKernel_(function, 0, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
    SAY(cuLaunchKernel_(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
    SAY(cuStreamCreate_(&stream, 0x80));
    SAY(cuModuleUnload_(module));
    SAY(cuModuleUnload_(nullptr));
    SAY(cuCtxPopCurrent_v2_(&context));
    SAY(cuCtxPopCurrent_v2_(&other));
    SAY(cuCtxGetDevice_(&device));
    SAY(cuMemAlloc_v2_(&memory, 16));
    SAY(cuCtxPushCurrent_v2_(nullptr));
    SAY(cuCtxSetCurrent_(nullptr));
    SAY(cuCtxPushCurrent_v2_(context));
    SAY(cuGetErrorName_((CUresult)12345, &text));
    SAY(cuGetErrorName_(CUDA_ERROR_NOT_FOUND, &text));
    std::printf("its name is %s\n", text);
}

static void sticky(const char *how) {
    std::printf("-- a kernel that fails: %s\n", how);
    int *memory = nullptr, host = 0;
    cudaStream_t stream;
    cudaEvent_t event;
    MUST(cudaMalloc((void **)&memory, 64));
    MUST(cudaStreamCreate(&stream));
    MUST(cudaEventCreate(&event));
    if (!std::strcmp(how, "trap")) {
        trap<<<1, 1, 0, stream>>>();
    } else if (!std::strcmp(how, "misaligned")) {
        write_to<<<1, 1, 0, stream>>>((int *)((char *)memory + 1));
    } else if (!std::strcmp(how, "assert")) {
        assertion<<<1, 1, 0, stream>>>(0);
    } else {
        write_to<<<1, 1, 0, stream>>>((int *)16);
    }
    say("the launch itself", cudaGetLastError());
    SAY(cudaStreamSynchronize(stream));
    SAY(cudaGetLastError());
    SAY(cudaDeviceSynchronize());
    SAY(cudaMalloc((void **)&memory, 64));
    SAY(cudaMemcpy(&host, memory, 4, cudaMemcpyDeviceToHost));
    SAY(cudaEventRecord(event, stream));
    SAY(cudaEventQuery(event));
    SAY(cudaStreamQuery(stream));
    nothing<<<1, 1>>>();
    say("another launch", cudaGetLastError());
    SAY(cudaFree(memory));
    SAY(cudaStreamDestroy(stream));
    SAY(cudaEventDestroy(event));
    SAY(cudaGetLastError());
}

int main(int argc, char **argv) {
    driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!driver) {
        std::puts("FAILED no libcuda.so.1\nFAIL");
        return 1;
    }
    if (argc > 1) {
        sticky(argv[1]);
    } else {
        runtime_arguments();
        memory();
        launches();
        streams_and_events();
        driver_calls();
    }
    // The program has survived it all; whether the answers are right, a comparison says.
    std::puts("PASS");
    return 0;
}
