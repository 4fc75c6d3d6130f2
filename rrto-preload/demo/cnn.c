/* A small convolutional network as an ordinary CUDA program: it knows the CUDA driver API and nothing of RRTO.
 *
 * Usage: cnn CNN.PTX [INFERENCES]
 *
 * Every inference classifies a fresh frame and is checked against the same network computed here on the CPU. Needs only
 * a C compiler (cc cnn.c -o cnn -lm -ldl): what it uses of the driver API it declares itself, and it opens libcuda.so.1
 * as CUDA programs do. The last line is a JSON object; the exit status is 0 if all outputs were right. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
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
    X(cuDeviceGetName, (char *name, int length, CUdevice device))                                                  \
    X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                            \
    X(cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                                             \
    X(cuCtxSetCurrent, (CUcontext context))                                                                        \
    X(cuModuleLoadData, (CUmodule * module, const void *image))                                                    \
    X(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))                             \
    X(cuModuleUnload, (CUmodule module))                                                                           \
    X(cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                        \
    X(cuMemFree_v2, (CUdeviceptr address))                                                                         \
    X(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes))                                           \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))                     \
    X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                           \
    X(cuStreamCreate, (CUstream * stream, unsigned flags))                                                         \
    X(cuStreamSynchronize, (CUstream stream))                                                                      \
    X(cuStreamDestroy_v2, (CUstream stream))                                                                       \
    X(cuLaunchKernel, (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,   \
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments, \
                       void **extra))

#define DECLARE(name, parameters) static CUresult(*name) parameters;
DRIVER_FUNCTIONS(DECLARE)

static void open_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "cnn: no CUDA driver here: %s\n", dlerror());
        exit(2);
    }
#define RESOLVE(name, parameters)                                     \
    *(void **)&name = dlsym(library, #name);                          \
    if (!name) {                                                      \
        fprintf(stderr, "cnn: the CUDA driver has no %s\n", #name);   \
        exit(2);                                                      \
    }
    DRIVER_FUNCTIONS(RESOLVE)
}

static void must(CUresult result, const char *call) {
    if (result == 0) return;
    fprintf(stderr, "cnn: %s: CUDA error %d\n", call, result);
    exit(2);
}
#define MUST(call) must((call), #call)

/* The network. */
enum { FRAME = 32, CHANNELS = 16, CLASSES = 10, STAGES = 4, FRAME_BYTES = 3 * FRAME * FRAME };

/* A convolution: its input is in_channels planes of in_size x in_size. */
static const struct {
    int in_channels, out_channels, in_size, stride, rectify;
} stages[STAGES] = {{3, 8, 32, 2, 1}, {8, 16, 8, 1, 1}, {16, 16, 4, 1, 0}, {16, 16, 4, 1, 1}};

/* Weights of a layer: first in_count * out_count factors, then out_count biases. */
struct layer {
    int inputs, outputs;
    float *weights, *bias;
    CUdeviceptr device_weights, device_bias;
};
static struct layer layers[STAGES + 1]; /* the last one is fully connected */

/* SplitMix64: the same weights and frames on every machine. */
static uint64_t next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static float uniform(uint64_t *state) { return (float)((int32_t)(next(state) >> 40) - (1 << 23)) / (float)(1 << 23); }

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes);
    if (memory) return memory;
    fprintf(stderr, "cnn: out of memory\n");
    exit(2);
}

static CUdeviceptr device_copy(const float *values, int count) {
    CUdeviceptr address;
    MUST(cuMemAlloc_v2(&address, count * sizeof(float)));
    MUST(cuMemcpyHtoD_v2(address, values, count * sizeof(float)));
    return address;
}

static void make_layer(struct layer *layer, int inputs, int outputs, uint64_t *seed) {
    *layer = (struct layer){.inputs = inputs, .outputs = outputs};
    layer->weights = allocate((size_t)inputs * outputs * sizeof(float));
    layer->bias = allocate((size_t)outputs * sizeof(float));
    /* Keeps activations at about the same size from layer to layer. */
    float scale = sqrtf(6.0f / (float)inputs);
    for (int i = 0; i < inputs * outputs; i++) layer->weights[i] = uniform(seed) * scale;
    for (int i = 0; i < outputs; i++) layer->bias[i] = uniform(seed) * 0.1f;
    layer->device_weights = device_copy(layer->weights, inputs * outputs);
    layer->device_bias = device_copy(layer->bias, outputs);
}

