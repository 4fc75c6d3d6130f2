// Softmax and the elementary functions that networks use.
#include "check.cuh"

// One block a row; rows longer than the block.
__global__ void softmax(const float *in, float *out, int columns) {
    __shared__ float shared[32];
    const float *row = in + (size_t)blockIdx.x * columns;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;

    float best = -INFINITY;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) best = fmaxf(best, row[i]);
    for (int step = 16; step > 0; step /= 2) best = fmaxf(best, __shfl_xor_sync(~0u, best, step));
    if (lane == 0) shared[warp] = best;
    __syncthreads();
    best = shared[0];
    for (int i = 1; i < warps; i++) best = fmaxf(best, shared[i]);
    __syncthreads();

    float sum = 0.0f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += expf(row[i] - best);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0) shared[warp] = sum;
    __syncthreads();
    sum = shared[0];
    for (int i = 1; i < warps; i++) sum += shared[i];
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        out[(size_t)blockIdx.x * columns + i] = expf(row[i] - best) / sum;
    }
}

constexpr int FUNCTIONS = 12;

__global__ void elementary(const float *in, float *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float x = in[i], positive = fabsf(x) + 0.01f;
    out[0 * count + i] = expf(x);
    out[1 * count + i] = __expf(x);
    out[2 * count + i] = logf(positive);
    out[3 * count + i] = sqrtf(positive);
    out[4 * count + i] = rsqrtf(positive);
    out[5 * count + i] = tanhf(x);
    out[6 * count + i] = 1.0f / (1.0f + expf(-x));
    out[7 * count + i] = 0.5f * x * (1.0f + erff(x * 0.70710678f));
    out[8 * count + i] = powf(positive, 1.7f);
    out[9 * count + i] = floorf(x) + ceilf(x) + rintf(x) + truncf(x);
    out[10 * count + i] = __fdividef(x, positive);
    out[11 * count + i] = exp2f(x);
}

static float reference(int function, float x) {
    double positive = std::fabs(x) + 0.01f;
    switch (function) {
    case 0:
    case 1: return (float)std::exp((double)x);
    case 2: return (float)std::log(positive);
    case 3: return (float)std::sqrt(positive);
    case 4: return (float)(1.0 / std::sqrt(positive));
    case 5: return (float)std::tanh((double)x);
    case 6: return (float)(1.0 / (1.0 + std::exp(-(double)x)));
    case 7: return (float)(0.5 * x * (1.0 + std::erf(x * 0.70710678)));
    case 8: return (float)std::pow(positive, 1.7);
    case 9: return std::floor(x) + std::ceil(x) + std::rint(x) + std::trunc(x);
    case 10: return (float)(x / positive);
    default: return (float)std::exp2((double)x);
    }
}

int main() {
    Generator generator(5);
    const int rows = 24, columns = 1000;
    std::vector<float> in = generator.floats(rows * columns), want(rows * columns);
    for (float &value : in) value *= 8.0f;
    Device<float> device_in(in), device_out(rows * columns);
    softmax<<<rows, 128>>>(device_in.pointer, device_out.pointer, columns);
    MUST(cudaGetLastError());
    std::vector<float> out = device_out.host();
    for (int row = 0; row < rows; row++) {
        double best = -INFINITY, sum = 0.0;
        for (int i = 0; i < columns; i++) best = std::max(best, (double)in[row * columns + i]);
        for (int i = 0; i < columns; i++) sum += std::exp(in[row * columns + i] - best);
        for (int i = 0; i < columns; i++) want[row * columns + i] = (float)(std::exp(in[row * columns + i] - best) / sum);
    }
    check("softmax of 24 rows of 1000, to 1e-6", close(out, want, 1e-6f));
    record(out);

    const int count = 500;
    std::vector<float> arguments = generator.floats(count);
    for (float &argument : arguments) argument *= 6.0f;
    Device<float> device_arguments(arguments), device_values(FUNCTIONS * count);
    elementary<<<(count + 63) / 64, 64>>>(device_arguments.pointer, device_values.pointer, count);
    MUST(cudaGetLastError());
    std::vector<float> values = device_values.host();
    const char *names[FUNCTIONS] = {"expf",  "__expf", "logf", "sqrtf",    "rsqrtf",     "tanhf",
                                    "sigmoid", "gelu", "powf", "rounding", "__fdividef", "exp2f"};
    for (int function = 0; function < FUNCTIONS; function++) {
        std::vector<float> got(values.begin() + function * count, values.begin() + (function + 1) * count), expected(count);
        for (int i = 0; i < count; i++) expected[i] = reference(function, arguments[i]);
        check(names[function], close(got, expected, 4e-6f));
    }
    record(values);
    return verdict();
}
