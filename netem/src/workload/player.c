/* Plays the inferences of a recorded program: the same driver calls with the same lengths, kernels, parameter bytes and
 * addresses' places, with a fresh input each time. It is an ordinary CUDA program and knows nothing of RRTO.
 *
 * Usage: player PLAN PTX SECONDS INFERENCES OWN_CPU_MS DEVICE_MS PERIOD_MS
 *
 * PLAN and PTX are what rrto-netem makes of a recording. It ends after SECONDS, or INFERENCES if that is not 0. OWN_CPU_MS
 * is what the recorded program itself computed in an inference (Python, libraries), spread evenly over its calls; DEVICE_MS
 * what the GPU took, which the last kernel waits for since the first; an inference begins PERIOD_MS after the one before it,
 * or at once if that is 0 or over.
 *
 * The kernels keep a chain over all launches so far and the inputs. The player computes it too: a lost, repeated or
 * misplaced launch or a wrong input shows in the output of its inference and of all that follow.
 *
 * A line for each inference: inference NUMBER SECONDS DIGEST cpu=SECONDS, and " wrong" if it was. The exit status is 0 if all
 * were right, 1 if not, 2 if something failed. Needs only a C compiler (cc player.c -o player -ldl). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What this program uses of the CUDA driver API (cuda.h), in its own words. */
typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;

#define DRIVER_FUNCTIONS(X)                                                                                        \
    X(cuInit, (unsigned flags))                                                                                    \
    X(cuDeviceGet, (CUdevice * device, int ordinal))                                                               \
    X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                            \
    X(cuCtxSetCurrent, (CUcontext context))                                                                        \
    X(cuModuleLoadData, (CUmodule * module, const void *image))                                                    \
    X(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))                             \
    X(cuModuleGetGlobal_v2, (CUdeviceptr * address, size_t *bytes, CUmodule module, const char *name))             \
    X(cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                        \
    X(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes))                                           \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))                     \
    X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                           \
    X(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream))                       \
    X(cuStreamCreate, (CUstream * stream, unsigned flags))                                                         \
    X(cuStreamSynchronize, (CUstream stream))                                                                      \
    X(cuLaunchKernel, (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,   \
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments, \
                       void **extra))

#define DECLARE(name, parameters) static CUresult(*name) parameters;
DRIVER_FUNCTIONS(DECLARE)

static void fail(const char *what) {
    fprintf(stderr, "player: %s\n", what);
    exit(2);
}

static void must(CUresult result, const char *call) {
    if (result == 0) return;
    fprintf(stderr, "player: %s: CUDA error %d\n", call, result);
    exit(2);
}
#define MUST(call) must((call), #call)

static void open_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) fail(dlerror());
#define RESOLVE(name, parameters)                      \
    *(void **)&name = dlsym(library, #name);           \
    if (!name) fail("the CUDA driver has no " #name);
    DRIVER_FUNCTIONS(RESOLVE)
}

static void *allocate(size_t count, size_t bytes) {
    void *memory = calloc(count ? count : 1, bytes ? bytes : 1);
    if (!memory) fail("out of memory");
    return memory;
}

static FILE *open_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    return file;
}

/* The plan. */
enum what { IN, OUT, FILL, SYNC, RUN };

struct call {
    enum what what;
    int stream, kernel;
    int allocation; /* of copies and fills */
    size_t offset, bytes;
    unsigned char *params; /* of a launch */
};

struct inference {
    int calls;
    struct call *call;
};

static CUdeviceptr *allocations;
static CUfunction *kernels;
static CUstream *streams;
static struct inference *inferences;
static int allocation_count, kernel_count, stream_count, inference_count;
static size_t input_bytes, output_bytes;
static CUdeviceptr input_at, output_at;
static uint64_t launches; /* of an inference */

/* All numbers come from rrto-netem, which made the file. */
static void scan(FILE *file, int expected, int found) {
    (void)file;
    if (found != expected) fail("the plan is damaged");
}