/* The same network on the CPU, in the same order of operations. */
static void reference_convolve(const float *in, const struct layer *layer, int stage, float *out) {
    int size = stages[stage].in_size, stride = stages[stage].stride, out_size = size / stride;
    for (int channel = 0; channel < stages[stage].out_channels; channel++) {
        for (int i = 0; i < out_size * out_size; i++) {
            int y = i / out_size * stride, x = i % out_size * stride;
            float sum = layer->bias[channel];
            for (int k = 0; k < layer->inputs; k++) {
                int v = y + k % 9 / 3 - 1, u = x + k % 3 - 1;
                if (v < 0 || v >= size || u < 0 || u >= size) continue;
                sum = fmaf(in[(k / 9 * size + v) * size + u], layer->weights[channel * layer->inputs + k], sum);
            }
            out[channel * out_size * out_size + i] = stages[stage].rectify ? fmaxf(sum, 0.0f) : sum;
        }
    }
}

static void reference_max_pool(const float *in, float *out, int channels, int out_size) {
    for (int i = 0; i < channels * out_size * out_size; i++) {
        const float *corner = in + i / out_size * 4 * out_size + 2 * (i % out_size);
        out[i] = fmaxf(fmaxf(corner[0], corner[1]), fmaxf(corner[2 * out_size], corner[2 * out_size + 1]));
    }
}

static void reference(const unsigned char *frame, float *probabilities) {
    static float planes[FRAME_BYTES], a[8 * 16 * 16], b[8 * 8 * 8], c[16 * 8 * 8], d[16 * 4 * 4], e[16 * 4 * 4];
    float means[CHANNELS], logits[CLASSES], best = -INFINITY, sum = 0.0f;
    for (int i = 0; i < FRAME_BYTES; i++) {
        planes[i] = fmaf((float)frame[3 * (i % (FRAME * FRAME)) + i / (FRAME * FRAME)], 1.0f / 64.0f, -2.0f);
    }
    reference_convolve(planes, &layers[0], 0, a);
    reference_max_pool(a, b, 8, 8);
    reference_convolve(b, &layers[1], 1, c);
    reference_max_pool(c, d, CHANNELS, 4);
    reference_convolve(d, &layers[2], 2, e);
    for (int i = 0; i < CHANNELS * 16; i++) e[i] = fmaxf(e[i] + d[i], 0.0f);
    reference_convolve(e, &layers[3], 3, d);
    for (int channel = 0; channel < CHANNELS; channel++) {
        float total = 0.0f;
        for (int i = 0; i < 16; i++) total += d[16 * channel + i];
        means[channel] = total / 16.0f;
    }
    for (int i = 0; i < CLASSES; i++) {
        logits[i] = layers[STAGES].bias[i];
        for (int k = 0; k < CHANNELS; k++) {
            logits[i] = fmaf(means[k], layers[STAGES].weights[i * CHANNELS + k], logits[i]);
        }
        best = fmaxf(best, logits[i]);
    }
    for (int i = 0; i < CLASSES; i++) sum += probabilities[i] = expf(logits[i] - best);
    for (int i = 0; i < CLASSES; i++) probabilities[i] /= sum;
}

/* The same network on the GPU. */
static CUfunction unpack, convolve, max_pool, add_and_rectify, average_pool, connect, softmax;
static const struct {
    const char *name;
    CUfunction *function;
} kernels[] = {{"unpack", &unpack},
               {"convolve", &convolve},
               {"max_pool", &max_pool},
               {"add_and_rectify", &add_and_rectify},
               {"average_pool", &average_pool},
               {"connect", &connect},
               {"softmax", &softmax}};

static CUstream stream;
static CUdeviceptr device_frame, device_planes, device_a, device_b, device_means, device_logits, device_out;

