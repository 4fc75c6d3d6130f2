// A convolution with bias, ReLU and max pooling: the layers that most vision networks begin with.
#include <algorithm>

#include "check.cuh"

constexpr int IN_CHANNELS = 3, OUT_CHANNELS = 8, SIZE = 32, KERNEL = 3;

__constant__ float bias[OUT_CHANNELS];

__global__ void convolve(const float *__restrict__ in, const float *__restrict__ weights, float *__restrict__ out) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, channel = blockIdx.z;
    if (x >= SIZE || y >= SIZE) return;
    float sum = bias[channel];
    for (int from = 0; from < IN_CHANNELS; from++) {
        for (int v = 0; v < KERNEL; v++) {
            for (int u = 0; u < KERNEL; u++) {
                int in_y = y + v - KERNEL / 2, in_x = x + u - KERNEL / 2;
                if (in_y < 0 || in_y >= SIZE || in_x < 0 || in_x >= SIZE) continue;
                sum = fmaf(in[(from * SIZE + in_y) * SIZE + in_x],
                           weights[((channel * IN_CHANNELS + from) * KERNEL + v) * KERNEL + u], sum);
            }
        }
    }
    out[(channel * SIZE + y) * SIZE + x] = sum;
}

__global__ void relu(float *values, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] = fmaxf(values[i], 0.0f);
}

__global__ void max_pool(const float *in, float *out) {
    const int half = SIZE / 2;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= OUT_CHANNELS * half * half) return;
    int x = i % half, y = i / half % half, channel = i / (half * half);
    const float *corner = in + (channel * SIZE + 2 * y) * SIZE + 2 * x;
    out[i] = fmaxf(fmaxf(corner[0], corner[1]), fmaxf(corner[SIZE], corner[SIZE + 1]));
}

int main() {
    Generator generator(4);
    const int outputs = OUT_CHANNELS * SIZE * SIZE;
    std::vector<float> in = generator.floats(IN_CHANNELS * SIZE * SIZE);
    std::vector<float> weights = generator.floats(OUT_CHANNELS * IN_CHANNELS * KERNEL * KERNEL);
    std::vector<float> biases = generator.floats(OUT_CHANNELS), want(outputs), want_pooled(outputs / 4);

    MUST(cudaMemcpyToSymbol(bias, biases.data(), sizeof(bias)));
    Device<float> device_in(in), device_weights(weights), device_out(outputs), device_pooled(outputs / 4);
    convolve<<<dim3(4, 8, OUT_CHANNELS), dim3(8, 4)>>>(device_in.pointer, device_weights.pointer, device_out.pointer);
    MUST(cudaGetLastError());
    std::vector<float> convolved = device_out.host();
    relu<<<(outputs + 127) / 128, 128>>>(device_out.pointer, outputs);
    MUST(cudaGetLastError());
    max_pool<<<(outputs / 4 + 99) / 100, 100>>>(device_out.pointer, device_pooled.pointer);
    MUST(cudaGetLastError());
    std::vector<float> rectified = device_out.host(), pooled = device_pooled.host();

    for (int channel = 0; channel < OUT_CHANNELS; channel++) {
        for (int y = 0; y < SIZE; y++) {
            for (int x = 0; x < SIZE; x++) {
                float sum = biases[channel];
                for (int from = 0; from < IN_CHANNELS; from++) {
                    for (int v = 0; v < KERNEL; v++) {
                        for (int u = 0; u < KERNEL; u++) {
                            int in_y = y + v - KERNEL / 2, in_x = x + u - KERNEL / 2;
                            if (in_y < 0 || in_y >= SIZE || in_x < 0 || in_x >= SIZE) continue;
                            sum = std::fma(in[(from * SIZE + in_y) * SIZE + in_x],
                                           weights[((channel * IN_CHANNELS + from) * KERNEL + v) * KERNEL + u], sum);
                        }
                    }
                }
                want[(channel * SIZE + y) * SIZE + x] = sum;
            }
        }
    }
    check("3x3 convolution of 3 into 8 channels, exactly", same(convolved, want));
    for (float &value : want) value = std::max(value, 0.0f);
    check("ReLU", same(rectified, want));
    for (int i = 0; i < outputs / 4; i++) {
        int x = i % (SIZE / 2), y = i / (SIZE / 2) % (SIZE / 2), channel = i / (SIZE * SIZE / 4);
        const float *corner = &want[(channel * SIZE + 2 * y) * SIZE + 2 * x];
        want_pooled[i] = std::max(std::max(corner[0], corner[1]), std::max(corner[SIZE], corner[SIZE + 1]));
    }
    check("2x2 max pooling", same(pooled, want_pooled));
    record(convolved);
    record(rectified);
    record(pooled);
    return verdict();
}