static void read_launch(FILE *file, struct call *call, int addresses) {
    call->params = allocate(call->bytes, 1);
    for (size_t i = 0; i < call->bytes; i++) {
        unsigned byte;
        scan(file, 1, fscanf(file, "%2x", &byte));
        call->params[i] = (unsigned char)byte;
    }
    for (int i = 0; i < addresses; i++) {
        size_t at, offset;
        int allocation;
        scan(file, 3, fscanf(file, "%zu %d %zu", &at, &allocation, &offset));
        if (allocation < 0 || allocation >= allocation_count || at + sizeof(CUdeviceptr) > call->bytes) {
            fail("the plan is damaged");
        }
        CUdeviceptr address = allocations[allocation] + offset;
        memcpy(call->params + at, &address, sizeof(address));
    }
}

static void read_call(FILE *file, struct call *call) {
    static const char *const names[] = {"in", "out", "fill", "sync", "run"};
    char name[8];
    int which;
    scan(file, 5, fscanf(file, "%7s %d %d %zu %zu", name, &call->stream, &which, &call->offset, &call->bytes));
    for (call->what = IN; call->what < RUN && strcmp(name, names[call->what]) != 0; call->what++) {}
    int most = call->what == RUN ? kernel_count : allocation_count;
    if (which < 0 || which >= most || call->stream < 0 || call->stream >= stream_count) fail("the plan is damaged");
    if (call->what == RUN) {
        call->kernel = which;
        read_launch(file, call, (int)call->offset);
    }
    call->allocation = which;
}

static void read_plan(const char *path, CUmodule module) {
    FILE *file = open_file(path);
    scan(file, 4, fscanf(file, "plan %d %d %d %d", &allocation_count, &kernel_count, &stream_count, &inference_count));
    if (allocation_count < 1 || kernel_count < 1 || stream_count < 1 || inference_count < 1) fail("the plan is empty");
    allocations = allocate((size_t)allocation_count, sizeof(*allocations));
    kernels = allocate((size_t)kernel_count, sizeof(*kernels));
    streams = allocate((size_t)stream_count, sizeof(*streams));
    inferences = allocate((size_t)inference_count, sizeof(*inferences));
    for (int i = 0; i < allocation_count; i++) {
        size_t bytes;
        scan(file, 1, fscanf(file, " alloc %zu", &bytes));
        MUST(cuMemAlloc_v2(&allocations[i], bytes));
    }
    for (int i = 0; i < kernel_count; i++) {
        char name[24];
        snprintf(name, sizeof(name), "k%d", i);
        MUST(cuModuleGetFunction(&kernels[i], module, name));
    }
    /* The first one is the default stream. */
    for (int i = 1; i < stream_count; i++) MUST(cuStreamCreate(&streams[i], 1 /* CU_STREAM_NON_BLOCKING */));
    for (int i = 0; i < inference_count; i++) {
        struct inference *inference = &inferences[i];
        scan(file, 1, fscanf(file, " inference %d", &inference->calls));
        inference->call = allocate((size_t)inference->calls, sizeof(struct call));
        for (int k = 0; k < inference->calls; k++) read_call(file, &inference->call[k]);
    }
    fclose(file);
    for (int k = 0; k < inferences[0].calls; k++) {
        struct call *call = &inferences[0].call[k];
        CUdeviceptr address = call->what == RUN ? 0 : allocations[call->allocation] + call->offset;
        if (call->what == RUN) launches++;
        if (call->what == IN && call->bytes > input_bytes) input_at = address, input_bytes = call->bytes;
        if (call->what == OUT && call->bytes > output_bytes) output_at = address, output_bytes = call->bytes;
    }
    if (!launches || input_bytes < 8 || output_bytes < 8) fail("the plan has no input, output or launch");
}

static CUmodule load(const char *path) {
    FILE *file = open_file(path);
    size_t length = 0, room = 1 << 22;
    char *text = allocate(room, 1);
    length = fread(text, 1, room - 1, file);
    fclose(file);
    text[length] = 0;
    CUmodule module;
    MUST(cuModuleLoadData(&module, text));
    free(text);
    return module;
}

/* The chain, as the kernels compute it. */
enum { SAMPLES = 16 };
static const uint64_t prime = 0x100000001b3u;

static size_t sample_stride(void) { return (input_bytes / 8 - 1) / (SAMPLES - 1) * 8; }

static uint64_t expect(uint64_t chain, const struct inference *inference, const unsigned char *input) {
    int first = 1;
    for (int k = 0; k < inference->calls; k++) {
        if (inference->call[k].what != RUN) continue;
        for (int i = 0; first && i < SAMPLES; i++) {
            uint64_t word;
            memcpy(&word, input + (size_t)i * sample_stride(), sizeof(word));
            chain = (chain ^ word) * prime;
        }
        first = 0;
        chain = (chain ^ (uint64_t)(inference->call[k].kernel + 1)) * prime;
    }
    return chain;
}