enum { BLOCK = 64 };

static void launch(CUfunction function, int threads, int planes, void **arguments) {
    unsigned blocks = (unsigned)(threads + BLOCK - 1) / BLOCK;
    MUST(cuLaunchKernel(function, blocks, (unsigned)planes, 1, BLOCK, 1, 1, 0, stream, arguments, NULL));
}
#define ARGUMENTS(...) ((void *[]){__VA_ARGS__})

static void launch_convolve(int stage, CUdeviceptr in, CUdeviceptr out) {
    struct layer *layer = &layers[stage];
    int in_channels = stages[stage].in_channels, size = stages[stage].in_size, stride = stages[stage].stride;
    int rectify = stages[stage].rectify, out_size = size / stride;
    launch(convolve, out_size * out_size, stages[stage].out_channels,
           ARGUMENTS(&in, &layer->device_weights, &layer->device_bias, &out, &in_channels, &size, &stride, &rectify));
}

static void launch_max_pool(CUdeviceptr in, CUdeviceptr out, int channels, int out_size) {
    launch(max_pool, channels * out_size * out_size, 1, ARGUMENTS(&in, &out, &channels, &out_size));
}

static void infer(const unsigned char *frame, float *probabilities) {
    int size = FRAME, channels = CHANNELS, pixels = 16, classes = CLASSES, count = CHANNELS * 16;
    struct layer *last = &layers[STAGES];
    MUST(cuMemcpyHtoDAsync_v2(device_frame, frame, FRAME_BYTES, stream));
    launch(unpack, FRAME_BYTES, 1, ARGUMENTS(&device_frame, &device_planes, &size));
    launch_convolve(0, device_planes, device_a);
    launch_max_pool(device_a, device_b, 8, 8);
    launch_convolve(1, device_b, device_a);
    launch_max_pool(device_a, device_b, CHANNELS, 4);
    launch_convolve(2, device_b, device_a);
    launch(add_and_rectify, count, 1, ARGUMENTS(&device_a, &device_b, &count));
    launch_convolve(3, device_a, device_b);
    launch(average_pool, channels, 1, ARGUMENTS(&device_b, &device_means, &channels, &pixels));
    launch(connect, classes, 1,
           ARGUMENTS(&device_means, &last->device_weights, &last->device_bias, &device_logits, &channels, &classes));
    MUST(cuLaunchKernel(softmax, 1, 1, 1, 32, 1, 1, 0, stream, ARGUMENTS(&device_logits, &device_out, &classes), NULL));
    MUST(cuMemcpyDtoHAsync_v2(probabilities, device_out, CLASSES * sizeof(float), stream));
    MUST(cuStreamSynchronize(stream));
}

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    long length = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    char *text = length < 0 ? NULL : allocate((size_t)length + 1);
    if (text) rewind(file);
    if (!text || fread(text, 1, (size_t)length, file) != (size_t)length) {
        fprintf(stderr, "cnn: cannot read %s\n", path);
        exit(2);
    }
    text[length] = 0;
    fclose(file);
    return text;
}

static void set_up(const char *ptx_path, CUmodule *module) {
    CUdevice device;
    CUcontext context;
    char name[256];
    uint64_t seed = 20;
    open_driver();
    MUST(cuInit(0));
    MUST(cuDeviceGet(&device, 0));
    MUST(cuDeviceGetName(name, sizeof(name), device));
    printf("device: %s\n", name);
    MUST(cuDevicePrimaryCtxRetain(&context, device));
    MUST(cuCtxSetCurrent(context));
    MUST(cuStreamCreate(&stream, 1 /* CU_STREAM_NON_BLOCKING */));
    char *ptx = read_file(ptx_path);
    MUST(cuModuleLoadData(module, ptx));
    free(ptx);
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        MUST(cuModuleGetFunction(kernels[i].function, *module, kernels[i].name));
    }
    for (int i = 0; i < STAGES; i++) {
        make_layer(&layers[i], 9 * stages[i].in_channels, stages[i].out_channels, &seed);
    }
    make_layer(&layers[STAGES], CHANNELS, CLASSES, &seed);
    MUST(cuMemAlloc_v2(&device_frame, FRAME_BYTES));
    MUST(cuMemAlloc_v2(&device_planes, FRAME_BYTES * sizeof(float)));
    MUST(cuMemAlloc_v2(&device_a, 8 * 16 * 16 * sizeof(float)));
    MUST(cuMemAlloc_v2(&device_b, 8 * 16 * 16 * sizeof(float)));
    MUST(cuMemAlloc_v2(&device_means, CHANNELS * sizeof(float)));
    MUST(cuMemAlloc_v2(&device_logits, CLASSES * sizeof(float)));
    MUST(cuMemAlloc_v2(&device_out, CLASSES * sizeof(float)));
}

static void tear_down(CUmodule module) {
    CUdeviceptr buffers[] = {device_frame, device_planes, device_a, device_b, device_means, device_logits, device_out};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) MUST(cuMemFree_v2(buffers[i]));
    for (int i = 0; i <= STAGES; i++) {
        MUST(cuMemFree_v2(layers[i].device_weights));
        MUST(cuMemFree_v2(layers[i].device_bias));
        free(layers[i].weights);
        free(layers[i].bias);
    }
    MUST(cuStreamDestroy_v2(stream));
    MUST(cuModuleUnload(module));
    MUST(cuDevicePrimaryCtxRelease_v2(0));
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* FNV-1a: one number for all output bits, to compare one run with another. */
static uint64_t hash(uint64_t state, const void *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) state = (state ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return state;
}

int main(int argc, char **argv) {
    /* All layers but the softmax compute the same roundings in the same order on both sides; a GPU's exponential is off by
     * some units in the last place. */
    const float tolerance = 1e-5f;
    int inferences = argc > 2 ? atoi(argv[2]) : 20, wrong = 0;
    if (argc < 2 || inferences < 1 || inferences > 1000000) {
        fprintf(stderr, "usage: cnn CNN.PTX [INFERENCES]\n");
        return 2;
    }
    CUmodule module;
    double start_ms = now_ms();
    set_up(argv[1], &module);
    double setup_ms = now_ms() - start_ms;

    unsigned char frame[FRAME_BYTES];
    float got[CLASSES], want[CLASSES], worst = 0.0f;
    double *latency_ms = allocate((size_t)inferences * sizeof(double)), first_ms = 0.0;
    uint64_t seed = 2024, output_hash = 0xcbf29ce484222325u;
    for (int i = 0; i < inferences; i++) {
        for (int k = 0; k < FRAME_BYTES; k++) frame[k] = (unsigned char)next(&seed);
        start_ms = now_ms();
        infer(frame, got);
        latency_ms[i] = now_ms() - start_ms;
        if (i == 0) first_ms = latency_ms[0];

        reference(frame, want);
        float error = 0.0f;
        for (int k = 0; k < CLASSES; k++) {
            float difference = fabsf(got[k] - want[k]);
            /* Not fmaxf, which would drop a NaN. */
            error = difference <= error ? error : difference;
        }
        if (!(error <= tolerance)) {
            wrong++;
            fprintf(stderr, "cnn: inference %d is off by %g\n", i, (double)error);
        }
        worst = error <= worst ? worst : error;
        output_hash = hash(output_hash, got, sizeof(got));
    }
    tear_down(module);

    qsort(latency_ms, (size_t)inferences, sizeof(double), ascending);
    printf("%d inferences, %d wrong, largest error %.2g (tolerance %.2g)\n", inferences, wrong, (double)worst,
           (double)tolerance);
    printf("{\"inferences\":%d,\"wrong\":%d,\"setup_ms\":%.3f,\"first_ms\":%.3f,\"median_ms\":%.3f,\"p95_ms\":%.3f,"
           "\"output_hash\":\"%016llx\"}\n",
           inferences, wrong, setup_ms, first_ms, latency_ms[inferences / 2], latency_ms[(inferences - 1) * 95 / 100],
           (unsigned long long)output_hash);
    free(latency_ms);
    return wrong ? 1 : 0;
}