/* What the kernels read; ptx.rs has the same order. */
static void set_board(CUmodule module, double device_ms) {
    uint64_t board[] = {0, input_at, output_at, launches, 0, 0, (uint64_t)(device_ms * 1e6), sample_stride()};
    CUdeviceptr address;
    size_t bytes;
    MUST(cuModuleGetGlobal_v2(&address, &bytes, module, "board"));
    if (bytes != sizeof(board)) fail("the kernels are of another player");
    MUST(cuMemcpyHtoD_v2(address, board, sizeof(board)));
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void make(const struct call *call, unsigned char *input, unsigned char *output) {
    static unsigned char scratch[1 << 20];
    CUstream stream = streams[call->stream];
    CUdeviceptr at = allocations[call->what == RUN ? 0 : call->allocation] + call->offset;
    switch (call->what) {
    case IN: MUST(cuMemcpyHtoDAsync_v2(at, at == input_at ? input : scratch, call->bytes, stream)); break;
    case OUT: MUST(cuMemcpyDtoHAsync_v2(at == output_at ? output : scratch, at, call->bytes, stream)); break;
    case FILL: MUST(cuMemsetD8Async(at, 0, call->bytes, stream)); break;
    case SYNC: MUST(cuStreamSynchronize(stream)); break;
    case RUN:
        /* One thread: a software GPU runs every one. */
        MUST(cuLaunchKernel(kernels[call->kernel], 1, 1, 1, 1, 1, 1, 0, stream, (void *[]){call->params}, NULL));
        break;
    }
}

/* The recorded program's own work, on its share of the time since the inference's beginning: what the driver's calls
 * themselves take comes on top. */
static void work(double for_s) {
    double until = seconds(CLOCK_MONOTONIC) + for_s;
    while (seconds(CLOCK_MONOTONIC) < until) {}
}

/* SplitMix64: the same inputs on every machine. */
static void fill(unsigned char *input, uint64_t *state) {
    for (size_t i = 0; i + 8 <= input_bytes; i += 8) {
        uint64_t z = (*state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        memcpy(input + i, &z, sizeof(z));
    }
}

int main(int argc, char **argv) {
    if (argc != 8) fail("usage: player PLAN PTX SECONDS INFERENCES OWN_CPU_MS DEVICE_MS PERIOD_MS");
    double end = seconds(CLOCK_MONOTONIC) + atof(argv[3]), own_s = atof(argv[5]) * 1e-3, period_s = atof(argv[7]) * 1e-3;
    long most = atol(argv[4]), wrong = 0;
    CUdevice device;
    CUcontext context;
    open_driver();
    MUST(cuInit(0));
    MUST(cuDeviceGet(&device, 0));
    MUST(cuDevicePrimaryCtxRetain(&context, device));
    MUST(cuCtxSetCurrent(context));
    CUmodule module = load(argv[2]);
    read_plan(argv[1], module);
    set_board(module, atof(argv[6]));

    unsigned char *input = allocate(input_bytes, 1), *output = allocate(output_bytes, 1);
    uint64_t seed = 2024, chain = 0, got;
    for (long number = 0; most == 0 || number < most; number++) {
        const struct inference *inference = &inferences[number % inference_count];
        fill(input, &seed);
        double begin = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        if (begin >= end) break;
        for (int k = 0; k < inference->calls; k++) {
            make(&inference->call[k], input, output);
            if (k + 1 < inference->calls && inference->call[k + 1].what != SYNC) work(own_s / inference->calls);
        }
        double took = seconds(CLOCK_MONOTONIC) - begin;
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        chain = expect(chain, inference, input);
        memcpy(&got, output, sizeof(got));
        wrong += got != chain;
        printf("inference %ld %.6f %016llx cpu=%.6f%s\n", number, took, (unsigned long long)got, cpu,
               got == chain ? "" : " wrong");
        fflush(stdout);
        double next = begin + period_s - seconds(CLOCK_MONOTONIC);
        if (next > 0) nanosleep(&(struct timespec){(time_t)next, (long)((next - (double)(time_t)next) * 1e9)}, NULL);
    }
    return wrong ? 1 : 0;
}
